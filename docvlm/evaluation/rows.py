"""Typed access to the rows of a JSON-lines file: a wrong value is one error line with file, line and column name."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

from docvlm.errors import DocvlmError

Row = Mapping[str, Any]


class TornLine(ValueError):
    """The last line of a file was cut while it was written; `size` is its length in bytes."""

    def __init__(self, size: int) -> None:
        super().__init__(f"torn last line of {size} bytes")
        self.size = size


def rows(path: Path) -> Iterator[tuple[str, Row]]:
    """The objects of a JSON-lines file in UTF-8, each with its place as "file:line"; blank lines are passed over.

    Raises `TornLine` after the last whole line if the file ends in half a line without a line break, and
    `DocvlmError` naming the place for any other text that is no JSON object, not UTF-8, or holds NaN or Infinity.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DocvlmError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    lines = data.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield f"{path}:{number}", _parse(line, f"{path}:{number}", last=number == len(lines))


def _parse(line: bytes, where: str, *, last: bool) -> Row:
    def refuse(constant: str) -> NoReturn:
        raise DocvlmError(f"{where}: holds {constant}, which is not JSON; write a number, or text in quotes")

    try:
        row = json.loads(line.decode("utf-8"), parse_constant=refuse)
    except UnicodeDecodeError as error:
        if last:
            raise TornLine(len(line)) from None
        raise DocvlmError(f"{where}: not UTF-8 at byte {error.start}; save the file as UTF-8") from None
    except json.JSONDecodeError as error:
        if last:
            raise TornLine(len(line)) from None
        raise DocvlmError(f"{where}: not JSON ({error.msg} at column {error.colno}); mend or remove the line") from None
    if not isinstance(row, dict):
        raise DocvlmError(f"{where}: holds {type(row).__name__}, expected an object with the key 'prediction'")
    return row


def number(row: Row, name: str, where: str) -> float | None:
    """A number, or None where the column is absent or null."""
    value = row[name] if name in row else None
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise DocvlmError(f"{where}: {name!r} is {value!r}, expected a number")
    return None if value is None else float(value)


def text(row: Row, names: tuple[str, ...], where: str, default: str | None = None) -> str:
    """Text under the first of `names` that is there; without a default its absence is an error."""
    name, value = _find(row, names, where, default)
    if not isinstance(value, str):
        raise DocvlmError(f"{where}: {name!r} is {value!r}, expected text in quotes")
    return value


def identifier(row: Row, names: tuple[str, ...], where: str) -> str:
    """Text or a whole number (the published files have both) as text; "" where there is none."""
    name, value = _find(row, names, where, "")
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise DocvlmError(f"{where}: {name!r} is {value!r}, expected text or a whole number")
    return str(value)


def texts(row: Row, names: tuple[str, ...], where: str, default: tuple[str, ...] | None = None) -> tuple[str, ...]:
    """A list of strings, or one string standing for a list of one."""
    name, value = _find(row, names, where, default)
    items = (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list | tuple) else None
    if items is None or not all(isinstance(item, str) for item in items):
        raise DocvlmError(f"{where}: {name!r} is {value!r}, expected text or a list of texts, in quotes")
    return items


def _find(row: Row, names: tuple[str, ...], where: str, default: Any) -> tuple[str, Any]:
    for name in names:
        if name in row:
            return name, row[name]
    if default is None:
        raise DocvlmError(f"{where}: no column {' or '.join(map(repr, names))}; it has {', '.join(map(repr, row))}")
    return names[0], default
