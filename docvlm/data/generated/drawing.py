"""What a generator hands back: a document's questions, known at once, and how to draw it, done later in a worker."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from docvlm.data.generated.values import Values

if TYPE_CHECKING:
    from PIL.Image import Image

_WORDS = "words"  # in `Image.info`, which is not saved with a picture


@dataclass(frozen=True, slots=True)
class Question:
    """One question on a page, its accepted answers (the first is the one to learn) and the benchmark's own labels.

    `page` is the number of the page that holds the answer, from 1; None in a document of one page.
    """

    text: str
    answers: tuple[str, ...]
    types: tuple[str, ...]
    page: int | None = None


@dataclass(frozen=True, slots=True)
class Drawing:
    """A document that is decided but not drawn: its kind, its questions, and the functions that draw its pages.

    `paint` draws the first page, `further` those after it, each on its own.
    """

    kind: str
    questions: tuple[Question, ...]
    paint: Callable[[], Image]
    further: tuple[Callable[[], Image], ...] = ()

    @property
    def pages(self) -> tuple[Callable[[], Image], ...]:
        """A function for each page, in order."""
        return (self.paint, *self.further)


def with_words(image: Image, words: Sequence[str]) -> Image:
    """The page, which says what was written on it: `text_of` reads it."""
    image.info[_WORDS] = "\n".join(words)
    return image


def text_of(image: Image) -> str:
    """What was written on a drawn page, piece by piece in the order of drawing."""
    found: str = image.info[_WORDS]
    return found


def spread(values: Values, candidates: Sequence[Sequence[Question]], most: int) -> tuple[Question, ...]:
    """One question on each page and a few more, at most `most`; `candidates` lists those of each page, in order."""
    chosen, left = [], []
    for number, questions in enumerate(candidates, start=1):
        first, *others = values.several([replace(question, page=number) for question in questions], len(questions))
        chosen.append(first)
        left += others
    return tuple(chosen + values.several(left, min(len(left), most - len(chosen), values.count(1, 3))))
