"""The accuracy-latency-resolution frontier, and scores under corruption, with their intervals."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from docvlm.metrics import metric_name
from docvlm.reporting.blocks import Figure
from docvlm.reporting.figures.style import MARKERS, MUTED, SERIES, WIDTH, drawing, finish
from docvlm.reporting.inputs.measured import Measured
from docvlm.reporting.tables.speed import model
from docvlm.scoring.intervals import Interval

_PANEL = 2.3  # inches a corruption


def frontier(folder: Path, found: Measured) -> Figure:
    """A point a page size and an export, a colour a model and device; hollow where another is faster and better."""
    title = "Score, latency and page size"
    said = []
    with drawing(width=5.4, height=3.4) as panels:
        (axes,) = panels.axes
        for i, (_, record) in enumerate(found.records):
            colour, marker = SERIES[i % len(SERIES)], MARKERS[i % len(MARKERS)]
            name = f"{model(record)} on {record['benchmark']}, {record['device']}"
            below = _below(record["points"])
            for j, point in enumerate(record["points"]):
                score, at = Interval.of(point["score"]), point["single"]["p50_ms"]
                spread = [[score.mean - score.low], [score.high - score.mean]]
                face = colour if point["pareto"] else "none"
                label = name if j == 0 else None
                axes.errorbar(at, score.mean, spread, fmt=marker, color=colour, mfc=face, capsize=3, label=label)
                _named(axes, point, at, score, below=j in below)
                kind = "as" if "runtime" in point else "at page size"
                said.append(f"{name} {kind} {point['resolution']}: {score} in {at:.0f} ms")
        axes.set_xlabel("median latency of one page, ms")
        axes.set_ylabel(f"{metric_name(found.records[0][1]['points'][0]['score']['metric'])}, 95 % interval")
        axes.margins(x=0.2, y=0.3 if any("runtime" in p for _, r in found.records for p in r["points"]) else None)
        panels.figure.legend(loc="outside upper left")
        return finish(
            panels, folder, "frontier", title, f"{title}. Hollow points are beaten on both. {'; '.join(said)}."
        )


def _below(points: Sequence[dict[str, Any]]) -> set[int]:
    """Every other runtime in the order of latency: neighbours would write over each other."""
    runtimes = [number for number, point in enumerate(points) if "runtime" in point]
    return set(sorted(runtimes, key=lambda number: points[number]["single"]["p50_ms"])[1::2])


def _named(axes: Any, point: dict[str, Any], at: float, score: Interval, *, below: bool) -> None:
    """Write what a point is beside it; of a runtime at an end of its interval, slanted: they lie side by side."""
    style: dict[str, Any] = {"textcoords": "offset points", "fontsize": 7.5}
    if "runtime" not in point:
        axes.annotate(point["resolution"], (at, score.mean), (6, 4), **style)
    elif below:
        axes.annotate(point["resolution"], (at, score.low), (2, -5), rotation=60, ha="right", va="top", **style)
    else:
        axes.annotate(point["resolution"], (at, score.high), (-2, 5), rotation=60, ha="left", va="bottom", **style)


def robustness(folder: Path, found: Measured) -> Figure:
    """A panel a corruption, a line a model; severity 0 is the clean page."""
    names = list(found.about)
    title = "Scores on corrupted pages"
    with drawing(width=max(WIDTH, _PANEL * len(names)), height=2.8, panels=len(names)) as panels:
        for axes, name in zip(panels.axes, names, strict=True):
            about = found.about[name]
            for i, (_, one) in enumerate(found.records):
                _curve(axes, one, name, i)
            axes.set_title(about["title"], loc="left")
            levels = about["levels"]
            axes.set_xticks(range(len(levels) + 1), ["clean", *(f"{level:g}" for level in levels)])
            axes.set_xlabel(about["unit"])
            axes.set_ylim(0, 1)
            if axes is not panels.axes[0]:
                axes.tick_params(labelleft=False)
        panels.axes[0].set_ylabel(f"{metric_name(found.records[0][1]['metric'])}, 95 % interval")
        handles, labels = panels.axes[0].get_legend_handles_labels()
        panels.figure.legend(handles, labels, loc="outside upper left", ncols=len(labels))
        said = [
            f"{model(one)} on {one['benchmark']}: clean {Interval.of(one['clean'])}, "
            f"mean of all corruptions {_mean(one)}"
            for _, one in found.records
        ]
        return finish(panels, folder, "robustness", title, f"{title}. {'; '.join(said)}.")


def _mean(one: dict[str, Any]) -> Interval:
    (whole,) = [point for point in one["points"] if point["corruption"] is None and point["severity"] is None]
    return Interval.of(whole["score"])


def _curve(axes: Any, one: dict[str, Any], name: str, i: int) -> None:
    points = sorted(
        (p for p in one["points"] if p["corruption"] == name and p["severity"] is not None), key=lambda p: p["severity"]
    )
    scores = [Interval.of(one["clean"]), *(Interval.of(point["score"]) for point in points)]
    places = [0, *(point["severity"] for point in points)]
    colour = SERIES[i % len(SERIES)]
    axes.fill_between(places, [s.low for s in scores], [s.high for s in scores], color=colour, alpha=0.18, linewidth=0)
    axes.plot(
        places,
        [score.mean for score in scores],
        color=colour,
        marker=MARKERS[i % len(MARKERS)],
        markersize=4,
        markeredgecolor=MUTED,
        markeredgewidth=0.3,
        label=f"{model(one)} on {one['benchmark']}",
    )
