"""What stands on the command line, as tasks: one question about the pages of one document each.

    invoice.png                    an image; several files are the pages of one document
    contract.pdf                   a PDF; its pages are one document
    scans/                         a folder: every image and PDF in it is a document
    questions.jsonl                {"image": "invoice.png", "question": "What is the total?"} a line; `image` may be a
                                   list, its paths are relative to the file, other columns are handed through
    questions.csv                  the same columns
    -                              an image, a PDF or JSON lines, through a pipe

All of it is read and every page's header looked at before anything is answered: a wrong line 7 000 costs no hour. A
line is judged as own pages are in training: a bad one is named and left out, the others are answered.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docvlm.data.example import Example
from docvlm.data.lines import BOM, Line, lines, objects, shown
from docvlm.data.lines import SUFFIXES as LINES
from docvlm.data.reading import Reading
from docvlm.data.rows import BadRow, Row, answers, identifier, present, strings, text
from docvlm.data.sources.locate import named, of_bytes
from docvlm.data.sources.own_folder import image_kind
from docvlm.data.sources.quarantine import Quarantine, Rejected
from docvlm.errors import DocvlmError
from docvlm.serving.pages import STDIN, as_pages
from docvlm.writing import encodable

if TYPE_CHECKING:
    from docvlm.data.example import Page
    from docvlm.vlms.codec import Codec

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".webp", ".pdf")


@dataclass(frozen=True)
class Task:
    """One question about the pages of one document; `columns` is what its line of a file holds, `where` which it is."""

    pages: tuple[Page, ...]
    question: str
    columns: Mapping[str, Any] = field(default_factory=dict)
    where: str = ""


@dataclass(frozen=True)
class Source:
    """The tasks of a command, the names of files in its folder that are neither image nor PDF, and its bad lines.

    `quarantine` is None where the questions stand on the command line, which then has to be mended.
    """

    tasks: list[Task]
    passed_over: list[str] = field(default_factory=list)
    quarantine: Quarantine | None = None


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
    if halves := [question for question in questions if not encodable(question)]:
        raise DocvlmError(f"question {halves[0]!r}: holds bytes that are no UTF-8; type it again")
    kinds = {name: _kind(name) for name in inputs}
    alone = [name for name, kind in kinds.items() if kind in ("folder", "lines")]
    if len(inputs) > 1 and (alone or STDIN in inputs):
        one = (alone or [STDIN])[0]
        raise DocvlmError(f"{one}: give a folder, a {' or '.join(LINES)} file or - alone, or image files and PDFs")
    data = sys.stdin.buffer.read() if STDIN in inputs else b""
    if kinds[inputs[0]] == "lines" or data.removeprefix(BOM).lstrip().startswith(b"{"):
        if questions:
            raise DocvlmError(f"{inputs[0]}: its lines bring their own questions; leave out --question")
        source = _of_lines(inputs[0], data, numbers)
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
    return "folder" if Path(name).is_dir() else "lines" if Path(name).suffix.lower() in LINES else "file"


def _documents(
    inputs: Sequence[str], data: bytes, numbers: tuple[int, ...] | None
) -> tuple[list[tuple[Page, ...]], list[str]]:
    """Pages of each document, and the names of what a folder holds beside them."""
    if inputs[0] == STDIN:
        return [of_bytes(STDIN, data, numbers)], []
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
        Task((page,), task.question, {**task.columns, "image": page.name} if task.columns else {}, task.where)
        for pages, tasks in grouped.items()
        for page in pages
        for task in tasks
    ]
    return replace(source, tasks=tasks)


def _check_numbers(source: Source, numbers: tuple[int, ...] | None) -> None:
    several = any(getattr(page, "number", 0) for task in source.tasks for page in task.pages)
    if numbers is not None and not several:
        raise DocvlmError("--pages chooses pages of PDFs and TIFFs, and none of several is given; leave it out")


def _of_lines(name: str, data: bytes, numbers: tuple[int, ...] | None) -> Source:
    """The questions of a file; bad lines are named and left out. Raises `DocvlmError` if they are more than half."""
    folder = Path() if name == STDIN else Path(name).parent
    quarantine = Quarantine(warn=False)
    seen: dict[str, tuple[Page, ...]] = {}
    tasks, bad = [], []
    for line in objects(data, name) if name == STDIN else lines(Path(name)):
        try:
            tasks.append(_task(line, folder, numbers, seen))
        except BadRow as reason:
            said = line.values["question_id"] if "question_id" in line.values else ""
            bad.append(Rejected(line.where, "" if said is None else str(said), str(reason), reason.kind))
    if not tasks and not bad:
        raise DocvlmError(f'{name}: no questions in it; write {{"image": "…", "question": "…"}} a line')
    quarantine.settle(len(tasks), bad, name)
    return Source(tasks, quarantine=quarantine)


def _task(line: Line, folder: Path, numbers: tuple[int, ...] | None, seen: dict[str, tuple[Page, ...]]) -> Task:
    if line.fault:
        raise BadRow(line.fault)
    row = Row(line.where, 0, "", line.values)
    question = text(row, "question")
    _judge(row)
    given = line.values["image"] if "image" in line.values else None
    images: list[Any] = given if isinstance(given, list) else [given]
    if not images or not all(isinstance(image, str) for image in images):
        raise BadRow(f"image is {shown(given)}, not a file name" if "image" in line.values else "no image")
    pages: list[Page] = []
    for image in images:
        if image not in seen:
            try:
                seen[image] = named(image, folder, f"{line.where} image", numbers)
            except DocvlmError as error:
                raise BadRow(str(error), image_kind(str(error))) from error
        pages += seen[image]
    return Task(tuple(pages), question, line.values, line.where)


def _judge(row: Row) -> None:
    """Read what is not asked but scored later. Raises `BadRow` as own pages do."""
    if present(row, "answers", "answer") is not None:
        answers(row, "answers", "answer")
    identifier(row, "question_id", "id")
    identifier(row, "doc_id")
    strings(row, "type")
    strings(row, "doc_type")


def gate(source: Source, codec: Codec, longest_answer: int, reading: Reading) -> Source:
    """The tasks that a model can take; questions of a file that it cannot are left out like its other bad lines.

    `reading` says which of a task's pages it will be shown.

    Raises `DocvlmError` for a question of the command line, and if more lines are bad than good.
    """
    kept, bad = [], []
    for task in source.tasks:
        example = Example(task.where, task.question, (), task.pages[0].name, task.pages, "")
        refused = next(filter(None, (codec.refusal(one, longest_answer) for one in reading.most(example))), None)
        if refused is None:
            kept.append(task)
        elif source.quarantine is None:
            raise DocvlmError(f"{task.pages[0].name}: {refused}")
        else:
            bad.append(Rejected(task.where, "", str(refused), refused.kind))
    if source.quarantine is not None:
        source.quarantine.leave(bad, len(kept), "the questions")
    return replace(source, tasks=kept)
