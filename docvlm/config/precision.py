"""In which precision a processor trains faster: known for embedded weights, measured for others."""

from __future__ import annotations

import time
from functools import lru_cache
from pathlib import Path

PAYS = 1.3
"""How many times as fast bf16 must be. Processors were seen at 4 (avx512_bf16), above (AMX), and below 1 (neither)."""
_ROWS, _WIDTH, _TRIES = 128, 768, 4


def precision(said: str, checkpoint: str) -> str:
    """What a run computes in: what a scale says, or for `auto` what the processor is faster in."""
    return cpu_precision(checkpoint) if said == "auto" else said


def cpu_precision(checkpoint: str) -> str:
    """`bf16-mixed` where the processor trains these weights faster with it, else `32-true`.

    A step of an embedded checkpoint takes up to a third less CPU time where there is AMX; with avx512_bf16 its small
    products gain less than their conversions cost, and elsewhere bf16 is emulated. For other weights `bf16_gain` is
    asked, which takes a second once in a process.
    """
    if checkpoint != "embedded":
        return "bf16-mixed" if bf16_gain() >= PAYS else "32-true"
    info = Path("/proc/cpuinfo")
    return "bf16-mixed" if info.exists() and " amx_bf16" in info.read_text() else "32-true"


@lru_cache
def bf16_gain() -> float:
    """How many times as fast as in float32 a frozen MLP is in bf16 autocast, forward and backward; 0 without oneDNN.

    It is as wide as the smallest published models (768, on 128 tokens); wider ones gain more. Both are taken in turn,
    and the fastest of each counts, so other work on the machine moves both.
    """
    import torch  # seconds, and the embedded checkpoints need no answer

    # without oneDNN there is no such operation; without its bf16 it is PyTorch's own loops: 0.5 GFLOP/s
    if not torch.backends.mkldnn.is_available() or not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return 0.0
    up, down = (torch.full((4 * _WIDTH, _WIDTH), 0.01).view(shape) for shape in ((-1, _WIDTH), (_WIDTH, -1)))
    x = torch.ones(_ROWS, _WIDTH, requires_grad=True)

    def seconds(half: bool) -> float:
        began = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            hidden = torch.nn.functional.gelu(torch.nn.functional.linear(x, up))
            out = torch.nn.functional.layer_norm(torch.nn.functional.linear(hidden, down) + x, (_WIDTH,))
        torch.autograd.grad(out.float().sum(), x)
        return time.perf_counter() - began

    with torch.enable_grad():
        taken = [(seconds(half=False), seconds(half=True)) for _ in range(_TRIES)]
    return min(single for single, _ in taken[1:]) / min(half for _, half in taken[1:])
