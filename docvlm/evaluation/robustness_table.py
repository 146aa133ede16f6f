"""Robustness as a table for a terminal, as CSV and JSON, and its figure.

`robustness.json` holds the definitions of the corruptions and, for each set of weights and benchmark, the clean score
and every point: cells (`corruption` and `severity` given) and means (null where the mean is over all of them).
`robustness.csv` has a line a point, the clean score first; there means are called "mean".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from docvlm.data.corruptions import CORRUPTIONS
from docvlm.evaluation.robustness import Point, Robustness
from docvlm.files import write_csv, write_json
from docvlm.scoring.intervals import Interval
from docvlm.scoring.significance import LEVEL
from docvlm.version import __version__

CLEAN, MEAN = "clean", "mean"


def table(found: Robustness) -> Table:
    """A row a corruption with its scores by severity, then the mean over severities against the clean pages."""
    outcome, clean = found.outcome, found.clean
    title = (
        f"{outcome.subject.family} {outcome.subject.title} on {outcome.label}, corrupted: {outcome.score.metric} of "
        f"{clean.n} questions on {clean.clusters} documents, clean {clean}"
    )
    shown = Table(title=title, box=SIMPLE_HEAD, pad_edge=False)
    shown.title_justify = shown.caption_justify = "left"
    heads = ["severity", *map(str, found.severities), "mean Δ", "kept", "same answer"]
    for head in heads:
        shown.add_column(head, justify="left" if head == "severity" else "right", no_wrap=True)
    for name in [*found.corruptions, None]:
        whole = found.point(name, None)
        scores = [_score(found.point(name, severity)) for severity in found.severities]
        kept = "-" if whole.kept is None else f"{whole.kept.mean:.2f}"
        shown.add_row(name or "mean", *scores, str(whole.delta), kept, f"{whole.consistency.mean:.2f}")
    shown.caption = (
        "* differs from the clean pages beyond chance (paired, over documents, Holm); kept: share of the clean "
        "score; same answer: share of questions answered as on the clean page"
    )
    return shown


def _score(point: Point) -> str:
    return f"{point.score.mean:.3f}{'*' if point.adjusted < LEVEL else ' '}"


def write(folder: Path, found: Sequence[Robustness]) -> list[Path]:
    """`robustness.json`, `robustness.csv`, and a figure (PDF and SVG) for each family and benchmark, in `folder`."""
    from docvlm.reporting.figures import robustness as figures

    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / "robustness.json", folder / "robustness.csv"]
    whole = plain(found)
    write_json(files[0], whole)
    write_csv(files[1], [row for one in found for row in _rows(one)])
    return files + figures.write(folder, whole)


def plain(found: Sequence[Robustness]) -> dict[str, Any]:
    """What `robustness.json` holds."""
    names = dict.fromkeys(name for one in found for name in one.corruptions)
    definitions = {
        name: {key: getattr(CORRUPTIONS[name], key) for key in ("title", "unit", "levels", "definition")}
        for name in names
    }
    return {"docvlm": __version__, "corruptions": definitions, "results": [_result(one) for one in found]}


def _result(found: Robustness) -> dict[str, Any]:
    return {
        **found.outcome.about,
        "folder": str(found.outcome.folder),
        "questions": found.clean.n,
        "documents": found.clean.clusters,
        "questions_of_split": found.outcome.score.n_questions,
        "clean": asdict(found.clean),
        "points": [_point(point) for point in found.points],
    }


def _point(point: Point) -> dict[str, Any]:
    return {
        "corruption": point.corruption,
        "severity": point.severity,
        "level": _level(point),
        "score": asdict(point.score),
        "delta": asdict(point.delta),
        "p_holm": point.adjusted,
        "consistency": asdict(point.consistency),
        "kept": None if point.kept is None else asdict(point.kept),
    }


def _level(point: Point) -> float | None:
    if point.corruption is None or point.severity is None:
        return None
    return CORRUPTIONS[point.corruption].levels[point.severity - 1]


def _rows(found: Robustness) -> list[dict[str, Any]]:
    head = {**found.outcome.about, "questions": found.clean.n, "documents": found.clean.clusters}
    first = {"corruption": CLEAN, "severity": 0, "level": None, "unit": None} | _score_columns(found.clean)
    rest = [_row(point) for point in found.points]
    return [head | {key: first[key] if key in first else None for key in rest[0]}, *(head | row for row in rest)]


def _row(point: Point) -> dict[str, Any]:
    delta = Interval(point.delta.mean, point.delta.low, point.delta.high, point.delta.n, point.delta.clusters)
    return {
        "corruption": point.corruption or MEAN,
        "severity": MEAN if point.severity is None else point.severity,
        "level": _level(point),
        "unit": None if point.corruption is None else CORRUPTIONS[point.corruption].unit,
        **_score_columns(point.score),
        **_three("delta", delta),
        "p": point.delta.p,
        "p_holm": point.adjusted,
        **_three("consistency", point.consistency),
        **_three("kept", point.kept),
    }


def _score_columns(interval: Interval) -> dict[str, float | None]:
    """Named as in `table.csv`."""
    return {"score": interval.mean, "low": interval.low, "high": interval.high}


def _three(name: str, interval: Interval | None) -> dict[str, float | None]:
    if interval is None:
        return {name: None, f"{name}_low": None, f"{name}_high": None}
    return {name: interval.mean, f"{name}_low": interval.low, f"{name}_high": interval.high}
