"""What happens when somebody uploads, chooses a sample, turns a page or asks: plain functions, without Gradio.

Generation is not safe to run twice at once here; whoever calls `answers` and `asked` lets one in at a time, as the
page does with its queue.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from docvlm.errors import DocvlmError
from docvlm.serving.app import markup
from docvlm.serving.app import models as contenders
from docvlm.serving.app import samples as sheets

if TYPE_CHECKING:
    from PIL.Image import Image

    from docvlm.data.example import Page
    from docvlm.serving.app.models import Contender, Reply
    from docvlm.serving.app.samples import Sample, Sheet

MOST_QUESTIONS = 16
LONGEST_QUESTION = 500
"""Characters."""
WHOLE = 0
"""The number that means all pages of a document together."""


@dataclass(frozen=True)
class Desk:
    """The models, the samples and the limits behind one page in the browser. `most_mb`: megabytes of an upload."""

    models: tuple[Contender, ...]
    samples: tuple[Sample, ...]
    most_mb: float
    max_new_tokens: int | None = None

    def upload(self, path: str) -> Sheet:
        """An uploaded file. Raises `DocvlmError` where it is refused."""
        return sheets.opened(path, self.most_mb)

    def show(self, sheet: Sheet, number: int) -> Image:
        """Page `number`, from 1, as a picture. Raises `DocvlmError` where it cannot be drawn."""
        (page,) = _pages(sheet, number)
        return sheets.picture(page)

    def answers(self, sheet: Sheet | None, number: int, text: str) -> str:
        """The answers to the questions in `text`, one a line, as HTML; or what is wrong, as HTML.

        `number`: the page that is asked, from 1, or `WHOLE`.
        """
        try:
            if sheet is None:
                raise DocvlmError("no page yet: choose a sample, or upload an image or a PDF")
            replies = self._replies(sheet, number, text)
        except DocvlmError as error:
            return markup.notice(str(error))
        return markup.answers([one.title for one in self.models], replies, sheet.answers)

    def asked(self, path: str, number: int, text: str) -> list[dict[str, Any]]:
        """The same for programs: a record a question, with a record a model. Raises `DocvlmError`."""
        replies = self._replies(self.upload(path), number, text)
        return [
            {
                "question": reply.question,
                "answers": [
                    {"model": one.title, "answer": answer.text, **answer.measured}
                    for one, answer in zip(self.models, reply.answers, strict=True)
                ],
            }
            for reply in replies
        ]

    def _replies(self, sheet: Sheet, number: int, text: str) -> list[Reply]:
        """A reply a question; its answers name the page they were read from, where the document has several."""
        replies = contenders.ask(self.models, _pages(sheet, number), questions(text), self.max_new_tokens)
        if number == WHOLE and sheet.count > 1:
            return replies
        page = number if sheet.count > 1 else None
        return [replace(one, answers=tuple(replace(answer, page=page) for answer in one.answers)) for one in replies]


def questions(text: str) -> Sequence[str]:
    """The lines of `text` that are not blank. Raises `DocvlmError` for none, too many, or one that is too long."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        raise DocvlmError("no question yet: write one, such as Who has to pay?")
    if len(lines) > MOST_QUESTIONS:
        raise DocvlmError(f"{len(lines)} questions, and at most {MOST_QUESTIONS} are asked at once; ask the rest after")
    if (longest := max(map(len, lines))) > LONGEST_QUESTION:
        raise DocvlmError(f"a question of {longest} characters, and at most {LONGEST_QUESTION} are read; shorten it")
    return lines


def _pages(sheet: Sheet, number: int) -> tuple[Page, ...]:
    """Page `number` of a sheet, or all. Raises `DocvlmError` where there is none."""
    if number == WHOLE:
        return sheet.pages
    if not 1 <= number <= sheet.count:
        has = "one page" if sheet.count == 1 else f"pages 1 to {sheet.count}"
        raise DocvlmError(f"{sheet.name}: has {has}, so there is no page {number}; choose another page")
    return (sheet.pages[number - 1],)
