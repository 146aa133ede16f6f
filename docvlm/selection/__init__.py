"""Which pages of a long document are worth reading: a selector ranks them for a question, the model reads the best.

    selector=text             BM25 over the text layer of PDFs
    selector=colmodernvbert   a late-interaction retriever of Transformers, over pictures of pages

Neither is trained here. What is chosen depends on question and pages alone: it is the same in training and evaluation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from docvlm.data.reading import NONE, Selection, only
from docvlm.errors import DocvlmError

if TYPE_CHECKING:
    from docvlm.data.example import Example, Page

Choose = Callable[[Sequence["Example"]], list["Example"]]


class Selector(Protocol):
    """What ranks pages."""

    def scores(self, question: str, pages: Sequence[Page]) -> list[float] | None:
        """How well each page fits a question, more is better; None where nothing is known of any of them."""


def chooser(selection: Selection, *, offline: bool) -> Choose | None:
    """What cuts examples to the pages that a selector hands on; None without one.

    Raises `DocvlmError` where the selector cannot be had.
    """
    return None if selection.name == NONE else choose_by(ranking(selection, offline=offline), selection)


def choose_by(selector: Selector, selection: Selection) -> Choose:
    """What cuts examples to the pages that a loaded selector ranks best."""
    return lambda examples: [_chosen(example, selector, selection) for example in examples]


def ranking(selection: Selection, *, offline: bool) -> Selector:
    """The selector, loaded. What it made of pages serves any number that it hands on. Raises as `chooser` does."""
    if selection.name == "text":
        from docvlm.selection.text import TextSelector

        return TextSelector()
    from docvlm.selection.colmodernvbert import Retriever

    return Retriever.load(selection.checkpoint, offline=offline)


def _chosen(example: Example, selector: Selector, selection: Selection) -> Example:
    """The example with the best `selection.pages` of its pages; of equal ones the first."""
    if len(example.pages) <= selection.pages:
        return example
    scores = selector.scores(example.question, example.pages)
    if scores is None:
        raise DocvlmError(
            f"selector={selection.name}: no page of {example.document} has text (images and scans have none); give PDFs"
            " with a text layer, or selector=colmodernvbert"
        )
    ranked = sorted(range(len(scores)), key=lambda place: (-scores[place], place))
    return only(example, *(place + 1 for place in ranked[: selection.pages]))
