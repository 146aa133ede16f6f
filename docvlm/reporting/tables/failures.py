"""Tables of failures: how often each class occurs and what it costs, and answers that a training fixed or broke."""

from __future__ import annotations

from collections.abc import Sequence

from docvlm.evaluation.tables import failure_rows
from docvlm.metrics import METRICS
from docvlm.reporting.inputs.scored import Exam, leading, leading_first
from docvlm.reporting.tables.scores import RUN, file_name
from docvlm.scoring.failures import CLASSES
from docvlm.tables import Column, Table

_QUOTE = 60  # characters of an example


def tables(exams: Sequence[Exam]) -> list[Table | None]:
    """How the answers of each model fail, the leading models open; what the classes mean; what training changed."""
    first = leading(exams) if exams else []
    found = [frequencies(exam, folded=exam not in first) for exam in leading_first(exams)]
    return [*found, classes(), changed(exams)]


def frequencies(exam: Exam, *, folded: bool = False) -> Table | None:
    """One row a class: count, share with interval, cost, the baseline's count, an example. None if all is right."""
    side, baseline = exam.analysis.ours, exam.analysis.baseline
    if not side.classes:
        return None
    columns = (
        Column("class", "class", kind="text"),
        *((Column("baseline", "baseline, count"),) if baseline is not None else ()),
        Column("count", "count"),
        Column("share", "share of all questions"),
        Column("lost", "score lost"),
        Column("example", "for example: said for wanted", kind="text"),
        RUN,
    )
    first = [row.examples[0].record for row in side.classes]
    rows = [
        {**row, "example": _example(one.prediction, one.answers[0]), "run": exam.answers.source}
        for row, one in zip(failure_rows(exam.analysis), first, strict=True)
    ]
    count = f"{len(side.found)} of {len(side.records)} answers score {METRICS[exam.score.metric].wrong}"
    notes = [
        f"{count}. Brackets: 95 % Wilson interval with the effective number of documents. Score lost: what the mean"
        " would gain if the class were right."
    ]
    name = file_name("failures", exam.answers.name, exam.answers.benchmark)
    return Table(name, f"{exam.answers.title}: how answers fail", columns, rows, notes, folded)


def classes() -> Table:
    """The definition of every class, in the order in which they are tried."""
    columns = (Column("class", "class", kind="text"), Column("definition", "definition", kind="text"))
    rows = [{"class": kind, "definition": text} for kind, text in CLASSES.items()]
    notes = ["The first that fits counts, so a class never hides a more certain one."]
    return Table("failure-classes", "What the classes mean", columns, rows, notes, folded=True)


def changed(exams: Sequence[Exam]) -> Table | None:
    """Fixed and broken answers of every model that has a baseline."""
    columns = (
        Column("model", "model", kind="text"),
        Column("benchmark", "benchmark", kind="text"),
        Column("fixed", "fixed"),
        Column("broken", "broken"),
        Column("both_right", "right in both"),
        Column("both_wrong", "right in neither"),
        Column("change", "Δ share right"),
        Column("p", "p", kind="p"),
        RUN,
    )
    rows = [
        {
            "model": exam.answers.name,
            "benchmark": exam.answers.benchmark,
            "fixed": len(flips.fixed),
            "broken": len(flips.broken),
            "both_right": flips.both_right,
            "both_wrong": flips.both_wrong,
            "change": flips.change,
            "p": flips.change.p,
            "run": exam.answers.source,
        }
        for exam in exams
        if (flips := exam.analysis.flips) is not None
    ]
    notes = ["Fixed: not right at the baseline, right now; broken: the other way round. Right is a score of 1."]
    return Table("flips", "Answers that changed sides", columns, rows, notes) if rows else None


def _example(said: str, wanted: str) -> str:
    return " for ".join(repr(text if len(text) <= _QUOTE else text[: _QUOTE - 1] + "…") for text in (said, wanted))
