"""MTVQA: questions on scene and document text in nine languages (Tang et al., arXiv 2405.11985); containment.

A row is a page with all its questions. Train learns, a page-grouped slice of it selects, test reports.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from docvlm.data.benchmark import Benchmark, HubSplit
from docvlm.data.benchmarks.lazy import data_module
from docvlm.data.example import Example
from docvlm.data.lines import shown
from docvlm.data.page_ids import renamed
from docvlm.data.rows import BadRow, Row, answers, present, text

REPO = "ByteDance/MTVQA"
LANGUAGES = {
    "ar": "Arabic",
    "de": "German",
    "fr": "French",
    "it": "Italian",
    "ja": "Japanese",
    "ko": "Korean",
    "ru": "Russian",
    "th": "Thai",
    "vi": "Vietnamese",
}
_COUNTRIES = {"kr": "ko", "jp": "ja"}
"""Codes of countries that stand for languages in `lang`."""


def questions(row: Row) -> Iterator[Row]:
    """A row for each question of a page, or one that says why `qa_pairs` cannot be read."""
    try:
        pairs = _pairs(row)
    except BadRow as reason:
        yield replace(row, fault=str(reason), kind=reason.kind)
        return
    for number, pair in enumerate(pairs):
        values = {**row.values, **pair, "number": number}
        yield replace(row, where=f"{row.where} question {number}", values=values)


def _pairs(row: Row) -> list[dict[str, Any]]:
    """The questions of a page, a Python list of objects that is written as text. Raises `BadRow`."""
    written = present(row, "qa_pairs")
    try:
        found = ast.literal_eval(written.strip()) if isinstance(written, str) else written
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError) as error:
        raise BadRow(f"qa_pairs is a list that cannot be read: {shown(written)}", "qa_pairs is no list") from error
    if not isinstance(found, list) or not found or not all(isinstance(pair, dict) for pair in found):
        raise BadRow(f"qa_pairs is {shown(written)}, not a list of questions", "qa_pairs is no list")
    return found


def example(row: Row) -> Example:
    """One question of a row of ByteDance/MTVQA. Raises `BadRow`."""
    language = _language(row)
    document = f"{language}-{text(row, 'id')}"
    return Example(
        question_id=f"{document}-{row.values['number']}",
        question=text(row, "question"),
        answers=answers(row, "answer"),
        document=document,
        pages=renamed(row.pages, document),
        benchmark="mtvqa",
        language=language,
    )


def _language(row: Row) -> str:
    """The ISO 639-1 code of `lang`, which is written in capitals. Raises `BadRow` for a language of no other row."""
    written = text(row, "lang").lower()
    code = _COUNTRIES[written] if written in _COUNTRIES else written
    if code not in LANGUAGES:
        raise BadRow(f"lang is {shown(written)}, none of {', '.join(LANGUAGES)}", "unknown lang")
    return code


BENCHMARK = Benchmark(
    name="mtvqa",
    title="MTVQA",
    metric="containment",
    instruction="\nAnswer the question using a word or phrase in the language of the question.",
    max_new_tokens=64,
    columns=(("id",), ("lang",), ("qa_pairs",)),
    example=example,
    questions=questions,
    public={"train": "train", "test": "test"},
    hub={REPO: {"train": HubSplit(REPO, "train"), "test": HubSplit(REPO, "test")}},
    marks=(frozenset({"qa_pairs", "lang"}),),
    pages="photographs and documents with text in nine languages",
    languages=LANGUAGES,
    licence="CC BY-NC 4.0 (hub card)",
    citation="Tang et al., Findings of ACL 2025, arXiv 2405.11985",
)
__getattr__ = data_module(__name__, "MTVQA", BENCHMARK)
