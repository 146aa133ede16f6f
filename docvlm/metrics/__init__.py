"""Strings to numbers, without torch: `metric(prediction, answers, **options) -> float in [0, 1]`, one example a call.

A score of a data set is the mean of these over its questions, each counted once; `docvlm.scoring` does that, with
intervals. `METRICS` holds a record of each by name; `docvlm.metrics.torch` makes a torchmetrics class of any of them.
"""

from docvlm.metrics.anls import anls
from docvlm.metrics.choice import containment, first_letter
from docvlm.metrics.registry import DEFAULT, METRICS, Metric, metric_function, metric_name
from docvlm.metrics.relaxed import relaxed_accuracy
from docvlm.metrics.squad import accuracy, exact_match, f1

__all__ = [
    "DEFAULT",
    "METRICS",
    "Metric",
    "accuracy",
    "anls",
    "containment",
    "exact_match",
    "f1",
    "first_letter",
    "metric_function",
    "metric_name",
    "relaxed_accuracy",
]

REVISION = 1
"""Goes up with every change of this room that gives other numbers (`docvlm.runs.code_version`)."""
