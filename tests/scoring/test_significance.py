"""Many comparisons at once, gains by type with their sentence, flips."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from docvlm.errors import DocvlmError
from docvlm.scoring.flips import flips
from docvlm.scoring.frequencies import crossed, findings, frequencies
from docvlm.scoring.gains import FEWEST, gains
from docvlm.scoring.intervals import (
    clustered_bootstrap,
    paired_difference,
    resampled_group_means,
    standard_error,
    two_sided_p,
)
from docvlm.scoring.predictions import Prediction
from docvlm.scoring.significance import compare_cells, holm, mcnemar, smallest_detectable

PS = st.lists(st.floats(0, 1), max_size=12)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []
    assert holm([0.9, 0.8]) == [1.0, 1.0]


@settings(deadline=None)
@given(PS)
def test_holm_lies_between_the_plain_p_and_bonferroni_and_keeps_the_order(values: list[float]) -> None:
    adjusted = holm(values)
    assert all(p <= a <= min(1.0, p * len(values)) for p, a in zip(values, adjusted, strict=True))
    assert sorted(adjusted) == [a for _, a in sorted(zip(values, adjusted, strict=True))]


@settings(deadline=None)
@given(st.integers(0, 40), st.integers(0, 40))
def test_mcnemar_is_the_binomial_test(fixed: int, broken: int) -> None:
    n, tail = fixed + broken, max(fixed, broken)
    p = sum(comb(n, k) for k in range(tail, n + 1)) / 2**n
    assert mcnemar(fixed, broken) == pytest.approx(min(1.0, 2 * p))
    assert mcnemar(fixed, broken) == mcnemar(broken, fixed)


def test_the_smallest_detectable_difference_of_the_published_example() -> None:
    """8 % discordant answers: 500 questions see about 3.5 points, 5 349 about 1.1."""
    for n, points in ((500, 3.5), (5349, 1.1)):
        deltas = np.zeros(n)
        deltas[: int(0.08 * n)] = np.resize([1.0, -1.0], int(0.08 * n))
        found = smallest_detectable(deltas, range(n))
        assert found is not None and 100 * found == pytest.approx(points, abs=0.05)
        stricter = smallest_detectable(deltas, range(n), comparisons=6)
        assert stricter is not None and stricter > found
    assert smallest_detectable([0.0, 0.0], "ab") is None
    assert smallest_detectable([0.0, 1.0], "aa") is None


def test_the_standard_error_agrees_with_the_bootstrap() -> None:
    values, clusters = page_scores(np.random.default_rng(2), 120, 5)
    found, interval = standard_error(values, clusters), clustered_bootstrap(values, clusters)
    assert found == pytest.approx((interval.high - interval.low) / 3.92, rel=0.05)


def test_cells_are_compared_in_pairs_or_with_one() -> None:
    rng = np.random.default_rng(4)
    base, clusters = page_scores(rng, 100, 4)
    better = np.maximum(base, (rng.random(400) < 0.2).astype(float))
    cells = {"a": base, "b": base, "c": better}
    found = compare_cells(cells, clusters)
    assert [(one.first, one.second) for one in found] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert [one.significant for one in found] == [False, True, True]
    assert found[0].detectable is None  # two equal cells show no spread
    assert found[1].adjusted == pytest.approx(3 * found[1].difference.p)
    against = compare_cells(cells, clusters, against="c")
    assert [(one.first, one.second) for one in against] == [("c", "a"), ("c", "b")]
    assert against[0].difference.mean < 0


def test_resampled_groups_agree_with_single_intervals() -> None:
    values, clusters = page_scores(np.random.default_rng(6), 90, 3)
    first, second = list(range(120)), list(range(60, 270))
    means = resampled_group_means(values, clusters, [first, second, [0]])
    alone = clustered_bootstrap(values[second], clusters[60:])
    assert np.percentile(means[:, 1], [2.5, 97.5]) == pytest.approx((alone.low, alone.high), abs=0.01)
    assert means[:, 0].mean() == pytest.approx(values[:120].mean(), abs=0.01)
    missing = float(np.isnan(means[:, 2]).mean())
    assert missing == pytest.approx(np.exp(-1), abs=0.02)  # one document of ninety is not always drawn
    assert two_sided_p(means[:, 2] + 5) >= missing


def answers(kinds: Sequence[str], right: np.ndarray, documents: int, each: int) -> list[Prediction]:
    """`each` questions on each of `documents` pages, their type that of the page; wrong answers say nothing."""
    return [
        Prediction(
            f"{page}-{number}", f"d{page}", "b", kinds[page % len(kinds)], (f"q{number}",), "q?",
            "yes" if right[page, number] else "", ("yes",),
        )
        for page in range(documents)
        for number in range(each)
    ]  # fmt: skip


def improved(rates: dict[str, float], documents: int, each: int = 4) -> tuple[list[Prediction], list[Prediction]]:
    """Half of the answers right before; then each wrong one of a type is mended with that type's rate."""
    rng, kinds = np.random.default_rng(8), list(rates)
    before = rng.random((documents, each)) < 0.5
    rate = np.array([rates[kinds[page % len(kinds)]] for page in range(documents)])[:, None]
    mended = np.where(
        rate >= 0, before | (rng.random(before.shape) < rate), before & (rng.random(before.shape) > -rate)
    )
    return answers(kinds, before, documents, each), answers(kinds, mended, documents, each)


