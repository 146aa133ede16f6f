"""What a step computes: FLOPs of its matrix products, convolutions and attention, forward and backward.

They bound what sharing can save: where all of them took equal time, two ways to take a step would differ by this ratio.
Padding and what is computed to be masked count, as the processor computes it. Norms, activations and the optimizer do
not. PyTorch's counter (2.15) knows neither the attention kernel of a CPU nor `addmm_`, so attention is taken apart into
its products meanwhile, and docvlm's own operations write theirs by `addmm(out=)`.
"""

from __future__ import annotations

from collections.abc import Callable

from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


def flops(step: Callable[[], object]) -> int:
    """FLOPs of one call of `step`, its backward pass among them."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        step()
    return counter.get_total_flops()
