"""Own pages: a folder with question files and images beside them, or one such folder a split.

    qa.jsonl   {"image": "images/1.png", "question": "…", "answers": ["…"], "question_id": "…", "type": "…",
                "doc_id": "…", "doc_type": "…", "split": "train", "answer_page": 1, "language": "en"}
                                          one object a line; what follows "answers" is optional
    qa.csv     the same columns; `answers`, `image` and types: a list (as JSON, Python or numpy writes it) or one text
    train.jsonl  val.jsonl  test.jsonl        files named after splits are the splits (`.csv` too)
    train.parquet  …  or a `datasets` folder   the same columns; images in the table, or names of files (snapshots.py)

`image` is what `locate.py` reads, or a list of it: one question over several pages. Paths are relative to the file. A
line that is not UTF-8 or not JSON is quarantined like any other bad row; a CSV that is not UTF-8 cannot be cut into
rows and is an error.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath

from docvlm.data.benchmark import Public
from docvlm.data.example import Example
from docvlm.data.lines import SUFFIXES, Line, lines, listed, shown
from docvlm.data.page_ids import Digests, identified
from docvlm.data.pages import BytesPage, FilePage, StoredPage
from docvlm.data.pdf import PdfPage
from docvlm.data.rows import (
    BadRow,
    Row,
    answers,
    characters,
    identifier,
    missing,
    page_numbers,
    present,
    require,
    strings,
    text,
)
from docvlm.data.sources.locate import named, of_file
from docvlm.data.sources.remembered import Remembered
from docvlm.data.sources.snapshots import ALIASES
from docvlm.errors import DocvlmError
from docvlm.writing import escaped

COLUMNS = (("image",), ("question",), ("answers", "answer"))

KINDS = (
    *("not found", "is an address", "there is no page", "damaged", "not an image", "animated", "sides differ"),
    *("encrypted", "empty"),
)
"""What may be wrong with an image, in the words of its error; rows are counted by it."""

WHOLE = ""
"""The key of a file that holds all splits."""


@dataclass(frozen=True)
class QuestionFiles:
    """Question files of a source by published split (`WHOLE`: one for all), and those beside them that are not read."""

    files: dict[str, Path]
    unread: list[Path] = field(default_factory=list)


def question_files(path: Path) -> QuestionFiles:
    """What a file or a folder of own pages holds; no files where it holds none.

    Raises `DocvlmError` if several files could be meant.
    """
    if path.is_file():
        return QuestionFiles({WHOLE: path}, [file for file in _question_files(path.parent) if file != path])
    own, folders = _question_files(path), _split_folders(path)
    meant = {split: file for split, file in folders.items() if file is not None}
    in_folders = [file for one in meant.values() for file in _question_files(one.parent)]
    if not own:
        return QuestionFiles(meant, [file for file in in_folders if file not in meant.values()])
    by_split: dict[str, list[Path]] = {}
    for file in own:
        by_split.setdefault(split_of(file.stem) or WHOLE, []).append(file)
    whole = by_split.pop(WHOLE, [])
    named_qa = [file for file in whole if file.stem == "qa"]
    if by_split and named_qa:
        raise _ambiguous(path, [*named_qa, *(file for files in by_split.values() for file in files)])
    if by_split:
        if twice := next((files for files in by_split.values() if len(files) > 1), None):
            raise _ambiguous(path, twice)
        return QuestionFiles({split: files[0] for split, files in by_split.items()}, [*whole, *in_folders])
    candidates = named_qa or whole
    if len(candidates) > 1:
        raise _ambiguous(path, candidates)
    return QuestionFiles({WHOLE: candidates[0]}, [file for file in (*whole, *in_folders) if file != candidates[0]])


def split_of(name: str) -> Public | None:
    """The split that a file's or a folder's name begins or ends with: `train-00000-of-00012`, `qa_val`; else None."""
    words = re.split(r"[-_. ]", name.lower())
    for word in (words[0], words[-1]):
        for split, names in ALIASES.items():
            if word in names:
                return split
    return None


def _question_files(folder: Path) -> list[Path]:
    """In order of name, without what file managers leave beside them (`._qa.jsonl`)."""
    return sorted(
        file
        for file in folder.iterdir()
        if file.suffix.lower() in SUFFIXES and not file.name.startswith(".") and file.is_file()
    )


def _split_folders(path: Path) -> dict[str, Path | None]:
    """The question file of each sub-folder that is named after a split."""
    found: dict[str, Path | None] = {}
    for split, names in ALIASES.items():
        files = {name: file for name in names if (path / name).is_dir() and (file := _only(path / name)) is not None}
        if len(files) > 1:
            raise DocvlmError(f"data.source={path}: {' and '.join(files)} are the same split; keep one of the folders")
        found[split] = next(iter(files.values()), None)
    return found


def _only(folder: Path) -> Path | None:
    files = _question_files(folder)
    meant = [file for file in files if file.stem == "qa"] or files
    if len(meant) > 1:
        raise _ambiguous(folder, meant)
    return meant[0] if meant else None


def _ambiguous(folder: Path, files: Sequence[Path]) -> DocvlmError:
    names = ", ".join(file.name for file in files)
    return DocvlmError(f"data.source={folder}: several question files ({names}); name the one to use in data.source")


@dataclass(frozen=True)
class OwnRows:
    """The rows of a question file. `marked`: they say themselves which split they are of, and `split` of each is it.

    Rows of a marked file that say no split have a `fault`, and no split.
    """

    rows: list[Row]
    marked: bool


def read(file: Path, root: Path, split: str = WHOLE, remembered: Remembered | None = None) -> OwnRows:
    """All rows of a file, which is that of `split` where it is one split's. Pages that are `remembered` are not read.

    Images are named by their path from `root`, the source: train/1.png and test/1.png are two pages. Raises
    `DocvlmError` if the file cannot be read or lacks a column.
    """
    home = root if root.is_dir() else root.parent
    parsed = list(lines(file, called(file, root)))
    if not parsed:
        raise DocvlmError(f"{file}: empty; it needs one question a line")
    columns = {name for line in parsed for name in line.values}
    if columns:
        require(columns, COLUMNS, str(file))
    marked = "split" in columns
    pages = _Pages(file.parent, remembered)
    rows = [_row(line, number, split, marked, pages, home) for number, line in enumerate(parsed)]
    return OwnRows(rows, marked and split == WHOLE)


def called(file: Path, root: Path) -> str:
    """A question file's path from its source, by which messages name it."""
    return PurePath(os.path.relpath(file, root if root.is_dir() else root.parent)).as_posix()


