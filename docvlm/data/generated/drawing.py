"""What a generator hands back: the questions of a page, known at once, and how to draw it, done later in a worker."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True, slots=True)
class Question:
    """One question on a page, its accepted answers (the first is the one to learn) and the benchmark's own labels."""

    text: str
    answers: tuple[str, ...]
    types: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Drawing:
    """A page that is decided but not drawn: its kind, its questions, and the function that draws it."""

    kind: str
    questions: tuple[Question, ...]
    paint: Callable[[], Image]
