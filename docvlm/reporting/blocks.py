"""What a report is made of: sections of text, tables, figures, galleries, and what to run where something is missing.

Sections are decided once, from numbers, and know nothing of HTML, Markdown or LaTeX. So the page, `report.md`, the CSV
files and the model cards say the same thing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from docvlm.tables import Table


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
    """One answer in the gallery: all of it untrusted text. `picture` is a data URI of the page, "" without one.

    `facts` say of a document of several pages how many, and which page holds the answer and was read. `language` is ""
    for English.
    """

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
    facts: Sequence[str] = ()
    language: str = ""
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
