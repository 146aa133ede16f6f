"""Rows about single pages as questions about whole documents: `data.join_pages=true`.

Many sets have a row a page (`doc_id`, `page`, `num_pages`). Joined, every row of a `doc_id` asks about all pages that
the rows of its split name, in the order of `page`; where a row does not say, its own page is the one that holds its
answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from docvlm.data.pages import StoredPage
from docvlm.data.rows import BadRow, Row, identifier, missing, page_numbers, present

NAMED = 1  # documents that lack pages and are named in a line


@dataclass
class _Document:
    """Pages of a document by number, the rows they come from, and how many it says it has."""

    pages: dict[int, StoredPage] = field(default_factory=dict)
    where: dict[int, str] = field(default_factory=dict)
    count: int = 0

    def add(self, numbers: Sequence[int], row: Row) -> None:
        """Raises `BadRow` where another page has the number already."""
        for number, page in zip(numbers, row.pages, strict=True):
            other = self.pages.setdefault(number, page)
            if other != page:
                raise BadRow(
                    f"page {number} is {page.name} here and {other.name} in {self.where[number]}",
                    "two pages of one number",
                )
            self.where.setdefault(number, row.where)


@dataclass(frozen=True)
class Joined:
    """The rows with the pages of their documents; `lacking` says of which documents pages are not there."""

    rows: list[Row]
    lacking: list[str]

    def __str__(self) -> str:
        """A line; "" where nothing is missing."""
        if not self.lacking:
            return ""
        more = f", and {len(self.lacking) - NAMED} other documents lack some too" * (len(self.lacking) > NAMED)
        return f"pages that no row names: {', '.join(self.lacking[:NAMED])}{more}; they are not shown"


def joined(rows: Iterable[Row]) -> Joined:
    """Join the rows of each `doc_id` of a split; one without an id stays as it is, one that contradicts has a fault."""
    documents: dict[tuple[str, str], _Document] = {}
    read: list[tuple[Row, _Document | None, tuple[int, ...]]] = []
    for row in rows:
        try:
            name = None if row.fault else identifier(row, "doc_id")
            if name is None:
                read.append((row, None, ()))
                continue
            document = documents.setdefault((row.split, name), _Document())
            numbers = _numbers(row, document)
            document.add(numbers, row)
            document.count = max(document.count, *page_numbers(present(row, "num_pages"), "num_pages"), *numbers)
            read.append((row, document, numbers))
        except BadRow as reason:
            read.append((replace(row, fault=str(reason), kind=reason.kind), None, ()))
    lacking = [
        f"{_listed(sorted({*range(1, one.count + 1)} - {*one.pages}))} of {name}"
        for (_, name), one in documents.items()
        if one.count > len(one.pages)
    ]
    return Joined([row if one is None else _whole(row, one, numbers) for row, one, numbers in read], lacking)


def of_single_pages(rows: Iterable[Row]) -> str:
    """A line on rows that name one page of documents that they say have several; "" where there are none."""
    count = sum(1 for row in rows if len(row.pages) == 1 and _more_than_one(row))
    if not count:
        return ""
    said = f"{count} rows name one page of documents" if count > 1 else "a row names one page of a document"
    return f"{said} of several (num_pages): data.join_pages=true asks about whole documents"


def _more_than_one(row: Row) -> bool:
    try:
        return max(page_numbers(present(row, "num_pages"), "num_pages"), default=1) > 1
    except BadRow:
        return False  # a column of the reader's own, with another meaning


def _numbers(row: Row, document: _Document) -> tuple[int, ...]:
    """The numbers of a row's pages: those it says, else those that its images had before, else the next ones."""
    said = page_numbers(present(row, "page"), "page")
    if said:
        if len(said) != len(row.pages):
            raise BadRow(f"page names {len(said)} pages, and image {len(row.pages)}", "page and image differ in number")
        return said
    known = {page: number for number, page in document.pages.items()}
    fresh = iter(range(max(document.pages, default=0) + 1, max(document.pages, default=0) + 1 + len(row.pages)))
    return tuple(known[page] if page in known else next(fresh) for page in row.pages)


def _whole(row: Row, document: _Document, own: tuple[int, ...]) -> Row:
    numbers = tuple(sorted(document.pages))
    values = dict(row.values)
    if "answer_page" not in values or missing(values["answer_page"]):
        values["answer_page"] = list(own)
    values["image"] = [document.pages[number].name for number in numbers]
    pages = tuple(document.pages[number] for number in numbers)
    return replace(row, values=values, pages=pages, numbers=numbers, n_pages=document.count)


def _listed(numbers: Sequence[int]) -> str:
    return f"page{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers))}"
