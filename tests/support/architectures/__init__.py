"""Tiny random checkpoints of model types that docvlm does not know by name, complete with processor and chat template.

Each keeps what sets its type apart: how a page is cut, which tokens stand around it, what its tokenizer adds, how a
turn ends, what `generation_config.json` says. Geometry and vocabulary are as small as they can be.
"""

from __future__ import annotations

import tempfile
from functools import lru_cache
from pathlib import Path

from tests.support.architectures.gemma import GEMMA
from tests.support.architectures.idefics import IDEFICS
from tests.support.architectures.ocr import OCR
from tests.support.architectures.others import OTHERS
from tests.support.architectures.parts import Architecture
from tests.support.architectures.qwen import QWEN

ARCHITECTURES: dict[str, Architecture] = {entry.model_type: entry for entry in (*QWEN, *IDEFICS, *OCR, *OTHERS, *GEMMA)}


@lru_cache
def checkpoint(model_type: str) -> Path:
    """A folder with the type's tiny checkpoint, written once a process."""
    folder = Path(tempfile.mkdtemp(prefix=f"docvlm-{model_type}-"))
    ARCHITECTURES[model_type].build(folder)
    return folder


__all__ = ["ARCHITECTURES", "Architecture", "checkpoint"]
