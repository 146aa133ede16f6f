"""Which runtime answers from a folder that Transformers does not read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from docvlm.answering.llamacpp import LlamaCpp
from docvlm.answering.openvino import OpenVino, OpenVinoSteps
from docvlm.vlms import FAMILIES, forms, loading

if TYPE_CHECKING:
    from docvlm.answering.outside import Outside


def of(record: dict[str, Any]) -> type[Outside] | None:
    """By the `docvlm.json` of the folder; None where Transformers reads it."""
    word = loading.form(record)
    if word in forms.GGUF:
        return LlamaCpp
    if word in forms.OPENVINO:
        return OpenVino if FAMILIES[record["family"]].genai else OpenVinoSteps
    return None
