"""Muon in float32, matrices of one shape together (Jordan 2024, https://kellerjordan.github.io/posts/muon/).

`torch.optim.Muon` orthogonalises in bf16, one matrix after the other: more than half of a step where the processor has
no bf16 multiplication. Updates are those of PyTorch's, but for bf16's rounding (a test compares them).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor

STEPS = 5
COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the quintic, chosen by Jordan for its slope at zero
TINY = 1e-7


class Muon(torch.optim.Optimizer):
    """Momentum whose step has singular values near one; for matrices only. `weight_decay` is decoupled."""

    def __init__(
        self, matrices: Iterable[Tensor], lr: float, momentum: float = 0.95, weight_decay: float = 0.0
    ) -> None:
        super().__init__(matrices, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # no caller has a closure
        """One update of every matrix that has a gradient."""
        for group in self.param_groups:
            alike: dict[torch.Size, list[Tensor]] = defaultdict(list)
            for matrix in group["params"]:
                if matrix.grad is not None:
                    alike[matrix.shape].append(matrix)
            for shape, matrices in alike.items():
                updates = orthogonal(torch.stack([self._momentum(one, group["momentum"]) for one in matrices]))
                rate = group["lr"] * max(1.0, shape[0] / shape[1]) ** 0.5
                for matrix, update in zip(matrices, updates, strict=True):
                    matrix.mul_(1 - group["lr"] * group["weight_decay"]).add_(update, alpha=-rate)

    def _momentum(self, matrix: Tensor, momentum: float) -> Tensor:
        """Nesterov's: the gradient, drawn towards the running mean that it has just joined."""
        state = self.state[matrix]
        assert matrix.grad is not None
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(matrix)
        return matrix.grad.lerp(state["momentum_buffer"].lerp_(matrix.grad, 1 - momentum), momentum)


def orthogonal(matrices: Tensor) -> Tensor:
    """Nearly orthogonal matrices with the singular vectors of `matrices` (N x rows x columns), by Newton-Schulz."""
    a, b, c = COEFFICIENTS
    tall = matrices.shape[-2] > matrices.shape[-1]
    wide = matrices.mT if tall else matrices
    wide = wide / wide.norm(dim=(-2, -1), keepdim=True).clamp(min=TINY)
    for _ in range(STEPS):
        gram = wide @ wide.mT
        wide = a * wide + (b * gram + c * (gram @ gram)) @ wide
    return wide.mT if tall else wide
