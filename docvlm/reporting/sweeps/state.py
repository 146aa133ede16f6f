"""What each cell of a sweep is at, by what it left in its folder, who holds its lock, and Slurm's queue.

A cell lives while its process does. One that nobody trains lives while somebody will: the command that launched the
sweep, or Slurm, in whose queue its job is (it queues some again).
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from docvlm.config import marks, squeue
from docvlm.config.job import JOBS
from docvlm.errors import DocvlmError
from docvlm.files import read_json
from docvlm.reporting.sweeps.sweep import MISSING, RUNNING, Row, called, collect
from docvlm.runs.folder import Action, RunFolder, done_in

FINISHED, FAILED = "finished", "failed"
QUEUED = "queued"  # its job waits in Slurm's queue
_WORDS = {MISSING: "not begun"}  # what a person calls it
UNKNOWN = "no answer"  # the state of every job while Slurm gives none
WAITS = {"PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT", "SUSPENDED", "STOPPED", UNKNOWN}


@dataclass(frozen=True)
class Cell:
    """A cell. `status` is that of its row in the table, or `queued`.

    `detail` is the epoch it is at, its job, or why it is not finished. `live`: a process is training it, or may begin.
    """

    number: int
    name: str
    status: str
    detail: str
    live: bool

    @property
    def finished(self) -> bool:
        """Whether it has a result."""
        return self.status == FINISHED

    @property
    def ended(self) -> bool:
        """Whether nothing more comes of it without another command."""
        return not self.live

    def __str__(self) -> str:
        parts = (f"cell {self.number} ({self.name})", _WORDS.get(self.status, self.status), self.detail)
        return ": ".join(filter(None, parts))


@dataclass(frozen=True)
class Jobs:
    """The job of every cell that was handed to Slurm, and the state of those that have not ended; None: no answer."""

    of: Mapping[int, str]
    living: Mapping[str, str] | None

    @property
    def trouble(self) -> str:
        """Why the jobs are not known, in a line; "" where they are."""
        if not self.of or self.living is not None:
            return ""
        if squeue.installed():
            return "squeue gives no answer: jobs that had not ended are taken to go on"
        return "squeue is not on this machine: what waits in Slurm's queue is not known; ask where it is"

    def state(self, number: int) -> str | None:
        """The state of a cell's job: "" once it has ended, None where nobody can tell."""
        if number not in self.of or (self.living is None and not squeue.installed()):
            return None
        return UNKNOWN if self.living is None else self.living.get(self.of[number], "")


def jobs(folder: Path) -> Jobs:
    """What Slurm says of the sweep in `folder`; it is asked only where it was handed something."""
    file = folder / JOBS
    if not file.exists():
        return Jobs({}, {})
    of = {int(number): job for number, job in read_json(file).items()}
    return Jobs(of, squeue.living(file.stat().st_uid) if squeue.installed() else None)


def cells(folder: Path, known: Jobs) -> list[Cell]:
    """The cells of the sweep in `folder`. Raises `DocvlmError` where there is none."""
    if not folder.is_dir():
        raise DocvlmError(f"{folder}: no such folder; give that of a sweep, multirun/<time>")
    launching = marks.alive(folder)
    rows = collect(folder)
    if not rows:
        raise DocvlmError(f"{folder}: no cells of a sweep in it; give multirun/<time>, or wait for the first to begin")
    return [_cell(folder, row, launching, known) for row in rows]


def _cell(folder: Path, row: Row, launching: bool, known: Jobs) -> Cell:
    number, status, detail = row["cell"], row["status"], row["reason"] or ""
    if status == RUNNING:
        return Cell(number, called(row), status, _epoch(RunFolder(Path(row["run"]))), live=True)
    if status in (FINISHED, FAILED):
        return Cell(number, called(row), status, detail, live=False)
    place = folder / str(number)
    if place.is_dir() and done_in(place) is Action.ELSEWHERE:  # the launching command comes back to it
        return Cell(number, called(row), status, detail, live=launching)
    state = known.state(number)
    if state:
        word = QUEUED if state in WAITS else RUNNING
        return Cell(number, called(row), word, f"job {known.of[number]}: {state}", live=True)
    if status == MISSING:
        ended = f"its job {known.of[number]} has ended" if state == "" else ""
        return Cell(number, called(row), status, ended, live=launching and state is None)
    return Cell(number, called(row), status, detail, live=False)


def said(found: Sequence[Cell]) -> str:
    """How many cells are at what, and a line for each that is not finished."""
    counts = Counter(_WORDS.get(cell.status, cell.status) for cell in found)
    head = ", ".join(f"{count} {word}" for word, count in counts.most_common())
    return "\n".join([f"{len(found)} cells: {head}", *(str(cell) for cell in found if not cell.finished)])


def news(before: Iterable[Cell], now: Iterable[Cell]) -> list[str]:
    """The cells that are at something else than they were, a line each."""
    known = {cell.number: cell for cell in before}
    return [str(cell) for cell in now if known.get(cell.number) != cell]


def _epoch(run: RunFolder) -> str:
    """The last row of `epochs.csv` in words, "" before there is one."""
    if not run.epochs.exists():
        return ""
    with run.epochs.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return f"after epoch {rows[-1]['epoch']}, {rows[-1]['metric']} {float(rows[-1]['score']):.3f}" if rows else ""
