"""JSON lines and CSV as rows: every value with the characters the file has, and what is wrong with a line beside it.

One reader for questions, predictions and what is to be answered, so that all verbs see the same file alike. A JSON
number keeps its characters (950.50 is not 950.5), a key that stands twice is a fault and not a choice. Nothing is
dropped: a line that cannot be read is handed out with its fault, a file that cannot be cut into lines is an error.
"""

from __future__ import annotations

import ast
import csv
import io
import itertools
import json
import re
import tokenize
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from docvlm.errors import DocvlmError

SUFFIXES = (".jsonl", ".csv")
LISTS = ("answers", "answer", "image", "type", "question_types", "doc_type", "answer_page", "answer_pages")
"""Columns of a CSV whose cells may be lists."""
NEEDED = ("question", "answers", "answer", "image", "prediction")
"""Columns of a CSV in which an empty cell is an empty text; in others it is no value, as data frames write it."""
BOM = b"\xef\xbb\xbf"  # Windows editors begin UTF-8 files with it
_SHOWN = 80  # characters of a value in a message
_CELL = 1 << 30  # characters; the csv module's own limit is 131 072
_SEPARATORS = {";": "';'", "\t": "tabs", "|": "'|'"}
_BETWEEN = {tokenize.NEWLINE, tokenize.NL, tokenize.ENDMARKER, tokenize.INDENT, tokenize.DEDENT, tokenize.ENCODING}
_DEEPEST = 100  # brackets inside each other: far beyond what rows hold, far below what Python's own functions can take
_NAMES = {"True": True, "False": False, "None": None, "nan": float("nan")}
_QUOTES = re.compile(r"(?:array\()?[\[({]\s*(?:[\w.]+\()?[\[\s]*[bBfFrRuU]{0,2}['\"]")
"""How a list of texts begins, whatever wrote it: `['`, `("`, `array(['`, `[np.str_('`, `[b'`."""
_QUOTED = re.compile(r"\(\s*(?:\"[^\"]*\"|'[^']*')\s*\)")
"""A quotation in brackets: Python's tuple of one has a comma."""


class Number(str):
    """A JSON number, as it is written."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Line:
    """One object of a JSON-lines file or one record of a CSV. `fault` says why it cannot be used, "" where it can.

    `torn` is the length in bytes of a last line that ends in its middle, as a writer leaves it that was killed.
    """

    where: str
    values: dict[str, Any] = field(default_factory=dict)
    fault: str = ""
    torn: int = 0


class _Refused(ValueError):
    """Why a line is none, though JSON's grammar allows it."""


def lines(file: Path, name: str = "") -> Iterator[Line]:
    """The lines of a file by its suffix, `.csv` or else JSON lines. Raises `DocvlmError` if it cannot be read.

    `name`: what places in the file begin with; default its name without folders.
    """
    raw, name = contents(file), name or file.name
    return records(raw, file, name) if file.suffix.lower() == ".csv" else objects(raw, name)


def contents(file: Path) -> bytes:
    """The bytes of a file. Raises `DocvlmError` naming it if it cannot be read."""
    try:
        return file.read_bytes()
    except OSError as error:
        raise DocvlmError(f"{file}: cannot be read ({error.strerror}); check the path and its permissions") from error


def objects(raw: bytes, name: str, mark: str = " line ") -> Iterator[Line]:
    """The JSON objects of a file, each with its place (`name`, `mark`, number); blank lines are passed over."""
    split = raw.removeprefix(BOM).split(b"\n")
    for number, line in enumerate(split, start=1):
        if not line.strip():
            continue
        where = f"{name}{mark}{number}"
        try:
            values = _parsed(line.decode("utf-8"))
        except UnicodeDecodeError as error:
            fault = f"not UTF-8 (byte {line[error.start]:#04x} at column {error.start + 1})"
        except json.JSONDecodeError as error:
            fault = f"not JSON: {error.msg} at column {error.colno}"
        except RecursionError:
            fault = "not JSON that can be read: too many brackets inside each other"
        except _Refused as error:
            fault = str(error)
        else:
            fault = "" if isinstance(values, dict) else f"not a JSON object but a {_kind(values)}"
            yield Line(where, values if isinstance(values, dict) else {}, fault)
            continue
        yield Line(where, fault=fault, torn=len(line) if number == len(split) else 0)


