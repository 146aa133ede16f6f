"""What changed between two models on the same questions: answers that became right, and answers that were right.

Two models with the same score may fail on different questions; the lists say on which. Right is a score of 1, as in the
failure classes, or an error of 0. The test is the paired bootstrap over documents; the exact McNemar test is added only
where there is about one question a document, because it takes questions for independent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from docvlm.metrics import DEFAULT, METRICS
from docvlm.scoring.crossed import SettingDifference, crossed_difference
from docvlm.scoring.intervals import Difference, paired_difference
from docvlm.scoring.predictions import Prediction
from docvlm.scoring.protocol import scorer
from docvlm.scoring.score import clusters, paired
from docvlm.scoring.significance import ONE_A_PAGE, mcnemar


@dataclass(frozen=True, slots=True)
class Flip:
    """Both answers to one question of which exactly one is right, and their scores."""

    before: Prediction
    after: Prediction
    score_before: float
    score_after: float


@dataclass(frozen=True, slots=True)
class Flips:
    """Answers that changed sides. `change` is that of the share right; `exact_p` is McNemar's, None where unfit.

    The lists and counts are of one run. `over_seeds` is the change of the share right by the run's setting, over
    documents and seeds, None where one run is all there is.
    """

    fixed: tuple[Flip, ...]
    broken: tuple[Flip, ...]
    both_right: int
    both_wrong: int
    change: Difference
    exact_p: float | None
    over_seeds: SettingDifference | None = None

    @property
    def sentence(self) -> str:
        """Counts and test in a line."""
        text = (
            f"{len(self.fixed)} fixed, {len(self.broken)} broken, {self.both_right} right and {self.both_wrong} not "
            f"right in both; share right {self.change}, p {p_value(self.change.p)}"
        )
        if self.exact_p is not None:
            text += f" (McNemar exact: {p_value(self.exact_p)})"
        if (over := self.over_seeds) is not None:
            text += f"; over {over.seeds[1]} seeds {over}, p {p_value(over.p)}"
        return text


def flips(
    before: Sequence[Prediction],
    after: Sequence[Prediction],
    metric: str = DEFAULT,
    siblings: Sequence[Sequence[Prediction]] = (),
) -> Flips:
    """Compare two sets of predictions on the same questions. Raises `DocvlmError` unless they are the same.

    `siblings` are the answers of the other seeds of the setting that `after` is a run of.
    """
    goodness, function, pairs = METRICS[metric].goodness, scorer(metric), paired(before, after)
    every = [Flip(a, b, function(a), function(b)) for a, b in pairs]
    first = [goodness(one.score_before) == 1 for one in every]
    second = [goodness(one.score_after) == 1 for one in every]
    fixed = tuple(one for one, a, b in zip(every, first, second, strict=True) if b and not a)
    broken = tuple(one for one, a, b in zip(every, first, second, strict=True) if a and not b)
    documents = clusters([a for a, _ in pairs])
    change = paired_difference([float(a) for a in first], [float(b) for b in second], documents)
    independent = change.n <= ONE_A_PAGE * change.clusters
    return Flips(
        fixed,
        broken,
        both_right=sum(first) - len(broken),
        both_wrong=len(every) - sum(first) - len(fixed),
        change=change,
        exact_p=mcnemar(len(fixed), len(broken)) if independent else None,
        over_seeds=_over_seeds(before, [after, *siblings], metric) if siblings else None,
    )


def _over_seeds(before: Sequence[Prediction], runs: Sequence[Sequence[Prediction]], metric: str) -> SettingDifference:
    """The change of the share right, from a model without a seed to a setting."""
    goodness, function = METRICS[metric].goodness, scorer(metric)
    pairs = [paired(before, run) for run in runs]
    right = [[goodness(function(b)) == 1 for _, b in part] for part in pairs]
    first = [goodness(function(a)) == 1 for a, _ in pairs[0]]
    return crossed_difference(np.array(first, float), np.array(right, float), clusters([a for a, _ in pairs[0]]))


def p_value(p: float) -> str:
    """A p-value for reading: three digits, or "<0.001"."""
    return f"{p:.3f}" if p >= 0.001 else "<0.001"
