"""Model families behind one protocol (`docvlm.vlms.base`), found by the word of the command line."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from docvlm.errors import DocvlmError

if TYPE_CHECKING:
    from docvlm.vlms.base import VLM

REVISION = 1
"""Goes up with every change of this room that gives other numbers (`docvlm.runs.code_version`)."""
_CLASSES = {"qwen2vl": "Qwen2VL", "florence2": "Florence2"}
FAMILIES = tuple(_CLASSES)


def load_family(family: str) -> type[VLM]:
    """The class of a family. Imports transformers, so it is called where weights are needed and not before."""
    if family not in _CLASSES:
        raise DocvlmError(f"model.family={family!r} is not known: choose one of {', '.join(FAMILIES)}")
    vlm: type[VLM] = getattr(import_module(f"docvlm.vlms.{family}.model"), _CLASSES[family])
    return vlm
