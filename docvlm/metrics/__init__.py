"""Strings to numbers, without torch: `metric(prediction, answers, **options) -> float in [0, 1]`, one example a call.

A score of a data set is the mean of these over its questions, each counted once; `docvlm.evaluation` does that, with
intervals. `docvlm.metrics.torch` wraps the same functions as torchmetrics classes.
"""

from docvlm.metrics.anls import anls
from docvlm.metrics.relaxed import relaxed_accuracy
from docvlm.metrics.squad import accuracy, exact_match, f1
from docvlm.metrics.variants import METRICS, VARIANTS, metric_function

__all__ = ["METRICS", "VARIANTS", "accuracy", "anls", "exact_match", "f1", "metric_function", "relaxed_accuracy"]

REVISION = 1
"""Goes up with every change of this room that gives other numbers (`docvlm.runs.code_version`)."""
