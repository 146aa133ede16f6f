"""Intervals over documents and seeds, for statements about settings.

A run is one seed of a setting. An interval over documents alone speaks of that run's weights; another seed gives other
weights. Here both vary: the score of a question is a setting's mean, plus what its document adds, what the seed adds,
and what the two add together. The variance of a mean over S seeds and D documents is the sum of

- the seeds' part: the variance of the runs' means over S (for two settings Welch's sum of both);
- the documents' part: the clustered variance of the seed-averaged scores (of their paired difference), less the
  interaction of seed and document, which the seeds' part holds already.

Student's t with Satterthwaite's degrees of freedom gives the interval; `make test-slow` simulates what it covers.
Sources: Owen, "The pigeonhole bootstrap" (2007) for crossed effects; Bouthillier et al., arXiv 2103.03098, and Miller,
arXiv 2411.00640, for why both belong in it.

Scores are arrays: (S, N) holds S runs of a setting on the same N questions; (N,) is a model with no seed, such as a
checkpoint that nobody trained here.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtr, stdtrit

from docvlm.scoring.intervals import RESAMPLES, Difference, Interval, numbered

MOST_SEEDS = 10  # a cell; a plan that asks for more is none
Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class SeedSpread:
    """How far single runs of a setting lie apart.

    `variance` is that of one run's mean over the questions, `interaction` the part of it that other documents would
    change, `freedom` the degrees of freedom: seeds less one, summed over the settings that were pooled.
    """

    variance: float
    interaction: float
    freedom: int

    @property
    def sd(self) -> float:
        """Standard deviation of single runs, in units of the score."""
        return float(self.variance**0.5)


@dataclass(frozen=True, slots=True)
class SettingDifference(Difference):
    """Mean of `b - a` over documents and seeds.

    `document_variance` and `seed_variance` add up to the square of its standard error; `seeds` is how many each side
    has, 0 for a model without a seed; `freedom` are the degrees of freedom of its t.
    """

    seeds: tuple[int, int]
    document_variance: float
    seed_variance: float
    freedom: float


class _Side(NamedTuple):
    """One side of a difference: the runs' means (S,), what each document adds to them (S, D), and their spread."""

    means: Array
    parts: Array
    spread: SeedSpread | None

    @property
    def seeds(self) -> int:
        return 0 if self.spread is None else len(self.means)

    @property
    def seed_variance(self) -> float:
        return 0.0 if self.spread is None else self.spread.variance / len(self.means)

    @property
    def interaction(self) -> float:
        return 0.0 if self.spread is None else self.spread.interaction / len(self.means)


def seed_spread(scores: ArrayLike, clusters: Sequence[Hashable]) -> SeedSpread:
    """The spread of S >= 2 runs, `scores` (S, N). Raises `ValueError` for fewer."""
    runs = np.asarray(scores, dtype=np.float64)
    if runs.ndim != 2 or len(runs) < 2:
        raise ValueError("a spread over seeds needs the scores of two runs or more, one row a run")
    return _spread(*_by_document(runs, clusters))


def pooled(spreads: Sequence[SeedSpread]) -> SeedSpread:
    """The spread of several settings taken together, each by its degrees of freedom."""
    freedom = sum(one.freedom for one in spreads)
    variance = sum(one.variance * one.freedom for one in spreads) / freedom
    return SeedSpread(variance, sum(one.interaction * one.freedom for one in spreads) / freedom, freedom)


def crossed_interval(scores: ArrayLike, clusters: Sequence[Hashable], spread: SeedSpread | None = None) -> Interval:
    """Mean of `scores` (S, N), values in [0, 1], with a 95 % interval over documents and seeds.

    `spread` stands in for that of a setting with a single run; without it S must be 2 or more. One document gives
    all of [0, 1]. Raises `ValueError` for a single run without `spread`.
    """
    side = _side(np.asarray(scores, dtype=np.float64), clusters, spread)
    mean, n, documents = float(side.means.mean()), np.shape(scores)[-1], side.parts.shape[1]
    if documents == 1:
        return Interval(mean, 0.0, 1.0, n, 1)
    half = _half_width(*_variances([side], side.parts.mean(axis=0)))
    return Interval(mean, max(0.0, mean - half), min(1.0, mean + half), n, documents)


