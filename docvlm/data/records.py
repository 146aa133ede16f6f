"""Own pages: a folder with `qa.jsonl` or `qa.csv` and images beside it, or one such folder a split.

    qa.jsonl   {"image": "images/1.png", "question": "…", "answers": ["…"], "question_id": "…", "type": "…",
                "doc_id": "…", "doc_type": "…", "split": "train"}          one object a line; the last five are optional
    qa.csv     the same columns; `answers` is a JSON list or one plain answer

`image` may be a list: one question over several pages. Paths are relative to the file. A line that is not UTF-8 or
not JSON is quarantined like any other bad row; a CSV that is not UTF-8 cannot be cut into rows and is an error.
"""

from __future__ import annotations

import ast
import csv
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import Any

from docvlm.data.benchmark import Public
from docvlm.data.example import Example
from docvlm.data.pages import FilePage
from docvlm.data.rows import Row, answers, present, require, strings, text
from docvlm.data.snapshots import ALIASES
from docvlm.data.stored import identified
from docvlm.errors import DocvlmError

SUFFIXES = (".jsonl", ".csv")
COLUMNS = (("image",), ("question",), ("answers", "answer"))


def question_files(path: Path) -> dict[str, Path]:
    """Question files of a folder, by published split; the key is "" where one file holds all. Empty if there is none.

    Raises `DocvlmError` if several files could be meant.
    """
    if path.is_file():
        return {"": path}
    if (own := _question_file(path)) is not None:
        return {"": own}
    found: dict[str, Path] = {}
    for split, names in ALIASES.items():
        for name in names:
            if (path / name).is_dir() and (file := _question_file(path / name)) is not None:
                found[split] = file
    return found


def _question_file(folder: Path) -> Path | None:
    for name in ("qa.jsonl", "qa.csv"):
        if (folder / name).is_file():
            return folder / name
    files = sorted(file for suffix in SUFFIXES for file in folder.glob(f"*{suffix}"))
    if len(files) > 1:
        names = ", ".join(file.name for file in files)
        raise DocvlmError(f"data.source={folder}: several question files ({names}); name the one to use in data.source")
    return files[0] if files else None


def has_splits(path: Path) -> bool:
    """Whether the folder says itself which rows are for what: sub-folders a split, or a `split` column."""
    files = question_files(path)
    return "" not in files or any("split" in values for _, values, _ in _parsed(files[""]))


def rows(path: Path, split: Public | None) -> Iterator[Row] | None:
    """Rows of one split, or of all where `split` is None. None if the folder has no such split.

    Raises `DocvlmError` if the file cannot be read, lacks a column, or its `split` column holds an unknown word.
    """
    files = question_files(path)
    if split is None:
        return (row for file in files.values() for row in _rows(file, path))
    if "" in files:
        marked = list(_rows(files[""], path))
        # Rows too broken to say where they belong are everyone's: they must be reported whatever is read.
        chosen = [row for row in marked if row.split == split or not row.split]
        return iter(chosen) if any(row.split for row in chosen) else None
    return _rows(files[split], path) if split in files else None


def _rows(file: Path, root: Path) -> Iterator[Row]:
    """Rows of one file. Images are named by their path from the source: train/1.png and test/1.png are two pages."""
    home = root if root.is_dir() else root.parent
    parsed = list(_parsed(file))
    if not parsed:
        raise DocvlmError(f"{file}: empty; it needs one question a line")
    columns = {name for _, values, _ in parsed for name in values}
    if columns:
        require(columns, COLUMNS, str(file))
    marked = "split" in columns
    for number, (where, values, fault) in enumerate(parsed):
        pages, missing = _pages(file.parent, values.get("image"))
        split = _public(values["split"], where) if "split" in values else ""
        if marked and not split:
            fault = fault or "no split, where other rows have one"
        named = [PurePath(os.path.relpath(page.path, home)).as_posix() for page in pages]
        yield Row(where, number, split, {**values, "image": named}, pages, fault or missing)


def _public(word: object, where: str) -> Public:
    for split, names in ALIASES.items():
        if str(word).strip().lower() in names:
            return split
    raise DocvlmError(f"{where}: split={word!r}; use train, val or test")


