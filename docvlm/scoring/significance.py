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

from docvlm.scoring.intervals import RESAMPLES, Difference, paired_difference, standard_error

LEVEL, POWER = 0.05, 0.80
ONE_A_PAGE = 1.2  # questions a document: up to here questions are as good as independent


@dataclass(frozen=True, slots=True)
class Comparison:
    """`second - first`: paired difference, its p after Holm, and the smallest true difference this split would show."""

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
    """Every pair of cells, or every cell with the cell `against`, on the same N questions; Holm over all of them.

    `scores` maps the name of a cell to its N scores.
    """
    others = [name for name in scores if name != against]
    pairs = list(combinations(scores, 2)) if against is None else [(against, name) for name in others]
    found = [paired_difference(scores[a], scores[b], clusters, resamples) for a, b in pairs]
    adjusted = holm([difference.p for difference in found])
    return [
        Comparison(
            first,
            second,
            difference,
            p,
            smallest_detectable(np.subtract(scores[second], scores[first]), clusters, comparisons=len(pairs)),
        )
        for (first, second), difference, p in zip(pairs, found, adjusted, strict=True)
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
