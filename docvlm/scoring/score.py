"""Predictions to scores: every question once, and by each grouping of `groups`, with clustered intervals.

All metrics are computed for every question, so one file gives the headline and what it could be confused with. 5 000
questions take about 0.3 s, most of it the overlap of tokens and the bootstrap.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from docvlm.errors import DocvlmError
from docvlm.metrics import DEFAULT, METRICS
from docvlm.scoring.crossed import SettingDifference, crossed_difference, crossed_interval
from docvlm.scoring.groups import BEYOND, GROUPINGS, TYPES, By, members
from docvlm.scoring.intervals import Difference, Interval, paired_difference, score_interval
from docvlm.scoring.pages import page_accuracy, page_recall
from docvlm.scoring.predictions import Key, Prediction
from docvlm.scoring.protocol import scorer, text_forms, variant_name


@dataclass(frozen=True, slots=True)
class Score:
    """Scores of one predictions file. `metric` names the headline; all means are over questions, in [0, 1].

    `means` holds every registered metric, each as the benchmark of its question has it. `groups` has the score of each
    group of a grouping, {} where the grouping tells nothing; `page_accuracy` and `page_recall` (`docvlm.scoring.pages`)
    are None where they cannot be known.
    `text_forms` says by language what that decides (Unicode form, options of metrics) where it is not English.
    """

    metric: str
    variant: str
    options: dict[str, Any]
    text_forms: dict[str, dict[str, Any]]
    headline: float
    interval: Interval
    n_questions: int
    n_documents: int
    n_truncated: int
    latency_ms: float | None
    means: dict[str, float]
    groups: dict[By, dict[str, Interval]]
    page_accuracy: Interval | None = None
    page_recall: Interval | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain types for JSON; the mean of each metric and each grouping stand under their own names.

        Types are always there, what only documents of several pages or languages have where there is something.
        """
        plain = asdict(self)
        means, groups = (plain.pop(name) for name in ("means", "groups"))
        paged = {name: plain.pop(name) for name in ("page_accuracy", "page_recall")}
        by = {GROUPINGS[by].key: groups[by] for by in (*TYPES, *BEYOND) if groups[by] or by in TYPES}
        return {**means, **plain, **by, **{name: known for name, known in paged.items() if known is not None}}


def with_scores(records: Iterable[Prediction]) -> list[Prediction]:
    """The same predictions, each with every metric, as its benchmark has it, in `scores`."""
    scorers = {name: scorer(name) for name in METRICS}
    return [replace(record, scores={name: one(record) for name, one in scorers.items()}) for record in records]


def score(
    predictions: Sequence[Prediction], metric: str = DEFAULT, variant: str | None = None, **options: Any
) -> Score:
    """Score predictions with `metric` (a name in `docvlm.metrics.METRICS`), by default as their benchmark has it.

    A named `variant` or `options` take the place of that and of what the language of a question decides; the secondary
    metrics keep both. Raises `DocvlmError` if there
    is nothing to score, if a question occurs twice, or if the metric or variant is unknown.
    """
    function = scorer(metric, variant, **options)
    if not predictions:
        raise DocvlmError("no predictions to score: the evaluation split is empty; check data.limit_* and data.source")
    _require_unique(predictions)
    values = [function(record) for record in predictions]
    interval = _interval(values, predictions)
    means = {name: _mean([*map(scorer(name), predictions)]) for name in METRICS}
    latencies = [p.latency_s for p in predictions if p.latency_s is not None]
    return Score(
        metric=metric,
        variant=variant or variant_name(metric, () if options else {record.benchmark for record in predictions}),
        options=options,
        text_forms=text_forms((record.benchmark, record.language) for record in predictions),
        headline=interval.mean,
        interval=interval,
        n_questions=interval.n,
        n_documents=interval.clusters,
        n_truncated=sum(p.truncated for p in predictions),
        latency_ms=1000 * _mean(latencies) if latencies else None,
        means=means,
        groups={by: _groups(values, predictions, by) for by in GROUPINGS},
        page_accuracy=page_accuracy(predictions),
        page_recall=page_recall(predictions),
    )


def compare(before: Sequence[Prediction], after: Sequence[Prediction], metric: str = DEFAULT) -> Difference:
    """`after - before` on the questions of both, which must be the same ones with the same answers.

    Raises `DocvlmError` naming a question that only one side has.
    """
    function = scorer(metric)
    pairs = paired(before, after)
    a = [function(first) for first, _ in pairs]
    b = [function(second) for _, second in pairs]
    return paired_difference(a, b, clusters([p for p, _ in pairs]))


def over_seeds(runs: Sequence[Sequence[Prediction]], metric: str = DEFAULT) -> Interval:
    """The score of a setting from two or more of its runs, with an interval over documents and seeds.

    Raises `DocvlmError` unless all answer the same questions.
    """
    records, scores = _by_run(runs, metric)
    return crossed_interval(scores, clusters(records))


def compare_over_seeds(
    before: Sequence[Prediction], runs: Sequence[Sequence[Prediction]], metric: str = DEFAULT
) -> SettingDifference:
    """What a setting adds to the model `before`, which has no seed, over documents and seeds of two or more `runs`.

    Raises `DocvlmError` unless all answer the same questions.
    """
    records, scores = _by_run([before, *runs], metric)
    return crossed_difference(scores[0], scores[1:], clusters(records))


def _by_run(runs: Sequence[Sequence[Prediction]], metric: str) -> tuple[Sequence[Prediction], NDArray[np.float64]]:
    """The questions in the order of the first run, and the scores (S, N) of all."""
    function, first = scorer(metric), runs[0]
    sides = [[after for _, after in paired(first, run)] for run in runs]
    return first, np.array([[function(record) for record in side] for side in sides])


def clusters(records: Sequence[Prediction]) -> list[Key]:
    """What is resampled: the document of each record, told apart by benchmark."""
    return [(record.benchmark, record.document) for record in records]


def paired(before: Sequence[Prediction], after: Sequence[Prediction]) -> list[tuple[Prediction, Prediction]]:
    """Both answers to every question, in the order of `before`. Raises `DocvlmError` unless both have the same."""
    first, second = _by_key(before), _by_key(after)
    if odd := sorted(first.keys() ^ second.keys()):
        raise DocvlmError(
            f"{len(odd)} questions are in only one of the two results, such as {odd[0][1]!r}; "
            "a paired difference needs the same questions: evaluate both on the same split and limit"
        )
    return [(record, second[key]) for key, record in first.items()]


def _by_key(records: Sequence[Prediction]) -> dict[Key, Prediction]:
    return {record.key: record for record in records}


def _require_unique(records: Sequence[Prediction]) -> None:
    seen: set[Key] = set()
    for record in records:
        if record.key in seen:
            raise DocvlmError(
                f"question_id {record.question_id!r} of {record.benchmark or 'these predictions'} occurs twice; "
                "every question counts once"
            )
        seen.add(record.key)


def _interval(values: Sequence[float], records: Sequence[Prediction]) -> Interval:
    return score_interval(values, clusters(records))


def _groups(values: Sequence[float], records: Sequence[Prediction], by: By) -> dict[str, Interval]:
    """Interval per group, in the order of `members`."""
    return {
        label: _interval([values[i] for i in indices], [records[i] for i in indices])
        for label, indices in members(records, by).items()
    }


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