def _pages(folder: Path, image: object) -> tuple[tuple[FilePage, ...], str]:
    """Pages of a row, and what is wrong with them if anything is."""
    names = image if isinstance(image, list) else [image]
    paths: list[FilePage] = []
    for name in names:
        if not isinstance(name, str) or not name.strip():
            return (), f"image is {name!r}, not a file name"
        path = folder / name.strip().replace("\\", "/")
        if not path.is_file():
            return (), f"image {name!r} not found in {folder}"
        paths.append(FilePage(str(path)))
    return tuple(paths), "" if paths else "image is an empty list"


def _parsed(file: Path) -> Iterator[tuple[str, dict[str, Any], str]]:
    """(where, values, fault) of each line or record."""
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise DocvlmError(f"{file}: {error.strerror}; check the path and its permissions") from error
    raw = raw.removeprefix(b"\xef\xbb\xbf")
    yield from _csv(raw, file) if file.suffix == ".csv" else _jsonl(raw, file)


def _jsonl(raw: bytes, file: Path) -> Iterator[tuple[str, dict[str, Any], str]]:
    for number, line in enumerate(raw.split(b"\n"), start=1):
        if not line.strip():
            continue
        where = f"{file.name} line {number}"
        try:
            values = json.loads(line.decode("utf-8"))
        except UnicodeDecodeError as error:
            yield where, {}, f"not UTF-8 (byte {line[error.start]:#04x} at column {error.start + 1})"
        except json.JSONDecodeError as error:
            yield where, {}, f"not JSON: {error.msg} at column {error.colno}"
        else:
            fault = "" if isinstance(values, dict) else "not a JSON object"
            yield where, values if isinstance(values, dict) else {}, fault


def _csv(raw: bytes, file: Path) -> Iterator[tuple[str, dict[str, Any], str]]:
    try:
        content = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise DocvlmError(f"{file} line {line}: not UTF-8 (byte {raw[error.start]:#04x}); save it as UTF-8") from error
    reader = csv.DictReader(io.StringIO(content, newline=""))
    for record in reader:
        where = f"{file.name} line {reader.line_num}"
        if None in record or None in record.values():
            yield where, {}, f"{'more' if None in record else 'fewer'} cells than the header has columns"
            continue
        yield where, {name: _cell(name, value) for name, value in record.items()}, ""


def _cell(name: str, value: str) -> Any:
    """A cell as JSON rows would have it: lists of answers and images, `nan` (as data frames write it) as NaN."""
    if name in ("answers", "answer", "image") and value.lstrip().startswith("["):
        try:
            return json.loads(value)
        except json.JSONDecodeError:
            return value  # an answer that starts with a bracket
    return float("nan") if value.strip().lower() == "nan" else value


def example(row: Row) -> Example:
    """A row of own pages. Raises `BadRow`.

    The document is `doc_id` where there is one, else the image; its bytes are hashed, so that a page that stands
    there twice under two names is known to be one. A list written as a string (`answer_format: List`) becomes "a, b,
    c", as the multi-span answers of InfographicVQA are written.
    """
    given, pages = identified(row.pages)
    first = PurePath(str(strings(row, "image")[0])).as_posix() if strings(row, "image") else given
    accepted = answers(row, "answers", "answer")
    if "List" in strings(row, "answer_format"):
        accepted = tuple(_joined(answer) for answer in accepted)
    return Example(
        question_id=str(present(row, "question_id", "id") or f"{PurePath(first).stem}-{row.number}"),
        question=text(row, "question"),
        answers=accepted,
        document=str(present(row, "doc_id") or first),
        pages=pages,
        benchmark="folder",
        question_types=strings(row, "type"),
        document_type=str(present(row, "doc_type") or ""),
    )


def _joined(answer: str) -> str:
    """The string `['a', 'b']` as `a, b`; anything else as it stands."""
    try:
        values = ast.literal_eval(answer)
    except (ValueError, SyntaxError):
        return answer
    return ", ".join(str(value) for value in values) if isinstance(values, list) and values else answer
