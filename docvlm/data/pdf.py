"""Pages of PDF files, drawn where they are read.

PDFium (pypdfium2, Apache-2.0/BSD, 9 MB installed) draws a page of a scan in about the time its image takes to decode.
A page is a locator until it is opened, as everywhere in docvlm. PDFium is not safe to use from two threads, so one
lock is held around every call. Pages are drawn at 200 dpi, or as large as `MOST_PIXELS` allows: a sheet that claims to
be a hundred metres wide costs no more memory than a poster, and every model's budget is below either.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import groupby
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from docvlm.data.lines import contents
from docvlm.data.pages import MAX_ASPECT
from docvlm.errors import DocvlmError

if TYPE_CHECKING:
    from PIL.Image import Image
    from pypdfium2 import PdfDocument

DPI = 200
POINTS = 72  # a PDF's unit: 72 to the inch
MOST_PIXELS = 16_000_000
_HEADER = b"%PDF-"
_HEADER_WITHIN = 1024  # bytes; what readers allow before it
_pdfium = threading.Lock()


@dataclass(frozen=True, slots=True)
class PdfPage:
    """One page of a PDF; `number` counts from 1. `data` holds the file where it came through a pipe."""

    path: str
    number: int
    size: tuple[int, int] | None = None
    data: bytes | None = None
    digest: str = ""

    @property
    def name(self) -> str:
        """The file with the fragment that PDF readers know (RFC 8118)."""
        return f"{self.path}#page={self.number}"

    def stream(self) -> BinaryIO:
        """The bytes of the file. Raises `DocvlmError` if it cannot be read."""
        return io.BytesIO(contents(Path(self.path)) if self.data is None else self.data)

    def open(self) -> Image:
        """The page drawn in RGB. Raises `DocvlmError` naming it if it cannot be."""
        from pypdfium2 import PdfiumError

        with _opened(self.path, self.data) as document:
            try:
                page = document[self.number - 1]
                image: Image = page.render(scale=_scale(*page.get_size())).to_pil().convert("RGB")
            except PdfiumError as error:
                raise DocvlmError(f"page {self.name}: cannot be drawn ({error}); save the PDF again") from error
        return image

    def text(self) -> str:
        """The text layer of the page, "" where it has none. Raises `DocvlmError` if the page cannot be read."""
        (found,) = texts([self])
        return found


def texts(pages: Sequence[PdfPage]) -> list[str]:
    """The text layer of each page, "" where it has none; pages of one PDF beside each other take one opening of it.

    Raises `DocvlmError` for a page that cannot be read.
    """
    from pypdfium2 import PdfiumError

    found: list[str] = []
    for (path, data), same in groupby(pages, lambda page: (page.path, page.data)):
        with _opened(path, data) as document:
            for page in same:
                try:
                    found.append(document[page.number - 1].get_textpage().get_text_bounded())
                except PdfiumError as error:
                    raise DocvlmError(f"page {page.name}: cannot be read ({error}); save the PDF again") from error
    return found


def is_pdf(data: bytes) -> bool:
    """Whether a file that begins with `data` is a PDF."""
    return _HEADER in data[:_HEADER_WITHIN]


def pdf_pages(path: str, numbers: tuple[int, ...] | None, data: bytes | None = None) -> tuple[PdfPage, ...]:
    """The pages `numbers` of a PDF in that order, or all. Raises `DocvlmError` for a PDF or a page that is none."""
    from pypdfium2 import PdfiumError

    with _opened(path, data) as document:
        count = len(document)
        if not count:
            raise DocvlmError(f"{path}: a PDF without pages; save it again")
        wanted = tuple(range(1, count + 1)) if numbers is None else numbers
        if beyond := [number for number in wanted if not 1 <= number <= count]:
            has = "has one page" if count == 1 else f"has pages 1 to {count}"
            raise DocvlmError(f"{path}: {has}, so there is no page {beyond[0]}; choose another page")
        pages = []
        for number in wanted:
            try:
                width, height = document.get_page_size(number - 1)
            except PdfiumError as error:
                raise DocvlmError(f"page {path}#page={number}: cannot be read ({error}); save the PDF again") from error
            if not 0 < max(width, height) <= MAX_ASPECT * min(width, height):
                raise DocvlmError(
                    f"page {path}#page={number}: {width:.0f} x {height:.0f} points, sides differ more than {MAX_ASPECT}"
                    " times; crop or split it"
                )
            scale = _scale(width, height)
            pages.append(PdfPage(path, number, (ceil(width * scale), ceil(height * scale)), data))
    return tuple(pages)


def _scale(width: float, height: float) -> float:
    """Pixels a point; a hair less, since PDFium rounds sides up and 280.00001 would be 281."""
    return min(DPI / POINTS, (MOST_PIXELS / (width * height)) ** 0.5) * (1 - 1e-4)


def _loaded(source: Path | bytes) -> PdfDocument:
    """An opened PDF. Raises `PdfiumError` with the reason that is its own.

    PDFium sets no reason where a PDF has no pages: the one of an earlier failure then stands ("password", of another
    file). So after a failure the reason is made "data format", by a file that is none, and it is tried once more.
    """
    from pypdfium2 import PdfDocument, PdfiumError

    try:
        return PdfDocument(source)
    except PdfiumError:
        with suppress(PdfiumError):
            PdfDocument(b"")
        return PdfDocument(source)


@contextmanager
def _opened(path: str, data: bytes | None) -> Iterator[PdfDocument]:
    from pypdfium2 import PdfiumError

    with _pdfium:
        try:
            document = _loaded(Path(path) if data is None else data)
            document.init_forms()  # else what was typed into a form is not drawn
        except (PdfiumError, OSError) as error:
            if "password" in str(error).lower():
                message = f"{path}: encrypted; save a copy without its password and give that"
            else:
                reason = f"damaged or without pages ({str(error).rstrip('.')})"
                message = f"{path}: a PDF that cannot be opened, {reason}; save or download it again"
            raise DocvlmError(message) from error
        try:
            yield document
        finally:
            document.close()
