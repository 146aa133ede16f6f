"""Outcomes to tables: baseline / ours / difference with intervals, by type; JSON; CSV."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from docvlm.evaluation.outcome import Outcome
from docvlm.files import write_csv, write_json
from docvlm.scoring.analysis import Analysis, analyse
from docvlm.scoring.flips import p_value
from docvlm.scoring.intervals import Difference, Interval
from docvlm.scoring.score import compare

CAPTION = "mean over questions, 95 % interval over documents"


@dataclass(frozen=True)
class Row:
    """One family on one benchmark: `ours` without `baseline` is a checkpoint, a served model or a run alone."""

    ours: Outcome
    baseline: Outcome | None

    def analysis(self) -> Analysis:
        """Both sides taken apart by type and by failure."""
        before = None if self.baseline is None else self.baseline.predictions
        ours = self.ours
        return analyse(ours.subject.family, ours.label, ours.score.metric, ours.predictions, before)

    @property
    def gain(self) -> Difference | None:
        """Ours minus baseline on the same questions, paired."""
        if self.baseline is None:
            return None
        return compare(self.baseline.predictions, self.ours.predictions, self.ours.score.metric)


def summary(rows: Sequence[Row]) -> list[Table]:
    """The headline of every benchmark, one table for each set of weights."""
    tables = []
    for title in dict.fromkeys(_title(row) for row in rows):
        part = [row for row in rows if _title(row) == title]
        paired = any(row.baseline is not None for row in part)
        heads = ["questions", *(["baseline", "ours", "Δ", "p"] if paired else [part[0].ours.subject.title])]
        shown = Table(title=title, caption=CAPTION, box=SIMPLE_HEAD, pad_edge=False)
        shown.title_justify = shown.caption_justify = "left"
        shown.add_column("benchmark", no_wrap=True)
        for head in heads:
            shown.add_column(head, justify="right", no_wrap=True)
        for row in part:
            shown.add_row(*_cells(row, paired))
        tables.append(shown)
    return tables


def _title(row: Row) -> str:
    run = row.ours.subject.described["run"]
    return f"{row.ours.subject.family}, {f'run {run}' if run else row.ours.subject.title}, {row.ours.split} split"


def _cells(row: Row, paired: bool) -> list[str]:
    found, gain = row.ours.score, row.gain
    cells = [f"{row.ours.label}\n{found.metric}", f"{found.n_questions}\non {found.n_documents}"]
    if paired:
        cells.append("-" if row.baseline is None else _two_lines(row.baseline.score.interval))
    cells.append(_two_lines(found.interval))
    if paired:
        cells += ["-", "-"] if gain is None else [_two_lines(gain), p_value(gain.p)]
    return cells


def _two_lines(interval: Interval | Difference) -> str:
    return str(interval).replace(" ", "\n", 1)


def by_type(row: Row) -> list[Table]:
    """Scores of each question type and document type, where there are two or more and no baseline to gain upon."""
    tables = []
    for kind in ("question", "document"):
        groups: dict[str, Interval] = getattr(row.ours.score, f"by_{kind}_type")
        if row.baseline is None and len(groups) > 1:
            shown = Table(title=f"{row.ours.subject.family} on {row.ours.label} by {kind} type", title_justify="left")
            shown.box, shown.pad_edge = SIMPLE_HEAD, False
            for head in (f"{kind} type", "questions", row.ours.score.metric):
                shown.add_column(head, justify="left" if head == f"{kind} type" else "right")
            for group, interval in groups.items():
                shown.add_row(group, str(interval.n), str(interval))
            tables.append(shown)
    return tables


def write(folder: Path, rows: Iterable[Row]) -> list[Path]:
    """`table.json` with everything and `table.csv` with one line a row, in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = list(rows)
    files = [folder / "table.json", folder / "table.csv"]
    write_json(files[0], {"rows": [_plain(row) for row in rows]})
    write_csv(files[1], [_flat(row) for row in rows])
    return files


def _plain(row: Row) -> dict[str, Any]:
    gain = row.gain
    return {
        "family": row.ours.subject.family,
        "benchmark": row.ours.label,
        "split": row.ours.split,
        "ours": _outcome(row.ours),
        "baseline": None if row.baseline is None else _outcome(row.baseline),
        "difference": None if gain is None else asdict(gain),
    }


def _outcome(outcome: Outcome) -> dict[str, Any]:
    return {
        "subject": outcome.subject.title,
        **outcome.subject.described,
        "folder": str(outcome.folder),
        **outcome.score.as_dict(),
    }


def _flat(row: Row) -> dict[str, Any]:
    found, gain = row.ours.score, row.gain
    before = None if row.baseline is None else row.baseline.score
    flat: dict[str, Any] = {
        "family": row.ours.subject.family,
        "benchmark": row.ours.label,
        "split": row.ours.split,
        "metric": found.metric,
        "questions": found.n_questions,
        "documents": found.n_documents,
        "subject": row.ours.subject.title,
        "run": row.ours.subject.described["run"],
        "score": found.headline,
        "low": found.interval.low,
        "high": found.interval.high,
        "baseline": None if before is None else before.headline,
        "baseline_low": None if before is None else before.interval.low,
        "baseline_high": None if before is None else before.interval.high,
    }
    for name in ("mean", "low", "high", "p"):
        flat[f"difference_{name}" if name != "mean" else "difference"] = None if gain is None else getattr(gain, name)
    flat |= found.means
    flat |= {f"baseline_{name}": None if before is None else before.means[name] for name in found.means}
    return flat | {"latency_ms": found.latency_ms, "truncated": found.n_truncated}
