"""The recipe's speed on a CPU: pages of one size attend together, and blocks are compiled for fixed shapes.

The fast paths are those of every run (`docvlm.vlms.qwen2vl.attention`), without their choice by page size, which a
compiler cannot see through.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch

from docvlm.vlms.qwen2vl.attention import use_fast_paths


def mixed() -> AbstractContextManager[Any]:
    """bf16 autocast where the processor multiplies bf16 matrices in hardware (AMX); elsewhere steps are far slower."""
    info = Path("/proc/cpuinfo")
    return torch.autocast("cpu", torch.bfloat16, enabled=info.exists() and " amx_bf16" in info.read_text())


def fast_vision(net: Any) -> None:
    """Install the CPU forms on an embedded model that sees pages of one size a batch."""
    net.set_attn_implementation("eager")
    use_fast_paths(net)
    if net.config.model_type == "qwen2_vl":
        for block in net.model.visual.blocks:
            block.attn.forward = block.attn.equal_pages


def compile_blocks(net: Any) -> None:
    """Compile Qwen2-VL's blocks for fixed shapes: about 1.7 times the steps a second, a minute a new shape.

    Florence-2's are left as they are: five minutes for the first shape, and steps no faster (docs/LOG.md).
    """
    if net.config.model_type == "qwen2_vl":
        for block in [*net.model.visual.blocks, *net.model.language_model.layers]:
            block.compile(dynamic=False)
