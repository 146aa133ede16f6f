"""torchmetrics classes over the string metrics, for use in a LightningModule.

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
from docvlm.metrics.variants import metric_function


class StringMetric(Metric):
    """Mean over examples of one of `docvlm.metrics.METRICS`; `variant` and `options` as in `metric_function`."""

    full_state_update = False
    higher_is_better = True
    is_differentiable = False

    def __init__(self, metric: str, variant: str | None = None, **options: Any) -> None:
        super().__init__()
        self.score = metric_function(metric, variant, **options)
        name = re.sub(r"\W+", "_", f"{metric} {variant} {sorted(options.items())}")
        self._total, self._count = f"total_{name}", f"count_{name}"
        # float64: a float32 sum loses single examples after some ten million of them.
        self.add_state(self._total, torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state(self._count, torch.tensor(0, dtype=torch.int64), dist_reduce_fx="sum")

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


class ANLS(StringMetric):
    """`docvlm.metrics.anls` as a torchmetrics class."""

    def __init__(self, variant: str | None = None, **options: Any) -> None:
        super().__init__("anls", variant, **options)


class RelaxedAccuracy(StringMetric):
    """`docvlm.metrics.relaxed_accuracy` as a torchmetrics class."""

    def __init__(self, variant: str | None = None, **options: Any) -> None:
        super().__init__("relaxed_accuracy", variant, **options)


class Accuracy(StringMetric):
    """`docvlm.metrics.accuracy` as a torchmetrics class."""

    def __init__(self) -> None:
        super().__init__("accuracy")


class ExactMatch(StringMetric):
    """`docvlm.metrics.exact_match` as a torchmetrics class."""

    def __init__(self) -> None:
        super().__init__("exact_match")


class F1(StringMetric):
    """`docvlm.metrics.f1` as a torchmetrics class; `level="char"` for Korean, Chinese and Japanese."""

    def __init__(self, **options: Any) -> None:
        super().__init__("f1", **options)
