"""How an answer is scored: a metric as its benchmark's own protocol has it.

A benchmark says which variant of a metric its publisher takes (`Benchmark.variants`). A variant that is asked for by
name stands alone: it is what others compute.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from docvlm.data.benchmark import of_label
from docvlm.metrics import METRICS, metric_function
from docvlm.metrics.registry import MetricFunction
from docvlm.scoring.predictions import Prediction


def variant_of(metric: str, label: str) -> str | None:
    """The variant of a metric that results called `label` are scored by; None for the metric's default."""
    benchmark = of_label(label)
    return None if benchmark is None or metric not in benchmark.variants else benchmark.variants[metric]


def scorer(metric: str, variant: str | None = None, **options: Any) -> Callable[[Prediction], float]:
    """What scores a prediction by `metric`: as the protocol of its benchmark has it, or as `variant` and `options` say.

    Raises `DocvlmError` for a variant nobody knows.
    """
    if variant is not None or options:
        named = metric_function(metric, variant, **options)
        return lambda record: named(record.prediction, record.answers)
    functions: dict[str, MetricFunction] = {}

    def of_benchmark(record: Prediction) -> float:
        if record.benchmark not in functions:
            functions[record.benchmark] = metric_function(metric, variant_of(metric, record.benchmark))
        return functions[record.benchmark](record.prediction, record.answers)

    return of_benchmark


def variant_name(metric: str, labels: Iterable[str]) -> str:
    """What the variants that results called `labels` are scored by are called; without any label, the default's."""
    default = next(iter(METRICS[metric].variants), "default")
    return ", ".join(sorted({variant_of(metric, label) or default for label in labels})) or default


def described(metric: str, label: str) -> dict[str, str]:
    """The headline of results called `label`, and its variant, for a manifest."""
    return {"metric": metric, "variant": variant_name(metric, (label,))}
