"""The same work on many things: in this process where that is quick, else in one process a core.

The first few are done here and timed, since starting processes that must import numpy and scipy takes seconds. They are
spawned: a fork would copy the threads torch has running, and may then wait for one of them for ever.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

TRIED = 16  # things done before it is decided
WORTH = 60.0  # seconds of work left from which other processes are worth starting


def parallel_map(
    work: Callable[[T], R], things: Sequence[T], say: Callable[[str], None], what: str, chunk: int
) -> list[R]:
    """`work` of each thing, in order. `say` hears how long it will take where that is long; `what` names the things.

    `chunk` neighbours go to one process, which may remember what they share. `work` and its things must be picklable.
    """
    begun = time.perf_counter()
    done = [work(thing) for thing in things[:TRIED]]
    rest = things[TRIED:]
    seconds = (time.perf_counter() - begun) / max(1, len(done)) * len(rest)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if seconds < WORTH:
        return done + [work(thing) for thing in rest]
    say(f"audit: {len(rest)} {what}, about {seconds / cores:.0f} s on {cores} cores; remembered for later runs")
    if cores < 2:
        return done + [work(thing) for thing in rest]
    with ProcessPoolExecutor(cores, mp_context=get_context("spawn")) as pool:
        return done + list(pool.map(work, rest, chunksize=chunk))
