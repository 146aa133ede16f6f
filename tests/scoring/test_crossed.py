"""Intervals over documents and seeds: against arithmetic done by hand, and simulated (slow; -s prints it)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pytest
from scipy.stats import t as student
from scipy.stats import ttest_ind

from docvlm.scoring.crossed import (
    SeedSpread,
    crossed_difference,
    crossed_interval,
    plan,
    pooled,
    seed_spread,
    smallest_shown,
)
from docvlm.scoring.intervals import paired_difference, standard_error
from docvlm.scoring.significance import holm

Runs = np.ndarray
NOISE = 0.6
NONE = SeedSpread(0.0, 0.0, 10**9)  # as if another seed gave the same run


@dataclass(frozen=True)
class World:
    """Documents of 4 questions whose difficulty, and gain by a setting, differ; a run's score lies `sd` off its
    setting's, and in logits a document and a seed add `together` in common."""

    documents: int
    sd: float = 0.0
    together: float = 0.3

    def logits(self, skill: float) -> Runs:
        rng = np.random.default_rng(self.documents)
        hard = rng.normal(1.0, 0.5, (self.documents, 1)) + rng.normal(0, 0.5, (self.documents, 4))
        return hard + skill * rng.normal(1.0, 1.0, (self.documents, 1))

    def runs(self, rng: np.random.Generator, seeds: int, skill: float = 0.0) -> Runs:
        """Scores (S, documents, 4)."""
        both = rng.normal(0, self.together, (seeds, self.documents, 1))
        noise = rng.normal(0, NOISE, (seeds, self.documents, 4))
        scores = 1 / (1 + np.exp(-2 * (self.logits(skill) + both + noise)))
        return scores + rng.normal(0, self.sd, (seeds, 1, 1)) if self.sd else scores

    def mean(self, skill: float) -> float:
        """What runs of a setting score on average, over the noise in closed form (Gauss-Hermite)."""
        points, weights = np.polynomial.hermite_e.hermegauss(40)
        spread = (self.together**2 + NOISE**2) ** 0.5
        scores = 1 / (1 + np.exp(-2 * (self.logits(skill)[..., None] + spread * points)))
        return float((scores @ weights / weights.sum()).mean())


def flat(scores: Runs) -> Runs:
    return scores.reshape(len(scores), -1)


def labels(documents: int) -> list[int]:
    return list(np.repeat(np.arange(documents), 4))


def test_without_documents_effects_it_is_welch() -> None:
    """Every document alike: what is left is Welch's t over the runs' means."""
    first, second = [0.80, 0.84, 0.85], [0.90, 0.93, 0.91, 0.95]
    a, b = (np.repeat(np.array(part)[:, None], 40, axis=1) for part in (first, second))
    found = crossed_difference(a, b, range(40))
    welch = ttest_ind(second, first, equal_var=False)
    interval = welch.confidence_interval()
    assert (found.mean, found.p) == (pytest.approx(0.0925), pytest.approx(welch.pvalue))
    assert (found.low, found.high) == (pytest.approx(interval.low), pytest.approx(interval.high))
    assert found.seeds == (3, 4) and found.document_variance < 1e-30


def test_without_seeds_effects_it_is_the_interval_over_documents() -> None:
    rng = np.random.default_rng(0)
    base, gain = rng.random(400), rng.normal(0.05, 0.2, 100).repeat(4)
    a, b = np.tile(base, (3, 1)), np.tile(base + gain, (3, 1))
    found, over_documents = crossed_difference(a, b, labels(100)), paired_difference(base, base + gain, labels(100))
    assert found.seed_variance < 1e-30 and found.freedom == pytest.approx(99)
    assert found.low == pytest.approx(over_documents.low, abs=0.003)
    assert found.high == pytest.approx(over_documents.high, abs=0.003)


