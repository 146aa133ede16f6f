"""What learns: a frozen part of the vision tower counted from its input, and LoRA or all of the language side.

Freezing from the input keeps autograd out of the frozen blocks: nothing below the first learning block requires a
gradient, so no graph is built there and a frozen tower costs its forward pass only. What learns is held in float32, the
rest in the dtype it was loaded in. LoRA is PEFT's (Hu et al. 2021, arXiv:2106.09685; DoRA: Liu et al. 2024,
arXiv:2402.09353), and learning vision blocks beside it are PEFT's `modules_to_save`, so plain `peft` reloads both.
"""

from __future__ import annotations

import math
import re
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

from docvlm.errors import DocvlmError
from docvlm.vlms.quant import FOUR, NONE, numel, packed

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from docvlm.vlms.base import VLM, Block


MAGNITUDE = ".lora_magnitude_vector."  # in the names of DoRA's magnitude vectors, as PEFT calls them


class LoraLike(Protocol):
    """The adapter's settings as a config gives them (`docvlm.config.LoraConf`)."""

    @property
    def r(self) -> int: ...
    @property
    def alpha(self) -> float | None: ...
    @property
    def dropout(self) -> float: ...
    @property
    def target_modules(self) -> list[str] | None: ...
    @property
    def use_dora(self) -> bool: ...


@dataclass(frozen=True)
class Lora:
    """The adapter's settings. `r=0`: no adapter; `alpha=None`: 2r; `target_modules=None`: the family's own."""

    r: int
    alpha: float | None = None
    dropout: float = 0.0
    target_modules: list[str] | None = None
    use_dora: bool = False

    @classmethod
    def of(cls, lora: LoraLike) -> Lora:
        """The settings resolved: alpha is a number. Raises `DocvlmError` for an impossible rank or share."""
        if lora.r < 0:
            raise DocvlmError(f"lora.r={lora.r}: a rank is 1 or more; 0 means that the language side learns in full")
        if not 0 <= lora.dropout < 1:
            raise DocvlmError(f"lora.dropout={lora.dropout:g}: it is a probability, from 0 to less than 1")
        targets = None if lora.target_modules is None else list(lora.target_modules)
        return cls(lora.r, 2 * lora.r if lora.alpha is None else lora.alpha, lora.dropout, targets, lora.use_dora)


@dataclass(frozen=True)
class Trainable:
    """What learns, by side, and how much of the whole that is. Percentages are of 100."""

    freeze: float
    lora: Lora
    blocks: tuple[Block, ...]
    frozen_blocks: int
    language: dict[str, nn.Parameter]
    vision: dict[str, nn.Parameter]
    total: int
    tower: int
    quant: str = NONE

    @property
    def groups(self) -> dict[str, list[nn.Parameter]]:
        """Optimizer groups that are not empty: "language" and "vision"."""
        sides = {"language": self.language, "vision": self.vision}
        return {side: list(parameters.values()) for side, parameters in sides.items() if parameters}

    @property
    def magnitudes(self) -> dict[str, nn.Parameter]:
        """DoRA's magnitude vectors, which are part of `language`; none without DoRA."""
        return {name: parameter for name, parameter in self.language.items() if MAGNITUDE in name}

    @property
    def count(self) -> int:
        """Parameters that learn."""
        return _count(self.language) + _count(self.vision)

    @property
    def percent(self) -> float:
        """Parameters that learn, of all, the adapter's own included."""
        return 100 * self.count / self.total

    @property
    def vision_frozen_blocks(self) -> float:
        """Frozen blocks of the tower, of all its blocks."""
        return 100 * self.frozen_blocks / len(self.blocks)

    @property
    def vision_trainable_blocks(self) -> float:
        """Learning blocks of the tower, of all its blocks."""
        return 100 - self.vision_frozen_blocks

    @property
    def vision_trainable_parameters(self) -> float:
        """Learning parameters of the tower, of all its parameters."""
        return 100 * _count(self.vision) / self.tower

    @property
    def vision_frozen_parameters(self) -> float:
        """Frozen parameters of the tower, of all its parameters."""
        return 100 - self.vision_trainable_parameters

    def __str__(self) -> str:
        method = "DoRA" if self.lora.use_dora else "LoRA"
        language = f"{method} r={self.lora.r} alpha={self.lora.alpha:g}" if self.lora.r else "in full"
        language += " on 4-bit weights" if self.quant == FOUR else ""
        return (
            f"learning {self.count / 1e6:.3f} M of {self.total / 1e6:.3f} M parameters ({self.percent:.2f} %):"
            f" language {language}; vision {len(self.blocks) - self.frozen_blocks} of {len(self.blocks)} blocks"
            f" ({self.vision_trainable_parameters:.1f} % of its parameters)"
        )


