"""The metrics by name: a record each, and the named protocols that people compare with.

Everything that scores, tabulates, draws or reports goes through these records, so a metric is one entry here, or one
`METRICS.register(Metric(...))` in a module of one's own (`docs/extend/metric.md`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from docvlm.errors import DocvlmError
from docvlm.metrics.anls import anls
from docvlm.metrics.choice import containment, first_letter
from docvlm.metrics.relaxed import relaxed_accuracy
from docvlm.metrics.squad import accuracy, exact_match, f1
from docvlm.metrics.text import UnicodeForm, normalise, require_answers
from docvlm.registry import Registry

MetricFunction = Callable[..., float]
_JOINT = " + "  # between the metrics of a mixture of benchmarks


@dataclass(frozen=True)
class Metric:
    """One metric. `name` is its key in configs, files and columns; `label` how the field writes it.

    `function(prediction, answers, **options)` scores one question in [0, 1]. `head` is the label where columns are
    narrow. `higher_is_better` is False for an error, of which 0 is right. `variants` are named options of the function,
    the default first. `narrow` says whether it stands beside other headlines in narrow tables. `own`: it says something
    of the benchmarks whose headline it is, and is left out of the tables of others. `former` are keys that files of
    older versions have. `not_english` are options for questions in other languages, `by_character` those for languages
    of which characters are counted, not words. `source` is the paper or code that defines it.
    """

    name: str
    label: str
    function: MetricFunction
    source: str
    head: str = ""
    higher_is_better: bool = True
    variants: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    narrow: bool = True
    own: bool = False
    former: tuple[str, ...] = ()
    not_english: Mapping[str, Any] = field(default_factory=dict)
    by_character: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, prediction: str, answers: Any, **options: Any) -> float:
        """The score of one prediction."""
        return self.function(prediction, answers, **options)

    @property
    def column(self) -> str:
        """Its heading where columns are narrow."""
        return self.head or self.label

    @property
    def wrong(self) -> str:
        """How an answer that is not right scores."""
        return "below 1" if self.higher_is_better else "above 0"

    def goodness(self, score: float) -> float:
        """The score so that more is better and 1 is right: what selects an epoch and what counts as a failure."""
        return score if self.higher_is_better else 1 - score


METRICS: Registry[Metric] = Registry(
    "metric",
    (
        Metric(
            "accuracy",
            "accuracy",
            accuracy,
            "equality after stripping and lower-casing",
            variants={"default": {}, "mp-docvqa": {"none_scores_zero": True}},
        ),
        Metric(
            "anls",
            "ANLS",
            anls,
            "Biten et al. 2019, arXiv 1907.00490, as lmms-eval and the RRC script compute it",
            variants={
                "lmms-eval": {},
                "rrc": {"strip": False},
                "vlmevalkit": {"strip": False},
                # VLMEvalKit at commit 0a04a1d divides by the normalised lengths.
                "vlmevalkit-normalized": {"denominator": "normalized"},
                "anls-star": {"denominator": "normalized"},
                "anls-package": {"denominator": "normalized", "strict_threshold": True},
                "paper": {"denominator": "normalized", "strict_threshold": True},
                "pix2struct": {"strip": False, "collapse": False, "case_sensitive": True, "strict_threshold": True},
                "mp-docvqa": {
                    "collapse": False,
                    "denominator": "normalized",
                    "empty_scores_zero": True,
                    "none_scores_zero": True,
                },
                "dude": {"strip": False, "unanswerable": "not answerable"},
                "slidevqa": {
                    "collapse": False,
                    "denominator": "normalized",
                    "strict_threshold": True,
                    "empty_scores_zero": True,
                },
                "nfc": {"unicode_norm": "NFC"},
                "nfc-width": {"unicode_norm": "NFC", "fold_width": True},
            },
        ),
        Metric(
            "relaxed_accuracy",
            "relaxed accuracy",
            relaxed_accuracy,
            "Masry et al. 2022, arXiv 2203.10244, as lmms-eval computes it",
            head="relaxed",
            variants={
                "lmms-eval": {},
                "pix2struct": {"strip": False},
                "vlmevalkit": {"list_answers": True},
                "vlmevalkit-2024": {"list_answers": True, "denominator": "prediction"},
                "qwen-vl": {"denominator": "prediction"},
                "exact-years": {"exact_years": True},
            },
            narrow=False,
            former=("relaxed",),
        ),
        Metric(
            "exact_match",
            "EM",
            exact_match,
            "SQuAD v2 evaluation script, arXiv 1806.03822; punctuation of every script where not English (MLQA)",
            variants={"squad": {}, "mlqa": {"punctuation": "unicode"}, "slidevqa": {"lower_only": True}},
            former=("em",),
            not_english={"punctuation": "unicode"},
        ),
        Metric(
            "f1",
            "F1",
            f1,
            "SQuAD v2 evaluation script, arXiv 1806.03822; by character in Korean (KorQuAD) and without spaces",
            variants={
                "squad": {},
                "mlqa": {"punctuation": "unicode"},
                "korquad": {"level": "char", "punctuation": "unicode"},
                "slidevqa": {"lower_only": True},
            },
            not_english={"punctuation": "unicode"},
            by_character={"level": "char"},
        ),
        Metric(
            "containment",
            "containment",
            containment,
            "MTVQA, arXiv 2405.11985, as lmms-eval computes it",
            head="contained",
            narrow=False,
            own=True,
        ),
        Metric(
            "first_letter",
            "first letter",
            first_letter,
            "K-DTCBench, arXiv 2411.19103, as lmms-eval computes it",
            head="letter",
            narrow=False,
            own=True,
        ),
    ),
)


def shown_for(*headlines: str) -> list[Metric]:
    """The metrics that tables have of results with these headlines, of which one of a mixture has several names."""
    named = {part for headline in headlines for part in headline.split(_JOINT)}
    return [metric for metric in METRICS.values() if not metric.own or metric.name in named]


DEFAULT = "anls"
"""The headline of answers of which nothing says what benchmark they are to."""


def metric_function(metric: str, variant: str | None = None, **options: Any) -> MetricFunction:
    """The metric of that name with a named variant's options, then `options` on top.

    `unicode_norm` and `fold_width` are options of every metric: both sides are in that form before it sees them.

    Raises `DocvlmError` if the metric or the variant is unknown, with the names there are.
    """
    record = METRICS[metric]
    if variant is not None and variant not in record.variants:
        known = ", ".join(record.variants) or "none"
        raise DocvlmError(f"variant={variant}: unknown for {metric}; choose one of {known}")
    named = {} if variant is None else record.variants[variant]
    chosen: dict[str, Any] = {"unicode_norm": None, "fold_width": False, **named, **options}
    form, fold = chosen.pop("unicode_norm"), chosen.pop("fold_width")
    function = partial(record.function, **chosen)
    return function if form is None and not fold else partial(_in_form, function, form, fold)


def _in_form(
    function: MetricFunction, form: UnicodeForm | None, fold: bool, prediction: str, answers: Sequence[str]
) -> float:
    require_answers(answers)
    plain = [normalise(text, form, fold_width=fold) for text in (prediction, *answers)]
    return function(plain[0], plain[1:])


def metric_name(metric: str) -> str:
    """A metric, or those of a mixture, as the field writes it."""
    return _JOINT.join(
        METRICS[part].label if part in METRICS else part.replace("_", " ") for part in metric.split(_JOINT)
    )


def joint(metrics: Mapping[str, str]) -> str:
    """What the headline of several benchmarks is called: the names of their metrics.

    Raises `DocvlmError` where one is a score and another an error: their mean would mean nothing.
    """
    names = sorted(set(metrics.values()))
    if len({METRICS[name].higher_is_better for name in names}) > 1:
        raise DocvlmError(f"metrics {', '.join(names)}: of some more is better, of some less; train on them one by one")
    return _JOINT.join(names)


def goodness(metric: str, score: float) -> float:
    """`Metric.goodness` of a headline, which for a mixture is called by several names."""
    return METRICS[metric.split(_JOINT)[0]].goodness(score)


def current_name(metric: str) -> str:
    """Today's name of a metric that a file of an older version names."""
    return next((record.name for record in METRICS.values() if metric in record.former), metric)


def current_names(scores: Mapping[str, Any]) -> dict[str, Any]:
    """A mapping whose keys are metrics, among other things, with today's names."""
    return {current_name(name): value for name, value in scores.items()}
