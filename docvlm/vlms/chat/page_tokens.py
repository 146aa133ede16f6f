"""How many tokens a page of some size becomes, without opening it.

Transformers has the arithmetic of most processors in a method for servers (`_get_num_multimodal_tokens`), which is not
public: it is used where it agrees with what the processor really makes of three blank pages, up to a constant (tags
around a page), and blank pages are measured one size after another where it does not.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

from PIL import Image

from docvlm.vlms.chat.template import asked

_TRIED = ((64, 64), (330, 470), (1100, 700))  # width x height; the second is a page in portrait, the third a slide
_LARGE = ((2000, 2000), (1700, 2200), (2200, 1700), (1200, 2400), (2400, 1200))


class PageTokens:
    """Tokens of a page in a prompt, all that the processor writes for it. `many` is told the pages of one prompt."""

    def __init__(self, processor: Any) -> None:
        self.processor = processor
        self._known: dict[tuple[int, int], int] = {}

    def of(self, width: int, height: int) -> int:
        """Tokens of a page of this size. Raises `ValueError` where the processor takes none such."""
        size = (width, height)
        if size not in self._known:
            offset = self._offset
            self._known[size] = self._measured(size) if offset is None else self._told(size) + offset
        return self._known[size]

    @cached_property
    def most(self) -> int:
        """Tokens of a page whose size nobody knows: as many as a large one of the usual shapes has."""
        return max(self.of(*size) for size in _LARGE)

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

    def _told(self, size: tuple[int, int]) -> int:
        width, height = size
        return int(self.processor._get_num_multimodal_tokens(image_sizes=[(height, width)])["num_image_tokens"][0])

    def _measured(self, size: tuple[int, int]) -> int:
        text = asked(self.processor, 1, "")
        page = Image.new("RGB", size, "white")
        whole = self.processor(text=[text], images=[[page]], add_special_tokens=False)["input_ids"][0]
        return len(whole) - len(self.processor.tokenizer(text, add_special_tokens=False)["input_ids"]) + 1
