"""The largest batch that fits, found by doubling: what ends the search is said, never guessed.

On a GPU memory itself ends it. A CPU has no such error (the system kills the process), so there a limit does, and the
next size is predicted before it is tried: memory grows with the batch, so doubling adds twice what the last one added.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass

import torch

from docvlm.errors import DocvlmError

_GB = 1024  # MiB


@dataclass(frozen=True, slots=True)
class Largest:
    """The largest batch that was answered, why no larger one was, and the peak (MiB) of each size that was tried."""

    batch: int
    bound: str
    tried: dict[int, float]


def largest(attempt: Callable[[int], float], most: int, limit_mb: float | None) -> Largest:
    """Try 1, 2, 4, … up to `most`. `attempt(size)` answers a batch and returns its peak in MiB.

    Ends where torch is out of memory, where a size takes or would take more than `limit_mb`, or at `most`. One page is
    always tried, and answered whatever it takes; raises `DocvlmError` where torch cannot even do that.
    """
    tried: dict[int, float] = {}
    size, bound = 1, ""
    while not bound:
        if limit_mb is not None and (expected := _expected(tried)) > limit_mb:
            bound = f"memory limit: {size} would take about {expected / _GB:.2f} of {limit_mb / _GB:.2f} GiB"
            break
        try:
            peak = attempt(size)
        except torch.OutOfMemoryError:
            bound = f"out of memory at {size}"
            gc.collect()
            torch.cuda.empty_cache()
            break
        if limit_mb is not None and peak > limit_mb and size > 1:
            bound = f"memory limit: {size} took {peak / _GB:.2f} of {limit_mb / _GB:.2f} GiB"
            break
        tried[size] = peak
        if size == most:
            bound = f"max_batch={most}"
        size = min(2 * size, most)
    if not tried:
        raise DocvlmError(f"not even one page fits ({bound}); give smaller budgets")
    return Largest(max(tried), bound, tried)


def _expected(tried: dict[int, float]) -> float:
    """Peak of the next doubling from the last two; 0 where there are none to go by."""
    if len(tried) < 2:
        return 0.0
    *_, before, last = tried.values()
    return last + 2 * max(0.0, last - before)
