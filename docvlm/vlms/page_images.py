"""The pages of a batch as images, each opened once however many of its questions the batch holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from docvlm.errors import DocvlmError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from PIL.Image import Image

    from docvlm.data.example import Example, Page

MAX_RATIO = 200  # qwen-vl-utils' limit; held for every family, since beyond it no text survives the resize


def open_page(page: Page) -> Image:
    """The page upright and RGB. Raises `DocvlmError` where one side is over 200 times the other."""
    image = page.open()
    width, height = image.size
    if max(width, height) > MAX_RATIO * min(width, height):
        raise DocvlmError(
            f"page {page.name}: {width} x {height} pixels is a strip, over {MAX_RATIO}:1; cut it into pages first"
        )
    return image


def open_pages(examples: Sequence[Example], prepare: Callable[[Page], Image]) -> list[list[Image]]:
    """`prepare`d pages of each example, in order."""
    opened: dict[int, Image] = {}
    for page in (page for example in examples for page in example.pages):
        if id(page) not in opened:
            opened[id(page)] = prepare(page)
    return [[opened[id(page)] for page in example.pages] for example in examples]
