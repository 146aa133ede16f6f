"""How long examples are before anything is opened, and batches that hold as many pages as fit a budget of tokens.

A batch's cost is its padded tokens: rows times the longest. Within a window of the shuffled epoch, documents of like
length are put together, then the batches of the window are shuffled: little padding, and still another mixture each
epoch. Pure functions of (seed, epoch); one pass in Python over the documents, well under a second for 40 000.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from docvlm.data.example import Example

WINDOW = 512  # documents that are sorted by length together: enough to fill batches evenly, few enough to mix


@dataclass(frozen=True)
class Lengths:
    """Tokens of each example: of its pages, with what stands before the question, and of question and answer.

    `shared`: a row of a batch is a document with all its questions (a decoder); else it is one question with its pages.
    `apart`: a shared document is a row of its pages, and a row for each of its questions. `answers`: what of `own` the
    answers are, where they are padded apart from the questions.
    """

    pages: np.ndarray
    own: np.ndarray
    shared: bool
    apart: bool = False
    answers: np.ndarray | None = None

    def useful(self, documents: Sequence[np.ndarray]) -> int:
        """Tokens of a batch without padding; `documents` holds the indices of its examples, document by document."""
        rows = 1 if self.shared else None
        return sum(int(self.pages[d[:rows]].sum() + self.own[d].sum()) for d in documents)

    def padded(self, documents: Sequence[np.ndarray]) -> int:
        """Tokens of a batch as it is computed."""
        return Fill(self).extended(documents).tokens


@dataclass(frozen=True)
class Fill:
    """How full a batch is: documents and questions, the longest pages in it, the longest rest of a row."""

    lengths: Lengths
    documents: int = 0
    questions: int = 0
    pages: int = 0
    own: int = 0
    answers: int = 0

    @property
    def tokens(self) -> int:
        own = self.own + self.answers
        if self.lengths.shared and self.lengths.apart:
            return self.documents * self.pages + self.questions * own
        return (self.documents if self.lengths.shared else self.questions) * (self.pages + own)

    def extended(self, documents: Sequence[np.ndarray]) -> Fill:
        """With more documents in it."""
        lengths, found = self.lengths, self
        for document in documents:
            own, answers = lengths.own[document], 0
            if lengths.answers is not None:
                own, answers = own - lengths.answers[document], int(lengths.answers[document].max())
            found = Fill(
                lengths,
                found.documents + 1,
                found.questions + len(document),
                max(found.pages, int(lengths.pages[document].max())),
                max(found.own, int(own.sum() if lengths.shared and not lengths.apart else own.max())),
                max(found.answers, answers),
            )
        return found


def page_groups(examples: Sequence[Example]) -> list[int]:
    """A number for each example, the same where the pages are."""
    numbers: dict[tuple[str, ...], int] = {}
    return [numbers.setdefault(tuple(page.name for page in example.pages), len(numbers)) for example in examples]


def documents(order: np.ndarray, groups: np.ndarray) -> list[np.ndarray]:
    """An epoch's order cut where the group changes: the questions of one document, side by side."""
    return np.split(order, np.flatnonzero(np.diff(groups[order])) + 1) if len(order) else []


def by_tokens(
    order: np.ndarray, groups: np.ndarray, lengths: Lengths, budget: int, random: np.random.Generator
) -> list[np.ndarray]:
    """Batches of at most `budget` padded tokens. A document that is over it alone is a batch alone."""
    whole = documents(order, groups)
    batches: list[np.ndarray] = []
    for start in range(0, len(whole), WINDOW):
        window = whole[start : start + WINDOW]
        window.sort(key=lambda document: (int(lengths.pages[document[0]]), int(lengths.own[document].sum())))
        filled: list[list[np.ndarray]] = []
        full = Fill(lengths)
        for document in window:
            full = full.extended([document])
            if not filled or full.tokens > budget:
                filled.append([])
                full = Fill(lengths).extended([document])
            filled[-1].append(document)
        batches += [np.concatenate(filled[place]) for place in random.permutation(len(filled))]
    return batches


def cut_to(batches: list[np.ndarray], count: int) -> list[np.ndarray]:
    """The same examples in `count` batches, the largest cut in two: a trainer counts the same steps every epoch."""
    batches = list(batches)
    while len(batches) < count:
        place = max(range(len(batches)), key=lambda number: len(batches[number]))
        batch, half = batches[place], math.ceil(len(batches[place]) / 2)
        if len(batch) < 2:
            break  # fewer examples than steps: the caller repeats some
        batches[place : place + 1] = [batch[:half], batch[half:]]
    return batches


def cost(example: Example, group: int) -> tuple[int, ...]:
    """Sorts examples by what a batch with them costs: pages, their pixels, then the questions of one page together."""
    sizes = [size for page in example.pages if (size := getattr(page, "size", None))]
    return len(example.pages), sum(width * height for width, height in sizes), group, len(example.question)
