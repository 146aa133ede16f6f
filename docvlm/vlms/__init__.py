"""Model families behind one protocol (`docvlm.vlms.base`), found by the word of the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from docvlm.vlms.families import FAMILIES, imported

if TYPE_CHECKING:
    from docvlm.vlms.base import VLM

REVISION = 1
"""Goes up with every change of this room that gives other numbers (`docvlm.runs.code_version`)."""


def load_family(family: str) -> type[VLM]:
    """The class of a family. Imports transformers, so it is called where weights are needed and not before.

    Raises `DocvlmError` for a family that nobody has registered.
    """
    vlm: type[VLM] = imported(FAMILIES[family].model)
    return vlm
