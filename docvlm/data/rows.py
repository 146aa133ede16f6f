"""Rows of a data set before they are examples: values by column, the pages, and where the row stands.

All layouts (parquet, JSON of the original downloads, JSONL, CSV) become `Row`s, so that a benchmark states its schema
once. A value that cannot be used raises `BadRow` with the reason; the caller counts and quarantines it, never drops
it. 0 and false are values; absent, null and empty are told apart.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from docvlm.data.lines import shown
from docvlm.errors import DocvlmError, one_line

if TYPE_CHECKING:
    from docvlm.data.pages import StoredPage

Values = Mapping[str, Any]


class BadRow(Exception):
    """Why one row cannot become an example. `kind` is the reason without what is of this row only, to count by."""

    def __init__(self, reason: str, kind: str = "") -> None:
        super().__init__(one_line(reason))
        self.kind = one_line(kind or reason)


@dataclass(frozen=True, slots=True)
class Row:
    """One question as it stands in a file. `where` names file and line; `number` counts from 0 in its split.

    `fault` is set by the reader when the row is already known to be unusable (not UTF-8, image not found), `kind` when
    that holds what is of this row only. `numbers` are those of its pages in a document of `n_pages`, from 1, where that
    is said; else the pages are all of it, in their order.
    """

    where: str
    number: int
    split: str
    values: Values = field(default_factory=dict)
    pages: tuple[StoredPage, ...] = ()
    fault: str = ""
    kind: str = ""
    numbers: tuple[int, ...] = ()
    n_pages: int = 0


def require(columns: Iterable[str], needed: Iterable[tuple[str, ...]], where: str) -> None:
    """Raise `DocvlmError` if a needed column is absent; each entry of `needed` lists its accepted names."""
    have = set(columns)
    for names in needed:
        if have.isdisjoint(names):
            found = ", ".join(shown(name)[1:-1] for name in sorted(have)) or "none"
            raise DocvlmError(f"{where}: no column {' or '.join(map(repr, names))}; columns found: {found}")


def present(row: Row, *columns: str) -> Any:
    """The value of the first column that the row has and that is not null or NaN; None if there is none."""
    name = _first(row, columns)
    return None if name is None else row.values[name]


def _first(row: Row, columns: Iterable[str]) -> str | None:
    return next((column for column in columns if column in row.values and not missing(row.values[column])), None)


def characters(name: str, value: Any, *, whole: bool = True) -> str:
    """A single value of column `name` as text. Raises `BadRow` where it is none, or its characters are lost.

    JSON's true and false are the words of the file. A float of a typed table is refused: 950.50 is 950.5 there. Half a
    surrogate pair is refused unless `whole` is false: docvlm's own files hold names of files that are not UTF-8.
    """
    if missing(value):
        raise BadRow(f"{name} {'is null' if value is None else 'is NaN'}")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        raise BadRow(f"{name} is the number {value!r}, whose digits as written are lost; store it as text")
    if not isinstance(value, str | int | Decimal):
        raise BadRow(f"{name} is a {type(value).__name__}, not text")
    found = str(value)
    if whole and (at := _half(found)) is not None:
        raise BadRow(
            f"{name} holds half a surrogate pair (\\u{ord(found[at]):04x} at character {at + 1}), no character",
            f"{name} holds half a surrogate pair",
        )
    return found


def text(row: Row, *columns: str) -> str:
    """A value as stripped text. Raises `BadRow` if it is absent, null, NaN, blank, a list, or has lost characters."""
    for column in columns:
        if column in row.values:
            found = characters(column, row.values[column]).strip()
            if not found:
                raise BadRow(f"{column} is empty")
            return found
    raise BadRow(f"no {' or '.join(columns)}")


def identifier(row: Row, *columns: str) -> str | None:
    """An id of the first column that has one; None where it is absent or null. 0 is an id; raises as `text` does."""
    name = _first(row, columns)
    return None if name is None else text(row, name)


def strings(row: Row, *columns: str) -> tuple[str, ...]:
    """A value or list of values as texts without blanks; empty if the row has none. Raises `BadRow` for no text."""
    if (name := _first(row, columns)) is None:
        return ()
    found = (characters(name, value).strip() for value in _items(row.values[name]) if not missing(value))
    return tuple(value for value in found if value)


def answers(row: Row, *columns: str) -> tuple[str, ...]:
    """The accepted answers, in the order given. Raises `BadRow` if there is none, or one is null, NaN or blank."""
    name = _first(row, columns) or next((column for column in columns if column in row.values), columns[0])
    value = row.values[name] if name in row.values else None
    if value is None:
        raise BadRow(f"no {' or '.join(columns)}")
    if not (values := _items(value)):
        raise BadRow(f"{name} is an empty list")
    return tuple(_answer(name, answer) for answer in values)


def page_numbers(value: Any, name: str = "answer_pages") -> tuple[int, ...]:
    """Numbers of pages, counted from 1: one, or a list. Raises `BadRow` for anything else; null is none."""
    found = []
    for item in () if missing(value) else _items(value):
        written = characters(name, item).strip()
        if not (written.isascii() and written.isdigit() and int(written) >= 1):
            raise BadRow(f"{name} holds {shown(item)}, which is no number of a page (1, 2, …)", f"{name} is no page")
        found.append(int(written))
    return tuple(dict.fromkeys(found))


def _answer(name: str, value: Any) -> str:
    if missing(value):
        raise BadRow(f"{name} holds {'null' if value is None else 'NaN'}")
    if isinstance(value, list | tuple | dict):
        raise BadRow(f"{name} holds a {type(value).__name__}, not text")
    found = characters(name, value).strip()
    if not found:
        raise BadRow(f"{name} holds an empty answer")
    return found


def _items(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else [value]


def missing(value: Any) -> bool:
    """Whether a value is null or NaN, which is how tables write null."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def _half(text: str) -> int | None:
    """Where a text holds half a surrogate pair, which no encoding can write."""
    if text.isascii():
        return None
    return next((at for at, letter in enumerate(text) if "\ud800" <= letter <= "\udfff"), None)