def test_parts_of_a_balanced_table_are_those_of_the_analysis_of_variance() -> None:
    """Two-way without replication, by sums of squares: seeds, documents, interaction."""
    rng = np.random.default_rng(3)
    table = 0.5 + rng.normal(0, 0.05, (4, 1)) + rng.normal(0, 0.1, (1, 30)) + rng.normal(0, 0.07, (4, 30))
    rows, columns = table.mean(axis=1, keepdims=True), table.mean(axis=0, keepdims=True)
    ms_seed = 30 * ((rows - table.mean()) ** 2).sum() / 3
    ms_document = 4 * ((columns - table.mean()) ** 2).sum() / 29
    ms_both = ((table - rows - columns + table.mean()) ** 2).sum() / (3 * 29)
    spread = seed_spread(table, range(30))
    assert spread.variance == pytest.approx(ms_seed / 30) and spread.interaction == pytest.approx(ms_both / 30)
    documents, seeds = (ms_document - ms_both) / 120, ms_seed / 120
    below = (ms_document / 120) ** 2 / 29 + (ms_seed / 120) ** 2 / 3 + (ms_both / 120) ** 2 / 87
    freedom = (documents + seeds) ** 2 / below
    found = crossed_interval(table, range(30))
    half = student.ppf(0.975, freedom) * (documents + seeds) ** 0.5
    assert (found.mean, found.low) == (pytest.approx(table.mean()), pytest.approx(table.mean() - half))


def test_a_model_without_a_seed_adds_no_spread_of_seeds() -> None:
    rng = np.random.default_rng(1)
    tuned, base = flat(World(50, 0.03).runs(rng, 5)), flat(World(50, 0.0).runs(rng, 1))[0]
    found = crossed_difference(base, tuned, labels(50))
    assert found.seeds == (0, 5)
    assert found.seed_variance == pytest.approx(seed_spread(tuned, labels(50)).variance / 5)
    with pytest.raises(ValueError, match="neither side has a seed"):
        crossed_difference(base, base, labels(50))


def test_one_run_needs_the_spread_of_others() -> None:
    rng = np.random.default_rng(2)
    five, three, one = (flat(World(60, 0.05).runs(rng, seeds)) for seeds in (5, 3, 1))
    with pytest.raises(ValueError, match="one run of a setting"):
        crossed_difference(one, five, labels(60))
    with pytest.raises(ValueError, match="two runs or more"):
        seed_spread(one, labels(60))
    spread = pooled([seed_spread(five, labels(60)), seed_spread(three, labels(60))])
    assert spread.freedom == 6
    found = crossed_difference(one, five, labels(60), spread)
    own = seed_spread(five, labels(60))
    assert found.seed_variance == pytest.approx(spread.variance + own.variance / 5) and found.seeds == (1, 5)
    assert crossed_interval(one, labels(60), spread).high - found.mean > 0


def test_paired_seeds_take_out_what_the_seed_does_to_both() -> None:
    rng = np.random.default_rng(4)
    shift = rng.normal(0, 0.1, (5, 1))
    a, b = flat(World(60, 0.0).runs(rng, 5)) + shift, flat(World(60, 0.0).runs(rng, 5, 0.1)) + shift
    paired, welch = (crossed_difference(a, b, labels(60), paired_seeds=flag) for flag in (True, False))
    assert paired.mean == pytest.approx(welch.mean) and paired.high - paired.low < 0.5 * (welch.high - welch.low)
    with pytest.raises(ValueError, match="a has 4 runs and b 5"):
        crossed_difference(a[:4], b, labels(60), paired_seeds=True)


def test_groups_compare_the_gains_of_two_kinds_of_documents() -> None:
    rng = np.random.default_rng(5)
    a, b = flat(World(60, 0.02).runs(rng, 4)), flat(World(60, 0.02).runs(rng, 4))
    b[:, :80] += 0.3  # the first 20 documents gain
    kinds = (list(range(80)), list(range(80, 240)))
    found = crossed_difference(a, b, labels(60), groups=kinds)
    gains = [(b[:, kind].mean() - a[:, kind].mean()) for kind in kinds]
    assert found.mean == pytest.approx(gains[0] - gains[1]) and found.p < 0.01 and found.clusters == 60
    part = crossed_difference(a, b, labels(60), groups=(kinds[0][:40], kinds[1][:40]))
    assert part.clusters == 20


