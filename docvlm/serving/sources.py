"""What stands on the command line, as tasks: one question about the pages of one document each.

    invoice.png                    an image; several files are the pages of one document
    contract.pdf                   a PDF; its pages are one document
    scans/                         a folder: every image and PDF in it is a document
    questions.jsonl                {"image": "invoice.png", "question": "What is the total?"} a line; `image` may be a
                                   list, its paths are relative to the file, other columns are handed through
    -                              any of the three kinds of file, through a pipe

All of it is read and every page's header looked at before anything is answered: a wrong line 7 000 costs no hour.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from docvlm.data.pdf import PdfPage
from docvlm.errors import DocvlmError
from docvlm.evaluation.rows import text, texts
from docvlm.serving.pages import STDIN, as_pages, pages_of_file

if TYPE_CHECKING:
    from docvlm.data.example import Page

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".webp", ".pdf")
LINES = ".jsonl"
_BOM = b"\xef\xbb\xbf"  # Windows editors begin UTF-8 files with it


@dataclass(frozen=True)
class Task:
    """One question about the pages of one document; `columns` is what its line of a JSONL file holds."""

    pages: tuple[Page, ...]
    question: str
    columns: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Source:
    """The tasks of a command, and the names of files in its folder that are neither image nor PDF."""

    tasks: list[Task]
    passed_over: list[str] = field(default_factory=list)


def read(
    inputs: Sequence[str],
    questions: Sequence[str],
    *,
    numbers: tuple[int, ...] | None = None,
    each_page: bool = False,
) -> Source:
    """The tasks that `inputs` and `questions` mean. `numbers` chooses pages of PDFs; `each_page`: no page has company.

    Raises `DocvlmError` naming file, line or flag where one of them cannot be read or does not fit the others.
    """
    if any(not question.strip() for question in questions):
        raise DocvlmError("--question is empty: write the question, in quotes")
    kinds = {name: _kind(name) for name in inputs}
    alone = [name for name, kind in kinds.items() if kind in ("folder", "lines")]
    if len(inputs) > 1 and (alone or STDIN in inputs):
        raise DocvlmError(f"{(alone or [STDIN])[0]}: give a folder, a {LINES} file or - alone, or image files and PDFs")
    data = sys.stdin.buffer.read() if STDIN in inputs else b""
    if kinds[inputs[0]] == "lines" or data.removeprefix(_BOM).lstrip().startswith(b"{"):
        if questions:
            raise DocvlmError(f"{inputs[0]}: its lines bring their own questions; leave out --question")
        source = Source(_lines(inputs[0], data, numbers))
    elif not questions:
        raise DocvlmError('--question is missing: give --question "…", once for each question, or a .jsonl file')
    else:
        documents, passed_over = _documents(inputs, data, numbers)
        source = Source([Task(pages, question) for pages in documents for question in questions], passed_over)
    _check_numbers(source, numbers)
    return _apart(source) if each_page else source


def _kind(name: str) -> str:
    if name == STDIN:
        return "file"
    return "folder" if Path(name).is_dir() else "lines" if Path(name).suffix.lower() == LINES else "file"


def _documents(
    inputs: Sequence[str], data: bytes, numbers: tuple[int, ...] | None
) -> tuple[list[tuple[Page, ...]], list[str]]:
    """Pages of each document, and the names of what a folder holds beside them."""
    if inputs[0] == STDIN:
        return [pages_of_file(STDIN, data, numbers)], []
    folder = Path(inputs[0])
    if not folder.is_dir():
        return [as_pages(list(inputs), numbers)], []
    try:
        files = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise DocvlmError(f"{folder}: {error.strerror}; check its permissions") from error
    pages = [path for path in files if path.suffix.lower() in SUFFIXES and not path.is_dir()]
    if not pages:
        raise DocvlmError(f"{folder}: no image and no PDF in it; give the folder that holds them")
    return [as_pages(path, numbers) for path in pages], [path.name for path in files if path not in pages]


def _apart(source: Source) -> Source:
    """Every page a document of its own. Tasks of one document stay together, page by page."""
    grouped: dict[tuple[Page, ...], list[Task]] = {}
    for task in source.tasks:
        grouped.setdefault(task.pages, []).append(task)
    tasks = [
        Task((page,), task.question, {**task.columns, "image": page.name} if task.columns else {})
        for pages, tasks in grouped.items()
        for page in pages
        for task in tasks
    ]
    return Source(tasks, source.passed_over)


def _check_numbers(source: Source, numbers: tuple[int, ...] | None) -> None:
    if numbers is not None and not any(isinstance(page, PdfPage) for task in source.tasks for page in task.pages):
        raise DocvlmError("--pages chooses pages of PDFs, and none is given; leave it out")


def _lines(name: str, data: bytes, numbers: tuple[int, ...] | None) -> list[Task]:
    folder = Path() if name == STDIN else Path(name).parent
    if name != STDIN:
        try:
            data = Path(name).read_bytes()
        except OSError as error:
            raise DocvlmError(f"{name}: cannot be read ({error.strerror}); check the path") from error
    seen: dict[tuple[str, ...], tuple[Page, ...]] = {}
    tasks = []
    for where, row in _rows(name, data):
        question = text(row, ("question",), where)
        if not question.strip():
            raise DocvlmError(f"{where}: 'question' is empty; write one or remove the line")
        images = texts(row, ("image",), where)
        if images not in seen:
            try:
                seen[images] = as_pages([folder / image.replace("\\", "/") for image in images], numbers)
            except DocvlmError as error:
                raise DocvlmError(f"{where}: {error}") from error
        tasks.append(Task(seen[images], question, row))
    if not tasks:
        raise DocvlmError(f'{name}: no questions in it; write {{"image": "…", "question": "…"}} a line')
    return tasks


def _rows(name: str, data: bytes) -> Iterator[tuple[str, dict[str, Any]]]:
    """(place, object) of every line that is not blank."""
    for number, line in enumerate(data.removeprefix(_BOM).split(b"\n"), 1):
        where = f"{name}:{number}"

        def refuse(constant: str, where: str = where) -> NoReturn:
            raise DocvlmError(f"{where}: holds {constant}, which is not JSON; write a number, or text in quotes")

        if not line.strip():
            continue
        try:
            row = json.loads(line.decode("utf-8"), parse_constant=refuse)
        except UnicodeDecodeError as error:
            raise DocvlmError(f"{where}: not UTF-8 at byte {error.start}; save the file as UTF-8") from None
        except json.JSONDecodeError as error:
            what = f"not JSON ({error.msg} at column {error.colno})"
            raise DocvlmError(f"{where}: {what}; mend or remove the line") from None
        if not isinstance(row, dict):
            raise DocvlmError(f"{where}: holds {type(row).__name__}, expected an object with 'image' and 'question'")
        yield where, row
