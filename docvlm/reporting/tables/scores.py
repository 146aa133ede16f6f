"""Tables of scores: baseline / ours / Δ on every benchmark, all metrics, and the same by document and question type."""

from __future__ import annotations

from collections.abc import Sequence

from docvlm.evaluation.tables import gain_rows
from docvlm.metrics import METRICS, metric_name
from docvlm.reporting.inputs.scored import GENERATED, KINDS, Exam
from docvlm.scoring.gains import FEWEST, Gains
from docvlm.tables import Column, Table

RUN = Column("run", "run", kind="run")
INTERVALS = "Brackets: 95 % interval over documents."
OVER_SEEDS = "Brackets: 95 % interval over documents, and over seeds in rows with more than one."


def main(exams: Sequence[Exam], *, settings: bool = True) -> list[Table]:
    """Baseline, ours and Δ: a table for each kind of pages, so that drawn pages never stand beside public scores.

    With `settings`, rows of a setting with several seeds are over documents and seeds; without, all are of the run.
    """
    tables = []
    for kind, title in KINDS.items():
        part = [exam for exam in exams if exam.kind == kind]
        if part:
            seeded = settings and any(exam.setting for exam in part)
            notes = [OVER_SEEDS if seeded else INTERVALS, "p: of no difference, for each row alone."]
            if kind == GENERATED:
                notes.append("Drawn pages are easier and smaller than real ones: not comparable with public scores.")
            rows = [_main(exam, settings=settings) for exam in part]
            tables.append(Table(f"main-{kind}", f"Test scores on {title}", _MAIN, rows, notes))
    return tables


_MAIN = (
    Column("model", "model", kind="text"),
    Column("benchmark", "benchmark", kind="text"),
    Column("baseline", "baseline"),
    Column("ours", "ours"),
    Column("difference", "Δ"),
    Column("p", "p", kind="p"),
    Column("metric", "metric", kind="text"),
    Column("questions", "questions"),
    Column("documents", "documents"),
    Column("seeds", "seeds"),
    RUN,
)


def _main(exam: Exam, *, settings: bool) -> dict[str, object]:
    over = exam.setting if settings else None
    found, before, change = exam.score, exam.before, exam.setting_difference if over else exam.difference
    return {
        **_head(exam),
        "metric": metric_name(found.metric),
        "questions": found.n_questions,
        "documents": found.n_documents,
        "baseline": None if before is None else before.interval,
        "seeds": exam.seeds if over else None if exam.seeds is None else 1,
        "ours": over or found.interval,
        "difference": change,
        "p": None if change is None else change.p,
    }


def secondary(exams: Sequence[Exam]) -> list[Table]:
    """Every metric of every row of the main tables, baseline and ours."""
    columns = (
        Column("model", "model", kind="text"),
        Column("benchmark", "benchmark", kind="text"),
        Column("side", "side", kind="text"),
        *(Column(metric.name, metric.label) for metric in METRICS.values()),
        Column("truncated", "cut off"),
        RUN,
    )
    tables = []
    for kind, title in KINDS.items():
        rows = [
            {**_head(exam), "side": side, **found.means} | {"truncated": found.n_truncated, "run": where}
            for exam in exams
            if exam.kind == kind
            for side, found, where in (
                ("baseline", exam.before, exam.answers.base),
                ("ours", exam.score, exam.answers.source),
            )
            if found is not None
        ]
        if rows:
            notes = ("Cut off: answers that `max_new_tokens` ended.",)
            tables.append(Table(f"metrics-{kind}", f"All metrics on {title}", columns, rows, notes, folded=True))
    return tables


def by_type(exams: Sequence[Exam]) -> list[Table]:
    """Gains by document type and question type, largest first; one table each model, benchmark and kind of type."""
    return [
        _gains(exam, part, folded=position > 1)
        for exam in exams
        for position, part in enumerate(exam.analysis.gains)
        if len(part.rows) > 1
    ]


def _gains(exam: Exam, part: Gains, *, folded: bool) -> Table:
    columns = (
        Column("type", f"{part.by} type", kind="text"),
        Column("questions", "questions"),
        Column("documents", "documents"),
        Column("baseline", "baseline"),
        Column("ours", "ours"),
        Column("difference", "Δ"),
        Column("p", "p (Holm)", kind="p"),
        RUN,
    )
    rows = [{**row, "run": exam.answers.source} for row in gain_rows(part)]
    few = any(row.adjusted is None for row in part.rows)
    notes = [
        part.sentence,
        OVER_SEEDS if part.seeds is not None and part.seeds > 1 else INTERVALS,
        *([f"few: fewer than {FEWEST} documents, or no type; not judged."] if few else []),
    ]
    title = f"{exam.answers.title}: gain by {part.by} type"
    return Table(
        file_name("gains", part.by, exam.answers.name, exam.answers.benchmark), title, columns, rows, notes, folded
    )


def file_name(*words: str) -> str:
    """Words as one file name: lower case, digits and hyphens."""
    text = "-".join(words).lower()
    return "-".join(filter(None, "".join(c if c.isascii() and c.isalnum() else "-" for c in text).split("-")))


def _head(exam: Exam) -> dict[str, object]:
    return {"model": exam.answers.name, "benchmark": exam.answers.benchmark, "run": exam.answers.source}
