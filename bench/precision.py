"""What models are timed in: bf16 where the processor multiplies it in hardware, else float32, as a run chooses too.

Without such hardware bf16 is emulated: an AMD EPYC with AVX2 was measured at 0.5 GFLOP/s in bf16 and at 26 in float32,
which would time the emulation; one with avx512_bf16 at 880 and 215. Frozen weights are held in bf16 only where it is
computed in.
"""

from __future__ import annotations

import torch

from docvlm.config.precision import cpu_precision

MIXED = cpu_precision("its own")
HALF = "bf16" in MIXED
DTYPE = torch.bfloat16 if HALF else torch.float32
NAME = "bf16 autocast" if HALF else "float32"


def autocast() -> torch.autocast:
    """The context that a timed pass runs in."""
    return torch.autocast("cpu", DTYPE, enabled=HALF)
