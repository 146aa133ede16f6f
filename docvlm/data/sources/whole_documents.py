"""Rows about single pages as questions about whole documents: `data.join_pages=true`.

Many sets have a row a page (`doc_id`, `page`, `num_pages`). Joined, every row of a `doc_id` asks about all pages that
the rows of its split name, in the order of `page`; where a row does not say, its own page is the one that holds its
answer.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property

from docvlm.data.pages import StoredPage
from docvlm.data.rows import BadRow, Row, identifier, missing, page_numbers, present

NAMED = 1  # documents that lack pages and are named in a line
LISTED = 5  # of the pages that such a document lacks


@dataclass
class _Document:
    """Pages of a document by number, the rows they come from, and how many it says it has, and where."""

    pages: dict[int, StoredPage] = field(default_factory=dict)
    where: dict[int, str] = field(default_factory=dict)
    numbers: dict[StoredPage, int] = field(default_factory=dict)
    said: tuple[int, str] | None = None

    @property
    def count(self) -> int:
        """How many pages it has, as far as rows say."""
        return max([0 if self.said is None else self.said[0], *self.pages])

    def add(self, row: Row) -> tuple[int, ...]:
        """The numbers of a row's pages. Raises `BadRow` where they contradict `num_pages`, or an earlier row."""
        numbers, said = self._numbers(row), page_numbers(present(row, "num_pages"), "num_pages")
        count = max(said, default=0) if self.said is None else self.said[0]
        if self.said is not None and said and max(said) != count:
            raise BadRow(f"num_pages is {max(said)} here and {count} in {self.said[1]}", "two numbers of pages")
        if count and max(numbers) > count:
            raise BadRow(f"page is {max(numbers)}, and num_pages {count}", "page beyond num_pages")
        own: dict[int, StoredPage] = {}
        for number, page in zip(numbers, row.pages, strict=True):
            other = self.pages.get(number, own.setdefault(number, page))
            if other != page:
                where = self.where.get(number, row.where)
                raise BadRow(
                    f"page {number} is {page.name} here and {other.name} in {where}", "two pages of one number"
                )
        self.pages |= own
        self.numbers |= {page: number for number, page in own.items()}
        self.where = dict.fromkeys(own, row.where) | self.where
        if count:
            self.said = self.said or (count, row.where)
        return numbers

    def _numbers(self, row: Row) -> tuple[int, ...]:
        """The numbers that a row says, else those that its images had before, else the next ones."""
        said = page_numbers(present(row, "page"), "page")
        if said:
            if len(said) != len(row.pages):
                reason = f"page names {_pages(len(said))}, and image {_pages(len(row.pages))}"
                remedy = "; one page of a PDF is FILE.pdf#page=2" if len(said) < len(row.pages) else ""
                raise BadRow(f"{reason}{remedy}", "page and image differ in number")
            return said
        fresh = itertools.count(max(self.pages, default=0) + 1)
        return tuple(self.numbers[page] if page in self.numbers else next(fresh) for page in row.pages)

    @cached_property
    def whole(self) -> tuple[tuple[int, ...], tuple[StoredPage, ...], list[str]]:
        """Numbers, pages and names of all pages, in their order; asked for when no row is to come."""
        numbers = tuple(sorted(self.pages))
        pages = tuple(self.pages[number] for number in numbers)
        return numbers, pages, [page.name for page in pages]


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
        return f"pages that no usable row names: {', '.join(self.lacking[:NAMED])}{more}; they are not shown"


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
            read.append((row, document, document.add(row)))
        except BadRow as reason:
            read.append((replace(row, fault=str(reason), kind=reason.kind), None, ()))
    lacking = [f"{_missing(one)} of {name}" for (_, name), one in documents.items() if one.count > len(one.pages)]
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


def _whole(row: Row, document: _Document, own: tuple[int, ...]) -> Row:
    numbers, pages, names = document.whole
    values = {**row.values, "image": names}
    if "answer_page" not in values or missing(values["answer_page"]):
        values["answer_page"] = list(own)
    return replace(row, values=values, pages=pages, numbers=numbers, n_pages=document.count)


def _pages(number: int) -> str:
    return f"{number} page{'s' * (number > 1)}"


def _missing(document: _Document) -> str:
    """The numbers that no page of a document has, the first of them where they are many."""
    lacking = document.count - len(document.pages)
    numbers = (number for number in range(1, document.count + 1) if number not in document.pages)
    first = ", ".join(map(str, itertools.islice(numbers, LISTED)))
    more = f" and {lacking - LISTED} more" if lacking > LISTED else ""
    return f"page{'s' * (lacking > 1)} {first}{more}"
