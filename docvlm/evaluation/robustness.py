"""What corrupted pages cost: every corruption at every severity, on the same questions as the clean page.

A score that falls says that a model stops reading; answers that change although the score stays say that it was
guessing. So beside the score stands its paired difference from the clean pages, and consistency: the share of questions
whose answer is still the one given to the clean page, right or wrong, both normalised (case, spacing, quotes, outer
punctuation). Means over cells are taken question by question first, so that their interval, too, is over documents.
"Kept" is the mean score over the clean score: Hendrycks and Dietterich (arXiv 1903.12261) divide by a baseline network
instead, which documents do not have.

Answers lie below those to the clean pages, a folder a corruption and severity, and are asked for only where they are
missing. Cost: every cell asks `limit` questions, so 20 cells of 96 questions ask 1 920; the evaluation says beforehand
how long that is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from docvlm.answering import answer as answering
from docvlm.data import splits
from docvlm.data.corruptions import CORRUPTIONS, REVISION, corrupted
from docvlm.evaluation.outcome import PREDICTIONS, Outcome
from docvlm.scoring.formatting import content
from docvlm.scoring.intervals import Difference, Interval, paired_difference, paired_ratio, score_interval
from docvlm.scoring.predictions import Prediction
from docvlm.scoring.protocol import scorer
from docvlm.scoring.score import clusters, paired
from docvlm.scoring.significance import holm

if TYPE_CHECKING:
    from docvlm.answering.elsewhere import Elsewhere
    from docvlm.config import EvaluateConfig
    from docvlm.data.example import Example
    from docvlm.data.loading.datamodule import DocumentDataModule
    from docvlm.vlms.base import VLM

Cell = tuple[str, int]
"""A corruption and a severity."""
Answers = Mapping[Cell, Sequence[Prediction]]


@dataclass(frozen=True, slots=True)
class Point:
    """What one cell, or a mean over cells, does to the clean score.

    `corruption` or `severity` is None where the mean is over all of them. `delta` is corrupted minus clean, `adjusted`
    its p after Holm over the points of the same kind; `kept` is corrupted over clean, None where that has no interval.
    """

    corruption: str | None
    severity: int | None
    score: Interval
    delta: Difference
    consistency: Interval
    kept: Interval | None
    adjusted: float = 1.0


@dataclass(frozen=True)
class Robustness:
    """One set of weights on one benchmark: its clean score on the questions that were asked, and every point."""

    outcome: Outcome
    clean: Interval
    points: tuple[Point, ...]

    @property
    def corruptions(self) -> list[str]:
        """The corruptions there are, in the order asked for."""
        return list(dict.fromkeys(point.corruption for point in self.points if point.corruption is not None))

    @property
    def severities(self) -> list[int]:
        """The severities there are, mildest first."""
        return sorted({point.severity for point in self.points if point.severity is not None})

    def point(self, corruption: str | None, severity: int | None) -> Point:
        """The point of a cell; None for a mean over all."""
        return next(p for p in self.points if (p.corruption, p.severity) == (corruption, severity))


def cells(cfg: EvaluateConfig) -> list[Cell]:
    """Every corruption at every severity that the config asks for."""
    return [(name, severity) for name in cfg.corruptions for severity in sorted(cfg.severities)]


def questions(cfg: EvaluateConfig, data: DocumentDataModule, outcome: Outcome) -> list[Example]:
    """The questions that are asked about corrupted pages: whole documents of the split, at most `robustness_limit`."""
    examples = data.test if outcome.split == "test" else data.val
    return splits.limit(examples, cfg.robustness_limit, data.split_seed)


def cost(cfg: EvaluateConfig, outcome: Outcome, asked: Sequence[Example]) -> str:
    """What is going to be asked, and how long generating the answers takes at the speed of the clean ones."""
    number = len(cells(cfg))
    chosen = {example.document for example in asked}
    line = (
        f"{outcome.subject.family} {outcome.subject.title} on {outcome.label}: {number} corruptions x severities, "
        f"{len(asked)} of {outcome.score.n_questions} questions on {len(chosen)} documents each"
    )
    if outcome.score.latency_ms is None or "endpoint" in outcome.subject.described:  # which answers many at once
        return line
    return f"{line}; some {number * len(asked) * outcome.score.latency_ms / 1000:.0f} s if none is answered yet"


def answer(
    model: VLM | Elsewhere,
    data: DocumentDataModule,
    outcome: Outcome,
    asked: Sequence[Example],
    wanted: Sequence[Cell],
    progress: answering.Progress | None = None,
) -> dict[Cell, list[Prediction]]:
    """Answers to `asked` on pages corrupted in each way of `wanted`, read from disk where they are there already."""
    found = {}
    for number, (name, severity) in enumerate(wanted):
        folder = outcome.folder / "robustness" / f"{name}-{severity}-{_identity(name, severity, asked)}"
        step = None if progress is None else _offset(progress, number * len(asked), len(wanted) * len(asked))
        pages = corrupted(asked, name, severity)
        found[name, severity] = answering.answer(model, data, pages, folder / PREDICTIONS, step)
    return found


def _offset(progress: answering.Progress, before: int, total: int) -> answering.Progress:
    return lambda done, _: progress(before + done, total)


def _identity(name: str, severity: int, asked: Sequence[Example]) -> str:
    """8 hex digits of what decides the answers beyond the folder they lie in: the corruption, and which questions."""
    about = (REVISION, name, CORRUPTIONS[name].levels[severity - 1], [(e.document, e.question_id) for e in asked])
    return hashlib.sha256(repr(about).encode()).hexdigest()[:8]


def measure(outcome: Outcome, answers: Answers) -> Robustness:
    """Compare answers to corrupted pages with those the same weights gave to the clean ones."""
    function = scorer(outcome.score.metric)
    first = next(iter(answers.values()))
    wanted = {record.key for record in first}
    clean = [record for record in outcome.predictions if record.key in wanted]
    before = np.array([function(record) for record in clean])
    scores, same = {}, {}
    for cell, given in answers.items():
        pairs = paired(clean, given)
        scores[cell] = np.array([function(after) for _, after in pairs])
        same[cell] = np.array([content(a.prediction) == content(b.prediction) for a, b in pairs], dtype=np.float64)
    documents = clusters(clean)
    points: list[Point] = []
    for group in _groups(list(answers)):
        part = [
            _point(
                *place,
                before,
                np.mean([scores[cell] for cell in members], axis=0),
                np.mean([same[cell] for cell in members], axis=0),
                documents,
            )
            for place, members in group
        ]
        points += _judged(part)
    return Robustness(outcome, score_interval(before, documents), tuple(points))


def _groups(wanted: Sequence[Cell]) -> Iterator[list[tuple[tuple[str | None, int | None], list[Cell]]]]:
    """Cells; means of each corruption; means of each severity; the mean of all."""
    yield [(cell, [cell]) for cell in wanted]
    yield [((name, None), [c for c in wanted if c[0] == name]) for name in dict.fromkeys(c[0] for c in wanted)]
    yield [((None, severity), [c for c in wanted if c[1] == severity]) for severity in sorted({c[1] for c in wanted})]
    yield [((None, None), list(wanted))]


def _point(
    corruption: str | None,
    severity: int | None,
    before: NDArray[np.float64],
    after: NDArray[np.float64],
    same: NDArray[np.float64],
    documents: Sequence[tuple[str, str]],
) -> Point:
    return Point(
        corruption,
        severity,
        score_interval(after, documents),
        paired_difference(before, after, documents),
        score_interval(same, documents),
        paired_ratio(before, after, documents),
    )


def _judged(points: Sequence[Point]) -> list[Point]:
    adjusted = holm([point.delta.p for point in points])
    return [replace(point, adjusted=p) for point, p in zip(points, adjusted, strict=True)]
