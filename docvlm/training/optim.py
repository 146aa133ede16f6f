"""Parameter groups and the learning-rate schedule.

The optimizer and the schedule arrive as partials (`conf/optim/`); here they meet parameters and the number of steps.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from torch.nn import Parameter
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler


class OptimizerPartial(Protocol):
    """An optimizer that lacks only its parameter groups, each of which carries `lr` and `name`."""

    def __call__(self, params: Iterable[dict[str, Any]]) -> Optimizer: ...


class SchedulerPartial(Protocol):
    """A schedule that lacks the optimizer and the number of optimizer steps of the whole training."""

    def __call__(self, optimizer: Optimizer, *, total: int) -> LRScheduler: ...


@dataclass(frozen=True)
class OptimPartials:
    """What `conf/optim/` amounts to: the two partials and the peak learning rate of each group of parameters."""

    optimizer: OptimizerPartial
    scheduler: SchedulerPartial
    learning_rates: dict[str, float]


def parameter_groups(groups: dict[str, list[Parameter]], learning_rates: dict[str, float]) -> list[dict[str, Any]]:
    """One optimizer group for each non-empty group of trainable parameters, with its own peak learning rate."""
    return [{"name": name, "params": params, "lr": learning_rates[name]} for name, params in groups.items() if params]


def warmup_cosine(optimizer: Optimizer, *, total: int, warmup: float) -> LambdaLR:
    """Linear rise over the first `warmup` share of `total` optimizer steps, then half a cosine down to zero.

    The first step already learns (1 / rise of the peak) and the last still does; only step `total` would be at zero.
    """
    rise = max(1, round(warmup * total))

    def factor(step: int) -> float:
        if step < rise:
            return (step + 1) / rise
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - rise) / max(1, total - rise))))

    return LambdaLR(optimizer, factor)
