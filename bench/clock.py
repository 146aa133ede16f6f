"""How things are measured: in turn, in pairs, and above what was held before.

Variants take turns step by step and the first step of each is not counted. A ratio is the median over steps of what
the plain one took in that step over what this one took, so it needs no step to be as long as another.

On a shared machine the host may give the processors to others for minutes. Linux counts that time, so a step that lost
more than a twentieth of them is taken again, at most three times, and the least disturbed counts. What others take of
caches and memory bandwidth nobody counts. Where other work of the machine itself runs, wall time is a measure of that:
`python -m bench --clock processor` counts the seconds that the threads of this process computed instead. It sees no
waiting, for disks neither, so it is for ratios on a busy machine and never written to the published tables.

Peak memory is of the process (its resident set), above what it held right before the step: weights, adapters and
optimizer state are in both and cancel out, and what libraries allocate beside torch counts, as it does for the system
that kills a process. Linux lets a process reset its own peak; free memory is handed back first, or a variant would be
given what an earlier one left, and glibc is told to give large tensors pages of their own meanwhile. What earlier steps
left in its heap is filled first, and holes in it count: about twice the tensors' own bytes, and two calls differ by up
to a tenth. Elsewhere there is no figure. Cost: one more step a variant, not timed.
"""

from __future__ import annotations

import ctypes
import gc
import os
import statistics
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from docvlm.machine import peak_memory_mb, reset_peak_memory

DISTURBED = 0.05  # of the processors' time
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h of glibc
_LARGE, _MOST = 1 << 18, 1 << 25  # bytes: a tensor that gets pages of its own; as high as glibc sets that by itself


CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "processor": time.process_time}
_chosen = "wall"


def choose(clock: str) -> None:
    """Take the times of all variants by this one of `CLOCKS`."""
    global _chosen
    _chosen = clock


def now() -> float:
    """Seconds of the chosen clock."""
    return CLOCKS[_chosen]()


def seconds(action: Callable[[], object]) -> float:
    """Time of `action`."""
    began = now()
    action()
    return now() - began


def in_turn(variants: Mapping[str, Callable[[int], float]], steps: int) -> dict[str, list[float]]:
    """Seconds of steps 1, 2, ... of each variant; step 0 warms up. A variant is called with the step's number."""
    taken: dict[str, list[float]] = {name: [] for name in variants}
    for step in range(steps):
        for name, run in variants.items():
            took = least_disturbed(partial(run, step)) if step else run(step)
            if step:
                taken[name].append(took)
    return taken


def least_disturbed(run: Callable[[], float], tries: int = 4) -> float:
    """Seconds of the first of `tries` calls that lost no more than `DISTURBED` of the processors, else of the best."""
    calls: list[tuple[float, float]] = []
    for _ in range(tries):
        calls.append(watched(run))
        if calls[-1][0] <= DISTURBED:
            break
    return min(calls)[1]


def alike_disturbed(run: Callable[[], float], lost: float, tries: int = 4) -> tuple[float, float]:
    """What `watched` gives of the first of `tries` calls that lost about the share `lost`, else of the nearest.

    For a call beside one that is too long to be taken again: what the host took from both then weighs alike.
    """
    calls: list[tuple[float, float]] = []
    for _ in range(tries):
        calls.append(watched(run))
        if abs(calls[-1][0] - lost) <= DISTURBED:
            break
    return min(calls, key=lambda call: abs(call[0] - lost))


def watched(run: Callable[[], float]) -> tuple[float, float]:
    """The share of the processors' time that was lost to the host during `run`, and what that returned."""
    before, began = stolen(), time.perf_counter()
    result = run()
    return (stolen() - before) / ((time.perf_counter() - began) * (os.cpu_count() or 1)), result


def stolen() -> float:
    """Seconds of all processors that the host has given to others since it started; 0 where the system does not say."""
    file = Path("/proc/stat")
    counts = file.read_text().split("\n", 1)[0].split() if file.exists() else []
    return int(counts[8]) / os.sysconf("SC_CLK_TCK") if len(counts) > 8 else 0.0


def faster(plain: list[float], this: list[float]) -> float:
    """How many times faster `this` is than `plain`, step by step."""
    return statistics.median(a / b for a, b in zip(plain, this, strict=True))


def peak_above(action: Callable[[], object]) -> float | None:
    """MiB that `action` held at most above what was held before it; None where the system does not say."""
    status = Path("/proc/self/status")
    if not status.exists() or not os.access("/proc/self/clear_refs", os.W_OK):
        return None
    gc.collect()
    glibc = ctypes.CDLL(None) if hasattr(ctypes.CDLL(None), "malloc_trim") else None  # musl has neither
    if glibc is not None:
        glibc.mallopt(_M_MMAP_THRESHOLD, _LARGE)
        glibc.malloc_trim(0)
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmRSS:"))
    before = int(line.split()[1]) / 1024
    reset_peak_memory()
    action()
    if glibc is not None:  # where its own rule ends after tensors of these sizes
        glibc.mallopt(_M_MMAP_THRESHOLD, _MOST)
        glibc.mallopt(_M_TRIM_THRESHOLD, 2 * _MOST)
    return max(0.0, peak_memory_mb("cpu") - before)


def gradients(net: nn.Module) -> dict[str, Tensor]:
    """A copy of every gradient by parameter name; the model's own are dropped."""
    found = {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}
    net.zero_grad(set_to_none=True)
    return found


def difference(this: Mapping[str, Tensor], plain: Mapping[str, Tensor]) -> float:
    """Distance of two sets of gradients relative to the plain one's length."""
    if this.keys() != plain.keys():
        odd = sorted(this.keys() ^ plain.keys())[0]
        raise ValueError(f"{odd} has a gradient on one side only: these are not the same parameters")
    away, length = (
        torch.cat([(f(name)).flatten() for name in sorted(plain)]).norm()
        for f in (lambda name: this[name] - plain[name], lambda name: plain[name])
    )
    return float(away / length)
