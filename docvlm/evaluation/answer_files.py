"""`predictions=FILE`: answers that are already there, scored without loading anything.

Each benchmark in the file is scored with its own metric, and as every named reference would score it, so that numbers
from elsewhere can be told apart by protocol, and taken apart by failure; with `against=FILE` also by gain.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import RenderableType
from rich.table import Table

from docvlm.data.benchmark import of_label
from docvlm.data.benchmarks import default_metric
from docvlm.errors import DocvlmError
from docvlm.evaluation import printing
from docvlm.files import write_csv, write_json
from docvlm.metrics import DEFAULT, METRICS
from docvlm.scoring import analysis, predictions
from docvlm.scoring.analysis import Analysis, analyse
from docvlm.scoring.intervals import Interval
from docvlm.scoring.predictions import Prediction
from docvlm.scoring.score import Score, score


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


def tables(found: Sequence[Scored], path: Path) -> list[RenderableType]:
    """The headline; then for each benchmark the other metrics, the named protocols, types, failures and flips."""
    shown = Table(title=str(path), caption="mean over questions, 95 % interval over documents", box=SIMPLE_HEAD)
    shown.title_justify = shown.caption_justify = "left"
    for head in ("benchmark", "metric", "questions", "documents", "score"):
        shown.add_column(head, justify="left" if head in ("benchmark", "metric") else "right")
    for one in found:
        s = one.score
        shown.add_row(one.label, s.metric, str(s.n_questions), str(s.n_documents), _fine(s.interval))
    return [shown, *(table for one in found for table in _details(one))]


def _details(one: Scored) -> list[RenderableType]:
    s = one.score
    means = {METRICS[name].label: mean for name, mean in s.means.items()}
    result: list[RenderableType] = [
        _two_columns(f"{one.label}: all metrics", "metric", {name: f"{m:.4f}" for name, m in means.items()})
    ]
    if one.variants:
        protocols = {name: f"{value:.4f}" for name, value in one.variants.items()}
        result.append(_two_columns(f"{one.label}: {s.metric} as others compute it", "protocol", protocols))
    for kind, groups in (("question", s.by_question_type), ("document", s.by_document_type)):
        if groups:
            rows = {f"{name} ({group.n})": str(group) for name, group in groups.items()}
            result.append(_two_columns(f"{one.label}: by {kind} type", "type (questions)", rows))
    part = one.analysis
    return [*result, *printing.of_gains(part), *printing.of_failures(part, most=None), *printing.of_flips(part)]


def write(folder: Path, found: Sequence[Scored], path: Path, against: Path | None = None) -> list[Path]:
    """`score.json`, `score.csv` with one line a benchmark, and the files of the analysis, in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / "score.json", folder / "score.csv"]
    whole = [{"benchmark": one.label, "variants": one.variants, **one.score.as_dict()} for one in found]
    given = {"predictions": str(path), "against": None if against is None else str(against)}
    write_json(files[0], {**given, "benchmarks": whole})
    flat = [
        {
            "benchmark": one.label, "metric": one.score.metric, "questions": one.score.n_questions,
            "documents": one.score.n_documents, "score": one.score.headline, "low": one.score.interval.low,
            "high": one.score.interval.high, **one.score.means,
        }
        for one in found
    ]  # fmt: skip
    write_csv(files[1], flat)
    return files + analysis.write(folder, [one.analysis for one in found])


def _two_columns(title: str, head: str, rows: dict[str, str]) -> Table:
    shown = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    shown.add_column(head)
    shown.add_column("score", justify="right")
    for name, value in rows.items():
        shown.add_row(name, value)
    return shown


def _fine(interval: Interval) -> str:
    return f"{interval.mean:.4f} [{interval.low:.4f}, {interval.high:.4f}]"
