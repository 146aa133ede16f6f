"""`int4`: the merged model with the linear layers of its language side in 4 bits, for a CUDA GPU (bitsandbytes, NF4).

NF4 with double quantisation, as QLoRA has it (Dettmers et al. 2023, arXiv:2305.14314); products are computed in the
run's dtype. Scales come from the weights alone: no calibration data.
"""

from __future__ import annotations

from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from docvlm.answering import answer
from docvlm.exporting import quantised
from docvlm.vlms.quant import nf4

if TYPE_CHECKING:
    from docvlm.exporting.source import Source

NEEDS = "bitsandbytes"


def missing(source: Source) -> str | None:
    """Why this run or this machine cannot have it; None where it can."""
    if not torch.cuda.is_available():
        return "it is for CUDA GPUs, and there is none here"
    return None if find_spec(NEEDS) else "it needs bitsandbytes: pip install 'docvlm[gpu]'"


def write(source: Source, folder: Path) -> None:
    """Weights, config, processor and record into a new `folder`."""
    quantised.write(source, folder, "int4", partial(nf4, source.dtype), device_map={"": answer.device()})
