"""Answers → numbers: score, baseline, difference, gains by type, failures and flips of one model on one benchmark.

Everything is computed anew from the answers, with the functions the evaluation itself uses, so that a table cannot
disagree with its gallery. Three benchmarks of 240 questions take about a second, 5 000 questions some 5 s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from docvlm.data import benchmark as benchmarks
from docvlm.reporting.inputs.answers import Answers
from docvlm.scoring.analysis import Analysis, analyse
from docvlm.scoring.gains import Gains
from docvlm.scoring.groups import TYPES
from docvlm.scoring.intervals import Difference, Interval
from docvlm.scoring.score import Score, compare, compare_over_seeds, over_seeds, score

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
    """One model on one benchmark: its score, the baseline's, their paired difference, and both taken apart.

    `setting` and `setting_difference` are those of the run's setting over documents and seeds, None where the run is
    its only one, or where there is no run or baseline. `exports` are exams of the run in other formats.
    """

    answers: Answers
    score: Score
    before: Score | None
    difference: Difference | None
    analysis: Analysis
    setting: Interval | None = None
    setting_difference: Difference | None = None
    exports: tuple[Exam, ...] = ()

    @property
    def seeds(self) -> int | None:
        """Runs of the setting that answered these questions; None where no training run stands behind the answers."""
        return None if self.answers.run is None else 1 + len(self.answers.siblings)

    @property
    def kind(self) -> str:
        """One of `KINDS`."""
        return kind(self.answers.benchmark)

    @property
    def gains(self) -> Gains | None:
        """Gains by document type, or by question type where documents have none."""
        named = [part for part in self.analysis.gains if part.rows and part.by in TYPES]
        return named[0] if named else None


def examine(answers: Answers) -> Exam:
    """Score and take apart. Raises `DocvlmError` if the baseline answered other questions."""
    metric, before, runs = answers.metric, answers.before, [answers.records, *answers.siblings]
    found, setting = score(answers.records, metric), over_seeds(runs, metric) if len(runs) > 1 else None
    siblings = None if answers.run is None else answers.siblings
    analysis = analyse(answers.name, answers.benchmark, metric, answers.records, before, siblings)
    exports = tuple(map(examine, answers.exports))
    if before is None:
        return Exam(answers, found, None, None, analysis, setting, exports=exports)
    change = compare_over_seeds(before, runs, metric) if len(runs) > 1 else None
    difference = compare(before, answers.records, metric)
    return Exam(answers, found, score(before, metric), difference, analysis, setting, change, exports)


def kind(benchmark: str) -> str:
    """Which of `KINDS` a benchmark's label is of; a mixture with one drawn part is drawn."""
    parts = benchmark.split("+")
    if any(part.endswith(benchmarks.GENERATED) for part in parts):
        return GENERATED
    known = [benchmarks.of_label(part) for part in parts]
    if any(part.endswith(benchmarks.OWN) for part in parts) or any(one and not one.published for one in known):
        return OWN
    return UNNAMED if benchmark in ("", "(unnamed)") else PUBLIC


def leading(exams: Sequence[Exam]) -> list[Exam]:
    """One exam a model, best first: of the first kind of pages in `KINDS` that occurs, on what it was trained on.

    Models are ordered by the score that selected them, never by the score that is reported.
    """
    kind = next(kind for kind in KINDS if any(exam.kind == kind for exam in exams))
    found: dict[str, Exam] = {}
    for exam in sorted((exam for exam in exams if exam.kind == kind), key=_rank):
        found.setdefault(exam.answers.source, exam)
    return list(found.values())


def leading_first(exams: Sequence[Exam]) -> list[Exam]:
    """All of them, those of `leading` in front; empty for none."""
    first = leading(exams) if exams else []
    return [*first, *(exam for exam in exams if exam not in first)]


def _rank(exam: Exam) -> tuple[bool, float, bool]:
    run = exam.answers.run
    trained = run is not None and exam.answers.benchmark in run.trained_on.split("+")
    return exam.before is None, -(run.selection if run else 0.0), not trained
