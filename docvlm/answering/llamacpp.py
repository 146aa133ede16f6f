"""A folder that `formats=[gguf]` made, answering through llama.cpp.

Its server is asked for a completion of the whole prompt, with the pages as files. Pages are resized before: llama.cpp
keeps a page's proportions and fills up with black to multiples of a patch, where the model learned pages that are
stretched to them. It does not compose characters, so prompts are composed here.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from docvlm.answering.outside import Outside
from docvlm.vlms import forms

if TYPE_CHECKING:
    from PIL.Image import Image

    from docvlm.data.example import Example
    from docvlm.vlms.codec import Budget

TEXT, VISION = "model-q8_0.gguf", "mmproj-f32.gguf"
BESIDE = 512
"""Tokens of a context that are left for a question and its answer beside one page."""
_STEP = 256  # contexts are multiples of it


def context(page_tokens: int, other: int = BESIDE) -> int:
    """The least context for so many tokens of pages and others, in whole steps."""
    return -(-(page_tokens + other) // _STEP) * _STEP


def page_tokens(pixels: int, codec: Any) -> int:
    """Tokens of a page of so many pixels."""
    return int(pixels) // (codec.patch * codec.merge) ** 2


class LlamaCpp(Outside):
    """The memory of a context is taken at the start, so it starts again where a document needs a longer one.

    `confidence` is the mean of the tokens' probabilities, the end among them, but for tokens that end within a
    character, whose probabilities llama.cpp does not tell; 0 of an answer that is nothing else.
    """

    word, label = "llamacpp", "llama.cpp"
    forms, weights = forms.GGUF, ("*.gguf",)
    module, package = "xllamacpp", "xllamacpp"

    def _settings(self) -> Sequence[int]:
        return self._context, self.codec.longest  # a page has fewer tokens than there are positions

    def _load_codec(self, budget: Budget | None) -> None:
        super()._load_codec(budget)
        self._context = context(page_tokens(self.codec.budget.max_pixels, self.codec))

    def _prepared(self, example: Example, max_new_tokens: int) -> tuple[str, Sequence[Image]]:
        """Also sees to it that the context is long enough."""
        prompt, pages = super()._prepared(example, max_new_tokens)
        prompt = unicodedata.normalize("NFC", prompt)
        paged = sum(page_tokens(page.width * page.height, self.codec) for page in pages)
        others = len(self.codec.tokenizer(prompt)["input_ids"]) + max_new_tokens
        if paged + others > self._context:
            self.close()
            self._context = context(paged, others)
            self._start()
        return prompt, pages
