"""Columns of a `datasets` table as the values they stand for: text where a library keeps an encoding of it.

`datasets` holds a column as JSON (one number among the texts of a JSON file is enough) or as class numbers; Arrow hands
out the encoding, quotes and all. A JSON text is its characters, a JSON number those it is written with.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from docvlm.data.lines import Number
from docvlm.data.rows import BadRow

if TYPE_CHECKING:
    from datasets import Features

Decoder = Callable[[Any], Any]


def decoders(features: Features) -> dict[str, Decoder]:
    """For each column whose stored values are an encoding, what makes a value of one; null stays null."""
    found = {name: _decoder(kind) for name, kind in features.items()}
    return {name: decode for name, decode in found.items() if decode is not None}


def decoded(row: Mapping[str, Any], using: Mapping[str, Decoder]) -> dict[str, Any]:
    """A row with the columns of `using` decoded. Raises `BadRow` for what is called JSON and is none."""
    found = dict(row)
    for name, decode in using.items():
        try:
            found[name] = decode(row[name])
        except ValueError as error:
            raise BadRow(f"{name} is no JSON, as its column says: {error}", f"{name} is no JSON") from error
    return found


def _decoder(kind: Any) -> Decoder | None:
    """By the name of a feature's class: `Json` and `LargeList` are not in every version of `datasets`."""
    word = type(kind).__name__
    if word == "Json":
        return _json
    if word == "ClassLabel":
        return partial(_label, tuple(kind.names or ()))
    if word in ("List", "LargeList", "Sequence"):
        inner = _decoder(kind.feature)
        return None if inner is None else partial(_each, inner)
    return None


def _json(text: str | None) -> Any:
    return None if text is None else json.loads(text, parse_float=Number, parse_int=Number)


def _label(names: tuple[str, ...], number: int | None) -> str | None:
    """-1 is how `datasets` writes that there is no label."""
    return None if number is None or not 0 <= number < len(names) else names[number]


def _each(decode: Decoder, values: list[Any] | None) -> list[Any] | None:
    return None if values is None else [decode(value) for value in values]
