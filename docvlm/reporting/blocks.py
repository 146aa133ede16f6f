"""What a report is made of: sections of text, tables, figures, galleries, and what to run where something is missing.

Sections are decided once, from numbers, and know nothing of HTML, Markdown or LaTeX. So the page, `report.md`, the CSV
files and the model cards say the same thing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from docvlm.scoring.flips import p_value
from docvlm.scoring.intervals import Difference, Interval

MISSING = "–"
"""What stands in a cell where there is no such number."""


@dataclass(frozen=True)
class Column:
    """One column: its key in a row, its heading, and how its numbers are written (`digits` after the point)."""

    key: str
    head: str
    digits: int = 3
    kind: str = "number"  # number | text | p | run

    @property
    def is_text(self) -> bool:
        """Whether cells are words, which stand on the left."""
        return self.kind in ("text", "run")


@dataclass(frozen=True)
class Table:
    """A table of values, not of strings. `name` is its file; `notes` stand below it.

    Every row that holds a measured number has the run or file it came from in the column `run`.
    """

    name: str
    title: str
    columns: Sequence[Column]
    rows: Sequence[Mapping[str, Any]]
    notes: Sequence[str] = ()
    folded: bool = False  # on the page closed at first

    def cells(self, row: Mapping[str, Any]) -> list[str]:
        """A row as text, one string a column."""
        return [written(row[column.key], column) for column in self.columns]


@dataclass(frozen=True)
class Figure:
    """A drawn figure. `name` is its file without the ending, `alt` says in words what it shows."""

    name: str
    title: str
    alt: str
    svg: str


@dataclass(frozen=True)
class ToRun:
    """A section's stand-in where its input is missing: what it would show, and the commands that make it."""

    text: str
    commands: Sequence[str]


@dataclass(frozen=True)
class Code:
    """Commands or a listing, to be copied."""

    title: str
    text: str
    folded: bool = False


@dataclass(frozen=True)
class Text:
    """One paragraph. `kind` sets it apart: a `claim` from numbers, a `caution`, or `plain`."""

    text: str
    kind: str = "plain"


@dataclass(frozen=True)
class Card:
    """One answer in the gallery: all of it untrusted text. `picture` is a data URI of the page, "" without one."""

    flip: str  # "" | fixed | broken
    kind: str
    model: str
    benchmark: str
    document_type: str
    document: str
    question: str
    prediction: str
    before: str | None
    answers: Sequence[str]
    score: float
    right: bool
    run: str
    picture: str = ""
    width: int = 0
    height: int = 0


@dataclass(frozen=True)
class Gallery:
    """Cards with what they can be filtered by; `notes` say what was left out and why."""

    cards: Sequence[Card]
    notes: Sequence[str] = ()

    def choices(self, name: str) -> list[str]:
        """The values of one filter, in the order of the cards."""
        return list(dict.fromkeys(value for card in self.cards if (value := getattr(card, name))))


Block = Table | Figure | ToRun | Code | Text | Gallery


@dataclass(frozen=True)
class Section:
    """One answer to one question of the reader's: an anchor, a heading, and blocks in reading order."""

    anchor: str
    title: str
    blocks: Sequence[Block] = field(default_factory=tuple)

    def tables(self) -> list[Table]:
        """The tables of this section."""
        return [block for block in self.blocks if isinstance(block, Table)]


def written(value: Any, column: Column) -> str:
    """A value as a reader wants it: intervals in brackets, p-values below 0.001 as such, gaps as a dash."""
    if value is None or value == "":
        return MISSING
    if isinstance(value, Difference):
        return f"{value.mean:+.{column.digits}f} [{value.low:+.{column.digits}f}, {value.high:+.{column.digits}f}]"
    if isinstance(value, Interval):
        return f"{value.mean:.{column.digits}f} [{value.low:.{column.digits}f}, {value.high:.{column.digits}f}]"
    if column.kind == "p":
        return value if isinstance(value, str) else p_value(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}".replace(",", "\u2009") if isinstance(value, int) else f"{value:.{column.digits}f}"
