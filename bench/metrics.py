"""Metrics on 50 000 pairs: drawn answers, of which some are given as they are, some with slips, some wrong.

Equal strings are a short-cut of every metric, so their share decides the figure: here it is two fifths, as a decent
model has. Median of three passes in one process; scoring needs no GPU.
"""

from __future__ import annotations

import random
import statistics

from bench import clock
from bench.suite import Cell, Column, Row, Section, Suite, each
from docvlm.data.generated import documents
from docvlm.metrics import METRICS, metric_function

PAIRS, PASSES = 50_000, 3
Pair = tuple[str, tuple[str, ...]]


def cells(suite: Suite) -> list[Cell]:
    """A cell a metric, so that one that fails leaves the others."""
    count = PAIRS if suite.size == "mid" else 500
    return each(one_metric, suite, [(name, count) for name in METRICS])


def one_metric(suite: Suite, name: str, count: int) -> list[Row]:
    """Seconds for all pairs."""
    score, given = metric_function(name), pairs(count, suite.preset)
    passes = [clock.seconds(lambda: [score(guess, answers) for guess, answers in given]) for _ in range(PASSES)]
    taken = statistics.median(passes)
    mean = statistics.fmean(score(guess, answers) for guess, answers in given)
    return [{"cell": name, "pairs": float(count), "seconds": taken, "us": 1e6 * taken / count, "score": mean}]


def pairs(count: int, preset: str) -> list[Pair]:
    """(prediction, accepted answers), the same in every run."""
    draw = random.Random(0)
    pool = [e.answers for d in documents("docvqa", "test", 200, preset, 0) for e in d]
    return [(_predicted(answers[0], draw, pool), answers) for answers in draw.choices(pool, k=count)]


def _predicted(answer: str, draw: random.Random, pool: list[tuple[str, ...]]) -> str:
    kind = draw.random()
    if kind < 0.4:
        return answer
    if kind < 0.8:  # one or two characters off
        letters = list(answer)
        for _ in range(draw.randint(1, 2)):
            letters[draw.randrange(len(letters))] = draw.choice("abcdefghij0123456789 ")
        return "".join(letters)
    return draw.choice(pool)[0]


SECTION = Section(
    name="metrics",
    title="Metrics",
    note="One process, predictions of which two fifths are right as written, two fifths a character or two off.",
    columns=(
        Column("cell", "metric"),
        Column("pairs", "pairs", ".0f"),
        Column("seconds", "seconds", ".3f"),
        Column("us", "µs a pair", ".1f"),
        Column("score", "mean score", ".3f"),
    ),
    cells=cells,
)
