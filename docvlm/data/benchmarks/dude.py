"""DUDE: questions on PDFs of all kinds (Van Landeghem et al., arXiv 2305.08455); ANLS of its evaluator.

The download is one annotation file of all splits (Zenodo 7763635) beside a folder of PDFs or of drawn pages; test has
no answers: val reports. A question may have no answer, or a list as its answer.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from docvlm.data.benchmark import SINGLE_WORD_OR_PHRASE, Benchmark, Download, Public
from docvlm.data.benchmarks.lazy import data_module
from docvlm.data.example import Example
from docvlm.data.page_ids import Digests
from docvlm.data.pages import StoredPage
from docvlm.data.rows import BadRow, Row, answers, identifier, require, strings, text
from docvlm.data.sources import originals
from docvlm.data.sources.listing import walk
from docvlm.data.sources.locate import of_file
from docvlm.data.sources.ownership import OtherRows
from docvlm.errors import DocvlmError

NOT_ANSWERABLE = "not answerable"
_HEAD = 1 << 16  # bytes: the first question of an annotation file is within them
_DRAWN = re.compile(r"(?P<document>.+)_(?P<number>\d+)")
_ENOUGH = 100  # answers whose pages are said, to tell from which number a file counts
_RARE = 0.01  # of them on page 0: a slip of an annotator, not the first page of documents


def example(row: Row) -> Example:
    """A row of the annotation file. Raises `BadRow`.

    A list is one text, "a, b, c", as the lists of InfographicVQA are written; `answers_variants` are accepted beside a
    single answer. Where a question has none, "not answerable" is right.
    """
    kind = identifier(row, "answer_type") or ""
    if kind == NOT_ANSWERABLE.replace(" ", "-"):
        accepted: tuple[str, ...] = (NOT_ANSWERABLE,)
    elif kind.startswith("list"):
        accepted = (", ".join(answers(row, "answers")),)
    else:
        accepted = tuple(dict.fromkeys((*answers(row, "answers"), *strings(row, "answers_variants"))))
    return Example(
        question_id=text(row, "questionId"),
        question=text(row, "question"),
        answers=accepted,
        document=text(row, "docId"),
        pages=row.pages,
        benchmark="dude",
        question_types=(kind,) if kind else (),
        answer_pages=_answer_pages(row),
    )


def _answer_pages(row: Row) -> tuple[int, ...]:
    """The pages of the answer, counted from 1. Raises `BadRow` for a page that the document does not have."""
    first = row.values.get("first_page")
    found = sorted({number - first + 1 for number in _boxed(row.values) if first is not None and number >= first})
    if found and found[-1] > len(row.pages):
        raise BadRow(f"an answer is on page {found[-1]}, and the document has {len(row.pages)}", "no such page")
    return tuple(found)


def _boxed(values: Mapping[str, Any]) -> list[int]:
    """The numbers of the pages that boxes of answers lie on, as the file counts them."""
    boxes: list[Any] = [values.get("answers_page_bounding_boxes")]
    found = []
    while boxes:  # a list of lists, of which some files lack a level
        match boxes.pop():
            case list() as several:
                boxes += several
            case {"page": number} if str(number).isdigit():
                found.append(int(str(number)))
    return found


def first_page(entries: Sequence[Mapping[str, Any]]) -> int | None:
    """The number that a file gives to the first page of a document; None where it holds too little to tell.

    Nothing that its makers wrote says it, and readers of the set differ. Many answers are on first pages, so numbers
    from 0 show many zeros.
    """
    counted = Counter(number for entry in entries for number in set(_boxed(entry)))
    if counted.total() < _ENOUGH:
        return None
    return 0 if counted[0] > _RARE * counted.total() else 1


def files(path: Path) -> list[Path]:
    """Annotation files of the download at most two folders deep: JSON whose first question has boxes and a `docId`."""
    return [file for file in walk(path, deepest=2) if file.suffix == ".json" and _is_annotation(file)]


def _is_annotation(file: Path) -> bool:
    with file.open("rb") as stream:
        head = stream.read(_HEAD)
    return b'"docId"' in head and b'"data_split"' in head


def rows(path: Path, benchmark: Benchmark, split: Public) -> Iterator[Row] | None:
    """Rows of the annotations that say `split`; None where none does. Raises `OtherRows` for another benchmark."""
    if benchmark.name != "dude":
        raise OtherRows(f"data.source={path}: a DUDE download; use data=dude with it")
    entries = [(file, number, entry) for file in files(path) for number, entry in enumerate(originals.entries_of(file))]
    found = [place for place in entries if place[2].get("data_split") == originals.SHORT[split]]
    return _rows(found, first_page([entry for _, _, entry in entries]), _Documents(path), split) if found else None


def _rows(
    found: Sequence[tuple[Path, int, dict[str, Any]]], first: int | None, documents: _Documents, split: Public
) -> Iterator[Row]:
    require(found[0][2], BENCHMARK.columns, str(found[0][0]))
    for file, number, entry in found:
        row = Row(f"{file.name} entry {number}", number, split, {**entry, "first_page": first})
        try:
            yield replace(row, pages=documents.pages(text(row, "docId")))
        except BadRow as reason:
            yield replace(row, fault=str(reason), kind=reason.kind)


@dataclass(frozen=True)
class _Documents:
    """The documents below a folder: `<docId>.pdf`, or where there is none `<docId>_0.jpg`, `<docId>_1.jpg`, …"""

    root: Path

    @cached_property
    def _files(self) -> Mapping[str, list[tuple[int, Path]]]:
        found: dict[str, list[tuple[int, Path]]] = {}
        for file in walk(self.root):
            if file.suffix.lower() == ".pdf":
                found.setdefault(file.stem, []).append((-1, file))
            elif file.suffix.lower() in originals.IMAGE_SUFFIXES and (drawn := _DRAWN.fullmatch(file.stem)):
                found.setdefault(drawn["document"], []).append((int(drawn["number"]), file))
        return found

    @cached_property
    def _known(self) -> dict[str, tuple[StoredPage, ...] | BadRow]:
        return {}

    def pages(self, document: str) -> tuple[StoredPage, ...]:
        """The pages of a document, looked at once. Raises `BadRow` if it is not there or cannot be read."""
        if document not in self._known:
            try:
                self._known[document] = self._read(document)
            except BadRow as reason:
                self._known[document] = reason
        found = self._known[document]
        if isinstance(found, BadRow):
            raise found
        return found

    def _read(self, document: str) -> tuple[StoredPage, ...]:
        there = sorted(self._files.get(document, []))
        pdf = [file for number, file in there if number < 0]
        if not there:
            raise BadRow(f"no {document}.pdf under {self.root}, and no {document}_0.jpg", "document not found")
        if not pdf and (gap := next((at for at, (number, _) in enumerate(there) if number != at), None)) is not None:
            raise BadRow(f"no {document}_{gap}.jpg beside {there[-1][1].name}", "a page is missing in the middle")
        try:
            digests = Digests()
            return tuple(
                digests.known(page) for file in pdf[:1] or [file for _, file in there] for page in of_file(file)
            )
        except DocvlmError as error:
            raise BadRow(str(error), "document cannot be read") from error


BENCHMARK = Benchmark(
    name="dude",
    title="DUDE",
    metric="anls",
    variants={"anls": "dude"},
    instruction=SINGLE_WORD_OR_PHRASE,
    max_new_tokens=64,
    columns=(("questionId",), ("question",), ("docId",), ("answers",)),
    example=example,
    public={"train": "train", "test": "validation"},
    download=Download("DUDE download", files, rows),
    marks=(frozenset({"docId", "answers_page_bounding_boxes"}),),
    pages="PDFs of all kinds, of one to many pages",
    licence="CC BY 4.0",
    citation="Van Landeghem et al., ICCV 2023, arXiv 2305.08455",
)
__getattr__ = data_module(__name__, "DUDE", BENCHMARK)
