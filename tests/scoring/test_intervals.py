"""Intervals: coverage on simulated pages, agreement with a plain loop, paired differences, small groups, speed."""

from __future__ import annotations

import time

import numpy as np
import pytest

from docvlm.scoring.intervals import (
    clustered_bootstrap,
    clustered_wilson,
    paired_difference,
    paired_ratio,
    score_interval,
)


def pages(rng: np.random.Generator, groups: int, each: int, spread: float = 0.35) -> tuple[np.ndarray, list[int]]:
    """Right/wrong answers whose chance of being right is a property of the page; the true mean is 0.5."""
    chance = np.clip(0.5 + spread * rng.choice([-1.0, 1.0], groups), 0, 1)
    return (rng.random((groups, each)) < chance[:, None]).astype(float).ravel(), list(np.repeat(range(groups), each))


def test_agrees_with_a_plain_loop() -> None:
    rng = np.random.default_rng(1)
    sizes = rng.integers(1, 9, 60)
    clusters = [f"page {i}" for i, size in enumerate(sizes) for _ in range(size)]
    values = rng.random(len(clusters))
    by_page = [[v for v, c in zip(values, clusters, strict=True) if c == f"page {i}"] for i in range(60)]
    means = []
    for _ in range(4000):
        drawn = [by_page[i] for i in rng.integers(0, 60, 60)]
        means.append(sum(map(sum, drawn)) / sum(map(len, drawn)))
    interval = clustered_bootstrap(values, clusters)
    assert interval.mean == pytest.approx(values.mean())
    assert (interval.low, interval.high) == pytest.approx(tuple(np.percentile(means, [2.5, 97.5])), abs=0.003)
    assert (interval.n, interval.clusters) == (len(values), 60)


def test_covers_the_truth_where_a_question_level_interval_does_not() -> None:
    rng = np.random.default_rng(7)
    clustered = questions = 0
    for _ in range(200):
        values, clusters = pages(rng, groups=100, each=5)
        interval = clustered_bootstrap(values, clusters, resamples=500)
        clustered += interval.low <= 0.5 <= interval.high
        single = clustered_bootstrap(values, range(len(values)), resamples=500)
        questions += single.low <= 0.5 <= single.high
    assert clustered / 200 >= 0.90
    assert questions / 200 <= 0.85


def test_order_of_questions_does_not_matter_and_the_seed_decides() -> None:
    values, clusters = pages(np.random.default_rng(3), 40, 3)
    assert clustered_bootstrap(values, clusters) == clustered_bootstrap(values, clusters)
    assert clustered_bootstrap(values, clusters, seed=1) != clustered_bootstrap(values, clusters, seed=2)


def test_paired_difference_sees_what_single_intervals_hide() -> None:
    rng = np.random.default_rng(5)
    before, clusters = pages(rng, 120, 4)
    after = before.copy()
    after[rng.choice(len(after), 30, replace=False)] = 1.0  # a few wrong answers become right, none the other way
    gain = paired_difference(before, after, clusters)
    assert gain.mean == pytest.approx((after - before).mean())
    assert gain.low > 0
    assert 0 < gain.p < 0.001
    first, second = clustered_bootstrap(before, clusters), clustered_bootstrap(after, clusters)
    assert first.high > second.low  # the two intervals overlap all the same
    nothing = paired_difference(before, before, clusters)
    assert (nothing.mean, nothing.low, nothing.high, nothing.p) == (0.0, 0.0, 0.0, 1.0)


