"""Several comparisons at once, and what a test split is too small to show.

Among many cells of an ablation some pair differs "significantly" by luck; Holm's step-down keeps the chance of even one
false claim at 5 % whatever the dependence between the comparisons, and is never weaker than Bonferroni (Holm 1979,
Scand. J. Statist. 6:65). Beside "no difference found" stands the difference that would have been found: without it a
small split reads like evidence of equality (Card et al. 2020, arXiv 2010.06595).
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from docvlm.scoring.crossed import SeedSpread, crossed_difference, pooled, seed_spread, smallest_shown
from docvlm.scoring.intervals import RESAMPLES, Difference, paired_difference, standard_error

LEVEL, POWER = 0.05, 0.80
ONE_A_PAGE = 1.2  # questions a document: up to here questions are as good as independent


@dataclass(frozen=True, slots=True)
class Comparison:
    """`second - first`: the difference, its p after Holm, and the smallest true difference that would be shown."""

    first: str
    second: str
    difference: Difference
    adjusted: float
    detectable: float | None

    @property
    def significant(self) -> bool:
        """Whether the two differ beyond chance, all comparisons taken together."""
        return self.adjusted < LEVEL


def holm(values: Sequence[float]) -> list[float]:
    """Adjusted p of each of `values`, in their order: below 0.05 holds for all of them together."""
    adjusted, highest = [0.0] * len(values), 0.0
    for rank, index in enumerate(sorted(range(len(values)), key=lambda i: values[i])):
        highest = max(highest, min(1.0, (len(values) - rank) * values[index]))
        adjusted[index] = highest
    return adjusted


def compare_cells(
    scores: Mapping[str, ArrayLike],
    clusters: Sequence[Hashable],
    against: str | None = None,
    resamples: int = RESAMPLES,
) -> list[Comparison]:
    """Every pair of runs, or every run with the run `against`, on the same N questions; Holm over all of them.

    `scores` maps the name of a run to its N scores. What is found holds for these weights: another seed gives others.
    """
    pairs = _pairs(list(scores), against)
    found = [paired_difference(scores[a], scores[b], clusters, resamples) for a, b in pairs]
    shown = [smallest_detectable(np.subtract(scores[b], scores[a]), clusters, comparisons=len(pairs)) for a, b in pairs]
    return _compared(pairs, found, shown)


def compare_settings(
    runs: Mapping[str, ArrayLike],
    clusters: Sequence[Hashable],
    against: str | None = None,
    spread: SeedSpread | None = None,
) -> list[Comparison]:
    """Every pair of settings, or every one with the setting `against`, over documents and seeds; Holm over all.

    `runs` maps the name of a setting to the scores of its runs, (S, N). `spread` stands in for that of a setting with
    a single run (`borrowed`).
    """
    pairs = _pairs(list(runs), against)
    found = [crossed_difference(runs[a], runs[b], clusters, spread) for a, b in pairs]
    return _compared(pairs, found, [smallest_shown(one, len(pairs)) for one in found])


def borrowed(runs: Mapping[str, ArrayLike], clusters: Sequence[Hashable]) -> tuple[SeedSpread, list[str]] | None:
    """The pooled spread of the settings with two runs or more, and their names; None where there are none."""
    several = {name: seed_spread(scores, clusters) for name, scores in runs.items() if len(np.asarray(scores)) > 1}
    return (pooled([*several.values()]), [*several]) if several else None


def _pairs(names: Sequence[str], against: str | None) -> list[tuple[str, str]]:
    return list(combinations(names, 2)) if against is None else [(against, name) for name in names if name != against]


def _compared(
    pairs: Sequence[tuple[str, str]], found: Sequence[Difference], shown: Sequence[float | None]
) -> list[Comparison]:
    adjusted = holm([difference.p for difference in found])
    return [
        Comparison(first, second, difference, p, size)
        for (first, second), difference, p, size in zip(pairs, found, adjusted, shown, strict=True)
    ]


def smallest_detectable(
    deltas: ArrayLike, clusters: Sequence[Hashable], comparisons: int = 1, power: float = POWER
) -> float | None:
    """The true mean difference that a test at 5 % finds with probability `power`, given how these deltas spread.

    `comparisons` divides the 5 %, as Holm does for its first step. None where there is no spread to go by: one
    document, or no answer that differs.
    """
    error = standard_error(deltas, clusters)
    normal = NormalDist()
    return (normal.inv_cdf(1 - LEVEL / (2 * comparisons)) + normal.inv_cdf(power)) * error if error else None


def mcnemar(fixed: int, broken: int) -> float:
    """Exact two-sided p that as many answers were broken as fixed (McNemar 1947, the binomial form).

    For right-or-wrong scores with about one question a document; questions that share a page make it too small.
    """
    n, fewer = fixed + broken, min(fixed, broken)
    return min(1.0, 2 * sum(comb(n, k) for k in range(fewer + 1)) / 2**n)
