"""An answer as it is handed out: its text, and what one needs to know before relying on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer to one question about the pages of one document; `str(answer)` is its text.

    `pages`: names of the pages it was read from (`contract.pdf#page=2`). `confidence`: mean probability (0 to 1) that
    the model gave to the tokens of the answer and its end; it ranks answers, and nothing says that answers of 0.9 are
    right nine times in ten. `tokens`: how many were generated. `truncated`: `max_new_tokens` cut the answer.
    `latency_s`: seconds from opening the pages to the decoded text, over the questions that shared them. `page`: the
    number (from 1) of the page it was read from, None where all pages were read together.
    """

    text: str
    question: str
    pages: tuple[str, ...]
    confidence: float
    tokens: int
    truncated: bool
    latency_s: float
    page: int | None = None

    def __str__(self) -> str:
        return self.text

    @property
    def measured(self) -> dict[str, Any]:
        """What a record says beside the text, probability and seconds rounded."""
        return {
            "confidence": round(self.confidence, 4),
            "tokens": self.tokens,
            "truncated": self.truncated,
            "latency_s": round(self.latency_s, 6),
            **({} if self.page is None else {"page": self.page}),
        }
