"""Ablations: test score with its interval against LoRA rank and trainable parameters, or against vision freezing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docvlm.metrics import metric_name
from docvlm.reporting.blocks import Figure
from docvlm.reporting.figures.style import MARKERS, SERIES, drawing, finish

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Row = dict[str, Any]


def rank(folder: Path, name: str, title: str, rows: Sequence[Row]) -> Figure:
    """Score and trainable parameters against the rank; ranks stand side by side, not to scale."""
    rows = sorted(rows, key=lambda row: row["lora_r"])
    ticks = [f"{row['lora_r']}" for row in rows]
    with drawing(panels=2) as panels:
        left, right = panels.axes
        _scores(left, range(len(rows)), rows)
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
        alt = f"{title}. Test score by rank: " + "; ".join(
            f"r={row['lora_r']} {_interval(row)} with {row['trainable_millions']:.3g} M trainable parameters"
            for row in rows
        )
        return finish(panels, folder, name, title, alt + ".")


def freezing(folder: Path, name: str, title: str, rows: Sequence[Row]) -> Figure:
    """Score and val loss against the share of the vision tower's blocks that learns."""
    rows = sorted(rows, key=lambda row: row["vision_trainable_blocks_percent"])
    shares = [row["vision_trainable_blocks_percent"] for row in rows]
    with drawing(panels=2) as panels:
        left, right = panels.axes
        _scores(left, shares, rows)
        right.plot(shares, [row["val_loss"] for row in rows], color=SERIES[1], marker=MARKERS[1])
        right.set_ylabel("val loss of the reported epoch")
        right.set_ylim(bottom=0)
        for axes in (left, right):
            axes.set_xticks(shares, [f"{share:.0f}" for share in shares])
            axes.set_xlabel("vision tower trainable, % of blocks")
        alt = f"{title}. Test score by share of vision blocks that learn: " + "; ".join(
            f"{row['vision_trainable_blocks_percent']:.0f} % {_interval(row)}, val loss {row['val_loss']:.3f}"
            for row in rows
        )
        return finish(panels, folder, name, title, alt + ".")


def _scores(axes: Axes, places: Sequence[float] | range, rows: Sequence[Row]) -> None:
    values = [row["score"] for row in rows]
    spread = [[row["score"] - row["low"] for row in rows], [row["high"] - row["score"] for row in rows]]
    axes.errorbar(places, values, yerr=spread, color=SERIES[0], marker=MARKERS[0], capsize=3, linewidth=1.4)
    metric = rows[0]["metric"]
    axes.set_ylabel(f"test {metric_name(metric)}, 95 % interval")


def _interval(row: Row) -> str:
    return f"{row['score']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"
