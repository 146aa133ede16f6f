"""The references people compare with, by name: each is a set of options of `anls` or `relaxed_accuracy`.

One predictions file can so be scored as each of them. "lmms-eval" is docvlm's default.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from docvlm.errors import DocvlmError
from docvlm.metrics.anls import anls
from docvlm.metrics.relaxed import relaxed_accuracy
from docvlm.metrics.squad import accuracy, exact_match, f1

MetricFunction = Callable[..., float]

METRICS: dict[str, MetricFunction] = {
    "anls": anls,
    "relaxed_accuracy": relaxed_accuracy,
    "accuracy": accuracy,
    "exact_match": exact_match,
    "f1": f1,
}

VARIANTS: dict[str, dict[str, dict[str, Any]]] = {
    "anls": {
        "lmms-eval": {},
        "rrc": {"strip": False},
        "vlmevalkit": {"strip": False},
        # VLMEvalKit at commit 0a04a1d divides by the normalised lengths.
        "vlmevalkit-normalized": {"denominator": "normalized"},
        "anls-star": {"denominator": "normalized"},
        "anls-package": {"denominator": "normalized", "strict_threshold": True},
        "paper": {"denominator": "normalized", "strict_threshold": True},
        "pix2struct": {"strip": False, "collapse": False, "case_sensitive": True, "strict_threshold": True},
        "mp-docvqa": {"collapse": False, "denominator": "normalized", "empty_scores_zero": True},
    },
    "relaxed_accuracy": {
        "lmms-eval": {},
        "pix2struct": {"strip": False},
        "vlmevalkit": {"list_answers": True},
        "vlmevalkit-2024": {"list_answers": True, "denominator": "prediction"},
        "qwen-vl": {"denominator": "prediction"},
        "exact-years": {"exact_years": True},
    },
}


def metric_function(metric: str, variant: str | None = None, **options: Any) -> MetricFunction:
    """The metric of that name with a named variant's options, then `options` on top.

    Raises `DocvlmError` if the metric or the variant is unknown, with the names there are.
    """
    if metric not in METRICS:
        raise DocvlmError(f"metric={metric}: unknown metric; choose one of {', '.join(METRICS)}")
    named: dict[str, Any] = {}
    if variant is not None:
        table = VARIANTS.get(metric, {})
        if variant not in table:
            raise DocvlmError(f"variant={variant}: unknown for {metric}; choose one of {', '.join(table) or 'none'}")
        named = table[variant]
    return partial(METRICS[metric], **{**named, **options})
