"""Tables of scores: baseline / ours / Δ on every benchmark, all metrics, and the same by each grouping of questions."""

from __future__ import annotations

from collections.abc import Sequence

from docvlm.evaluation.tables import PAGE_ACCURACY, gain_rows
from docvlm.metrics import metric_name
from docvlm.metrics.registry import shown_for
from docvlm.reporting.inputs.scored import GENERATED, KINDS, Exam
from docvlm.scoring.gains import FEWEST, Gains
from docvlm.scoring.groups import BEYOND, GROUPINGS, TYPES, By
from docvlm.scoring.score import compare
from docvlm.tables import Column, Table

RUN = Column("run", "run", kind="run")
INTERVALS = "Brackets: 95 % interval over documents."
OVER_SEEDS = "Brackets: 95 % interval over documents, and over seeds in rows with more than one."
EXPORTS = (
    "A name that ends with a format (adapter, merged, ...) is an export of the run above it, which was asked the same"
    " questions. Δ to the run: paired with the answers of the very run that was exported, one seed."
)


def main(exams: Sequence[Exam], *, settings: bool = True) -> list[Table]:
    """Baseline, ours and Δ: a table for each kind of pages, so that drawn pages never stand beside public scores.

    With `settings`, rows of a setting with several seeds are over documents and seeds; without, all are of the run. A
    run's exports stand below it.
    """
    tables = []
    for kind, title in KINDS.items():
        part = [exam for exam in exams if exam.kind == kind]
        if part:
            seeded = settings and any(exam.setting for exam in part)
            notes = [OVER_SEEDS if seeded else INTERVALS, "p: of no difference, for each row alone."]
            if kind == GENERATED:
                notes.append("Drawn pages are easier and smaller than real ones: not comparable with public scores.")
            if any(exam.exports for exam in part):
                notes.append(EXPORTS)
            columns = [column for column in _MAIN if column is not _TO_RUN or any(exam.exports for exam in part)]
            rows = [row for exam in part for row in (_main(exam, settings=settings), *_exports(exam))]
            tables.append(Table(f"main-{kind}", f"Test scores on {title}", columns, rows, notes))
    return tables


_TO_RUN = Column("to_run", "Δ to the run")
_MAIN = (
    Column("model", "model", kind="text"),
    Column("benchmark", "benchmark", kind="text"),
    Column("baseline", "baseline"),
    Column("ours", "ours"),
    Column("difference", "Δ"),
    Column("p", "p", kind="p"),
    _TO_RUN,
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
        "to_run": None,
    }


def _exports(exam: Exam) -> list[dict[str, object]]:
    """A run in its other formats, each also against the run itself."""
    metric, run = exam.answers.metric, exam.answers.records
    return [_main(one, settings=False) | {"to_run": compare(run, one.answers.records, metric)} for one in exam.exports]


def secondary(exams: Sequence[Exam]) -> list[Table]:
    """Every metric of every row of the main tables, baseline and ours."""
    columns = (
        Column("model", "model", kind="text"),
        Column("benchmark", "benchmark", kind="text"),
        Column("side", "side", kind="text"),
        *(Column(metric.name, metric.label) for metric in shown_for(*(exam.score.metric for exam in exams))),
        Column("truncated", "cut off"),
        *((Column("page_accuracy", PAGE_ACCURACY),) if any(exam.score.page_accuracy for exam in exams) else ()),
        RUN,
    )
    tables = []
    for kind, title in KINDS.items():
        rows = [
            {**_head(exam), "side": side, **found.means}
            | {"truncated": found.n_truncated, "page_accuracy": found.page_accuracy, "run": where}
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
        _gains(exam, part) for exam in exams for part in exam.analysis.gains if part.by in TYPES and len(part.rows) > 1
    ]


def by_group(exams: Sequence[Exam], by: By) -> list[Table]:
    """Baseline, ours and gain by pages or language, for each model and benchmark where there are two groups or more.

    A model without a baseline has its scores alone, unless it is the baseline of another.
    """
    bases, tables = {exam.answers.base for exam in exams}, []
    for exam in exams:
        parts = [part for part in exam.analysis.gains if part.by == by and len(part.rows) > 1]
        tables += [_gains(exam, part) for part in parts]
        if exam.before is None and exam.answers.source not in bases and len(exam.score.groups[by]) > 1:
            tables.append(_alone(exam, by))
    return tables


def beyond_types(exams: Sequence[Exam]) -> list[Table]:
    """All tables by pages and by language."""
    return [table for by in BEYOND for table in by_group(exams, by)]


def _alone(exam: Exam, by: By) -> Table:
    grouping = GROUPINGS[by]
    columns = (
        Column("type", grouping.name, kind="text"),
        Column("questions", "questions"),
        Column("documents", "documents"),
        Column("score", metric_name(exam.score.metric)),
        RUN,
    )
    rows = [
        {
            "type": name,
            "questions": found.n,
            "documents": found.clusters,
            "score": found,
            "run": exam.answers.source,
        }
        for name, found in exam.score.groups[by].items()
    ]
    name = file_name("scores", by, exam.answers.name, exam.answers.benchmark)
    return Table(name, f"{exam.answers.title}: by {grouping.name}", columns, rows, [INTERVALS])


def page_accuracies(exams: Sequence[Exam]) -> Table | None:
    """How often each model read its answer from a page that holds it; None where nobody knows."""
    columns = (
        Column("model", "model", kind="text"),
        Column("benchmark", "benchmark", kind="text"),
        Column("baseline", "baseline"),
        Column("ours", "ours"),
        Column("questions", "questions"),
        RUN,
    )
    rows = [
        {
            **_head(exam),
            "baseline": None if exam.before is None else exam.before.page_accuracy,
            "ours": exam.score.page_accuracy,
            "questions": exam.score.page_accuracy.n,
        }
        for exam in exams
        if exam.score.page_accuracy is not None
    ]
    notes = [f"Share of answers read from a page that holds the answer, of the questions that know both. {INTERVALS}"]
    title = "Page accuracy: whether answers were read from the right page"
    return Table("page-accuracy", title, columns, rows, notes) if rows else None


def _gains(exam: Exam, part: Gains) -> Table:
    columns = (
        Column("type", part.grouping.name, kind="text"),
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
        *([f"few: fewer than {FEWEST} documents, or {part.grouping.unknown}; not judged."] if few else []),
    ]
    title = f"{exam.answers.title}: gain by {part.grouping.name}"
    return Table(file_name("gains", part.by, exam.answers.name, exam.answers.benchmark), title, columns, rows, notes)


def file_name(*words: str) -> str:
    """Words as one file name: lower case, digits and hyphens."""
    text = "-".join(words).lower()
    return "-".join(filter(None, "".join(c if c.isascii() and c.isalnum() else "-" for c in text).split("-")))


def _head(exam: Exam) -> dict[str, object]:
    return {"model": exam.answers.name, "benchmark": exam.answers.benchmark, "run": exam.answers.source}