def crossed_difference(
    a: ArrayLike,
    b: ArrayLike,
    clusters: Sequence[Hashable],
    spread: SeedSpread | None = None,
    paired_seeds: bool = False,
    groups: tuple[Sequence[int], Sequence[int]] | None = None,
) -> SettingDifference:
    """Mean of `b - a` on the same N questions: a 95 % interval over documents and seeds, and p of no difference.

    `a` and `b` are (S, N), or (N,) for a model without a seed. `spread` stands in where a setting has a single run.
    With `paired_seeds` row i of both is of one seed, and the seeds' part is the variance of the differences of pairs.
    With `groups`, two lists of questions, it is the difference of the first group less that of the second: which of two
    kinds of documents gains more. Raises `ValueError` where the questions differ, where neither side has a seed, or
    where a single run has no `spread`.
    """
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if first.shape[-1] != second.shape[-1]:
        raise ValueError(
            f"a has {first.shape[-1]} scores and b {second.shape[-1]}: both must answer the same questions"
        )
    if paired_seeds:
        if first.shape != second.shape:
            raise ValueError(f"paired seeds: a has {len(first)} runs and b {len(second)}")
        sides = [_side(second - first, clusters, spread, groups)]
        means, parts = sides[0].means.mean(), sides[0].parts.mean(axis=0)
        seeds = (len(first), len(second))
    else:
        one, other = (_side(scores, clusters, spread, groups) for scores in (first, second))
        sides, seeds = [one, other], (one.seeds, other.seeds)
        means, parts = other.means.mean() - one.means.mean(), other.parts.mean(axis=0) - one.parts.mean(axis=0)
    if not any(side.seeds for side in sides):
        raise ValueError("neither side has a seed: their difference is one of two models, not of two settings")
    mean, n = float(means), first.shape[-1]
    if len(parts) == 1:
        return SettingDifference(mean, -1.0, 1.0, 1.0, n, 1, seeds, 0.0, 0.0, 0.0)
    documents, seeded, freedom = _variances(sides, parts)
    half, p = _half_width(documents, seeded, freedom), _two_sided(mean, (documents + seeded) ** 0.5, freedom)
    return SettingDifference(mean, mean - half, mean + half, p, n, len(parts), seeds, documents, seeded, freedom)


@dataclass(frozen=True, slots=True)
class Plan:
    """What shows a difference of `size` four times in five: `seeds` a cell on `documents` documents."""

    size: float
    seeds: int
    documents: int


def plan(found: SettingDifference, size: float, comparisons: int = 1, power: float = 0.8) -> Plan | None:
    """The fewest seeds a cell that show a true difference of `size` on the documents there are.

    Where no number of seeds up to 10 does: 10 seeds, and on how many documents. None where those do not suffice on any
    number of documents. It takes the spreads of `found` for true. `comparisons` divides the 5 %, as Holm does for its
    first step.
    """
    given = [one for one in found.seeds if one]
    single = found.seed_variance * len(given) / sum(1 / one for one in given)  # both sides' runs, one seed each
    for seeds in range(2, MOST_SEEDS + 1):
        left = (size / _needed(len(given) * (seeds - 1.0), comparisons, power)) ** 2 - single / seeds
        if left >= found.document_variance:
            return Plan(size, seeds, found.clusters)
    return Plan(size, MOST_SEEDS, int(np.ceil(found.clusters * found.document_variance / left))) if left > 0 else None


def smallest_shown(found: SettingDifference, comparisons: int = 1, power: float = 0.8) -> float | None:
    """The true difference that these seeds and documents show with probability `power`; None where nothing varied."""
    error = (found.document_variance + found.seed_variance) ** 0.5
    return _needed(found.freedom, comparisons, power) * error if error else None


