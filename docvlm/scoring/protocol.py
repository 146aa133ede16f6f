"""How an answer is scored: a metric as its benchmark's protocol and the language of its question have it.

A benchmark says which variant of a metric its publisher takes (`Benchmark.variants`). Where a question is not English,
both sides are brought to NFC first, and the options of `Metric.not_english` hold: punctuation of every script is
deleted where a metric deletes any (MLQA, arXiv 1910.07475). In languages without spaces between words, and in Korean,
whose words carry particles (KorQuAD, arXiv 1909.07005), those of `Metric.by_character` hold too. A variant that is
asked for by name stands alone: it is what others compute.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from docvlm.data.benchmark import of_label
from docvlm.metrics import METRICS, metric_function
from docvlm.metrics.registry import MetricFunction
from docvlm.scoring.predictions import Prediction

FORM = "NFC"
CHARACTERS = frozenset({"zh", "ja", "th", "lo", "km", "my", "bo", "ko"})
"""Languages (ISO 639-1) of which characters are counted, not words: those without spaces between them, and Korean."""


def variant_of(metric: str, label: str) -> str | None:
    """The variant of a metric that results called `label` are scored by; None for the metric's default."""
    benchmark = of_label(label)
    return None if benchmark is None or metric not in benchmark.variants else benchmark.variants[metric]


def options_of(metric: str, label: str, language: str) -> dict[str, Any]:
    """The options of a metric for a question of results called `label`; none where it is English, or nobody says."""
    code = _language(label, language)
    if code == "en":
        return {}
    record = METRICS[metric]
    return {"unicode_norm": FORM, **record.not_english, **(record.by_character if code in CHARACTERS else {})}


def _language(label: str, language: str) -> str:
    """The language of a question: what it says, else the benchmark's only one; "" for one of several, none English."""
    if language:
        return language.lower().partition("-")[0]
    benchmark = of_label(label)
    if benchmark is None or "en" in benchmark.languages:
        return "en"
    return next(iter(benchmark.languages)) if len(benchmark.languages) == 1 else ""


def function_of(metric: str, label: str, language: str) -> MetricFunction:
    """What scores an answer to a question of results called `label`."""
    return metric_function(metric, variant_of(metric, label), **options_of(metric, label, language))


def scorer(metric: str, variant: str | None = None, **options: Any) -> Callable[[Prediction], float]:
    """What scores a prediction by `metric`: by benchmark and language, or as `variant` and `options` say.

    Raises `DocvlmError` for a variant nobody knows.
    """
    if variant is not None or options:
        named = metric_function(metric, variant, **options)
        return lambda record: named(record.prediction, record.answers)
    functions: dict[tuple[str, str], MetricFunction] = {}

    def by_question(record: Prediction) -> float:
        key = record.benchmark, record.language
        if key not in functions:
            functions[key] = function_of(metric, *key)
        return functions[key](record.prediction, record.answers)

    return by_question


def variant_name(metric: str, labels: Iterable[str]) -> str:
    """What the variants that results called `labels` are scored by are called; without any label, the default's."""
    default = next(iter(METRICS[metric].variants), "default")
    return ", ".join(sorted({variant_of(metric, label) or default for label in labels})) or default


def text_forms(questions: Iterable[tuple[str, str]]) -> dict[str, dict[str, Any]]:
    """What language decides, for a record of a score: by language, of questions given as (label, language).

    Without those of an English protocol, so {} where all are.
    """
    counted = Counter((_language(label, language), label) for label, language in questions)
    found: dict[str, dict[str, Any]] = {}
    for (code, label), count in counted.items():
        if code == "en":
            continue
        if code not in found:
            options = {name: options_of(name, label, code) for name in METRICS}
            found[code] = {"questions": 0, "options": options}
        found[code]["questions"] += count
    return found


def described(metric: str, label: str, languages: Sequence[str]) -> dict[str, Any]:
    """The headline of results called `label` and what decides it, for a manifest; `languages` are the questions'."""
    forms = text_forms((label, language) for language in languages)
    return {"metric": metric, "variant": variant_name(metric, (label,)), "languages": forms}
