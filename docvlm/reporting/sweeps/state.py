"""What each cell of a sweep is at, by what it left in its folder and by who holds its lock."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from docvlm.errors import DocvlmError
from docvlm.reporting.sweeps.sweep import RUNNING, called, collect
from docvlm.runs.folder import RunFolder

MISSING = "missing"
_WORDS = {MISSING: "not begun"}  # what a person calls it


@dataclass(frozen=True)
class Cell:
    """A cell. `status` is that of its row in the table.

    `detail` is the epoch it is at, or why it is not finished.
    """

    number: int
    name: str
    status: str
    detail: str

    @property
    def finished(self) -> bool:
        """Whether it has a result."""
        return self.status == "finished"

    @property
    def live(self) -> bool:
        """Whether a process is training it, or may begin to."""
        return self.status in (RUNNING, MISSING)

    @property
    def ended(self) -> bool:
        """Whether nothing more comes of it without another command."""
        return not self.live

    def __str__(self) -> str:
        parts = (f"cell {self.number} ({self.name})", _WORDS.get(self.status, self.status), self.detail)
        return ": ".join(filter(None, parts))


def cells(folder: Path) -> list[Cell]:
    """The cells of the sweep in `folder`. Raises `DocvlmError` where there is none."""
    if not folder.is_dir():
        raise DocvlmError(f"{folder}: no such folder; give that of a sweep, multirun/<time>")
    rows = collect(folder)
    if not rows:
        raise DocvlmError(f"{folder}: no cells of a sweep in it; give multirun/<time>, or wait for the first to begin")
    found = []
    for row in rows:
        status, detail = row["status"], row["reason"] or ""
        if status == RUNNING:
            detail = _epoch(RunFolder(Path(row["run"])))
        found.append(Cell(row["cell"], called(row), status, "" if status == MISSING else detail))
    return found


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
