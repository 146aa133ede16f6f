"""Epoch progress: val score and val loss of every cell of a sweep from epoch 0, which is before any training.

Where there are seeds the line of a setting is its mean over them, and its single runs are thin lines of its colour.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

from docvlm.metrics import metric_name
from docvlm.reporting.blocks import Figure
from docvlm.reporting.figures.style import MARKERS, SERIES, drawing, finish, from_zero

Rows = Sequence[Mapping[str, float | None]]


def draw(folder: Path, name: str, title: str, metric: str, curves: Mapping[str, Sequence[Rows]]) -> Figure:
    """`curves` maps a cell, or a setting, to the rows of `epochs.csv` of its runs."""
    from matplotlib.ticker import MaxNLocator

    shown = metric_name(metric)
    questions = int(next(iter(curves.values()))[0][0]["val_questions"] or 0)
    seeded = any(len(runs) > 1 for runs in curves.values())
    with drawing(panels=2) as panels:
        for axes, column, label in zip(panels.axes, ("score", "val_loss"), (f"val {shown}", "val loss"), strict=True):
            for i, (cell, runs) in enumerate(curves.items()):
                colour, marker = SERIES[i % len(SERIES)], MARKERS[i % len(MARKERS)]
                for rows in runs if len(runs) > 1 else ():
                    axes.plot(*_line([rows], column), color=colour, linewidth=0.7, alpha=0.6)
                axes.plot(*_line(runs, column), color=colour, marker=marker, label=cell)
            axes.set_xlabel("epoch (0: before training)")
            axes.set_ylabel(label)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            from_zero(axes)
        panels.axes[0].legend(loc="best", title="mean; thin: single runs" if seeded else None, title_fontsize=8)
        ends = "; ".join(f"{cell} from {_at(runs, 0)} to {_at(runs, -1)}" for cell, runs in curves.items())
        what = f"{title}. Val {shown}{', mean over seeds,' if seeded else ''} by epoch on {questions} questions"
        alt = f"{what}: {ends}. The second panel shows the val loss."
        return finish(panels, folder, name, title, alt)


def _line(runs: Sequence[Rows], column: str) -> tuple[list[float], list[float]]:
    """Epochs and the mean over the runs, where all of them have a number."""
    found: dict[float, list[float]] = {}
    for rows in runs:
        for row in rows:
            if (value := row[column]) is not None:
                found.setdefault(row["epoch"] or 0.0, []).append(value)
    whole = {epoch: fmean(values) for epoch, values in sorted(found.items()) if len(values) == len(runs)}
    return list(whole), list(whole.values())


def _at(runs: Sequence[Rows], position: int) -> str:
    _, scores = _line(runs, "score")
    return f"{scores[position]:.3f}" if scores else "unknown"
