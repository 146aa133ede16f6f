"""Frozen language weights in 4 bits under an adapter that learns: QLoRA (Dettmers et al. 2023, arXiv:2305.14314).

The language side's linear layers hold 4-bit NormalFloat with double quantisation (bitsandbytes, through Transformers)
and are computed in the run's dtype: bf16 at full scale. Embeddings, norms, the vocabulary projection and the vision
tower are held in that dtype, the adapter and learning vision blocks in float32. The tower stays as it is because it is
the smaller part, because its features then serve runs with and without 4 bits, and because its blocks may learn.

Of PEFT's `prepare_model_for_kbit_training` nothing is left to do: `prepare.apply` freezes, checkpointing
(`VLM.gradient_checkpointing`) needs no gradients of inputs, and autocast and the models themselves compute norms in
float32. The price is time: each use of a weight unpacks it.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from docvlm import process
from docvlm.errors import DocvlmError

NONE, FOUR = "none", "4bit"
DEVICES = ("cuda",)  # bitsandbytes has kernels for processors too, on which tests run; training with them is too slow


def place() -> torch.device:
    """The device that holds this process's 4-bit weights. Raises `DocvlmError` without one or without bitsandbytes."""
    if importlib.util.find_spec("bitsandbytes") is None:
        raise DocvlmError(f"quant={FOUR}: bitsandbytes is not installed; pip install 'docvlm[quant]', or quant={NONE}")
    for kind in DEVICES:
        if kind != "cuda":
            return torch.device(kind)
        if torch.cuda.is_available():
            return torch.device(kind, process.local_rank())
    raise DocvlmError(
        f"quant={FOUR}: weights in 4 bits need a CUDA device, and none is here; train with quant={NONE}. An adapter"
        " that was trained on them also loads on its base in full, with plain peft (docs/reference/quant.md)"
    )


def nf4(dtype: torch.dtype, kept: Sequence[str]) -> Any:
    """NF4 with double quantisation, computed in `dtype`, of all linear layers but `kept`, as Transformers takes it."""
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,  # of the biases too, which bitsandbytes would otherwise convert as it computes
        llm_int8_skip_modules=list(kept),
    )


def options(quant: str, dtype: torch.dtype, kept: Sequence[str]) -> dict[str, Any]:
    """What `from_pretrained` has to be told so that all linear layers but those in `kept` are held in 4 bits."""
    if quant == NONE:
        return {}
    return {"quantization_config": nf4(dtype, kept), "device_map": {"": place()}}


def of(net: nn.Module) -> str:
    """How the frozen language weights of a Transformers model are held."""
    return FOUR if any(packed(parameter) for parameter in net.parameters()) else NONE


def packed(parameter: Tensor) -> bool:
    """Whether two values share a byte of this parameter: its shape and dtype are then those of the bytes."""
    return getattr(parameter, "quant_state", None) is not None


def numel(parameter: Tensor) -> int:
    """Values of a parameter, packed or not."""
    return int(parameter.quant_state.shape.numel()) if packed(parameter) else parameter.numel()  # type: ignore[attr-defined]


def scales(parameters: Iterable[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
    """What 4-bit values are multiplied with, by name: buffers in all but name, which a fingerprint has to see."""
    for name, parameter in parameters:
        if packed(parameter):
            for part, tensor in parameter.quant_state.as_dict(packed=True).items():  # type: ignore[attr-defined]
                yield f"{name}.{part}", tensor
