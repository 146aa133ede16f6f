"""Names for pages that come without one, and documents for pages that come without an id.

Questions of one page must carry one page object: it is then decoded, encoded and cached once. Data sets that store
the image with every question (all hub parquet does) are brought back to that here: by the id their columns give, else
by the bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from docvlm.data.example import Example, Page
from docvlm.data.pages import ArrowPage, BytesPage, FilePage, Hash, StoredPage, content_hash, digest
from docvlm.data.pdf import PdfPage
from docvlm.data.rows import BadRow
from docvlm.data.streaming.page import StreamedPage
from docvlm.errors import DocvlmError

SHORT_DIGEST = 12
IN_TABLES = (ArrowPage, StreamedPage)
"""Pages in rows of tables, whose names say only where they are."""
STORED = (FilePage, *IN_TABLES, BytesPage, PdfPage)
"""Pages whose encoded bytes exist somewhere; drawn pages are none."""


def renamed(pages: Sequence[StoredPage], name: str) -> tuple[StoredPage, ...]:
    """Pages of a table under the name their columns give; pages in files keep their path."""
    return tuple(replace(page, name=name) if name and isinstance(page, IN_TABLES) else page for page in pages)


def identified(pages: Sequence[StoredPage]) -> tuple[str, tuple[StoredPage, ...]]:
    """The document that a hash of the first page's bytes stands for, and the pages knowing their hashes.

    Reads every byte of the pages. Raises `BadRow` if a page cannot be read.
    """
    try:
        digests = Digests()
        known = tuple(digests.known(page) for page in pages)
    except DocvlmError as error:
        raise BadRow(str(error)) from error
    document = known[0].digest[:SHORT_DIGEST] if known else ""
    return document, tuple(
        replace(page, name=page.digest[:SHORT_DIGEST]) if isinstance(page, (*IN_TABLES, BytesPage)) else page
        for page in known
    )


class Digests:
    """Hashes of pages' bytes. A file of several pages is read once: one of 3 000 pages else costs 3 000 readings."""

    def __init__(self) -> None:
        self._files: dict[StoredPage, Hash] = {}

    def known(self, page: StoredPage) -> StoredPage:
        """The page knowing the hash of its bytes. Raises `DocvlmError` if they cannot be read."""
        return page if page.digest else replace(page, digest=self._of(page))  # type: ignore[type-var]  # a dataclass

    def _of(self, page: StoredPage) -> str:
        if isinstance(page, StreamedPage) and page.content:
            return page.content
        if not page.number:
            return digest(page)
        file = replace(page, number=0, size=None)  # type: ignore[type-var]  # a dataclass
        if file not in self._files:
            self._files[file] = content_hash(page)
        return digest(page, self._files[file])


def digest_of(page: Page) -> str:
    """The hash of a page's bytes, "" where nobody has taken it."""
    return str(getattr(page, "digest", ""))


def grouped(examples: Iterable[Example]) -> tuple[list[Example], dict[str, str]]:
    """Documents that share an identical page become one, under the name that came first.

    Returns the examples in order and {document: the document it went into}. Pages without a digest are only themselves.
    Splits then never cut such a pair in two, and intervals count it as one document.
    """
    listed = list(examples)
    parent: dict[str, str] = {}

    def root(document: str) -> str:
        while parent[document] != document:
            document = parent[document]
        return document

    owner: dict[str, str] = {}
    for example in listed:
        parent.setdefault(example.document, example.document)
        for page in example.pages:
            if content := digest_of(page):
                first = root(owner.setdefault(content, example.document))
                parent[root(example.document)] = first
    joined = {document: root(document) for document in parent if root(document) != document}
    return [replace(e, document=root(e.document)) if e.document in joined else e for e in listed], joined


def content_of(example: Example) -> tuple[Any, ...]:
    """What an example is, wherever its pages are stored: for fingerprints."""
    pages = tuple(
        (Path(page.name).name, page.size, page.digest) if isinstance(page, STORED) else page.name
        for page in example.pages
    )
    fields = (example.question_id, example.question, example.answers, example.document, example.benchmark)
    return (*fields, example.instruction, example.question_types, example.document_type, pages)
