"""What a run of the suite is: its size, where its files lie, and what a section of it looks like.

A section is a title, a note, columns, and cells. A cell is a function that measures and gives its rows; it is called
by `__main__` alone, so that one that fails leaves the others' rows as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench import models, pages

Row = dict[str, float | str | None]
Cell = partial[list[Row]]


@dataclass(frozen=True)
class Column:
    """One column of a table: the row's key, the heading, and how a number is written."""

    key: str
    head: str
    form: str = ""


@dataclass(frozen=True)
class Section:
    """One table. `drawn` are the variants whose ratio the chart shows; `computes`: what its models are timed in."""

    name: str
    title: str
    note: str
    columns: tuple[Column, ...]
    cells: Callable[[Suite], Iterable[Cell]]
    drawn: tuple[str, ...] = ()
    computes: str = ""


@dataclass(frozen=True)
class Suite:
    """One run of the suite. `steps`: timed steps a variant; `size`: "mid", or "tiny" where only the path counts."""

    folder: Path
    size: str = "mid"
    full: bool = False
    steps: int = 3

    @property
    def preset(self) -> str:
        """Which drawn pages."""
        return "full" if self.size == "mid" else "tiny"

    @property
    def tokens(self) -> tuple[int, ...]:
        """Tokens of a page: small, middle, and large."""
        return (256, 1024, 2048) if self.size == "mid" else (12, 24, 48)

    def checkpoint(self, family: str) -> Path:
        """The random checkpoint of a family, built once."""
        folder = self.folder / family
        if not folder.exists():
            models.checkpoint(family, self.size, pages.words(self.preset), folder)
        return folder


def each(measure: Callable[..., list[Row]], suite: Suite, settings: Sequence[tuple[object, ...]]) -> list[Cell]:
    """A cell for each of the settings."""
    return [partial(measure, suite, *values) for values in settings]


def number(row: Row, key: str) -> float | None:
    """A row's number, None where it has none."""
    value = row.get(key)
    return value if isinstance(value, (int, float)) else None
