"""The pages that are timed: documents of one page, each with its first question, as files.

Distinct pages, because a page that was opened a moment ago is warmer than a user's. Drawn pages are written as PNG
first: nobody's latency includes drawing the page.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from docvlm.data.example import Example, Page
from docvlm.data.generated.page import DrawnPage
from docvlm.data.pages import FilePage
from docvlm.errors import DocvlmError


def alone(examples: Sequence[Example], most: int, folder: Path) -> list[Example]:
    """The first question of each of at most `most` one-page documents; drawn pages are written into `folder`.

    Raises `DocvlmError` where every document has several pages, since a latency per page needs single ones.
    """
    firsts = {example.document: example for example in reversed(examples) if len(example.pages) == 1}
    kept = [example for example in examples if firsts.get(example.document) is example][:most]
    if not kept:
        raise DocvlmError(
            f"none of {len({e.document for e in examples})} documents has a single page, which a latency per page "
            "needs; give benchmark=… with single pages"
        )
    return [replace(example, pages=(_stored(example, folder),)) for example in kept]


def _stored(example: Example, folder: Path) -> Page:
    page = example.pages[0]
    if not isinstance(page, DrawnPage):
        return page
    path = folder / f"{page.name}.png"
    image = page.open()
    image.save(path)
    return FilePage(str(path), image.size)


def sizes(examples: Sequence[Example]) -> list[tuple[int, int]]:
    """Width and height of each example's page, as its file has it."""
    return [example.pages[0].open().size for example in examples]


def repeated(examples: Sequence[Example], count: int) -> list[Example]:
    """`count` examples, from the start again where there are fewer."""
    return [examples[index % len(examples)] for index in range(count)]
