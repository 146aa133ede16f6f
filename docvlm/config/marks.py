"""Who of a sweep lives: a lock each for the command that launched it and for every cell that has begun.

A lock (`flock`) ends with the process that holds it, however that ends, and is seen by every machine that shares the
folder: no clock is compared and no process of another machine is looked for. What stands in a file beside it says where
that process is or was.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import Timeout

from docvlm import locks, process
from docvlm.config.job import Job
from docvlm.files import read_json, write_json

BEGUN = "begun.json"
"""In the folder of a cell: the process that began it last."""
_LIVES = ".alive"
GLANCE = 0.5  # seconds in which another process that only looks has let go of a lock


@contextmanager
def begun(job: Job) -> Iterator[None]:
    """Let others see that a cell has begun, and for as long as this lasts that it lives. A single run needs none."""
    if job.sweep is None or process.rank() != 0:
        yield
        return
    write_json(job.folder / BEGUN, _here())
    with lives(job.folder):
        yield


@contextmanager
def lives(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder, unless another process has it: two commands in one folder live while either does."""
    held = locks.lock(folder / _LIVES, timeout=GLANCE)
    try:
        held.acquire()
    except Timeout:
        yield
        return
    try:
        yield
    finally:
        held.release()


def alive(folder: Path) -> bool:
    """Whether the process that holds the lock of a folder lives. Leaves nothing where none ever did."""
    if not (folder / _LIVES).exists():
        return False
    try:
        with locks.lock(folder / _LIVES, timeout=0):
            return False
    except Timeout:
        return True


def wait(sweep: Path) -> None:
    """Come back when no cell of a sweep lives."""
    while any(alive(cell) for cell in sweep.iterdir() if cell.is_dir()):
        time.sleep(1)


def who(cell: Path) -> str:
    """The process that began a cell, in words; "" where none did."""
    if not (cell / BEGUN).exists():
        return ""
    found = read_json(cell / BEGUN)
    job = f", job {found['job']}" if found["job"] else ""
    return f"process {found['pid']} on {found['host']}{job}"


def _here() -> dict[str, int | str | None]:
    array, task = (os.environ.get(f"SLURM_ARRAY_{name}") for name in ("JOB_ID", "TASK_ID"))
    job = f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID")
    return {"pid": os.getpid(), "host": socket.gethostname(), "job": job}
