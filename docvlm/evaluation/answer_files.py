"""`predictions=FILE`: answers that are already there, scored without loading anything.

Each benchmark in the file is scored with its own metric, and as every named reference would score it, so that numbers
from elsewhere can be told apart by protocol, and taken apart by failure; with `against=FILE` also by gain.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from docvlm.data.benchmark import of_label
from docvlm.data.benchmarks import default_metric
from docvlm.errors import DocvlmError
from docvlm.evaluation.tables import CAPTION, PAGE_ACCURACY, PAGE_RECALL, details
from docvlm.files import write_json
from docvlm.metrics import DEFAULT, METRICS
from docvlm.scoring import analysis, predictions
from docvlm.scoring.analysis import Analysis, analyse
from docvlm.scoring.groups import BEYOND, GROUPINGS, TYPES
from docvlm.scoring.intervals import Interval
from docvlm.scoring.predictions import Prediction
from docvlm.scoring.score import Score, score
from docvlm.tables import Column, Table, to_csv


@dataclass(frozen=True)
class Scored:
    """One benchmark of a predictions file; `variants` holds the headline under each named protocol."""

    label: str
    score: Score
    variants: dict[str, float]
    analysis: Analysis


def score_file(
    path: Path, metric: str | None, against: Path | None = None, say: Callable[[str], None] = print
) -> list[Scored]:
    """Scores of each benchmark in `path`. Without `metric` each has its own.

    `say` is told what became of the lines of each file, and which metric a benchmark gets that nobody registered.

    Raises `DocvlmError` unless `against`, where given, answers the same questions.
    """
    ours = _by_label(path, say)
    before = None if against is None else _by_label(against, say)
    if before is not None and before.keys() != ours.keys():
        odd = sorted(before.keys() ^ ours.keys())[0]
        raise DocvlmError(f"against={against}: benchmark {odd!r} is in only one of the two files; give the same ones")
    if metric is None:
        for label in ours:
            if label and of_label(label) is None:
                say(f"{path}: benchmark {label!r} is not registered: scored by {DEFAULT}; metric=… names another")
    return [
        _scored(label, part, metric or default_metric(label), None if before is None else before[label])
        for label, part in ours.items()
    ]


def _by_label(path: Path, say: Callable[[str], None]) -> dict[str, list[Prediction]]:
    by_label: dict[str, list[Prediction]] = {}
    found, quarantine = predictions.given(path)
    say(f"{path}: {quarantine}")
    for record in found:
        by_label.setdefault(record.benchmark, []).append(record)
    return by_label


def _scored(label: str, part: Sequence[Prediction], metric: str, before: Sequence[Prediction] | None) -> Scored:
    variants = {name: score(part, metric, name).headline for name in METRICS[metric].variants}
    label = label or "(unnamed)"
    return Scored(label, score(part, metric), variants, analyse("", label, metric, part, before))


_COLUMNS = (
    Column("benchmark", "benchmark", kind="text"), Column("metric", "metric", kind="text"),
    Column("questions", "questions"), Column("documents", "documents"),
    Column("score", "score", 4, ends=("low", "high")),
)  # fmt: skip


def tables(found: Sequence[Scored], path: Path) -> list[Table | str]:
    """The headline; then for each benchmark the other metrics, the named protocols, types, failures and flips."""
    return [_headline(found, str(path)), *(table for one in found for table in _details(one))]


def _headline(found: Sequence[Scored], title: str) -> Table:
    rows = [
        {
            "benchmark": one.label, "metric": one.score.metric, "questions": one.score.n_questions,
            "documents": one.score.n_documents, "score": one.score.interval, **one.score.means,
            "page_accuracy": one.score.page_accuracy, "page_recall": one.score.page_recall,
        }
        for one in found
    ]  # fmt: skip
    names = ("page_accuracy", "page_recall")
    paged = [Column(name) for name in names if any(getattr(one.score, name) is not None for one in found)]
    return Table("score", title, (*_COLUMNS, *map(Column, METRICS), *paged), rows, [CAPTION])


def _details(one: Scored) -> list[Table | str]:
    s = one.score
    means: dict[str, float | Interval] = {METRICS[name].label: mean for name, mean in s.means.items()}
    if s.page_accuracy is not None:
        means[f"{PAGE_ACCURACY} ({s.page_accuracy.n} questions)"] = s.page_accuracy
    if s.page_recall is not None:
        means[f"{PAGE_RECALL} ({s.page_recall.n} questions)"] = s.page_recall
    result: list[Table | str] = [_two_columns(f"{one.label}: all metrics", "metric", means)]
    if one.variants:
        result.append(_two_columns(f"{one.label}: {s.metric} as others compute it", "protocol", one.variants))
    for by in (*TYPES, *BEYOND):
        if s.groups[by]:
            rows = {f"{name} ({group.n})": group for name, group in s.groups[by].items()}
            head = "type (questions)" if by in TYPES else f"{GROUPINGS[by].name} (questions)"
            result.append(_two_columns(f"{one.label}: by {GROUPINGS[by].name}", head, rows, digits=3))
    return [*result, *details(one.analysis, most=None)]


def _two_columns(title: str, head: str, values: Mapping[str, float | Interval], digits: int = 4) -> Table:
    columns = (Column("name", head, kind="text"), Column("score", "score", digits))
    return Table("scores", title, columns, [{"name": name, "score": value} for name, value in values.items()])


def write(folder: Path, found: Sequence[Scored], path: Path, against: Path | None = None) -> list[Path]:
    """`score.json`, `score.csv` with one line a benchmark, and the files of the analysis, in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / "score.json", folder / "score.csv"]
    whole = [{"benchmark": one.label, "variants": one.variants, **one.score.as_dict()} for one in found]
    given = {"predictions": str(path), "against": None if against is None else str(against)}
    write_json(files[0], {**given, "benchmarks": whole})
    to_csv(files[1], _headline(found, str(path)))
    return files + analysis.write(folder, [one.analysis for one in found])
