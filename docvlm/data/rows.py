"""Rows of a data set before they are examples: values by column, the pages, and where the row stands.

All layouts (parquet, JSON of the original downloads, JSONL, CSV) become `Row`s, so that a benchmark states its schema
once. A value that cannot be used raises `BadRow` with the reason; the caller counts and quarantines it, never drops
it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from docvlm.data.pages import StoredPage
from docvlm.errors import DocvlmError


class BadRow(Exception):
    """Why one row cannot become an example."""


@dataclass(frozen=True, slots=True)
class Row:
    """One question as it stands in a file. `where` names file and line; `number` counts from 0 in its split.

    `fault` is set by the reader when the row is already known to be unusable (not UTF-8, image not found).
    """

    where: str
    number: int
    split: str
    values: Mapping[str, Any] = field(default_factory=dict)
    pages: tuple[StoredPage, ...] = ()
    fault: str = ""


def require(columns: Iterable[str], needed: Iterable[tuple[str, ...]], where: str) -> None:
    """Raise `DocvlmError` if a needed column is absent; each entry of `needed` lists its accepted names."""
    have = set(columns)
    for names in needed:
        if have.isdisjoint(names):
            found = ", ".join(sorted(have)) or "none"
            raise DocvlmError(f"{where}: no column {' or '.join(map(repr, names))}; columns found: {found}")


def present(row: Row, *columns: str) -> Any:
    """The value of the first column that the row has and that is not null or NaN; None if there is none."""
    for column in columns:
        if column in row.values and not _missing(row.values[column]):
            return row.values[column]
    return None


def text(row: Row, *columns: str) -> str:
    """A value as stripped text. Raises `BadRow` if it is absent, null, NaN or blank."""
    for column in columns:
        if column not in row.values:
            continue
        value = row.values[column]
        if _missing(value):
            raise BadRow(f"{column} is {'null' if value is None else 'NaN'}")
        if isinstance(value, (list, dict)):
            raise BadRow(f"{column} is a {type(value).__name__}, not text")
        if not str(value).strip():
            raise BadRow(f"{column} is empty")
        return str(value).strip()
    raise BadRow(f"no {' or '.join(columns)}")


def strings(row: Row, *columns: str) -> tuple[str, ...]:
    """A value or list of values as texts without blanks; empty if the row has none."""
    value = present(row, *columns)
    if value is None:
        return ()
    values = value if isinstance(value, (list, tuple)) else [value]
    return tuple(str(v).strip() for v in values if not _missing(v) and str(v).strip())


def answers(row: Row, *columns: str) -> tuple[str, ...]:
    """The accepted answers, in the order given. Raises `BadRow` if there is none, or one is null, NaN or blank."""
    name = next((column for column in columns if column in row.values), columns[0])
    value = row.values[name] if name in row.values else None
    if value is None:
        raise BadRow(f"no {' or '.join(columns)}")
    values = value if isinstance(value, (list, tuple)) else [value]
    if not values:
        raise BadRow(f"{name} is an empty list")
    for answer in values:
        if _missing(answer):
            raise BadRow(f"{name} holds {'null' if answer is None else 'NaN'}")
        if isinstance(answer, (list, dict)):
            raise BadRow(f"{name} holds a {type(answer).__name__}, not text")
        if not str(answer).strip():
            raise BadRow(f"{name} holds an empty answer")
    return tuple(str(answer).strip() for answer in values)


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))
