"""Where the images of a table's row lie, and the row with its pages: of an Arrow file here, or of a shard elsewhere."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from docvlm.data.benchmark import Public
from docvlm.data.pages import StoredPage
from docvlm.data.rows import BadRow, Row
from docvlm.data.sources.columns import Decoder, decoded


@dataclass(frozen=True, slots=True)
class Place:
    """A row of a table, with its image columns, and whether each of them has one."""

    columns: tuple[str, ...]
    filled: tuple[bool, ...]

    @abstractmethod
    def page(self, name: str, column: str) -> StoredPage:
        """The page in a column, under a name."""

    def pages(self, where: str) -> tuple[StoredPage, ...]:
        """A page for each column up to the last that is filled. Raises `BadRow` where one before that is null."""
        if len(self.columns) == 1:  # a null is found where the page is checked
            return (self.page(where, self.columns[0]),)
        count = max((number for number, full in enumerate(self.filled, start=1) if full), default=0)
        if not count:
            raise BadRow(f"no image: {self.columns[0]} to {self.columns[-1]} are null", "no image")
        if missing := [name for name, full in zip(self.columns[:count], self.filled, strict=False) if not full]:
            raise BadRow(
                f"{missing[0]} is null and {self.columns[count - 1]} is not: a page is missing in the middle",
                "a page is missing in the middle",
            )
        return tuple(self.page(f"{where} {name}", name) for name in self.columns[:count])


def placed(
    values: dict[str, Any],
    using: Mapping[str, Decoder],
    where: str,
    number: int,
    split: Public,
    place: Place | None,
) -> Row:
    """A row of a table. `place` is where the images lie; None where the column holds a file's name."""
    try:
        pages = () if place is None else place.pages(where)
    except BadRow as reason:
        return Row(where, number, split, values, (), str(reason), reason.kind)
    try:
        return Row(where, number, split, decoded(values, using) if using else values, pages)
    except BadRow as reason:
        return Row(where, number, split, values, pages, str(reason), reason.kind)
