"""Simulated: what intervals cover, how often an ablation claims too much, what a split can show. Slow; -s prints it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from docvlm.scoring.gains import FEWEST
from docvlm.scoring.intervals import clustered_bootstrap, clustered_wilson, paired_difference, score_interval
from docvlm.scoring.significance import compare_cells, smallest_detectable


def two_models(rng: np.random.Generator, pages: int, lifts: Sequence[float]) -> tuple[list[np.ndarray], np.ndarray]:
    """Models on the same pages, 4 to 6 questions each: a page is hard for all of them, each has pages it likes, and
    a question that is hard for one is likely to be hard for the next. `lifts` are their skills in logits."""
    labels = np.repeat(np.arange(pages), rng.integers(4, 7, pages))
    hard, question = rng.normal(0, 1.2, pages)[labels], rng.random(len(labels))
    models = []
    for lift in lifts:
        chance = 1 / (1 + np.exp(-(hard + rng.normal(lift, 0.8, pages)[labels])))
        own = rng.random(len(labels)) < 0.4
        models.append((np.where(own, rng.random(len(labels)), question) < chance).astype(float))
    return models, labels


@pytest.mark.slow
@pytest.mark.parametrize("anls", [False, True])
@pytest.mark.parametrize(("pages", "least"), [(30, 0.90), (100, 0.92), (280, 0.93)])
def test_coverage_of_a_scores_interval(pages: int, least: float, anls: bool) -> None:
    """Simulated: the interval printed beside every score, on pages with page effects, 4 to 6 questions a page.

    Right or wrong answers (Wilson's interval below 300 questions), or ANLS, which also gives part of the credit.
    """

    def credit(right: np.ndarray) -> np.ndarray:
        return np.where(rng.random(len(right)) < 0.3, rng.uniform(0.5, 1.0, len(right)), right) if anls else right

    rng = np.random.default_rng(4)
    truth = float(credit(two_models(rng, 200_000, (1.0,))[0][0]).mean())
    covered = narrow = 0
    for _ in range(1000):
        (right,), labels = two_models(rng, pages, (1.0,))
        values = credit(right)
        found = score_interval(values, list(labels), resamples=500)
        covered += found.low <= truth <= found.high
        single = clustered_bootstrap(values, range(len(values)), resamples=500)
        narrow += single.low <= truth <= single.high
    kind = "ANLS" if anls else "right or wrong"
    print(f"{kind}, {pages} pages: clustered {covered / 1000:.3f}, by question {narrow / 1000:.3f}")
    assert least <= covered / 1000 <= 0.97
    assert narrow < covered - 20


@pytest.mark.slow
@pytest.mark.parametrize(("pages", "least"), [(FEWEST, 0.87), (100, 0.92)])
def test_coverage_of_the_paired_interval(pages: int, least: float) -> None:
    """Simulated: how often the 95 % interval of a paired difference holds the true one, and a question-level one does.

    1 000 pairs of models on pages with page effects, 4 to 6 questions a page.
    """
    rng = np.random.default_rng(1)
    truth_a, truth_b = two_models(rng, 200_000, (0.0, 0.4))[0]
    truth = float((truth_b - truth_a).mean())
    covered = narrow = 0
    for _ in range(1000):
        (a, b), labels = two_models(rng, pages, (0.0, 0.4))
        found = paired_difference(a, b, list(labels), resamples=500)
        covered += found.low <= truth <= found.high
        single = paired_difference(a, b, range(len(a)), resamples=500)
        narrow += single.low <= truth <= single.high
    print(f"{pages} pages: clustered {covered / 1000:.3f}, by question {narrow / 1000:.3f}")
    assert least <= covered / 1000 <= 0.97
    assert narrow < covered


@pytest.mark.slow
def test_holm_keeps_false_claims_rare_across_an_ablation() -> None:
    """Simulated: 400 ablations of four equal models (six pairs), page effects, 4 to 6 questions a page.

    Counted: ablations in which at least one pair is called different. Without Holm that is common.
    """
    rng = np.random.default_rng(3)
    holm_wrong = plain_wrong = 0
    for _ in range(400):
        models, labels = two_models(rng, 60, (0.0,) * 4)
        found = compare_cells({str(i): model for i, model in enumerate(models)}, list(labels), resamples=1000)
        holm_wrong += any(one.significant for one in found)
        plain_wrong += any(one.difference.p < 0.05 for one in found)
    print(f"at least one false claim: plain {plain_wrong / 400:.3f}, Holm {holm_wrong / 400:.3f}")
    assert holm_wrong / 400 <= 0.08
    assert plain_wrong / 400 >= 0.12


@pytest.mark.slow
def test_power_is_what_the_smallest_detectable_difference_says() -> None:
    """Simulated: a true gain of the stated size is found in about 80 % of 300 splits of 100 pages."""
    rng = np.random.default_rng(5)
    skills = (0.0, 0.5)
    many_a, many_b = two_models(rng, 200_000, skills)[0]
    truth, sizes, hits = float((many_b - many_a).mean()), [], 0
    for _ in range(300):
        (a, b), labels = two_models(rng, 100, skills)
        hits += paired_difference(a, b, list(labels), resamples=1000).p < 0.05
        sizes.append(smallest_detectable(b - a, list(labels)) or 0.0)
    print(f"true {truth:.4f}, stated {np.mean(sizes):.4f}, found {hits / 300:.3f}")
    assert truth == pytest.approx(np.mean(sizes), rel=0.05)
    assert 0.74 < hits / 300 < 0.88


@pytest.mark.slow
@pytest.mark.parametrize(("rate", "pages", "most"), [(0.01, 30, 0.75), (0.01, 60, 0.9), (0.03, 280, 0.97)])
def test_coverage_of_rare_failures(rate: float, pages: int, most: float) -> None:
    """Simulated: the interval of a rare class, whose pages differ (beta, three pages' worth), 4 to 6 questions each."""
    rng = np.random.default_rng(2)
    covered = bootstrap = 0
    for _ in range(500):
        labels = np.repeat(np.arange(pages), rng.integers(4, 7, pages))
        hit = (rng.random(len(labels)) < rng.beta(3 * rate, 3 * (1 - rate), pages)[labels]).astype(float)
        found, resampled = clustered_wilson(hit, list(labels)), clustered_bootstrap(hit, list(labels), resamples=300)
        covered += found.low <= rate <= found.high
        bootstrap += resampled.low <= rate <= resampled.high
    print(f"rate {rate}, {pages} pages: Wilson {covered / 500:.3f}, bootstrap {bootstrap / 500:.3f}")
    assert covered / 500 >= 0.90
    assert bootstrap / 500 <= most  # why these intervals are Wilson's
