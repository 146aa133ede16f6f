"""Which pages of a document a model is shown, and whether it is told their numbers.

A model that reads several pages at once is shown all of them. One that reads a single page, or is to read at full size
what does not fit together, is shown the first page, or every page by itself: then the answer it is most confident of
stands. Saved with the weights, so that a question is asked as it was learned.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from docvlm.data.example import Example

ALL, FIRST, EACH, BEST = PAGES = ("all", "first", "each", "best")
NONE, RETRIEVER = "none", "colmodernvbert"
SELECTORS = (NONE, "text", RETRIEVER)


@dataclass(frozen=True, slots=True)
class Selection:
    """Who chooses the `pages` pages of a document that are read: one of `SELECTORS` (`docvlm.selection`).

    `checkpoint`: that of a retriever.
    """

    name: str = NONE
    pages: int = 1
    checkpoint: str = ""


@dataclass(frozen=True, slots=True)
class Reading:
    """How a document of several pages is read. `page_numbers`: each page comes after its number in the prompt.

    `pages` is one of `PAGES`:

        all     together, in one prompt
        first   the first alone
        each    one by one: an answer is learned from every page, and the most confident answer of a question stands
        best    as `each`, but an answer is learned only from the page that holds it

    `selection` comes before it: what it leaves out is not read at all.
    """

    pages: str = ALL
    page_numbers: bool = False
    selection: Selection = Selection()

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Reading:
        """From the dict that `dataclasses.asdict` made; what is absent is as it was before there was the key."""
        known = dict(record)
        return cls(**known | ({"selection": Selection(**known["selection"])} if "selection" in known else {}))

    @property
    def one_by_one(self) -> bool:
        """Whether a question is asked of every page by itself."""
        return self.pages in (EACH, BEST)

    def asked(self, example: Example) -> list[Example]:
        """What a model is shown to answer a question: one example, or one a page."""
        if self.pages == ALL:
            shown = [example]
        else:
            count = 1 if self.pages == FIRST else len(example.pages)
            shown = [only(example, place) for place in range(1, count + 1)]
        return [numbered(one) for one in shown] if self.page_numbers else shown

    def most(self, example: Example) -> list[Example]:
        """The most that a model may be shown of an example: the largest pages, whichever a selector chooses."""
        count = self.selection.pages
        if self.selection.name == NONE or len(example.pages) <= count:
            return self.asked(example)
        return self.asked(only(example, *_largest(example, count)))

    def learned(self, example: Example) -> list[Example]:
        """What a model is shown to learn an answer; nothing where `best` is not told which page holds it."""
        asked = self.asked(example)
        if self.pages != BEST:
            return asked
        return [one for one in asked if set(one.shown) & set(example.answer_pages)][:1]


ALL_PAGES = Reading()


def only(example: Example, *places: int) -> Example:
    """The example with these of its pages (from 1, as they stand in it), in the order of the document."""
    wanted = sorted(places)
    if 1 < len(example.pages) == len(wanted):
        return example
    numbers = page_numbers(example)
    pages = tuple(example.pages[place - 1] for place in wanted)
    shown = tuple(numbers[place - 1] for place in wanted)
    return replace(example, pages=pages, shown=shown, n_pages=example.n_pages or len(example.pages))


def page_numbers(example: Example) -> tuple[int, ...]:
    """The number of each of an example's pages in its document, from 1."""
    return example.shown or tuple(range(1, len(example.pages) + 1))


def numbered(example: Example) -> Example:
    """The example with the number of each page said before it."""
    return replace(example, numbers=page_numbers(example))


def _largest(example: Example, count: int) -> tuple[int, ...]:
    """The places of the example's largest pages, of which a size that is not known is the largest."""
    sizes = [getattr(page, "size", None) for page in example.pages]
    areas = [size[0] * size[1] if size else float("inf") for size in sizes]
    order = sorted(range(len(areas)), key=lambda place: -areas[place])
    return tuple(place + 1 for place in order[:count])


def recalled(examples: Iterable[Example]) -> tuple[int, int]:
    """Of how many questions the pages that are shown hold the answer, and how many say which pages do."""
    known = [example for example in examples if example.answer_pages]
    return sum(bool({*page_numbers(e)} & {*e.answer_pages}) for e in known), len(known)


def page_counts(examples: Iterable[Example]) -> str:
    """How many pages the documents have, in words; "" where all have one."""
    counts = sorted({(e.benchmark, e.document, e.pages): len(e.pages) for e in examples}.values())
    if not counts or counts[-1] == 1:
        return ""
    spread = f"{counts[0]} to {counts[-1]}" if counts[0] < counts[-1] else str(counts[0])
    return f"{len(counts)} documents of {spread} pages (median {_median(counts):g})"


def _median(values: Sequence[int]) -> float:
    middle = len(values) // 2
    return values[middle] if len(values) % 2 else (values[middle - 1] + values[middle]) / 2
