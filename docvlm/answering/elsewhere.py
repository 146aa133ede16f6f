"""A model that is no module of this process: it is handed pages and questions and answers with text."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from docvlm.answering.chat import Reply
    from docvlm.data.example import Example
    from docvlm.data.reading import Reading

    Answered = list[tuple[Example, Reply]]


class Elsewhere(ABC):
    """What evaluation asks of such a model."""

    @property
    @abstractmethod
    def described(self) -> dict[str, Any]:
        """Everything on this side that decides an answer."""

    @abstractmethod
    def answers(self, examples: Sequence[Example], max_new_tokens: int) -> Iterator[Answered]:
        """Answers to all examples, in any order, some at a time. Raises `DocvlmError` where it gives none."""

    @abstractmethod
    def check(self, reading: Reading) -> None:
        """Raise `DocvlmError` for a way to read documents that it cannot be asked in."""
