"""A folder that `formats=[openvino]` made, answering through OpenVINO GenAI."""

from __future__ import annotations

from collections.abc import Sequence

from docvlm.answering.outside import Outside
from docvlm.vlms import forms


class OpenVino(Outside):
    """Its own shrinking of a page does not smooth. `confidence` is the geometric mean of the tokens' probabilities.

    The end is a token as well; the runtime tells the product of all only.
    """

    word, label = "openvino", "OpenVINO GenAI"
    forms, weights = forms.OPENVINO, ("*.xml", "*.bin")
    module, package = "openvino_genai", "openvino-genai"

    def _settings(self) -> Sequence[int]:
        return ()
