"""The part of a prompt that its question does not change: everything up to where the question begins.

A processor tokenises page and question together. Questions about one page share its work only where the part before the
question is the same for all of them, so that is looked at, not assumed: the end of what the processor made has to be
the question by itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from docvlm.errors import DocvlmError
from docvlm.vlms.chat.template import asked

_MARK = "\u2042"  # stands in no template
EMPTY = -1  # fills up the page parts of a batch to one length


@dataclass(frozen=True, slots=True)
class Rows:
    """Inputs that have a value a position, ids first, without `attention_mask`: (1 + others) x positions."""

    names: tuple[str, ...]
    values: Tensor

    def followed(self, more: Sequence[int]) -> Tensor:
        """With the ids `more` behind it, at which the other inputs stay as they were at the last position."""
        ids = torch.tensor([more], dtype=self.values.dtype)
        rest = self.values[1:, -1:].expand(-1, len(more))
        return torch.cat([self.values, torch.cat([ids, rest])], dim=1)


def question_text(processor: Any, pages: int, question: str, numbers: Sequence[int] = ()) -> str:
    """A prompt from where its question begins."""
    begins = asked(processor, pages, _MARK, numbers).index(_MARK)
    return asked(processor, pages, question, numbers)[begins:]


def page_part(rows: Rows, question: Sequence[int]) -> Rows:
    """`rows` of a prompt without its question. Raises `DocvlmError` where the question does not stand by itself."""
    if rows.values[0, -len(question) :].tolist() != list(question):
        raise DocvlmError("the tokenizer joins page and question, so questions cannot share one; set packing=off")
    return Rows(rows.names, rows.values[:, : -len(question)])


def wording(processor: Any) -> str:
    """8 hex digits of all that decides what stands around a page, for the name it is stored under."""
    text = repr((asked(processor, 1, "x"), processor.chat_template, len(processor.tokenizer)))
    return hashlib.blake2b(text.encode(), digest_size=4).hexdigest()