def _parsed(text: str) -> Any:
    found = json.loads(text, parse_float=Number, parse_int=Number, object_pairs_hook=_unique)
    if text.count("[") + text.count("{") > _DEEPEST and _deeper(found, _DEEPEST):
        raise RecursionError
    return found


def _deeper(value: Any, levels: int) -> bool:
    """Whether a value has more than so many lists and objects inside each other."""
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return inside is not None and (levels == 0 or any(_deeper(each, levels - 1) for each in inside))


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _Refused(f"the key {shown(twice)} stands twice")
    return found


def _kind(value: object) -> str:
    return "number" if isinstance(value, Number) else "null" if value is None else type(value).__name__


def records(raw: bytes, file: Path, name: str = "") -> Iterator[Line]:
    """The records of a CSV in UTF-8 with a header; places begin with `name`, default the file's.

    Raises `DocvlmError` where it cannot be cut into records: another encoding, another separator than commas, or a
    quote that is never closed, which would swallow every record after it.
    """
    try:
        content = raw.removeprefix(BOM).decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise DocvlmError(f"{file} line {line}: not UTF-8 (byte {raw[error.start]:#04x}); save it as UTF-8") from error
    limit = csv.field_size_limit(_CELL)
    try:
        yield from _records(content, file, name or file.name)
    finally:
        csv.field_size_limit(limit)


def _records(content: str, file: Path, name: str) -> Iterator[Line]:
    reader = csv.reader(io.StringIO(content, newline=""), strict=True)
    header: list[str] | None = None
    while True:
        first = reader.line_num + 1
        where = f"{name} line {first}"
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if "unexpected end" in str(error):
                raise DocvlmError(f"{file} line {first}: a quote is opened and never closed; close it") from error
            upto = f" (it was read to line {reader.line_num})" if reader.line_num > first else ""
            yield Line(where, fault=f"not CSV: {error}{upto}")
            continue
        if not cells:
            continue
        if header is None:
            header = _header(cells, file)
        elif len(cells) != len(header):
            which = "more" if len(cells) > len(header) else "fewer"
            yield Line(where, fault=f"{which} cells than the header has columns")
        else:
            yield _record(where, header, cells)


def _header(cells: list[str], file: Path) -> list[str]:
    names = [cell.strip() for cell in cells]
    for separator, said in _SEPARATORS.items():
        if len(names) == 1 and separator in names[0]:
            raise DocvlmError(f"{file}: its columns are separated by {said}; save it with commas")
    if twice := next((name for name in names if name and names.count(name) > 1), None):
        raise DocvlmError(f"{file}: the column {shown(twice)} stands twice in its header; rename one")
    return names


def _record(where: str, header: list[str], cells: list[str]) -> Line:
    values: dict[str, Any] = {}
    for name, cell in zip(header, cells, strict=True):
        try:
            if name in values and values[name] is None:  # columns without a name, as Excel leaves them at the end
                del values[name]
            if name not in values:
                values[name] = _cell(name, cell)
            elif cell.strip():
                return Line(where, fault="two cells are filled in columns without a name")
        except _Refused as error:
            return Line(where, fault=f"{name} {error}")
    return Line(where, values)


def _cell(name: str, cell: str) -> Any:
    """A cell as a JSON line would have it: lists, `nan` as data frames write it, and no value where there is none."""
    bare = cell.strip()
    if name in LISTS and (bare[:1] + bare[-1:] == "[]" or _QUOTES.match(bare)):
        found = listed(bare)
        return cell if found is None else found
    if bare.lower() == "nan" and name != "prediction":  # what a model answers is never no value
        return float("nan")
    return None if not bare and name not in NEEDED else cell