def _side(
    scores: Array,
    clusters: Sequence[Hashable],
    spread: SeedSpread | None,
    groups: tuple[Sequence[int], Sequence[int]] | None = None,
) -> _Side:
    seedless = scores.ndim == 1
    means, parts = _by_document(np.atleast_2d(scores), clusters)
    if groups is not None:
        (means, parts), (less, fewer) = (_by_document(np.atleast_2d(scores), clusters, group) for group in groups)
        held = np.unique(numbered(clusters)[[*groups[0], *groups[1]]])  # documents of neither say nothing
        means, parts = means - less, (parts - fewer)[:, held]
    if seedless:
        return _Side(means, parts, None)
    if len(means) > 1:
        return _Side(means, parts, _spread(means, parts))
    if spread is None:
        raise ValueError("one run of a setting: its spread over seeds is not known; give `spread` or more runs")
    return _Side(means, parts, spread)


def _by_document(runs: Array, clusters: Sequence[Hashable], group: Sequence[int] | None = None) -> tuple[Array, Array]:
    """Means (S,) of the runs over N questions (or those of `group`), and by how much each document moves them (S, D).

    The second is the linearised form of a mean over documents of unequal size: its rows sum to 0.
    """
    if runs.shape[1] == 0 or runs.shape[1] != len(clusters):
        raise ValueError(f"{runs.shape[1]} scores but {len(clusters)} cluster labels")
    if not np.isfinite(runs).all():
        raise ValueError("a score is NaN or infinite: every question needs a finite score")
    index = numbered(clusters)
    taken = np.zeros(len(index))
    taken[slice(None) if group is None else list(group)] = 1.0
    sizes = np.bincount(index, taken)
    totals = np.stack([np.bincount(index, run * taken) for run in runs])
    means = totals.sum(axis=1) / sizes.sum()
    return means, (totals - means[:, None] * sizes) / sizes.sum()


def _spread(means: Array, parts: Array) -> SeedSpread:
    seeds, documents = parts.shape
    left = parts - parts.mean(axis=0)
    interaction = 0.0
    if documents > 1:
        interaction = float((left**2).sum() * documents / ((seeds - 1) * (documents - 1)))
    return SeedSpread(float(means.var(ddof=1)), interaction, seeds - 1)


def _variances(sides: Sequence[_Side], parts: Array) -> tuple[float, float, float]:
    """The documents' and the seeds' part of a variance, and Satterthwaite's degrees of freedom for their sum."""
    documents = len(parts)
    clustered = float((parts**2).sum() * documents / (documents - 1))
    interaction = sum(side.interaction for side in sides)
    between, seeded = max(0.0, clustered - interaction), sum(side.seed_variance for side in sides)
    known: dict[SeedSpread, tuple[float, float]] = {}  # two sides that borrow one spread are wrong together
    for side in sides:
        if side.spread is not None:
            variance, both = known.get(side.spread, (0.0, 0.0))
            known[side.spread] = variance + side.seed_variance, both + side.interaction
    # what is subtracted counts, too: the small rest of two large parts is not known well
    below = clustered**2 / (documents - 1)
    for spread, (variance, both) in known.items():
        below += (variance**2 + both**2 / (documents - 1)) / spread.freedom
    least = float(min(spread.freedom for spread in known)) if known else documents - 1.0
    return between, seeded, max(least, (between + seeded) ** 2 / below) if below else documents - 1.0


def _half_width(documents: float, seeded: float, freedom: float) -> float:
    return float(stdtrit(freedom, 0.975)) * (documents + seeded) ** 0.5


def _two_sided(mean: float, error: float, freedom: float) -> float:
    """p of no difference, as small as a bootstrap's can be and no smaller."""
    if error == 0:
        return 1.0 if mean == 0 else 2 / (RESAMPLES + 1)
    return max(2 / (RESAMPLES + 1), float(2 * stdtr(freedom, -abs(mean) / error)))


def _needed(freedom: float, comparisons: int, power: float) -> float:
    """How many standard errors a true difference must be to be shown with probability `power`."""
    return float(stdtrit(freedom, 1 - 0.05 / (2 * comparisons)) + stdtrit(freedom, power))
