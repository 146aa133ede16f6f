"""The frozen records the stages exchange: a page, and a question about pages.

Everything between a data set on disk and a tensor is an `Example`. It holds no pixels: a `Page` knows how to open
itself, so records are cheap to shuffle, split, hash and send to a worker, and a page is decoded only where it is used.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor


@runtime_checkable
class Page(Protocol):
    """One image of a document. `name` identifies it in messages and reports; `open` decodes it, upright and RGB."""

    @property
    def name(self) -> str:
        """A file path, a row of a data set, or the seed a generated page is drawn from."""
        ...

    def open(self) -> Image:
        """Decode the page: EXIF orientation applied, mode RGB. Raises `DocvlmError` naming the page if it is broken."""
        ...


@dataclass(frozen=True, slots=True)
class Example:
    """One question on one document, with its accepted answers.

    `document` groups questions: splits, limits and intervals never cut a document in two. `benchmark` is the label a
    result carries (its name, with `-generated` where the pages were drawn). `instruction` is the benchmark's own
    wording that follows the question for families that take one. `answer_pages` are the numbers of the pages that hold
    the answer, from 1 in the order of `pages`, empty where nobody says. `language` is that of the question (ISO 639-1,
    such as "ko"), "" where nobody says. `where` is the file and line it was read from, "" for a drawn page; it is for
    messages and no part of what an example is.

    Where `pages` are only some of the document's `n_pages`, or one that is asked by itself, `shown` has their numbers
    in it, from 1. `numbers` are those that a prompt says before each page, empty where it says none.
    """

    question_id: str
    question: str
    answers: tuple[str, ...]
    document: str
    pages: tuple[Page, ...]
    benchmark: str
    instruction: str = ""
    question_types: tuple[str, ...] = ()
    document_type: str = ""
    answer_pages: tuple[int, ...] = ()
    language: str = ""
    where: str = field(default="", compare=False)
    shown: tuple[int, ...] = ()
    n_pages: int = 0
    numbers: tuple[int, ...] = ()

    @property
    def target(self) -> str:
        """The answer to learn: the one most annotators gave, the first of them on a tie."""
        return Counter(self.answers).most_common(1)[0][0]


@dataclass(frozen=True)
class EvalBatch:
    """What one evaluation step needs: prompts to generate from, the same examples with labels, and the examples."""

    examples: tuple[Example, ...]
    prompts: dict[str, Tensor]
    labelled: dict[str, Tensor]
