"""`merged`: one Transformers checkpoint in the layout of the hub, with the adapter added into the weights.

vLLM and whatever else reads the base's own folder reads it. Merged in float32 and stored in the run's dtype; that
rounding is all that can differ from the run. Costs the size of the checkpoint on disk and once in memory as float32.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from docvlm.exporting.source import Source

NEEDS = ""


def missing(source: Source) -> str | None:
    """Why this run or this machine cannot have it: there is no such reason."""
    return None


def write(source: Source, folder: Path) -> None:
    """Weights, config, processor and record into a new `folder`."""
    source.write_whole(folder)
