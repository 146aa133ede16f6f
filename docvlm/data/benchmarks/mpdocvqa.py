"""MP-DocVQA: questions on scanned documents of up to 20 pages (Tito et al., arXiv 2212.05935); ANLS of its evaluator.

The hub's repositories hold val and test, and test has no answers: val reports. Train is in the RRC download only, and
a document-grouped slice of it selects. `answer_page_idx` counts from 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from docvlm.data.benchmark import SINGLE_WORD_OR_PHRASE, Benchmark, Download, HubSplit, Public
from docvlm.data.benchmarks.lazy import data_module
from docvlm.data.example import Example
from docvlm.data.lines import listed, shown
from docvlm.data.page_ids import identified, renamed
from docvlm.data.pages import StoredPage
from docvlm.data.rows import BadRow, Row, answers, identifier, missing, present, require, strings, text
from docvlm.data.sources import originals
from docvlm.data.sources.listing import walk
from docvlm.data.sources.own_folder import split_of
from docvlm.data.sources.ownership import OtherRows

_HEAD = 1 << 16  # bytes: the first question of an annotation file is within them


def example(row: Row) -> Example:
    """A row of lmms-lab-encoder/MP-DocVQA, lmms-lab/MP-DocVQA or RRC's JSON. Raises `BadRow`.

    The hub writes lists (`answers`, `page_ids`) as the text of a Python list. A document's questions may show different
    runs of its pages, so a page is known by its own id, or by its bytes where the columns give none.
    """
    spread = replace(row, values={**row.values, "answers": _list(row, "answers"), "page_ids": _list(row, "page_ids")})
    return Example(
        question_id=text(row, "questionId"),
        question=text(row, "question"),
        answers=answers(spread, "answers"),
        document=text(row, "doc_id"),
        pages=_named(row.pages, strings(spread, "page_ids")),
        benchmark="mpdocvqa",
        answer_pages=_answer_pages(row),
    )


def _list(row: Row, column: str) -> Any:
    """The values of a list that may be written as text. Raises `BadRow` for a text that is no list."""
    value = present(row, column)
    if not isinstance(value, str):
        return value
    try:
        found = listed(value)
    except ValueError as error:
        raise BadRow(f"{column} {error}", f"{column} is no list") from error
    if found is None:
        raise BadRow(f"{column} is {shown(value)}, not a list written as text", f"{column} is no list")
    return found


def _named(pages: Sequence[StoredPage], names: Sequence[str]) -> tuple[StoredPage, ...]:
    """Pages of a table under their ids. Raises `BadRow` where there are not as many ids as pages."""
    if names and len(names) != len(pages):
        raise BadRow(f"page_ids names {len(names)} pages, and the row has {len(pages)}", "page_ids and pages differ")
    if not names:
        return identified(pages)[1]
    return tuple(renamed((page,), name)[0] for page, name in zip(pages, names, strict=True))


def _answer_pages(row: Row) -> tuple[int, ...]:
    """The page of the answer, counted from 1. Raises `BadRow` for a page that the row does not have."""
    index = identifier(row, "answer_page_idx")
    if index is None or index == "None":  # how the hub writes null
        return ()
    if not (index.isascii() and index.isdigit() and int(index) < len(row.pages)):
        raise BadRow(f"answer_page_idx is {index}, and the row has {len(row.pages)} pages", "no such answer_page_idx")
    return (int(index) + 1,)


def files(path: Path) -> list[Path]:
    """Annotation files of an RRC download at most two folders deep: JSON whose first question lists its pages."""
    return [file for file in walk(path, deepest=2) if file.suffix == ".json" and _lists_pages(file)]


def _lists_pages(file: Path) -> bool:
    with file.open("rb") as stream:
        return b'"page_ids"' in stream.read(_HEAD)


def rows(path: Path, benchmark: Benchmark, split: Public) -> Iterator[Row] | None:
    """Rows of RRC's annotations: of the file called after the split, or those that say `data_split`."""
    if benchmark.name != "mpdocvqa":
        raise OtherRows(f"data.source={path}: an MP-DocVQA download; use data=mpdocvqa with it")
    wanted = originals.SHORT[split]
    found = [
        (file, number, entry)
        for file in files(path)
        for number, entry in enumerate(originals.entries_of(file))
        if _split(file, entry) == wanted
    ]
    return _rows(found, originals.Images(path), benchmark, split) if found else None


def _split(file: Path, entry: dict[str, Any]) -> str | None:
    if "data_split" in entry and not missing(entry["data_split"]):
        return str(entry["data_split"])
    name = split_of(file.stem)
    return None if name is None else originals.SHORT[name]


def _rows(
    found: Sequence[tuple[Path, int, dict[str, Any]]], images: originals.Images, benchmark: Benchmark, split: Public
) -> Iterator[Row]:
    require(found[0][2], benchmark.columns, str(found[0][0]))
    for file, number, entry in found:
        row = Row(f"{file.name} entry {number}", number, split, entry)
        try:
            yield replace(row, pages=images.pages(strings(row, "page_ids")))
        except BadRow as reason:
            yield replace(row, fault=str(reason), kind=reason.kind)


def _hub(repo: str) -> dict[Public, HubSplit]:
    return {"validation": HubSplit(repo, "val")}


BENCHMARK = Benchmark(
    name="mpdocvqa",
    title="MP-DocVQA",
    metric="anls",
    variants={"anls": "mp-docvqa", "accuracy": "mp-docvqa"},
    instruction=SINGLE_WORD_OR_PHRASE,
    max_new_tokens=32,
    columns=(("questionId",), ("question",), ("doc_id",), ("answers",)),
    images=tuple(f"image_{number}" for number in range(1, 21)),
    example=example,
    public={"train": "train", "test": "validation"},
    hub={repo: _hub(repo) for repo in ("lmms-lab-encoder/MP-DocVQA", "lmms-lab/MP-DocVQA")},
    without_train="the hub has no train split of it: give data.source=DIR with the RRC download, which has one",
    download=Download("MP-DocVQA download", files, rows),
    marks=(frozenset({"page_ids", "answer_page_idx"}), frozenset({"image_1", "image_20", "doc_id"})),
    generator="docvlm.data.generated.{preset}.mpdocvqa",
    pages="scanned documents of up to 20 pages",
    licence="RRC portal (registration)",
    citation="Tito et al., Pattern Recognition 2023, arXiv 2212.05935",
)
__getattr__ = data_module(__name__, "MPDocVQA", BENCHMARK)
