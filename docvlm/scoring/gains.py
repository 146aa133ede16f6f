"""Which documents gain most: baseline, ours and the gain for each document type and question type, and one sentence.

The type on top of a table is partly there by luck, so the sentence claims no more than the tests bear. "Gains" needs a
paired difference beyond chance after Holm over the types; "gains most" needs a gain beyond that of each other type
after Holm over all pairs of types, from resamples in which all types see the same documents. Types with fewer than 12
documents get a row and no claim: simulated 95 % intervals of a paired difference cover 85 % at 8 documents, 88 % at 10
and 91 to 95 % from 12 on. 5 000 questions of nine types take about 2 s.

Which documents gain from a setting needs runs of several seeds: then every interval is over documents and seeds
(`scoring.crossed`). Of a single run the sentence says that it is one.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from docvlm.metrics import METRICS
from docvlm.scoring.crossed import crossed_difference, crossed_interval
from docvlm.scoring.groups import GROUPINGS, TYPES, UNTYPED, By, Grouping, members
from docvlm.scoring.intervals import (
    Difference,
    Interval,
    paired_difference,
    resampled_group_means,
    score_interval,
    two_sided_p,
)
from docvlm.scoring.predictions import Key, Prediction
from docvlm.scoring.protocol import scorer
from docvlm.scoring.score import clusters, paired
from docvlm.scoring.significance import LEVEL, holm

FEWEST = 12  # documents of a type of which anything is claimed
ONE_SEED = " One seed: another training may order them otherwise; seeds=3 trains more, and the report gathers them."
Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Gain:
    """One type: both scores and the paired difference, which is below 0 where an error fell.

    `adjusted` is its p after Holm, None where it is not judged; `error` says that of its metric less is better.
    """

    name: str
    baseline: Interval
    ours: Interval
    difference: Difference
    adjusted: float | None
    error: bool = False

    @property
    def size(self) -> float:
        """How much better it became."""
        return -self.difference.mean if self.error else self.difference.mean

    @property
    def moves(self) -> bool:
        """Whether the difference is beyond chance, all judged types taken together."""
        return self.adjusted is not None and self.adjusted < LEVEL

    @property
    def said(self) -> str:
        """Its name in a sentence: one from right to left would take the numbers beside it along."""
        turned = any(unicodedata.bidirectional(character) in ("R", "AL") for character in self.name)
        return f"\u2068{self.name}\u2069" if turned else self.name

    def __str__(self) -> str:
        return f"{self.said} {self.difference}"


@dataclass(frozen=True, slots=True)
class Gains:
    """All types, largest gain first, or in the grouping's own order.

    `apart` holds the pairs (more, less) of judged types whose gains differ.

    `seeds` is how many runs of the setting they are of; None for answers that no training run stands behind.
    """

    by: By
    rows: tuple[Gain, ...]
    apart: frozenset[tuple[str, str]]
    seeds: int | None = None

    @property
    def grouping(self) -> Grouping:
        """What the types are types of."""
        return GROUPINGS[self.by]

    @property
    def judged(self) -> list[Gain]:
        """Types with enough documents, largest gain first."""
        return sorted((row for row in self.rows if row.adjusted is not None), key=lambda row: -row.size)

    @property
    def sentence(self) -> str:
        """Which types gain most, no stronger than the numbers allow."""
        one, many, unknown = self.grouping.name, self.grouping.names, self.grouping.unknown
        if not self.rows:
            return f"Which {many} gain most cannot be said: these predictions name no {one}."
        if len(self.rows) == 1:
            (only,) = self.rows
            return f"All questions are of one {one}, {only}: there is nothing to compare it with."
        small = ", ".join(f"{row.said} ({row.ours.clusters})" for row in self.rows if row.adjusted is None)
        unjudged = f" Not judged, with fewer than {FEWEST} documents or {unknown}: {small}." if small else ""
        return self._claim() + unjudged + (ONE_SEED if self.seeds == 1 and self.judged else "")

    def _claim(self) -> str:
        judged, where, one = self.judged, self._where, self.grouping.name
        if not judged:
            return f"Which {self.grouping.names} gain most cannot be said: none has {FEWEST} documents."
        top = judged[0]
        if len(judged) == 1:
            verdict = "beyond chance" if top.moves else "not beyond chance"
            return f"Only one {one} has {FEWEST} documents, {top}, {verdict}{where}: nothing to compare it with."
        gaining = [row for row in judged if row.moves and row.size > 0]
        losing = [row for row in judged if row.moves and row.size < 0]
        lost = f" Beyond chance {'higher' if top.error else 'lower'}: {_listed(losing)}." if losing else ""
        if not gaining:
            return f"No {one} gains beyond chance{where}; the largest measured difference is {top}.{lost}"
        if top not in gaining:
            largest = f"{top} is the largest measured{where}, and not beyond chance"
            return f"{largest}; {_listed(gaining)} gains beyond it.{lost}"
        rivals = [row for row in judged[1:] if (top.name, row.name) not in self.apart]
        if not rivals:
            many = "types" if self.by in TYPES else self.grouping.names
            others = judged[1].said if len(judged) == 2 else f"each of the other {len(judged) - 1} {many}"
            scope = "" if len(judged) == len(self.rows) else f" of the {many} judged"
            return f"{top.said} gains most{where}{scope}: {top.difference}, beyond {others}.{lost}"
        beaten = [row for row in judged[1:] if row not in rivals]
        more = f"; it gains beyond {', '.join(row.said for row in beaten)}" if beaten else ""
        return f"{top} has the largest measured gain{where}; {_listed(rivals)} cannot be told from it{more}.{lost}"

    @property
    def _where(self) -> str:
        return {None: "", 1: " in this run"}.get(self.seeds, f" over {self.seeds} seeds")


def gains(
    before: Sequence[Prediction],
    after: Sequence[Prediction],
    metric: str,
    by: By,
    siblings: Sequence[Sequence[Prediction]] | None = None,
) -> Gains:
    """The gain of each type from `before` to `after`. Raises `DocvlmError` unless they answer the same questions.

    Types are those of `after`; a question with several types counts in each. `siblings` are the answers of the other
    seeds of the setting that `after` is a run of, () for a run alone, None where no training run stands behind it.
    """
    record, function = METRICS[metric], scorer(metric)
    sides = [paired(before, run) for run in (after, *(siblings or ()))]
    a = np.array([function(p) for p, _ in sides[0]])
    b = np.array([[function(p) for _, p in pairs] for pairs in sides])
    records = [p for _, p in sides[0]]
    documents, types = clusters(records), members(records, by)
    found = {name: _row(name, indices, a, b, documents) for name, indices in types.items()}
    enough = [name for name, row in found.items() if row.ours.clusters >= FEWEST and name != UNTYPED]
    adjusted = dict(zip(enough, holm([found[name].difference.p for name in enough]), strict=True))
    rows = [
        replace(row, adjusted=adjusted[name] if name in adjusted else None, error=not record.higher_is_better)
        for name, row in found.items()
    ]
    first, second = (np.vectorize(record.goodness, otypes=[float])(scores) for scores in (a, b))
    apart = _apart({name: types[name] for name in enough}, first, second, documents)
    seeds = None if siblings is None else len(sides)
    shown = rows if GROUPINGS[by].order else sorted(rows, key=lambda row: -row.size)
    return Gains(by, tuple(shown), apart, seeds)


def _row(name: str, indices: list[int], a: Array, b: Array, documents: Sequence[Key]) -> Gain:
    """`a` has the baseline's N scores, `b` (S, N) those of the runs."""
    first, second = a[indices], b[:, indices]
    labels = [documents[i] for i in indices]
    if len(b) == 1:
        difference = paired_difference(first, second[0], labels)
        return Gain(name, score_interval(first, labels), score_interval(second[0], labels), difference, None)
    ours, difference = crossed_interval(second, labels), crossed_difference(first, second, labels)
    return Gain(name, score_interval(first, labels), ours, difference, None)


def _apart(types: dict[str, list[int]], a: Array, b: Array, documents: Sequence[Key]) -> frozenset[tuple[str, str]]:
    """Pairs of types (more, less) whose gains differ after Holm over all pairs."""
    if len(types) < 2:
        return frozenset()
    deltas, parts = b.mean(axis=0) - a, list(types.values())
    pairs = list(combinations(range(len(types)), 2))
    if len(b) == 1:
        means = resampled_group_means(deltas, documents, parts)
        found = [two_sided_p(means[:, i] - means[:, j]) for i, j in pairs]
    else:
        found = [crossed_difference(a, b, documents, groups=(parts[i], parts[j])).p for i, j in pairs]
    names, measured = list(types), [float(deltas[part].mean()) for part in parts]
    different = [pair for pair, p in zip(pairs, holm(found), strict=True) if p < LEVEL]
    return frozenset((names[i], names[j]) if measured[i] > measured[j] else (names[j], names[i]) for i, j in different)


def _listed(rows: Sequence[Gain]) -> str:
    return ", ".join(map(str, rows))