def _row(line: Line, number: int, split: str, marked: bool, pages: _Pages, home: Path) -> Row:
    found: tuple[StoredPage, ...] = ()
    own, fault, kind = split, line.fault, line.fault.split(" (")[0].split(":")[0]
    try:
        if not fault and marked:
            own = _own_split(line, split)
        if not fault:
            found = pages.of(line)
    except BadRow as reason:
        fault, kind = str(reason), reason.kind
    names = [
        escaped(PurePath(os.path.relpath(page.path, home)).as_posix())
        for page in found
        if isinstance(page, FilePage | PdfPage)
    ]
    return Row(line.where, number, own, {**line.values, "image": names}, found, fault, kind)


def _own_split(line: Line, split: str) -> str:
    """The split a row says. Raises `BadRow` where it says none, an unknown one, or another than its file's."""
    values = line.values
    if "split" not in values:
        raise BadRow("no split, where other rows have one")
    if missing(values["split"]):
        raise BadRow("split is null, where other rows have one")
    word = str(values["split"]).strip().lower()
    own = next((public for public, names in ALIASES.items() if word in names), None)
    if own is None:
        raise BadRow(f"split={shown(values['split'])}; use train, val or test", "split is none of train, val, test")
    if split not in (WHOLE, own):
        raise BadRow(f"split={shown(values['split'])} in the file of another split", "split of another file")
    return own