def test_one_document_and_nothing_that_varies() -> None:
    ones = np.ones((2, 3))
    assert (crossed_interval(ones, "aaa").low, crossed_interval(ones, "aaa").high) == (0.0, 1.0)
    found = crossed_difference(ones, ones, "aaa")
    assert (found.low, found.high, found.p) == (-1.0, 1.0, 1.0)
    same = crossed_difference(ones, ones, "abc")
    assert (same.low, same.high, same.p) == (0.0, 0.0, 1.0) and smallest_shown(same) is None
    assert 0 < crossed_difference(ones * 0, ones, "abc").p < 0.001
    for bad, error in (([[1.0, np.nan]], "NaN"), (np.ones((2, 4)), "4 scores but 2")):
        with pytest.raises(ValueError, match=error):
            crossed_interval(bad, "ab")


def test_a_plan_shows_what_it_says() -> None:
    """Seeds where seeds are missing, documents where documents are, nothing where neither would do."""
    rng = np.random.default_rng(6)
    noisy = crossed_difference(*(flat(World(240, 0.03).runs(rng, 3)) for _ in range(2)), labels(240))
    by_seeds = plan(noisy, 0.06)
    assert by_seeds is not None and 3 < by_seeds.seeds <= 10 and by_seeds.documents == 240
    assert plan(noisy, 0.002) is None
    varied = flat(World(30, 0.001).runs(rng, 3)), flat(World(30, 0.001).runs(rng, 3))
    varied[1][:, ::2] += rng.normal(0, 0.3, 60)
    few = crossed_difference(*varied, labels(30))
    more = plan(few, 0.05)
    assert more is not None and more.seeds == 10 and 60 < more.documents < 150
    least = smallest_shown(few)
    assert least is not None and plan(few, least, comparisons=6) != plan(few, least)


@pytest.mark.slow
@pytest.mark.parametrize("together", [0.3, 1.5])
@pytest.mark.parametrize("documents", [72, 240])
@pytest.mark.parametrize("sd", [0.015, 0.03, 0.06])
@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
def test_coverage_of_a_difference_of_settings(documents: int, sd: float, seeds: int, together: float) -> None:
    """Simulated: 1 000 pairs of settings with a true difference, against the interval over documents alone."""
    rng, world = np.random.default_rng(7), World(documents, sd, together)
    truth, covered, narrow = world.mean(0.15) - world.mean(0.0), 0, 0
    for _ in range(1000):
        pick = rng.integers(0, documents, documents)  # other documents
        a, b = (flat(world.runs(rng, seeds, skill)[:, pick]) for skill in (0.0, 0.15))
        found = crossed_difference(a, b, labels(documents))
        covered += found.low <= truth <= found.high
        narrow += abs(found.mean - truth) <= 1.96 * paired_error(a.mean(axis=0), b.mean(axis=0), documents)
    print(f"{documents} documents, sd {sd}, {seeds} seeds, {together}: {covered / 1000:.3f} ({narrow / 1000:.3f})")
    assert 0.93 <= covered / 1000 <= 0.98
    assert narrow < covered


def paired_error(a: Runs, b: Runs, documents: int) -> float:
    """What the interval of two runs goes by: the spread over documents alone."""
    return standard_error(b - a, labels(documents)) or 0.0


@pytest.mark.slow
@pytest.mark.parametrize("cells", [3, 4])
@pytest.mark.parametrize(("documents", "sd"), [(72, 0.015), (72, 0.06), (240, 0.03)])
@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_a_sweep_of_equal_settings_claims_a_difference_in_one_of_twenty(
    cells: int, documents: int, sd: float, seeds: int
) -> None:
    """Simulated: 600 sweeps of equal settings, all pairs after Holm; and what documents alone would have claimed."""
    rng, world = np.random.default_rng(8), World(documents, sd)
    wrong = alone = 0
    for _ in range(600):
        found = [flat(world.runs(rng, seeds)) for _ in range(cells)]
        pairs = list(combinations(found, 2))
        wrong += min(holm([crossed_difference(a, b, labels(documents)).p for a, b in pairs])) < 0.05
        lone = [crossed_difference(a.mean(axis=0), b.mean(axis=0)[None], labels(documents), NONE).p for a, b in pairs]
        alone += min(holm(lone)) < 0.05
    print(f"{cells} cells, {documents} documents, sd {sd}, {seeds} seeds: {wrong / 600:.3f} ({alone / 600:.3f})")
    assert wrong / 600 <= 0.06
    assert alone > 2 * wrong
