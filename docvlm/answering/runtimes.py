"""Which runtime answers from a folder that Transformers does not read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from docvlm.answering.llamacpp import LlamaCpp
from docvlm.answering.openvino import OpenVino

if TYPE_CHECKING:
    from docvlm.answering.outside import Outside

RUNTIMES: dict[str, type[Outside]] = {form: runtime for runtime in (OpenVino, LlamaCpp) for form in runtime.forms}
"""By the format of the folder (`docvlm.vlms.forms.OUTSIDE`)."""
