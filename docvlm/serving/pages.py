"""What a caller calls a page, as the pages of one document: a path, an image in memory, bytes, or a `Page`.

Headers are looked at here, so that a wrong file is refused before weights load; pixels are read where they are used.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from PIL import Image

from docvlm.data.example import Page
from docvlm.data.pixels import upright, upright_size
from docvlm.data.sources.locate import named, of_bytes
from docvlm.errors import DocvlmError

PageLike: TypeAlias = "str | os.PathLike[str] | bytes | Image.Image | Page"
"""What `docvlm.data.sources.locate` reads, an encoded file, a Pillow image, or a page of docvlm's own."""

STDIN = "-"


@dataclass(frozen=True, slots=True, eq=False)
class ImagePage:
    """An image in memory, decoded. Two of them are one page only where they are one object."""

    name: str
    image: Image.Image

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels, upright."""
        return upright_size(self.image)

    def open(self) -> Image.Image:
        """The image upright and RGB. Raises `DocvlmError` for one whose values have no range that is known."""
        try:
            return upright(self.image)
        except ValueError as error:
            raise DocvlmError(f"page {self.name}: {error}") from error


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


def _pages(page: PageLike, numbers: tuple[int, ...] | None) -> tuple[Page, ...]:
    if isinstance(page, Image.Image):
        return (ImagePage(getattr(page, "filename", "") or "image", page),)
    if isinstance(page, bytes):
        return of_bytes("bytes", page, numbers)
    if isinstance(page, str | os.PathLike):
        name = os.fspath(page)
        if os.path.isdir(name):
            raise DocvlmError(f"{name}: a folder; give an image file or a PDF")
        return named(name, Path(), "image", numbers)
    if isinstance(page, Page):
        return (page,)
    raise DocvlmError(f"page {page!r}: {type(page).__name__} is no page; give a path, bytes, a Pillow image or a Page")
