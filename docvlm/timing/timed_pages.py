"""The pages that are timed: one of each document with its first question, as files.

A latency is of a page. Documents of one page are taken; where there are none, those of several, each with the page
that holds the answer, or its first.

Distinct pages, because a page that was opened a moment ago is warmer than a user's. Drawn pages are written as PNG
first: nobody's latency includes drawing the page.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from docvlm.data.example import Example, Page
from docvlm.data.generated.drawing import text_of
from docvlm.data.generated.page import DrawnPage
from docvlm.data.pages import FilePage
from docvlm.data.reading import only, page_numbers


def alone(examples: Sequence[Example], most: int, folder: Path) -> list[Example]:
    """The first question of each of at most `most` documents, about one page; drawn pages are written into `folder`."""
    single = [example for example in examples if len(example.pages) == 1] or [_one_page(one) for one in examples]
    firsts = {example.document: example for example in reversed(single)}
    kept = [example for example in single if firsts[example.document] is example][:most]
    return [replace(example, pages=(_stored(example.pages[0], folder),)) for example in kept]


def _one_page(example: Example) -> Example:
    held = [place for place, number in enumerate(page_numbers(example), 1) if number in example.answer_pages]
    return only(example, held[0] if held else 1)


def whole(examples: Sequence[Example], most: int, folder: Path) -> list[Example]:
    """The first question of each of at most `most` documents, about all its pages; drawn ones are written as above."""
    firsts = {example.document: example for example in reversed(examples)}
    kept = [example for example in examples if firsts[example.document] is example][:most]
    return [replace(one, pages=tuple(_stored(page, folder) for page in one.pages)) for one in kept]


@dataclass(frozen=True, slots=True)
class _WrittenPage(FilePage):
    """A drawn page in a file, beside its text."""

    words: str = ""

    def text(self) -> str:
        """What was drawn."""
        return self.words


def _stored(page: Page, folder: Path) -> Page:
    if not isinstance(page, DrawnPage):
        return page
    path = folder / f"{page.name}.png"
    image = page.open()
    image.save(path)
    return _WrittenPage(str(path), image.size, words=text_of(image))


def sizes(examples: Sequence[Example]) -> list[tuple[int, int]]:
    """Width and height of each example's page, as its file has it."""
    return [example.pages[0].open().size for example in examples]


def repeated(examples: Sequence[Example], count: int) -> list[Example]:
    """`count` examples, from the start again where there are fewer."""
    return [examples[index % len(examples)] for index in range(count)]
