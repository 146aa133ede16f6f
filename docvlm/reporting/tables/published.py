"""Tables of what others report (`docs/published.yaml`): beside ours where they may share a column, else on their own.

Only the same public benchmark, public split and metric share a table with a score of ours. Drawn pages have nothing
beside them. Experiments of others (a fine-tuning curve, a freezing ablation) are printed as theirs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from docvlm.metrics import metric_name
from docvlm.reporting.inputs.published import THEIRS, Published, beside
from docvlm.reporting.inputs.scored import PUBLIC, Exam
from docvlm.reporting.tables.scores import RUN, file_name
from docvlm.tables import Column, Table

if TYPE_CHECKING:
    from docvlm.data.benchmark import Role

_BENCHMARK = (Column("benchmark", "benchmark", kind="text"), Column("split", "public split", kind="text"))
_SOURCE = (Column("source", "source", kind="text"), Column("note", "note", kind="text"))
_SETTINGS = {"vision_trainable": "vision trainable, %", "epoch": "epoch"}


def beside_ours(exams: Sequence[Exam], entries: Sequence[Published]) -> list[Table]:
    """A table a public benchmark and metric: every score of ours, then those that may stand in its column."""
    groups: dict[tuple[str, Role, str], list[Exam]] = {}
    for exam in exams:
        role: Role = "val" if exam.answers.split == "val" else "test"
        if exam.kind == PUBLIC and exam.answers.run is not None:
            groups.setdefault((exam.answers.benchmark, role, exam.score.metric), []).append(exam)
    tables = []
    for (label, role, metric), ours in groups.items():
        theirs = beside(entries, label, role, metric)
        columns = (Column("model", "model", kind="text"), Column("score", metric_name(metric)), *_SOURCE, RUN)
        rows = [_ours(exam) for exam in ours] + [_theirs(one) for one in theirs]
        notes = ["Theirs: another prompt, other pixels, another harness; two points apart mean nothing."]
        title = f"Beside published scores on {label}"
        tables.append(Table(file_name("beside", label, metric), title, columns, rows, notes))
    return tables


def scores(entries: Sequence[Published]) -> Table:
    """Every published score, by benchmark and split, highest first."""
    alone = [one for one in entries if not one.experiment]
    columns = (
        Column("model", "model", kind="text"), Column("size", "size", kind="text"), *_BENCHMARK,
        Column("metric", "metric", kind="text"), Column("score", "score, theirs"), *_SOURCE,
    )  # fmt: skip
    ordered = sorted(alone, key=lambda one: (one.benchmark, one.split, one.metric, -one.score))
    rows = [_theirs(one) | {"metric": metric_name(one.metric)} for one in ordered]
    return Table("published", "Published scores, as theirs", columns, rows, folded=True)


def experiments(entries: Sequence[Published]) -> list[Table]:
    """Each curve and ablation of others: a row a setting, a column a metric."""
    groups: dict[tuple[str, str], list[Published]] = {}
    for one in entries:
        if one.experiment:
            groups.setdefault((one.model, one.experiment), []).append(one)
    return [_experiment(model, name, part) for (model, name), part in groups.items()]


def _experiment(model: str, name: str, part: Sequence[Published]) -> Table:
    rows: dict[tuple[Any, ...], dict[str, Any]] = {}
    measured = dict.fromkeys(one.metric for one in part)
    for one in part:
        key = one.vision_trainable, one.epoch
        rows.setdefault(key, dict.fromkeys(measured) | {"vision_trainable": key[0], "epoch": key[1]})
        rows[key][one.metric] = one.score
    columns = [Column(key, head, 0) for key, head in _SETTINGS.items()]
    columns += [Column(metric, THEIRS[metric] if metric in THEIRS else metric_name(metric)) for metric in measured]
    first = part[0]
    asked = "" if first.questions is None else f", {first.questions} questions"
    notes = [f"{first.source}; {first.benchmark}, {first.split}{asked}.", *([first.note] if first.note else [])]
    return Table(file_name("published", name), f"{model}: {name}, as theirs", columns, list(rows.values()), notes)


def _ours(exam: Exam) -> dict[str, Any]:
    note = f"{exam.score.n_questions} questions on {exam.score.n_documents} documents"
    return {
        "model": f"{exam.answers.name} (ours)",
        "score": exam.score.interval,
        "source": "this report",
        "note": note,
        "run": exam.answers.source,
    }


def _theirs(one: Published) -> dict[str, Any]:
    return {
        "model": one.model,
        "size": one.size,
        "benchmark": one.benchmark,
        "split": one.split,
        "score": one.score,
        "source": one.source,
        "note": one.note,
        "run": "",
    }
