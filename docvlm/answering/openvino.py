"""A folder that `formats=[openvino]` made, answering through OpenVINO GenAI, or through OpenVINO alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from docvlm.answering.outside import Outside
from docvlm.errors import DocvlmError
from docvlm.vlms import forms, saved
from docvlm.vlms.codec import Budget

if TYPE_CHECKING:
    from PIL.Image import Image

    from docvlm.data.example import Example


class OpenVino(Outside):
    """Its own shrinking of a page does not smooth. `confidence` is the geometric mean of the tokens' probabilities.

    The end is a token as well; the runtime tells the product of all only.
    """

    word, label = "openvino", "OpenVINO GenAI"
    forms, weights = forms.OPENVINO, ("*.xml", "*.bin")
    module, package = "openvino_genai", "openvino-genai"

    def _settings(self) -> Sequence[int]:
        return ()


class OpenVinoSteps(Outside):
    """A family that GenAI has no pipeline for: an encoder, and a decoder that is asked for one token after the other.

    `confidence` is the mean of the tokens' probabilities, the end among them, as torch's is. The graphs read pages of
    one size.
    """

    word, label = "openvino_steps", "OpenVINO"
    forms, weights = forms.OPENVINO, ("*.xml", "*.bin")
    module, package = "openvino", "openvino"

    def _settings(self) -> Sequence[int]:
        return ()

    def _load_codec(self, budget: Budget | None) -> None:
        own = Budget(**saved.read(self.folder)["budget"])
        if budget is not None and budget != own:
            raise DocvlmError(
                f"budget.height={budget.height}, budget.width={budget.width}: the graphs in {self.folder} read pages of"
                f" {own.height} x {own.width} only; leave the budget out, or give an export in the format merged"
            )
        super()._load_codec(None)

    def _prepared(self, example: Example, max_new_tokens: int) -> tuple[Any, Sequence[Image]]:
        """Also no more tokens than the decoder has positions for."""
        ids, pages = self.codec.ids_and_pages(example)
        start, ends = self.codec.start, self.codec.ends
        most = self.codec.longest - len(start) + 1  # the last one is not given to it
        return {"ids": ids, "start": start, "ends": ends, "most": most}, pages

    def _text(self, found: Mapping[str, Any]) -> str:
        (text,) = self.codec.texts(torch.tensor([found["ids"]]))
        return str(text)