def cell(name: str, value: Any) -> str:
    """What a CSV has to hold in column `name` so that `records` reads `value` there; an object is its JSON."""
    if isinstance(value, bool | list | tuple | dict):
        return dumps(value)
    if not isinstance(value, str):
        return "" if value is None else str(value)
    try:
        kept = _cell(name, value) == value
    except _Refused:
        kept = False
    return str(value) if kept or name not in LISTS else dumps([value])


def listed(text: str) -> list[Any] | None:
    """A list as JSON, Python or numpy writes it; None where the text is none but stands in brackets, `[sic]`.

    Numbers keep their characters. numpy leaves the commas out (`['a' 'b']`), which Python would read as the one text
    `ab`. Raises `ValueError` for a list of texts that cannot be read, and for an object.
    """
    try:
        found = _parsed(text)
    except (ValueError, RecursionError):  # not JSON: Python's form, or no list
        pass
    else:
        if isinstance(found, dict):
            raise _Refused(f"is an object, not text or a list: {shown(text)}")
        return found if isinstance(found, list) else None
    try:
        return _python_list(text)
    except (ValueError, tokenize.TokenError, SyntaxError, RecursionError) as error:
        if _QUOTES.match(text) and (text[0] != "(" or text[-1] == ")") and not _QUOTED.fullmatch(text):
            raise _Refused(f"is a list that cannot be read: {shown(text)}") from error
        return None


def _python_list(text: str) -> list[Any]:
    """The values between brackets, with a comma between each two, or white space between all of them as numpy has it.

    Values that touch are none: 12.05.2020 would be two numbers, 2020-11-12 three, and 'it''s' two texts.
    """
    tokens = [t for t in tokenize.generate_tokens(io.StringIO(text).readline) if t.type not in _BETWEEN]
    commas = any(token.string == "," for token in tokens)
    ends = (tokens[0].string, tokens[-1].string) if tokens else ("", "")
    if ends != ("[", "]") and not (ends == ("(", ")") and commas):
        raise _Refused("no list")
    values: list[Any] = []
    sign, free = "", True  # free: a value may stand here
    for before, token in itertools.pairwise(tokens[:-1]):
        touching = before.end == token.start
        if token.string == "," and not free:
            free = True
        elif not (free or (not commas and not touching)) or (sign and not touching):
            raise _Refused("no list")
        elif token.string in ("+", "-") and not sign:
            sign, free = token.string, True
        else:
            values.append(_value(token, sign))
            sign, free = "", False
    if sign:
        raise _Refused("no list")
    return values


def _value(token: tokenize.TokenInfo, sign: str) -> Any:
    if token.type == tokenize.NUMBER:
        return Number(sign + token.string)
    if token.type == tokenize.STRING and not sign:
        return _string(token.string)
    if token.string in _NAMES and not sign:
        return _NAMES[token.string]
    raise _Refused("no list")


def _string(literal: str) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # an unknown escape, which no program writes: 'C:\\data' would be a guess
        value = ast.literal_eval(literal)
    if not isinstance(value, str):
        raise _Refused("no list of texts")
    return value


def shown(value: object) -> str:
    """A value in a message: one line, and never a whole image."""
    if isinstance(value, str):
        return repr(str(value) if len(value) <= _SHOWN else f"{value[:_SHOWN]}…")
    found = repr(value)
    return found if len(found) <= _SHOWN else f"{found[:_SHOWN]}…"


def dumps(value: Any) -> str:
    """JSON with numbers as they were written, and letters as they are where an encoding has them."""
    if isinstance(value, Number):
        return str(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{dumps(str(name))}: {dumps(each)}" for name, each in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(dumps(each) for each in value) + "]"
    whole = not isinstance(value, str) or value.isascii() or value.encode("utf-8", "replace").decode() == value
    return json.dumps(value, ensure_ascii=not whole)
