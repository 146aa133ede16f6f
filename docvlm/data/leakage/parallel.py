"""The same work on many things: in this process where that is quick, else in one process a core.

The first few are done here and timed, since starting processes that must import numpy and scipy takes seconds. They are
spawned: a fork would copy the threads torch has running, and may then wait for one of them for ever.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import islice
from multiprocessing import get_context
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

TRIED = 16  # things done before it is decided
WORTH = 60.0  # seconds of work left from which other processes are worth starting
AHEAD = 4  # chunks a process that are under way or done and not taken yet


def parallel_each(
    work: Callable[[T], R], things: Iterable[T], count: int, say: Callable[[str], None], what: str, chunk: int
) -> Iterator[R]:
    """`work` of each of `count` things, in order, a few ahead of who takes them.

    `say` hears how long it will take where that is long; `what` names the things. `chunk` neighbours go to one process,
    which may remember what they share. `work` and its things must be picklable.
    """
    left = iter(things)
    begun = time.perf_counter()
    done = [work(thing) for thing in islice(left, TRIED)]
    seconds = (time.perf_counter() - begun) / max(1, len(done)) * (count - len(done))
    yield from done
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if seconds >= WORTH:
        say(f"audit: {count - len(done)} {what}, about {seconds / cores:.0f} s on {cores} cores; remembered for later")
    if seconds < WORTH or cores < 2:
        yield from map(work, left)
        return
    ahead: deque[Future[list[R]]] = deque()
    with ProcessPoolExecutor(cores, mp_context=get_context("spawn")) as pool:
        while True:
            while len(ahead) < AHEAD * cores and (some := list(islice(left, chunk))):
                ahead.append(pool.submit(_all, work, some))
            if not ahead:
                return
            yield from ahead.popleft().result()


def parallel_map(
    work: Callable[[T], R], things: Sequence[T], say: Callable[[str], None], what: str, chunk: int
) -> list[R]:
    """`parallel_each` of things that are there, all of it."""
    return list(parallel_each(work, things, len(things), say, what, chunk))


def _all(work: Callable[[T], R], some: Sequence[T]) -> list[R]:
    return [work(thing) for thing in some]
