"""Answers → numbers: score, baseline, difference, gains by type, failures and flips of one model on one benchmark.

Everything is computed anew from the answers, with the functions the evaluation itself uses, so that a table cannot
disagree with its gallery. Three benchmarks of 240 questions take about a second, 5 000 questions some 5 s.
"""

from __future__ import annotations

from dataclasses import dataclass

from docvlm.data import benchmark as benchmarks
from docvlm.reporting.inputs.answers import Answers
from docvlm.scoring.analysis import Analysis, analyse
from docvlm.scoring.gains import Gains
from docvlm.scoring.intervals import Difference
from docvlm.scoring.score import Score, compare, score

GENERATED, OWN, PUBLIC, UNNAMED = "generated", "own", "public", "unnamed"
KINDS = {
    PUBLIC: "public benchmarks",
    UNNAMED: "questions whose benchmark the file does not name",
    OWN: "own pages",
    GENERATED: "pages drawn by docvlm",
}
"""Where pages come from; scores of two kinds never share a table."""


@dataclass(frozen=True)
class Exam:
    """One model on one benchmark: its score, the baseline's, their paired difference, and both taken apart."""

    answers: Answers
    score: Score
    before: Score | None
    difference: Difference | None
    analysis: Analysis

    @property
    def kind(self) -> str:
        """One of `KINDS`."""
        return kind(self.answers.benchmark)

    @property
    def gains(self) -> Gains | None:
        """Gains by document type, or by question type where documents have none."""
        named = [part for part in self.analysis.gains if part.rows]
        return named[0] if named else None


def examine(answers: Answers) -> Exam:
    """Score and take apart. Raises `DocvlmError` if the baseline answered other questions."""
    found = score(answers.records, answers.metric)
    analysis = analyse(answers.name, answers.benchmark, answers.metric, answers.records, answers.before)
    if answers.before is None:
        return Exam(answers, found, None, None, analysis)
    difference = compare(answers.before, answers.records, answers.metric)
    return Exam(answers, found, score(answers.before, answers.metric), difference, analysis)


def kind(benchmark: str) -> str:
    """Which of `KINDS` a benchmark's label is of; a mixture with one drawn part is drawn."""
    parts = benchmark.split("+")
    if any(part.endswith(benchmarks.GENERATED) for part in parts):
        return GENERATED
    known = [benchmarks.of_label(part) for part in parts]
    if any(part.endswith(benchmarks.OWN) for part in parts) or any(one and not one.hub for one in known):
        return OWN
    return UNNAMED if benchmark in ("", "(unnamed)") else PUBLIC