def test_paired_ratio_agrees_with_a_plain_loop() -> None:
    rng = np.random.default_rng(9)
    before, clusters = pages(rng, 50, 4)
    after = before * (rng.random(200) < 0.7)
    a, b = before.reshape(50, 4).sum(axis=1), after.reshape(50, 4).sum(axis=1)
    ratios = [b[drawn].sum() / a[drawn].sum() for drawn in rng.integers(0, 50, (4000, 50))]
    found = paired_ratio(before, after, clusters)
    assert found is not None and found.mean == pytest.approx(b.sum() / a.sum())
    assert (found.low, found.high) == pytest.approx(tuple(np.percentile(ratios, [2.5, 97.5])), abs=0.01)
    assert found.high - found.low < 0.5 * (clustered_bootstrap(after, clusters).high / found.mean)
    assert (found.n, found.clusters) == (200, 50)
    assert paired_ratio([1.0, 1.0], [0.0, 1.0], ["a", "a"]) is None  # one document shows no spread
    assert paired_ratio([1.0, 0.0], [0.0, 1.0], ["a", "b"]) is None  # a resample may have nothing to divide by


def test_p_is_uniform_enough_under_no_difference() -> None:
    rng = np.random.default_rng(11)
    rejected = 0
    for _ in range(200):
        a, clusters = pages(rng, 80, 4)
        b, _ = pages(rng, 80, 4)
        rejected += paired_difference(a, b, clusters, resamples=500).p < 0.05
    assert 0.02 <= rejected / 200 <= 0.10


def test_one_document_says_nothing() -> None:
    alone = clustered_bootstrap([1.0, 1.0], ["p", "p"])
    assert (alone.mean, alone.low, alone.high, alone.clusters) == (1.0, 0.0, 1.0, 1)
    gain = paired_difference([0.0], [1.0], ["p"])
    assert (gain.low, gain.high, gain.p) == (-1.0, 1.0, 1.0)


def test_wilson_by_hand_and_narrower_than_certainty() -> None:
    # 8 of 10 on ten pages: the textbook Wilson interval is 0.490 to 0.943.
    single = clustered_wilson([1.0] * 8 + [0.0] * 2, range(10))
    assert (single.low, single.high) == pytest.approx((0.490, 0.943), abs=0.02)
    all_right = clustered_wilson([1.0] * 20, [i // 2 for i in range(20)])
    assert all_right.high == pytest.approx(1.0)
    assert 0.6 < all_right.low < 0.8  # ten pages: the bootstrap would say [1, 1]
    spread = clustered_wilson([1.0] * 10 + [0.0] * 10, [0] * 10 + [1] * 10)
    assert spread.high - spread.low > 0.6  # two pages, one all right, one all wrong


@pytest.mark.parametrize("answer", [0.0, 1.0])
def test_wilson_holds_the_mean_where_all_answers_are_alike(answer: float) -> None:
    """Rounding put the lower end a hair above a mean of 0, which no figure can draw."""
    for documents in range(1, 80):
        found = clustered_wilson([answer] * (3 * documents), [n // 3 for n in range(3 * documents)])
        assert found.low <= found.mean <= found.high


def test_small_binary_groups_get_wilson() -> None:
    assert score_interval([1.0, 1.0, 1.0], range(3)).low < 0.6
    assert score_interval([0.7, 0.8, 0.9], range(3)).low > 0.69  # not binary: bootstrap
    assert score_interval([1.0] * 400, range(400)).low == 1.0


@pytest.mark.parametrize(
    ("values", "clusters", "message"),
    [([], [], "no scores"), ([1.0], ["a", "b"], "1 scores but 2"), ([float("nan")], ["a"], "NaN")],
)
def test_wrong_input_is_refused(values: list[float], clusters: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        clustered_bootstrap(values, clusters)


def test_different_questions_are_refused() -> None:
    with pytest.raises(ValueError, match="a has 1 scores and b 2"):
        paired_difference([1.0], [1.0, 0.0], ["a"])


def test_ten_thousand_resamples_of_five_thousand_questions_below_a_second() -> None:
    rng = np.random.default_rng(0)
    clusters = list(rng.integers(0, 1286, 5349))
    values = rng.random(5349)
    runs = []
    for _ in range(3):
        start = time.process_time()
        clustered_bootstrap(values, clusters)
        runs.append(time.process_time() - start)
    assert min(runs) < 0.7
