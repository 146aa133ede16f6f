"""Which cells of a sweep differ beyond chance, and what its test split is too small to show.

Cells are compared question by question (their single intervals say little about their difference), with the paired
bootstrap over documents and Holm's correction over the whole sweep: all pairs of up to eight cells, beyond that each
cell with the first. Cells that differ only in `seed` are gathered first (`seeds.py`), and what is compared is the mean
score of each question. The interval then speaks of documents; the spread, of seeds. Eight cells on
5 000 questions take about 10 s.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from docvlm.metrics import metric_function
from docvlm.reporting.sweeps.seeds import without_seed
from docvlm.runs.folder import RunFolder
from docvlm.runs.result import read as read_result
from docvlm.scoring.flips import p_value
from docvlm.scoring.intervals import Difference
from docvlm.scoring.predictions import Key, read
from docvlm.scoring.significance import Comparison, compare_cells

Row = Mapping[str, Any]
ALL_PAIRS = 8  # cells: 28 pairs; beyond that Holm would ask of every pair more than a test split can give


@dataclass(frozen=True)
class _Cell:
    """A finished cell without its seed: the score of every question, and the document each question is on."""

    name: str
    benchmark: str
    metric: str
    scores: dict[Key, float]
    documents: dict[Key, tuple[str, str]]

    @property
    def exam(self) -> tuple[str, str, frozenset[Key]]:
        """Only cells that took the same exam can be compared."""
        return self.benchmark, self.metric, frozenset(self.scores)


def compare(rows: Sequence[Row]) -> tuple[list[str], list[dict[str, Any]]]:
    """What to print below the table of the finished cells `rows`, and a line of numbers for each comparison."""
    lines: list[str] = []
    numbers: list[dict[str, Any]] = []
    cells = []
    for row in rows:
        path = RunFolder(Path(row["run"])).predictions
        if path.exists():
            cells.append(_read(row, path))
        else:
            lines.append(f"{row['settings'] or row['cell']}: not compared, its {path.name} is missing")
    exams: dict[tuple[str, str, frozenset[Key]], dict[str, list[_Cell]]] = {}
    for cell in cells:
        exams.setdefault(cell.exam, {}).setdefault(cell.name, []).append(cell)
    for (benchmark, metric, _), groups in exams.items():
        if len(groups) > 1:
            found = _compared(groups)
            lines += _told(found, f"{benchmark}: " if len(exams) > 1 else "")
            about = {"benchmark": benchmark, "metric": metric}
            numbers += [about | _numbers(one, groups) for one in found]
    if len(cells) > 1 and all(len(groups) == 1 for groups in exams.values()) and len(exams) > 1:
        lines.append("the cells answered different questions, so none are compared")
    return lines, numbers


def _read(row: Row, path: Path) -> _Cell:
    """The headline's score of every question: each benchmark of a mixture by its own metric."""
    judged = read_result(RunFolder(Path(row["run"])).result)["benchmarks"]
    metrics = {label: metric_function(part["metric"]) for label, part in judged.items()}
    records = read(path)
    return _Cell(
        without_seed(row["settings"]),
        row["benchmark"],
        row["metric"],
        {record.key: metrics[record.benchmark](record.prediction, record.answers) for record in records},
        {record.key: (record.benchmark, record.document) for record in records},
    )


def _compared(groups: Mapping[str, Sequence[_Cell]]) -> list[Comparison]:
    first = next(iter(groups.values()))[0]
    keys = list(first.scores)
    scores = {
        name: np.mean([[cell.scores[key] for key in keys] for cell in seeds], axis=0) for name, seeds in groups.items()
    }
    against = None if len(groups) <= ALL_PAIRS else next(iter(groups))
    return compare_cells(scores, [first.documents[key] for key in keys], against)


def _told(found: Sequence[Comparison], prefix: str) -> list[str]:
    over = f"Holm over {len(found)} comparisons" if len(found) > 1 else "the only comparison"
    apart = [one for one in found if one.significant]
    lines = []
    for one in sorted(apart, key=lambda one: -abs(one.difference.mean)):
        more, less, difference = _upward(one)
        lines.append(f"{prefix}{more} above {less} by {difference}, p {p_value(one.adjusted)} ({over})")
    if apart:
        rest = len(found) - len(apart)
        return lines + ([f"{prefix}the other {rest} of {len(found)} do not differ beyond chance"] if rest else [])
    n, documents = found[0].difference.n, found[0].difference.clusters
    sizes = sorted(one.detectable for one in found if one.detectable is not None)
    line = f"{prefix}no two cells differ by more than their interval ({over})"
    if sizes:
        size = f"{sizes[0]:.3f}" if sizes[-1] - sizes[0] < 0.005 else f"{sizes[0]:.3f} to {sizes[-1]:.3f}"
        line += f"; {n} questions on {documents} documents show a difference of {size} four times in five"
    return [line]


def _upward(one: Comparison) -> tuple[str, str, Difference]:
    """The higher cell first."""
    d = one.difference
    if d.mean >= 0:
        return one.second, one.first, d
    return one.first, one.second, Difference(-d.mean, -d.high, -d.low, d.p, d.n, d.clusters)


def _numbers(one: Comparison, groups: Mapping[str, Sequence[_Cell]]) -> dict[str, Any]:
    d = one.difference
    return {
        "first": one.first, "second": one.second, "seeds_first": len(groups[one.first]),
        "seeds_second": len(groups[one.second]), "difference": d.mean, "low": d.low, "high": d.high, "p": d.p,
        "p_holm": one.adjusted, "questions": d.n, "documents": d.clusters, "smallest_detectable": one.detectable,
    }  # fmt: skip
