"""Which documents gain most: baseline, ours and the gain for each document type and question type, and one sentence.

The type on top of a table is partly there by luck, so the sentence claims no more than the tests bear. "Gains" needs a
paired difference beyond chance after Holm over the types; "gains most" needs a gain beyond that of each other type
after Holm over all pairs of types, from resamples in which all types see the same documents. Types with fewer than 12
documents get a row and no claim: simulated 95 % intervals of a paired difference cover 85 % at 8 documents, 88 % at 10
and 91 to 95 % from 12 on. 5 000 questions of nine types take about 2 s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from docvlm.metrics import METRICS
from docvlm.scoring.intervals import (
    Difference,
    Interval,
    paired_difference,
    resampled_group_means,
    score_interval,
    two_sided_p,
)
from docvlm.scoring.predictions import Prediction
from docvlm.scoring.score import UNTYPED, By, clusters, members, paired
from docvlm.scoring.significance import LEVEL, holm

FEWEST = 12  # documents of a type of which anything is claimed


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

    def __str__(self) -> str:
        return f"{self.name} {self.difference}"


@dataclass(frozen=True, slots=True)
class Gains:
    """All types, largest gain first. `apart` holds the pairs (more, less) of judged types whose gains differ."""

    by: By
    rows: tuple[Gain, ...]
    apart: frozenset[tuple[str, str]]

    @property
    def judged(self) -> list[Gain]:
        """Types with enough documents, largest gain first."""
        return [row for row in self.rows if row.adjusted is not None]

    @property
    def sentence(self) -> str:
        """Which types gain most, no stronger than the numbers allow."""
        if not self.rows:
            return f"Which {self.by} types gain most cannot be said: these predictions name no {self.by} type."
        if len(self.rows) == 1:
            (only,) = self.rows
            return f"All questions are of one {self.by} type, {only}: there is nothing to compare it with."
        small = ", ".join(f"{row.name} ({row.ours.clusters})" for row in self.rows if row.adjusted is None)
        return self._claim() + (
            f" Not judged, with fewer than {FEWEST} documents or no type: {small}." if small else ""
        )

    def _claim(self) -> str:
        judged = self.judged
        if not judged:
            return f"Which {self.by} types gain most cannot be said: none has {FEWEST} documents."
        top = judged[0]
        if len(judged) == 1:
            verdict = "beyond chance" if top.moves else "not beyond chance"
            return f"Only one {self.by} type has {FEWEST} documents, {top}, {verdict}: nothing to compare it with."
        gaining = [row for row in judged if row.moves and row.size > 0]
        losing = [row for row in judged if row.moves and row.size < 0]
        lost = f" Beyond chance {'higher' if top.error else 'lower'}: {_listed(losing)}." if losing else ""
        if not gaining:
            return f"No {self.by} type gains beyond chance; the largest measured difference is {top}.{lost}"
        if top not in gaining:
            return f"{top} is the largest measured, and not beyond chance; {_listed(gaining)} gains beyond it.{lost}"
        rivals = [row for row in judged[1:] if (top.name, row.name) not in self.apart]
        if not rivals:
            others = judged[1].name if len(judged) == 2 else f"each of the other {len(judged) - 1} types"
            scope = "" if len(judged) == len(self.rows) else " of the types judged"
            return f"{top.name} gains most{scope}: {top.difference}, beyond {others}.{lost}"
        beaten = [row for row in judged[1:] if row not in rivals]
        more = f"; it gains beyond {', '.join(row.name for row in beaten)}" if beaten else ""
        return f"{top} has the largest measured gain; {_listed(rivals)} cannot be told from it{more}.{lost}"


def gains(before: Sequence[Prediction], after: Sequence[Prediction], metric: str, by: By) -> Gains:
    """The gain of each type from `before` to `after`. Raises `DocvlmError` unless they answer the same questions.

    Types are those of `after`; a question with several types counts in each.
    """
    function, pairs = METRICS[metric], paired(before, after)
    a = [function(p.prediction, p.answers) for p, _ in pairs]
    b = [function(p.prediction, p.answers) for _, p in pairs]
    records = [p for _, p in pairs]
    documents, types = clusters(records), members(records, by)
    found = {name: _row(name, indices, a, b, documents) for name, indices in types.items()}
    enough = [name for name, row in found.items() if row.ours.clusters >= FEWEST and name != UNTYPED]
    adjusted = dict(zip(enough, holm([found[name].difference.p for name in enough]), strict=True))
    rows = [
        replace(row, adjusted=adjusted[name] if name in adjusted else None, error=not function.higher_is_better)
        for name, row in found.items()
    ]
    deltas = [function.goodness(after) - function.goodness(before) for before, after in zip(a, b, strict=True)]
    apart = _apart({name: types[name] for name in enough}, deltas, documents)
    return Gains(by, tuple(sorted(rows, key=lambda row: -row.size)), apart)


def _row(name: str, indices: list[int], a: list[float], b: list[float], documents: Sequence[tuple[str, str]]) -> Gain:
    first, second = [a[i] for i in indices], [b[i] for i in indices]
    labels = [documents[i] for i in indices]
    difference = paired_difference(first, second, labels)
    return Gain(name, score_interval(first, labels), score_interval(second, labels), difference, None)


def _apart(
    types: dict[str, list[int]], deltas: list[float], documents: Sequence[tuple[str, str]]
) -> frozenset[tuple[str, str]]:
    """Pairs of types (more, less) whose gains differ after Holm over all pairs."""
    if len(types) < 2:
        return frozenset()
    means = resampled_group_means(deltas, documents, list(types.values()))
    pairs = list(combinations(range(len(types)), 2))
    adjusted = holm([two_sided_p(means[:, i] - means[:, j]) for i, j in pairs])
    names, measured = list(types), [sum(deltas[i] for i in part) / len(part) for part in types.values()]
    different = [pair for pair, p in zip(pairs, adjusted, strict=True) if p < LEVEL]
    return frozenset((names[i], names[j]) if measured[i] > measured[j] else (names[j], names[i]) for i, j in different)


def _listed(rows: Sequence[Gain]) -> str:
    return ", ".join(map(str, rows))
