"""The pages that are timed: one of each document with its first question, as files.

A latency is of a page. Documents of one page are taken; where there are none, those of several, each with the page
that holds the answer, or its first.

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
from docvlm.data.reading import only, page_numbers


def alone(examples: Sequence[Example], most: int, folder: Path) -> list[Example]:
    """The first question of each of at most `most` documents, about one page; drawn pages are written into `folder`."""
    single = [example for example in examples if len(example.pages) == 1] or [_one_page(one) for one in examples]
    firsts = {example.document: example for example in reversed(single)}
    kept = [example for example in single if firsts[example.document] is example][:most]
    return [replace(example, pages=(_stored(example, folder),)) for example in kept]


def _one_page(example: Example) -> Example:
    held = [place for place, number in enumerate(page_numbers(example), 1) if number in example.answer_pages]
    return only(example, held[0] if held else 1)


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