@pytest.mark.parametrize(
    ("rates", "documents", "words"),
    [
        ({"form": 0.9, "letter": 0.2, "table": 0.1}, 120, "form gains most: +"),
        ({"form": 0.9, "letter": 0.2, "table": 0.1}, 120, "beyond each of the other 2 types."),
        ({"form": 0.5, "letter": 0.45, "table": 0.0}, 120, "cannot be told from it; it gains beyond table"),
        ({"form": 0.03, "letter": 0.0}, 60, "No document type gains beyond chance; the largest measured"),
        ({"form": 0.0, "letter": -0.6}, 60, "No document type gains beyond chance"),
        ({"form": 0.0, "letter": -0.6}, 60, "Beyond chance lower: letter -"),
        ({"form": 0.9, "letter": 0.1, "memo": 0.1}, 3 * FEWEST - 1, "form gains most of the types judged: +"),
        ({"form": 0.9}, 60, "All questions are of one document type, form +"),
        ({"form": 0.9, "letter": 0.1}, 2 * FEWEST - 1, "Only one document type has 12 documents, form +"),
        ({"form": 0.9, "letter": 0.1}, 2 * FEWEST - 1, "no type: letter (11)."),
        ({"form": 0.9, "letter": 0.1}, 10, "cannot be said: none has 12 documents. Not judged"),
        ({"": 0.9}, 60, "cannot be said: these predictions name no document type"),
    ],
)
def test_the_sentence_claims_what_the_numbers_bear(rates: dict[str, float], documents: int, words: str) -> None:
    before, after = improved(rates, documents)
    assert words in gains(before, after, "anls", "document").sentence


def seeded(lifts: dict[str, Sequence[float]], documents: int) -> tuple[list[Prediction], list[list[Prediction]]]:
    """A base with half of the answers right, and a run for each seed, which mends a type's answers at that rate."""
    kinds, before = list(lifts), np.random.default_rng(8).random((documents, 4)) < 0.5
    runs = []
    for seed in range(len(next(iter(lifts.values())))):
        rng = np.random.default_rng(seed)
        rate = np.array([lifts[kinds[page % len(kinds)]][seed] for page in range(documents)])[:, None]
        runs.append(answers(kinds, before | (rng.random(before.shape) < rate), documents, 4))
    return answers(kinds, before, documents, 4), runs


def test_which_documents_gain_is_said_of_a_run_or_over_seeds() -> None:
    """In the first run forms gain most beyond chance; over three seeds, of which two say otherwise, nothing leads."""
    before, runs = seeded({"form": (0.9, 0.7, 0.65), "letter": (0.6, 0.7, 0.65)}, 80)
    alone = gains(before, runs[0], "anls", "document", siblings=())
    assert alone.sentence.startswith("form gains most in this run: +")
    assert alone.sentence.endswith(
        "another training may order them otherwise; seeds=3 trains more, and the report gathers them."
    )
    over = gains(before, runs[0], "anls", "document", siblings=runs[1:])
    assert " has the largest measured gain over 3 seeds; " in over.sentence
    assert "cannot be told from it" in over.sentence
    assert "One seed" not in over.sentence and not over.apart
    (wide,) = [row for row in over.rows if row.name == "form"]
    (narrow,) = [row for row in alone.rows if row.name == "form"]
    assert wide.difference.high - wide.difference.low > 1.5 * (narrow.difference.high - narrow.difference.low)
    forms = [[record.prediction == "yes" for record in run if record.document_type == "form"] for run in runs]
    assert wide.ours.mean == pytest.approx(np.mean(forms))


def test_what_every_seed_shows_is_said_of_the_setting() -> None:
    before, runs = seeded({"form": (0.9, 0.88, 0.92, 0.9), "letter": (0.2, 0.25, 0.2, 0.15)}, 80)
    found = gains(before, runs[0], "anls", "document", siblings=runs[1:])
    assert found.sentence.startswith("form gains most over 4 seeds: +") and ("form", "letter") in found.apart


