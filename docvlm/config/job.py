"""Where one execution of a verb writes, and which cell of which sweep it is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

CELLS = "cells.json"
"""In the folder of a sweep: the overrides of every cell that was asked for."""
JOBS = "jobs.json"
"""In the folder of a sweep whose cells are jobs of Slurm: the job of every cell, by its number."""


@dataclass(frozen=True)
class Job:
    """Where one execution of a verb writes, which cell of which sweep it is, and where earlier ones lie.

    `runs` holds single runs, `sweeps` sweeps (`outputs/` and `multirun/` unless told otherwise). `wait`: a cell that
    another process is training is waited for, not put off.
    """

    folder: Path
    overrides: tuple[str, ...] = ()
    sweep: Path | None = None
    number: int | None = None
    runs: Path | None = None
    sweeps: Path | None = None
    wait: bool = False

    def told(self, group: str) -> tuple[str, ...]:
        """Keys of a group of the config that the command itself sets, not a default: `max_pixels` of `budget`."""
        keys = (override.partition("=")[0].lstrip("+~") for override in self.overrides)
        return tuple(key.removeprefix(f"{group}.") for key in keys if key.startswith(f"{group}."))
