"""Freeze a part of the vision tower, and of the decoder, each counted from its input, and adapt or release the rest.

Freezing from the input keeps autograd out of the frozen blocks: nothing below the first learning block requires a
gradient, so no graph is built there and a frozen tower costs its forward pass only. What learns is held in float32, the
rest in the dtype it was loaded in. LoRA is PEFT's (Hu et al. 2021, arXiv:2106.09685; DoRA: Liu et al. 2024,
arXiv:2402.09353), and learning vision blocks beside it are PEFT's `modules_to_save`, so plain `peft` reloads both.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import model as lora_model
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

from docvlm.errors import DocvlmError
from docvlm.vlms.base import VLM
from docvlm.vlms.families import no_decoder
from docvlm.vlms.lora_linear import use_one_sum
from docvlm.vlms.quant import NONE, numel, packed
from docvlm.vlms.trainable import Block, Lora, LoraLike, Trainable, count, frozen_blocks, frozen_layers, plain_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedModel


def apply(vlm: VLM, freeze: float, lora: LoraLike, freeze_language: int = 0) -> Trainable:
    """Freeze `freeze` percent of the tower's blocks, counted from the input, and adapt or release the language side.

    Of that, `freeze_language` percent of the decoder's blocks, counted from the input as well, neither get an adapter
    nor learn; the embeddings of words belong to the first of them, and with them a vocabulary projection that is tied.
    Changes `vlm` in place, once, and puts it in training mode. Raises `DocvlmError` for an impossible share or rank and
    for a LoRA target that matches no module of the language side.
    """
    if vlm.trainable is not None:
        raise ValueError("apply: this model has been prepared already; load a fresh one")
    lora = Lora.of(lora)
    if lora.r == 0 and vlm.quant != NONE:
        raise DocvlmError(f"lora.r=0: weights in 4 bits cannot learn (quant={vlm.quant}); give lora.r, or quant={NONE}")
    blocks = tuple(vlm.vision_blocks())
    frozen = frozen_blocks(freeze, len(blocks))
    learning = blocks[frozen:]
    layers = _layers(vlm, freeze_language)
    lowest = frozen_layers(freeze_language, len(layers))
    tower = {name for block in blocks for name in block.parameters}
    sizes = {name: numel(parameter) for name, parameter in vlm.bare.named_parameters()}
    vlm.bare.requires_grad_(False)
    if lora.r:
        vlm.net = _wrapped(vlm.bare, _peft_config(vlm, lora, learning, layers[lowest:] if lowest else ()))
    else:
        released = {name for block in learning for name in block.parameters}
        still = below(vlm, layers[:lowest]) if lowest else set()
        for name, parameter in vlm.bare.named_parameters():
            parameter.requires_grad_((name not in tower or name in released) and name not in still)
    language: dict[str, nn.Parameter] = {}
    vision: dict[str, nn.Parameter] = {}
    for name, parameter in vlm.net.named_parameters():
        if not packed(parameter):
            parameter.data = parameter.data.to(torch.float32 if parameter.requires_grad else vlm.dtype)
        if parameter.requires_grad:
            (vision if plain_name(name) in tower else language)[name] = parameter
    vlm.frozen_modules = tuple(module for block in blocks[:frozen] for module in block.modules)
    vlm.frozen_layers = layers[:lowest]
    vlm.trainable = Trainable(
        freeze=freeze,
        lora=lora,
        blocks=blocks,
        frozen_blocks=frozen,
        language=language,
        vision=vision,
        total=sum(sizes.values()) + (count(language) if lora.r else 0),
        tower=sum(sizes[name] for name in tower),
        quant=vlm.quant,
        freeze_language=freeze_language,
        layers=len(layers),
        frozen_layers=lowest,
    )
    vlm.train()
    return vlm.trainable


def _layers(vlm: VLM, freeze_language: int) -> tuple[str, ...]:
    """The decoder's blocks by name; none where the language side is no decoder. Raises where they are to be frozen."""
    if not vlm.decoder:
        if freeze_language:
            raise DocvlmError(f"freeze_language={freeze_language}: {no_decoder(vlm.about)}")
        return ()
    return tuple(f"{vlm.decoder}.{name}" for name, _ in vlm.bare.get_submodule(vlm.decoder).named_children())


def below(vlm: VLM, layers: tuple[str, ...]) -> set[str]:
    """Parameters of `layers`, the first of the decoder, and of the embeddings of words."""
    words = vlm.bare.get_input_embeddings()
    modules = [*layers, *(name for name, module in vlm.bare.named_modules() if module is words)]
    return {f"{name}.{own}" for name in modules for own, _ in vlm.bare.get_submodule(name).named_parameters()}


def _peft_config(vlm: VLM, lora: Lora, learning: tuple[Block, ...], layers: tuple[str, ...]) -> LoraConfig:
    """Of the adapter; on the linear layers of `layers` alone where there are any."""
    targets = tuple(vlm.lora_targets if lora.target_modules is None else lora.target_modules)
    inside = f"{vlm.language}."
    linear = [name for name, module in vlm.bare.named_modules() if isinstance(module, nn.Linear)]
    names = sorted({name.rsplit(".", 1)[-1] for name in linear if name.startswith(inside)})
    unknown = [target for target in targets if target not in names]
    if unknown or not targets:
        raise DocvlmError(
            f"lora.target_modules={list(targets)}: {', '.join(unknown) or 'an empty list'} matches no module of"
            f" {vlm.family}'s language side; choose from {', '.join(names)}"
        )
    where = rf"(?:{_any_of(layers)})\." if layers else re.escape(inside)
    return LoraConfig(
        revision=vlm.revision,  # of the base, for whoever loads the adapter with PEFT alone
        r=lora.r,
        lora_alpha=lora.alpha,  # type: ignore[arg-type]  # PEFT divides by r; a fraction is as good
        lora_dropout=lora.dropout,
        # A pattern, since a bare name would also match inside the tower of a family that uses the same names there.
        target_modules=rf"{where}.*\.({_any_of(targets)})",
        use_dora=lora.use_dora,
        modules_to_save=[module for block in learning for module in block.modules] or None,
    )


def _any_of(names: Sequence[str]) -> str:
    return "|".join(map(re.escape, names))


def _wrapped(net: PreTrainedModel, config: LoraConfig) -> PeftModel:
    with (
        warnings.catch_warnings(),
        _without_bitsandbytes(net),
    ):  # PEFT asks `is_gradient_checkpointing`, which Transformers 5.23 has renamed
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        wrapped = get_peft_model(net, config, revision=config.revision)
    assert isinstance(wrapped, PeftModel)
    for module in wrapped.modules():
        if isinstance(module, BaseTunerLayer):
            # Autocast puts inputs and adapters in one dtype (`VLM.autocast`). PEFT would put them in float32 first, and
            # autocast back again: one more copy of its input for each of q, k and v, kept for the backward pass.
            module.cast_input_dtype_enabled = False
    use_one_sum(wrapped)
    return wrapped


@contextmanager
def _without_bitsandbytes(net: PreTrainedModel) -> Iterator[None]:
    """Keep PEFT from importing bitsandbytes (over a second) to look for its layers in a net that has none."""
    asked = ("is_bnb_available", "is_bnb_4bit_available")  # PEFT 0.21 imports the library to answer the second
    if any(type(module).__module__.startswith("bitsandbytes") for module in net.modules()):
        yield
        return
    answers = {name: getattr(lora_model, name) for name in asked}
    for name in asked:
        setattr(lora_model, name, lambda: False)
    try:
        yield
    finally:
        for name, answer in answers.items():
            setattr(lora_model, name, answer)
