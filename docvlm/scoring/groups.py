"""What questions are told apart by: types of document and question, number of pages, the answer's page, language.

A grouping is there where it tells something: types where a record has one, pages where a document has several,
languages where a question is not English. So a run of one-page English documents has the tables it always had.

Where the answer's page stands is told in thirds of the document, by the middle of the page: page p of n lies at
(p - 1/2) / n, which never falls on the border of a third. Thirds mean the same in two pages (first, last) and in
twenty; the number of the page itself would mostly say how long the document is, which has a table of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from docvlm.scoring.predictions import Prediction

UNTYPED = "(none)"
By = Literal["document", "question", "pages", "place", "language"]

_ONE, _MORE = "1 page", "21 pages or more"
_COUNTS = ((1, _ONE), (2, "2 pages"), (5, "3 to 5 pages"), (10, "6 to 10 pages"), (20, "11 to 20 pages"))  # up to
ONLY, PLACES, SEVERAL = "only page", ("first third", "middle third", "last third"), "several places"
ENGLISH = "en"


@dataclass(frozen=True)
class Grouping:
    """A way to tell questions apart. `name` and `names` are what tables and sentences call one of it and several.

    `labels` gives the groups of a record, none where nothing is known. `tells` says of all labels of a file whether
    they are worth a table. `order` is that of the rows, largest group first without one. `key` is its name in files,
    `unknown` what a group without a label is called in notes.
    """

    by: By
    name: str
    names: str
    key: str
    labels: Callable[[Prediction], tuple[str, ...]]
    tells: Callable[[set[str]], bool] = bool
    order: tuple[str, ...] = ()
    unknown: str = "not known"


def _of_type(record: Prediction) -> tuple[str, ...]:
    return (record.document_type,) if record.document_type else ()


def _pages(record: Prediction) -> tuple[str, ...]:
    if not record.n_pages:
        return ()
    return (next((label for most, label in _COUNTS if record.n_pages <= most), _MORE),)


def _place(record: Prediction) -> tuple[str, ...]:
    if not record.answer_pages or max(record.answer_pages) > record.n_pages:  # of pages that were not all shown, say
        return ()
    if record.n_pages == 1:
        return (ONLY,)
    found = {PLACES[3 * (2 * page - 1) // (2 * record.n_pages)] for page in record.answer_pages}
    return tuple(found) if len(found) == 1 else (SEVERAL,)


def _language(record: Prediction) -> tuple[str, ...]:
    return (record.language,) if record.language else ()


GROUPINGS: dict[By, Grouping] = {
    one.by: one
    for one in (
        Grouping("document", "document type", "document types", "by_document_type", _of_type, unknown="no type"),
        Grouping(
            "question", "question type", "question types", "by_question_type",
            lambda record: record.question_types, unknown="no type",
        ),
        Grouping(
            "pages", "number of pages", "numbers of pages", "by_pages", _pages,
            lambda labels: not labels <= {_ONE}, (*(label for _, label in _COUNTS), _MORE),
        ),
        Grouping(
            "place", "place of the answer's page", "places of the answer's page", "by_answer_page", _place,
            lambda labels: not labels <= {ONLY}, (ONLY, *PLACES, SEVERAL),
        ),
        Grouping(
            "language", "language", "languages", "by_language", _language, lambda labels: not labels <= {ENGLISH}
        ),
    )
}  # fmt: skip
"""In the order in which tables stand."""
TYPES: tuple[By, ...] = ("question", "document")
"""Those that every file of scores has, in its order."""
BEYOND: tuple[By, ...] = ("pages", "place", "language")
"""Those that only documents of several pages or languages have."""


def members(records: Sequence[Prediction], by: By) -> dict[str, list[int]]:
    """Indices of the records of each group, in the grouping's order; {} where the grouping tells nothing.

    A question with several types counts in each; one of which nothing is known stands under "(none)".
    """
    grouping, found = GROUPINGS[by], dict[str, list[int]]()
    for index, record in enumerate(records):
        for label in grouping.labels(record) or (UNTYPED,):
            found.setdefault(label, []).append(index)
    if not grouping.tells(found.keys() - {UNTYPED}):
        return {}
    if grouping.order:
        return {label: found[label] for label in (*grouping.order, UNTYPED) if label in found}
    return {label: found[label] for label in sorted(found, key=lambda label: (-len(found[label]), label))}


def told(records: Sequence[Prediction]) -> tuple[str, ...]:
    """Fields of `Prediction` on pages and language that say something about these records, in the order of a line."""
    several = [record for record in records if record.n_pages != 1]
    fields = {
        "n_pages": any(record.n_pages for record in several),
        "answer_pages": any(record.answer_pages for record in several),
        "page": any(record.page is not None for record in several),
        "language": any(record.language not in ("", ENGLISH) for record in records),
    }
    return tuple(name for name, known in fields.items() if known)
