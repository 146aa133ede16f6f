"""Cross-entropy of answer tokens, summed: from their logits in full, or fused with the projection by a GPU kernel.

In full, N answer tokens over a vocabulary of V hold N x V logits four times: as projected, in float32, and both again
for the gradient. Liger's fused linear cross-entropy (`liger-kernel`, the `gpu` extra) makes the loss and the gradient
of the hidden states together, chunk by chunk, in one buffer; a frozen projection gets no gradient. Loss and gradient
are those in full to float error (tests/vlms), so the choice is one of speed and memory; a run prints it on a
GPU and `manifest.json` records it. Liger's own chunks keep the buffer as small as the hidden states, which for the few
hundred tokens of some answers means to read all of the projection once for every other token: chunks here have `CHUNK`.
"""

from __future__ import annotations

import importlib.util
from functools import lru_cache
from importlib.metadata import version
from math import ceil

import torch
import torch.nn.functional as F
from packaging.version import Version
from torch import Tensor, nn

from docvlm.vlms.codec import computing_dtype

LIGER = "0.8.4"  # the first release whose chunks can be set
CHUNK = 1024  # tokens of a chunk, about: 0.3 GB of bf16 logits at 152 k words


@lru_cache
def plain_because(device: str, dtype: torch.dtype) -> str | None:
    """Why logits in `dtype` are made in full on a `device` of this type; None where the fused kernel replaces them."""
    if device != "cuda":
        return f"the device is {device}"
    if importlib.util.find_spec("liger_kernel") is None:
        return "liger-kernel is not installed: docvlm[gpu]"
    if Version(version("liger-kernel")) < Version(LIGER):
        return f"liger-kernel is {version('liger-kernel')}, not {LIGER} or later"
    if dtype not in (torch.float32, torch.bfloat16):
        # Its gradient is made before a loss scale comes in, so float16 would lose what the scale is there to keep; and
        # its softmax is of float32, which is less than float64.
        return f"the fused kernel is exact in float32 and bfloat16, not in {str(dtype).removeprefix('torch.')}"
    return None


def describe(device: str, dtype: torch.dtype) -> str:
    """Which of the two a run takes, for its output and its manifest."""
    because = plain_because(device, dtype)
    return f"fused (liger-kernel {version('liger-kernel')})" if because is None else f"plain ({because})"


def answer_cross_entropy(hidden: Tensor, projection: nn.Module, labels: Tensor) -> Tensor:
    """Sum of the cross-entropies (scalar, nats) of `labels` (N) under the projection of `hidden` (N x D)."""
    if len(labels) == 0 or plain_because(hidden.device.type, computing_dtype(hidden)) is not None:
        return plain(hidden, projection, labels)
    return fused(hidden, projection, labels)


def plain(hidden: Tensor, projection: nn.Module, labels: Tensor) -> Tensor:
    """From logits in full; the softmax is of float32, whatever the projection computes in."""
    return F.cross_entropy(projection(hidden).float(), labels, reduction="sum")


def fused(hidden: Tensor, projection: nn.Module, labels: Tensor) -> Tensor:
    """By Liger's kernel, in chunks of at least `CHUNK` tokens. The projection is one matrix: no adapter is in it."""
    from liger_kernel.transformers.functional import liger_fused_linear_cross_entropy  # imports triton

    assert type(projection) is nn.Linear
    words, width = projection.weight.shape
    chunks = max(1, len(labels) // CHUNK)  # Liger makes ceil(words / (budget x width)) of them, at most
    budget = ceil(words / (chunks * width))
    loss: Tensor = liger_fused_linear_cross_entropy(
        hidden, projection.weight, labels, projection.bias, reduction="sum", chunk_mem_const=budget
    )
    return loss
