"""The ratios as one picture: a bar a cell and variant, and a line at 1, where nothing is gained.

Logarithmic, so that 2 times and 1/2 are equally far from the line. SVG with text as text, and without a date or random
ids, so that the same results give the same file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.suite import Section, number
from bench.table import apart

COLOURS = ("#4c78a8", "#f2a541", "#7aa974")
SHARED, STORED, WHOLE = range(3)
HEIGHT, WIDTH = 0.27, 9.0  # inches: of a bar, of the picture
LABELS = ("pages shared", "pages shared, features stored", "the sweep as a whole")
AGAINST = {
    "training": "against {peer}",
    "evaluation": "against one by one",
    "florence": "against {peer}",
    "documents": "against {peer} and one by one",
    "chat": "against {peer}",
    "sweep": "whole commands",
}


def draw(results: Mapping[str, Any], sections: Sequence[Section], file: Path) -> None:
    """Write the chart of all sections that name drawn variants."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.patches import Patch

    bars = _bars(results, sections)
    with plt.rc_context({"svg.fonttype": "none", "svg.hashsalt": "bench", "font.size": 9}):
        figure, axes = plt.subplots(figsize=(WIDTH, 1.3 + HEIGHT * (len(bars) + 1)), layout="constrained")
        for place, (_, ratio, kind) in enumerate(bars):
            if ratio is None:
                continue
            axes.barh(place, ratio - 1, left=1, height=0.8, color=COLOURS[kind], zorder=2)
            axes.text(
                max(ratio, 1) * 1.03,
                place,
                f"{ratio:.1f}×" if ratio >= 1.05 else f"{ratio:.2f}×",
                va="center",
                fontsize=8,
            )
        axes.axvline(1, color="#333333", linewidth=1.2, zorder=3)
        axes.set_xscale("log", base=2)
        axes.set_xlim(0.7, 1.5 * max([2.0, *(ratio for _, ratio, _ in bars if ratio is not None)]))
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}×")
        axes.set_yticks(range(len(bars)), [label for label, _, _ in bars])
        for tick, (_, ratio, _) in zip(axes.get_yticklabels(), bars, strict=True):
            if ratio is None:
                tick.set_fontweight("bold")
        axes.tick_params(axis="y", length=0)
        axes.set_ylim(len(bars) - 0.4, -0.6)
        axes.grid(axis="x", color="#dddddd", linewidth=0.7, zorder=0)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.set_xlabel("times faster than the plain way (the line is 1×)")
        kinds = sorted({kind for _, ratio, kind in bars if ratio is not None})
        handles = [Patch(color=COLOURS[kind], label=LABELS[kind]) for kind in kinds]
        figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), frameon=False)
        figure.savefig(file, facecolor="white", metadata={"Date": None})
        plt.close(figure)


def _bars(results: Mapping[str, Any], sections: Sequence[Section]) -> list[tuple[str, float | None, int]]:
    """(label, ratio, kind) from top to bottom; a heading has no ratio. A cell is named at the first of its bars."""
    bars: list[tuple[str, float | None, int]] = []
    for section in sections:
        found = results.get(section.name, {"measured": [], "rows": []})
        rows = latest(found["rows"], found["measured"])
        names = [f", {name}" if name else "" for name in apart(found["measured"])]
        drawn = [row for row in rows if row.get("variant") in section.drawn and row.get("ratio_off", row.get("ratio"))]
        if not drawn:
            continue
        peer = next((row["peer"] for row in drawn if row.get("peer")), None)
        bars.append((f"{section.title}, {AGAINST[section.name].format(peer=peer)}", None, 0))
        last = None
        for row in drawn:
            ratio = number(row, "ratio")
            alone = ratio is None  # compared with packing=off only
            cell = f"{row['cell']}{names[int(number(row, 'measured') or 0)]}{' (against packing=off)' if alone else ''}"
            kind = section.drawn.index(str(row["variant"])) % WHOLE if len(section.drawn) > 1 else WHOLE
            bars.append((cell if cell != last else "", number(row, "ratio_off") if alone else ratio, kind))
            last = cell
    return bars


def latest(rows: Sequence[dict[str, Any]], records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Of each cell the rows of its last day: the tables have all processors, a picture of all would be a list."""
    days: dict[object, str] = {}
    for row in rows:
        day = str(records[row["measured"]]["date"])
        days[row["cell"]] = max(day, days.get(row["cell"], ""))
    return [row for row in rows if records[row["measured"]]["date"] == days[row["cell"]]]