def test_flips_of_a_setting_are_over_its_seeds() -> None:
    before, runs = seeded({"form": (0.9, 0.5, 0.1)}, 80)
    alone, over = flips(before, runs[0]), flips(before, runs[0], siblings=runs[1:])
    assert (alone.over_seeds, over.fixed, over.change) == (None, alone.fixed, alone.change)
    assert over.over_seeds is not None and over.over_seeds.seeds == (0, 3)
    gained = [sum(r.prediction == "yes" for r in run) - sum(r.prediction == "yes" for r in before) for run in runs]
    assert over.over_seeds.mean == pytest.approx(sum(gained) / 3 / len(before))
    assert alone.change.p < 0.001 < 0.05 < over.over_seeds.p
    assert re.search(r"; over 3 seeds \+0\.\d+ \[-0\.\d+, \+\d\.\d+\], p 0\.\d+$", over.sentence)


def test_gains_are_sorted_paired_and_judged() -> None:
    before, after = improved({"letter": 0.1, "form": 0.9, "memo": 0.5}, 90)
    found = gains(before, list(reversed(after)), "anls", "document")
    assert [row.name for row in found.rows] == ["form", "memo", "letter"]
    form = found.rows[0]
    assert (form.ours.n, form.ours.clusters) == (120, 30)
    assert form.difference.mean == pytest.approx(form.ours.mean - form.baseline.mean)
    assert form.moves and ("form", "letter") in found.apart and ("letter", "form") not in found.apart
    assert [row.ours.n for row in gains(before, after, "anls", "question").rows] == [90] * 4
    with pytest.raises(DocvlmError, match="only one of the two results"):
        gains(before[1:], after, "anls", "document")


def test_flips_are_listed_and_tested() -> None:
    before, after = improved({"form": 0.9, "letter": -0.2}, 60)
    found = flips(before, after)
    for part, was, now in ((found.fixed, 0.0, 1.0), (found.broken, 1.0, 0.0)):
        assert part and all((flip.score_before, flip.score_after) == (was, now) for flip in part)
        assert all(flip.before.key == flip.after.key for flip in part)
    assert len(found.fixed) + len(found.broken) + found.both_right + found.both_wrong == 240
    assert found.change.mean == pytest.approx((len(found.fixed) - len(found.broken)) / 240)
    assert found.exact_p is None and "McNemar" not in found.sentence  # four questions a page
    one_each = flips(*improved({"form": 0.3}, 60, each=1))
    assert one_each.exact_p == mcnemar(len(one_each.fixed), 0) and "McNemar exact" in one_each.sentence
    same = flips(before, before)
    assert not same.fixed and not same.broken and same.change.p == 1.0


def test_frequencies_and_crossings_count_every_failure_once() -> None:
    _, after = improved({"form": 0.2, "letter": -0.2}, 60)
    found = findings(after)
    (row,) = frequencies(after, found)
    wrong = sum(record.prediction == "" for record in after)
    assert (row.kind, row.count, row.share.n, row.share.clusters) == ("empty", wrong, 240, 60)
    assert row.share.mean == row.lost == pytest.approx(wrong / 240)
    assert len({finding.record.document for finding in row.examples}) == 3
    table = crossed(after, found, "document")
    assert {label: total for label, (total, _) in table.items()} == {"form": 120, "letter": 120}
    assert sum(counts["empty"] for _, counts in table.values()) == wrong
    pages = {(record.benchmark, record.document): "no text" for record in after}
    assert [one.failure for one in findings(after, pages=pages)] == [one.failure for one in found]


def test_everything_about_five_thousand_questions_below_a_second() -> None:
    """10 000 resamples of DocVQA's validation split: one difference, and all differences of nine types."""
    rng = np.random.default_rng(0)
    clusters, values = list(rng.integers(0, 1286, 5349)), rng.random(5349)
    groups = [list(range(start, 5349, 9)) for start in range(9)]
    runs = []
    for work in (
        lambda: paired_difference(values, values[::-1], clusters),
        lambda: resampled_group_means(values, clusters, groups),
    ):
        start = time.process_time()
        work()
        runs.append(time.process_time() - start)
    assert max(runs) < 0.9


def page_scores(rng: np.random.Generator, pages: int, each: int) -> tuple[np.ndarray, list[int]]:
    """Right or wrong answers whose chance is a property of the page."""
    chance = rng.beta(1.0, 1.0, pages)
    return (rng.random((pages, each)) < chance[:, None]).astype(float).ravel(), list(np.repeat(range(pages), each))
