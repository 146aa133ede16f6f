"""Ablations: test score with its interval against LoRA rank and trainable parameters, or against vision freezing.

Where there are seeds a point is the mean of a setting with its interval over documents and seeds, and its single runs
are dots beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docvlm.metrics import metric_name
from docvlm.reporting.blocks import Figure
from docvlm.reporting.figures.style import MARKERS, SERIES, drawing, finish, from_zero

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Row = Mapping[str, Any]
Point = tuple[Row, Sequence[Row]]
"""A cell, or a setting over its seeds; and the single runs of the setting, none of a cell."""
_BESIDE = 7  # points to the right of a mean stand the dots of its runs


def rank(folder: Path, name: str, title: str, points: Sequence[Point]) -> Figure:
    """Score and trainable parameters against the rank; ranks stand side by side, not to scale."""
    points = sorted(points, key=lambda point: point[0]["lora_r"])
    rows = [row for row, _ in points]
    ticks = [f"{row['lora_r']}" for row in rows]
    with drawing(panels=2) as panels:
        left, right = panels.axes
        _scores(left, range(len(rows)), points)
        right.bar(range(len(rows)), [row["trainable_millions"] for row in rows], width=0.55, color=SERIES[1])
        for i, row in enumerate(rows):
            note = f"{row['trainable_percent']:.1f} %"
            right.annotate(
                note, (i, row["trainable_millions"]), (0, 3), textcoords="offset points", ha="center", size=8
            )
        right.set_ylabel("trainable parameters, millions")
        right.margins(y=0.15)
        for axes in (left, right):
            axes.set_xticks(range(len(rows)), ticks)
            axes.set_xlabel("rank r")
            axes.set_xlim(-0.6, len(rows) - 0.4)
        alt = f"{title}. {_what(points)} by rank: " + "; ".join(
            f"r={row['lora_r']} {_interval(row, runs)} with {row['trainable_millions']:.3g} M trainable parameters"
            for row, runs in points
        )
        return finish(panels, folder, name, title, alt + ".")


def freezing(folder: Path, name: str, title: str, points: Sequence[Point]) -> Figure:
    """Score and val loss against the share of the vision tower's blocks that learns."""
    return _shares(folder, name, title, points, "vision_trainable_blocks_percent", "vision tower trainable")


def decoder(folder: Path, name: str, title: str, points: Sequence[Point]) -> Figure:
    """Score and val loss against the share of the decoder's blocks that does not learn."""
    return _shares(folder, name, title, points, "language_frozen_blocks_percent", "decoder frozen")


def _shares(folder: Path, name: str, title: str, points: Sequence[Point], key: str, what: str) -> Figure:
    points = sorted(points, key=lambda point: point[0][key])
    shares = [row[key] for row, _ in points]
    with drawing(panels=2) as panels:
        left, right = panels.axes
        _scores(left, shares, points)
        right.plot(shares, [row["val_loss"] for row, _ in points], color=SERIES[1], marker=MARKERS[1])
        _dots(right, shares, points, "val_loss", SERIES[1])
        right.set_ylabel("val loss of the reported epoch")
        from_zero(right)
        for axes in (left, right):
            axes.margins(x=0.08)
            axes.set_xticks(shares, [f"{share:.0f}" for share in shares])
            axes.set_xlabel(f"{what}, % of blocks")
        alt = f"{title}. {_what(points)} by {what}, % of blocks: " + "; ".join(
            f"{row[key]:.0f} % {_interval(row, runs)}, val loss {row['val_loss']:.3f}" for row, runs in points
        )
        return finish(panels, folder, name, title, alt + ".")


def _scores(axes: Axes, places: Sequence[float] | range, points: Sequence[Point]) -> None:
    rows = [row for row, _ in points]
    values = [row["score"] for row in rows]
    spread = [[row["score"] - _end(row, "low") for row in rows], [_end(row, "high") - row["score"] for row in rows]]
    seeded = any(runs for _, runs in points)
    mean = "mean over seeds, 95 % interval over documents and seeds"
    axes.errorbar(places, values, yerr=spread, color=SERIES[0], marker=MARKERS[0], capsize=3, linewidth=1.4, label=mean)
    metric = metric_name(rows[0]["metric"])
    axes.set_ylabel(f"test {metric}" if seeded else f"test {metric}, 95 % interval")
    if seeded:
        _dots(axes, places, points, "score", SERIES[0])
        handles, labels = axes.get_legend_handles_labels()
        axes.figure.legend(handles[::-1], labels[::-1], loc="outside upper left", ncols=2)


def _dots(axes: Axes, places: Sequence[float] | range, points: Sequence[Point], column: str, colour: str) -> None:
    """The single runs, beside their mean."""
    from matplotlib.transforms import ScaledTranslation

    found = [(place, run[column]) for place, (_, runs) in zip(places, points, strict=True) for run in runs]
    if found:
        beside = axes.transData + ScaledTranslation(_BESIDE / 72, 0, axes.figure.dpi_scale_trans)
        x, y = zip(*found, strict=True)
        axes.update_datalim(found)
        axes.plot(x, y, "o", markersize=3.5, fillstyle="none", color=colour, transform=beside, label="single runs")


def _end(row: Row, end: str) -> float:
    """An end of the interval; the mean itself where answers are gone and nothing is drawn."""
    return float(row["score"] if row[end] is None else row[end])


def _what(points: Sequence[Point]) -> str:
    return "Mean test score over seeds" if any(runs for _, runs in points) else "Test score"


def _interval(row: Row, runs: Sequence[Row]) -> str:
    ends = "" if row["low"] is None else f" [{row['low']:.3f}, {row['high']:.3f}]"
    single = ", ".join(f"{run['score']:.3f}" for run in runs)
    return f"{row['score']:.3f}{ends}{f' (single runs {single})' if runs else ''}"
