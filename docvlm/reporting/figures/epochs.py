"""Epoch progress: val score and val loss of every cell of a sweep from epoch 0, which is before any training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from docvlm.metrics import metric_name
from docvlm.reporting.blocks import Figure
from docvlm.reporting.figures.style import MARKERS, SERIES, drawing, finish

Rows = Sequence[Mapping[str, float | None]]


def draw(folder: Path, name: str, title: str, metric: str, curves: Mapping[str, Rows]) -> Figure:
    """`curves` maps a cell to its rows of `epochs.csv`."""
    from matplotlib.ticker import MaxNLocator

    shown = metric_name(metric)
    questions = int(next(iter(curves.values()))[0]["val_questions"] or 0)
    with drawing(panels=2) as panels:
        for axes, column, label in zip(panels.axes, ("score", "val_loss"), (f"val {shown}", "val loss"), strict=True):
            for i, (cell, rows) in enumerate(curves.items()):
                points = [(row["epoch"] or 0.0, y) for row in rows if (y := row[column]) is not None]
                axes.plot(
                    [x for x, _ in points],
                    [y for _, y in points],
                    color=SERIES[i % len(SERIES)],
                    marker=MARKERS[i % len(MARKERS)],
                    label=cell,
                )
            axes.set_xlabel("epoch (0: before training)")
            axes.set_ylabel(label)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.set_ylim(bottom=0)
        panels.axes[0].legend(loc="best")
        ends = "; ".join(f"{cell} from {_at(rows, 0)} to {_at(rows, -1)}" for cell, rows in curves.items())
        alt = f"{title}. Val {shown} by epoch on {questions} questions: {ends}. The second panel shows the val loss."
        return finish(panels, folder, name, title, alt)


def _at(rows: Rows, position: int) -> str:
    score = rows[position]["score"]
    return "unknown" if score is None else f"{score:.3f}"