def apply(vlm: VLM, freeze: float, lora: LoraLike) -> Trainable:
    """Freeze `freeze` percent of the tower's blocks, counted from the input, and adapt or release the language side.

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
    tower = {name for block in blocks for name in block.parameters}
    sizes = {name: numel(parameter) for name, parameter in vlm.bare.named_parameters()}
    vlm.bare.requires_grad_(False)
    if lora.r:
        vlm.net = _wrapped(vlm.bare, _peft_config(vlm, lora, learning))
    else:
        released = {name for block in learning for name in block.parameters}
        for name, parameter in vlm.bare.named_parameters():
            parameter.requires_grad_(name not in tower or name in released)
    language: dict[str, nn.Parameter] = {}
    vision: dict[str, nn.Parameter] = {}
    for name, parameter in vlm.net.named_parameters():
        if not packed(parameter):
            parameter.data = parameter.data.to(torch.float32 if parameter.requires_grad else vlm.dtype)
        if parameter.requires_grad:
            (vision if plain_name(name) in tower else language)[name] = parameter
    vlm.frozen_modules = tuple(module for block in blocks[:frozen] for module in block.modules)
    vlm.trainable = Trainable(
        freeze=freeze,
        lora=lora,
        blocks=blocks,
        frozen_blocks=frozen,
        language=language,
        vision=vision,
        total=sum(sizes.values()) + (_count(language) if lora.r else 0),
        tower=sum(sizes[name] for name in tower),
        quant=vlm.quant,
    )
    vlm.train()
    return vlm.trainable


def plain_name(name: str) -> str:
    """A parameter's name in the plain Transformers model, from its name in one that PEFT has wrapped."""
    name = name.removeprefix("base_model.model.")
    return re.sub(r"\.(modules_to_save\.default|original_module|base_layer)(?=\.)", "", name)


def frozen_blocks(freeze: float, blocks: int) -> int:
    """How many of `blocks` blocks `freeze` percent are, to the nearest whole one (half a block counts as one)."""
    if not 0 <= freeze <= 100:
        raise DocvlmError(f"freeze={freeze:g}: it is a percentage of the vision tower's blocks, from 0 to 100")
    return math.floor(freeze / 100 * blocks + 0.5)


def _peft_config(vlm: VLM, lora: Lora, learning: tuple[Block, ...]) -> LoraConfig:
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
    return LoraConfig(
        revision=vlm.revision,  # of the base, for whoever loads the adapter with PEFT alone
        r=lora.r,
        lora_alpha=lora.alpha,  # type: ignore[arg-type]  # PEFT divides by r; a fraction is as good
        lora_dropout=lora.dropout,
        # A pattern, since a bare name would also match inside the tower of a family that uses the same names there.
        target_modules=rf"{re.escape(inside)}.*\.({'|'.join(map(re.escape, targets))})",
        use_dora=lora.use_dora,
        modules_to_save=[module for block in learning for module in block.modules] or None,
    )


def _wrapped(net: PreTrainedModel, config: LoraConfig) -> PeftModel:
    with warnings.catch_warnings():  # PEFT asks `is_gradient_checkpointing`, which Transformers 5.23 has renamed
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        wrapped = get_peft_model(net, config, revision=config.revision)
    assert isinstance(wrapped, PeftModel)
    for module in wrapped.modules():
        if isinstance(module, BaseTunerLayer):
            # Autocast puts inputs and adapters in one dtype (`VLM.autocast`). PEFT would put them in float32 first, and
            # autocast back again: one more copy of its input for each of q, k and v, kept for the backward pass.
            module.cast_input_dtype_enabled = False
    return wrapped


def _count(parameters: dict[str, nn.Parameter]) -> int:
    return sum(parameter.numel() for parameter in parameters.values())
