"""What a user says to a chat model: so many pages, then the question."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def user(question: str, pages: int, numbers: Sequence[int] = ()) -> dict[str, Any]:
    """The user's message of a chat, in the form chat templates read; `numbers` are said before their pages."""
    return {"role": "user", "content": [*_pages(pages, numbers), {"type": "text", "text": question}]}


def _pages(pages: int, numbers: Sequence[int]) -> list[dict[str, str]]:
    image = {"type": "image"}
    if not numbers:
        return [image] * pages
    return [part for number in numbers for part in ({"type": "text", "text": f"Page {number}:"}, image)]
