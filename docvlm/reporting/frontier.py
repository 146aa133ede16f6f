"""The accuracy-latency-resolution frontier: a point a budget, with the interval of its score, named by its pixels.

Filled points are on the frontier, hollow ones are beaten by another on both axes. Vector files with text as text (SVG)
or embedded TrueType (PDF), without a date or random ids, so that the same results give the same file.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ON, OFF = "#4c78a8", "#9a9a9a"
SIZE = (5.4, 3.8)  # inches


def draw(record: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write `frontier.pdf` and `frontier.svg` of a benchmark's record (`docvlm.reporting.benchmark`)."""
    import matplotlib
    from matplotlib.figure import Figure

    logging.getLogger("fontTools").setLevel(logging.WARNING)  # it tells Hydra's log every table of an embedded font
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "docvlm", "pdf.fonttype": 42, "font.size": 9}):
        figure = Figure(figsize=SIZE, layout="constrained")
        _points(figure.add_subplot(), record)
        files = [folder / "frontier.pdf", folder / "frontier.svg"]
        for file in files:
            dates = ("CreationDate", "ModDate") if file.suffix == ".pdf" else ("Date",)
            figure.savefig(file, facecolor="white", metadata=dict.fromkeys(dates))
    return files


def _points(axes: Any, record: Mapping[str, Any]) -> None:
    kept = sorted((p["single"]["p50_ms"], p["score"]["mean"]) for p in record["points"] if p["pareto"])
    axes.plot(*zip(*kept, strict=True), drawstyle="steps-post", color=ON, linewidth=1, alpha=0.6, zorder=1)
    for point in record["points"]:
        score, colour = point["score"], ON if point["pareto"] else OFF
        spread = [[score["mean"] - score["low"]], [score["high"] - score["mean"]]]
        axes.errorbar(
            point["single"]["p50_ms"],
            score["mean"],
            spread,
            fmt="o",
            markersize=6,
            color=colour,
            markerfacecolor=colour if point["pareto"] else "white",
            elinewidth=1,
            capsize=3,
            zorder=2,
        )
        label = f"{point['resolution']} px" if "x" not in point["resolution"] else point["resolution"]
        where = (point["single"]["p50_ms"], score["mean"])
        axes.annotate(label, where, (6, 5), textcoords="offset points", fontsize=8)
    first = record["points"][0]["score"]
    axes.set_xlabel(f"latency of one page, median of {record['points'][0]['single']['n']} (ms)")
    axes.set_ylabel(f"{first['metric']} on {record['benchmark']}, {record['split']}")
    axes.set_title(f"{record['family']} {record['subject']}, {record['device']}", fontsize=9, loc="left")
    axes.margins(x=0.18, y=0.12)
    axes.grid(color="#e4e4e4", linewidth=0.7, zorder=0)
    axes.spines[["top", "right"]].set_visible(False)