class _Pages:
    """The pages of a file's rows, each file of them looked at once."""

    def __init__(self, folder: Path, remembered: Remembered | None = None) -> None:
        self.folder = folder
        self.remembered = remembered
        self._known: dict[str, tuple[StoredPage, ...] | DocvlmError] = {}
        self._digests = Digests()

    def of(self, line: Line) -> tuple[StoredPage, ...]:
        """The pages of a row, in its order. Raises `BadRow` if it has none, or one cannot be read."""
        if "image" not in line.values:
            raise BadRow("no image")
        given = line.values["image"]
        names = given if isinstance(given, list) else [given]
        if not names:
            raise BadRow("image is an empty list")
        return tuple(page for name in names for page in self._named(name, line.where))

    def _named(self, name: object, where: str) -> tuple[StoredPage, ...]:
        if not isinstance(name, str) or not name.strip():
            raise BadRow(f"image is {shown(name)}, not a file name", "image is no file name")
        if name not in self._known:
            try:
                found = named(name, self.folder, f"{where} image", read=self._file)
                self._known[name] = tuple(map(self._digests.known, found))
            except DocvlmError as error:
                self._known[name] = error
        known = self._known[name]
        if isinstance(known, DocvlmError):
            raise BadRow(str(known), image_kind(str(known))) from known
        return known

    def _file(self, path: Path, numbers: Sequence[int] | None) -> tuple[StoredPage, ...]:
        return (
            self._read(path, numbers) if self.remembered is None else self.remembered.pages(path, numbers, self._read)
        )

    def _read(self, path: Path, numbers: Sequence[int] | None) -> tuple[StoredPage, ...]:
        """The pages of a file with their hashes: every byte of it is read."""
        return tuple(map(self._digests.known, of_file(path, numbers)))


def located(rows: Iterable[Row], folder: Path, remembered: Remembered | None = None) -> Iterator[Row]:
    """Rows of a table with the pages that a column of file names means; rows with images stay as they are."""
    pages = _Pages(folder, remembered)
    for row in rows:
        if row.pages or row.fault:
            yield row
            continue
        try:
            yield replace(row, pages=pages.of(Line(row.where, dict(row.values))))
        except BadRow as reason:
            yield replace(row, fault=str(reason), kind=reason.kind)


def without_files(rows: Iterable[Row]) -> Iterator[Row]:
    """Rows of a table at an address, where a column of file names means nothing: they are bad rows there."""
    for row in rows:
        if row.pages or row.fault:
            yield row
        else:
            reason = "image is the name of a file, and files beside a table at an address are not fetched"
            yield replace(row, fault=f"{reason}; mount it, or keep the images in the table", kind="image is elsewhere")


def image_kind(reason: str) -> str:
    """What is wrong with an image, without which image it is."""
    for words in KINDS:
        if words in reason:
            return f"image {words}"
    return "image cannot be read"


def example(row: Row) -> Example:
    """A row of own pages. Raises `BadRow`.

    The document is `doc_id` where there is one, else the image; its bytes are hashed, so that a page that stands
    there twice under two names is known to be one. A list written as a string (`answer_format: List`) becomes "a, b,
    c", as the multi-span answers of InfographicVQA are written.
    """
    given, pages = identified(row.pages)
    names = strings(row, "image")
    first = names[0] if names and not isinstance(pages[0], BytesPage) else given
    accepted = answers(row, "answers", "answer")
    if "List" in strings(row, "answer_format"):
        accepted = tuple(_joined(answer) for answer in accepted)
    own_id, document = identifier(row, "question_id", "id"), identifier(row, "doc_id")
    return Example(
        question_id=f"{PurePath(first).stem}-{row.number}" if own_id is None else own_id,
        question=text(row, "question"),
        answers=accepted,
        document=first if document is None else document,
        pages=pages,
        benchmark="folder",
        question_types=strings(row, "type"),
        document_type=", ".join(strings(row, "doc_type")),
        answer_pages=_answer_pages(row, row.n_pages or len(pages)),
        shown=row.numbers if len(row.numbers) < row.n_pages else (),
        n_pages=row.n_pages,
        language=", ".join(strings(row, "language")),
        where=row.where,
    )


def _answer_pages(row: Row, count: int) -> tuple[int, ...]:
    """Which of the row's `count` pages hold the answer. Raises `BadRow` for a page that the row does not have."""
    found = page_numbers(present(row, "answer_page"), "answer_page")
    if beyond := [number for number in found if number > count]:
        raise BadRow(
            f"answer_page is {beyond[0]}, and the row has {count} page{'s' * (count > 1)}", "no such answer_page"
        )
    return found


def _joined(answer: str) -> str:
    """The string `['a', 'b']` as `a, b`; anything else as it stands."""
    try:
        values = listed(answer)
    except ValueError:
        return answer
    return ", ".join(characters("answers", value) for value in values) if values else answer
