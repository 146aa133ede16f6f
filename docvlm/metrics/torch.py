"""A torchmetrics class over the string metrics, for a LightningModule: docvlm's own keeps its running score so.

State is a sum and a count, both reduced by sum, so the value is the mean over examples at any batch size and any number
of devices: never a mean of batch means. (Two devices that see the same example still count it twice: the evaluation
sampler is what prevents that.) The strings themselves stay on their device. A cast of the module around a metric leaves
its state as it is: bfloat16 cannot count beyond 256. States are named after the metric, because a `MetricCollection`
makes one metric of two that count under the same names and agree on the first batch (torchmetrics 1.9).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module
from torchmetrics import Metric

from docvlm.errors import DocvlmError
from docvlm.metrics.registry import METRICS, metric_function


class StringMetric(Metric):
    """Mean over examples of one of `docvlm.metrics.METRICS`; `variant` and `options` as in `metric_function`.

    `sync` says whether `compute` adds up all devices, which all of them must then call.
    """

    full_state_update = False
    is_differentiable = False

    def __init__(self, metric: str, variant: str | None = None, *, sync: bool = True, **options: Any) -> None:
        super().__init__(sync_on_compute=sync)
        self.score = metric_function(metric, variant, **options)
        self._better = METRICS[metric].higher_is_better
        name = re.sub(r"\W+", "_", f"{metric} {variant} {sorted(options.items())}")
        self._total, self._count = f"total_{name}", f"count_{name}"
        # float64: a float32 sum loses single examples after some ten million of them.
        self.add_state(self._total, torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state(self._count, torch.tensor(0, dtype=torch.int64), dist_reduce_fx="sum")

    @property
    def higher_is_better(self) -> bool:  # type: ignore[override]  # torchmetrics has it as a constant of the class
        """Whether it is a score, not an error."""
        return self._better

    @property
    def total(self) -> Tensor:
        """Sum of the scores, a scalar in float64."""
        found: Tensor = getattr(self, self._total)
        return found

    @property
    def count(self) -> Tensor:
        """How many examples were scored, a scalar in int64."""
        found: Tensor = getattr(self, self._count)
        return found

    def _apply(self, fn: Callable[[Tensor], Tensor], exclude_state: Sequence[str] = "") -> Module:
        """Follow a move to another device, but no cast, neither of state nor of values that are kept for later.

        torchmetrics itself refuses casts by name (`half`, `double`), but not `to(dtype)`, which Lightning's true
        half precision calls.
        """

        def moved(tensor: Tensor) -> Tensor:
            changed = fn(tensor)
            return changed if changed.dtype == tensor.dtype else tensor.to(changed.device)

        return super()._apply(moved, exclude_state)

    def update(self, predictions: Sequence[str], answers: Sequence[Sequence[str]]) -> None:
        """Add B predictions (B strings) and their accepted answers (B sequences of strings)."""
        if len(predictions) != len(answers):
            raise ValueError(f"{len(predictions)} predictions but {len(answers)} lists of answers")
        found = sum(self.score(p, a) for p, a in zip(predictions, answers, strict=True))
        setattr(self, self._total, self.total + found)
        setattr(self, self._count, self.count + len(predictions))

    def compute(self) -> Tensor:
        """Mean score, a scalar in [0, 1]. Raises `DocvlmError` before any update: the mean of nothing is no score."""
        if self.count == 0:
            raise DocvlmError(
                "no example was scored: the evaluation split is empty; check data.limit_* and data.source"
            )
        return self.total / self.count
