"""How many tokens a page of some size becomes, without opening it.

Transformers has the arithmetic of most processors in a method for servers (`_get_num_multimodal_tokens`), which is not
public: it is used where it agrees with what the processor really makes of three blank pages, up to a constant (tags
around a page), and blank pages are measured one size after another where it does not. Most processors treat the pages
of one prompt each by itself; where three blank pages together are not the sum of each (LLaVA-OneVision cuts only a page
that is alone), prompts are measured with all their pages.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from PIL import Image

from docvlm.vlms.chat.template import asked

Size = tuple[int, int]
"""Width and height of a page in pixels."""
_TRIED = ((64, 64), (330, 470), (1100, 700))  # the second is a page in portrait, the third a slide
_LARGE = ((2000, 2000), (1700, 2200), (2200, 1700), (1200, 2400), (2400, 1200))


class PageTokens:
    """Tokens of pages in a prompt, all that the processor writes for them."""

    def __init__(self, processor: Any) -> None:
        self.processor = processor
        self._known: dict[tuple[Size, ...], int] = {}

    def of(self, width: int, height: int) -> int:
        """Tokens of a page of this size, alone in a prompt. Raises `ValueError` where the processor takes none such."""
        size = (width, height)
        if (size,) not in self._known:
            offset = self._offset
            self._known[size,] = self._measured(size) if offset is None else self._told(size) + offset
        return self._known[size,]

    def together(self, sizes: Sequence[Size | None]) -> int:
        """Tokens of the pages of one prompt; one of unknown size, None, counts as a large one of the usual shapes."""
        pages = tuple(self._largest if size is None else size for size in sizes)
        if len(pages) == 1 or self._each_by_itself:
            return sum(self.of(*page) for page in pages)
        if pages not in self._known:
            self._known[pages] = self._measured(*pages)
        return self._known[pages]

    @cached_property
    def _largest(self) -> Size:
        return max(_LARGE, key=lambda size: self.of(*size))

    @cached_property
    def _each_by_itself(self) -> bool:
        """Whether pages of one prompt have the tokens that each has alone."""
        return self._measured(*_TRIED) == sum(self.of(*size) for size in _TRIED)

    @cached_property
    def _offset(self) -> int | None:
        """What the arithmetic leaves out; None where there is none, or it does not hold."""
        if not hasattr(self.processor, "_get_num_multimodal_tokens"):
            return None
        try:
            apart = {self._measured(size) - self._told(size) for size in _TRIED}
        except (AttributeError, KeyError, NotImplementedError, TypeError):
            return None
        return apart.pop() if len(apart) == 1 else None

    def _told(self, size: Size) -> int:
        width, height = size
        return int(self.processor._get_num_multimodal_tokens(image_sizes=[(height, width)])["num_image_tokens"][0])

    def _measured(self, *sizes: Size) -> int:
        text = asked(self.processor, len(sizes), "")
        pages = [Image.new("RGB", size, "white") for size in sizes]
        whole = self.processor(text=[text], images=[pages], add_special_tokens=False)["input_ids"][0]
        return len(whole) - len(self.processor.tokenizer(text, add_special_tokens=False)["input_ids"]) + len(pages)
