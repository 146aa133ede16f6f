"""What a caller calls a page, as the pages of one document: a path, an image in memory, bytes, or a `Page`.

Headers are looked at here, so that a wrong file is refused before weights load; pixels are read where they are used.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, TypeAlias

from PIL import Image

from docvlm.data.example import Page
from docvlm.data.pages import FilePage, StoredPage, check, decode
from docvlm.data.pixels import upright
from docvlm.errors import DocvlmError
from docvlm.serving.pdf import is_pdf, pdf_pages

PageLike: TypeAlias = "str | os.PathLike[str] | bytes | Image.Image | Page"
"""A path (`contract.pdf#page=2` is one page of a PDF), an encoded file, a Pillow image, or a page of docvlm's own."""

STDIN = "-"
_FRAGMENT = re.compile(r"(?P<path>.+\.pdf)#page=(?P<number>\d+)", re.IGNORECASE)
_HEAD = 1024  # bytes


@dataclass(frozen=True, slots=True)
class BytesPage:
    """An image file that is in memory. `size` is (width, height) in pixels, upright."""

    name: str
    data: bytes
    size: tuple[int, int] | None = None
    digest: str = ""

    def stream(self) -> BinaryIO:
        """The encoded bytes."""
        return io.BytesIO(self.data)

    def open(self) -> Image.Image:
        return decode(self)


@dataclass(frozen=True, slots=True, eq=False)
class ImagePage:
    """An image in memory, decoded. Two of them are one page only where they are one object."""

    name: str
    image: Image.Image

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self.image.size

    def open(self) -> Image.Image:
        return upright(self.image)


def as_pages(page: PageLike | Sequence[PageLike], numbers: Sequence[int] | None = None) -> tuple[Page, ...]:
    """The pages of one document. `numbers` chooses pages of its PDFs, from 1; without it all of them are meant.

    Raises `DocvlmError` naming the page if it is missing, no image or PDF, broken, or encrypted.
    """
    several = isinstance(page, Sequence) and not isinstance(page, str | bytes)
    given: list[PageLike] = list(page) if several else [page]  # type: ignore[arg-type, list-item]  # told apart above
    chosen = None if numbers is None else tuple(numbers)
    if not given or chosen == ():
        raise DocvlmError("no page to read: give at least one")
    return tuple(one for each in given for one in _pages(each, chosen))


def pages_of_file(name: str, data: bytes, numbers: tuple[int, ...] | None) -> tuple[Page, ...]:
    """The pages of an encoded file in memory, called `name` in messages."""
    if not data:
        raise DocvlmError(f"{name}: empty (0 bytes); give an image or a PDF")
    if is_pdf(data):
        return pdf_pages(name, numbers, data)
    found = BytesPage(name, data)
    return (replace(found, size=_checked(found)),)


def _pages(page: PageLike, numbers: tuple[int, ...] | None) -> tuple[Page, ...]:
    if isinstance(page, Image.Image):
        return (ImagePage(getattr(page, "filename", "") or "image", page),)
    if isinstance(page, bytes):
        return pages_of_file("bytes", page, numbers)
    if isinstance(page, str | os.PathLike):
        return _pages_at(os.fspath(page), numbers)
    if isinstance(page, Page):
        return (page,)
    raise DocvlmError(f"page {page!r}: {type(page).__name__} is no page; give a path, bytes, a Pillow image or a Page")


def _pages_at(name: str, numbers: tuple[int, ...] | None) -> tuple[Page, ...]:
    fragment = _FRAGMENT.fullmatch(name)
    if fragment is not None and not Path(name).exists():
        name, numbers = fragment["path"], (int(fragment["number"]),)
    path = Path(name)
    if not path.is_file():
        raise DocvlmError(f"{name}: {'a folder' if path.is_dir() else 'no such file'}; give an image file or a PDF")
    try:
        with path.open("rb") as stream:
            head = stream.read(_HEAD)
    except OSError as error:
        raise DocvlmError(f"{name}: {error.strerror}; check its permissions") from error
    if is_pdf(head):
        return pdf_pages(name, numbers)
    found = FilePage(name)
    return (replace(found, size=_checked(found)),)


def _checked(page: StoredPage) -> tuple[int, int]:
    """Size of an image file that opens, and that holds one page."""
    size = check(page)
    with page.stream() as stream, Image.open(stream) as image:
        frames = getattr(image, "n_frames", 1) if image.format == "TIFF" else 1
    if frames > 1:
        raise DocvlmError(f"page {page.name}: a TIFF of {frames} pages; save it as a PDF, or one image a page")
    return size
