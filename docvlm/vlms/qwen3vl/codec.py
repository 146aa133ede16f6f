"""Pages and questions as Qwen3-VL's tokens: as Qwen2-VL's, in patches of 16 pixels and another processor."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from transformers import Qwen3VLProcessor

from docvlm.vlms.qwen2vl.codec import Qwen2VLCodec, resized

if TYPE_CHECKING:
    from PIL.Image import Image

    from docvlm.data.example import Page
    from docvlm.vlms.codec import Budget

PATCH = 16  # the processor of a server is not there to be asked


class Qwen3VLCodec(Qwen2VLCodec):
    """Chat prompt `pages, question + instruction`; budget `min_pixels`/`max_pixels`, default the processor's own."""

    family = "qwen3vl"
    processors: ClassVar = {"qwen3_vl": Qwen3VLProcessor}


def served(page: Page, budget: Budget) -> Image:
    """The page as a server is sent it: its own processor leaves it as it is, bit for bit."""
    return resized(page, budget, PATCH)
