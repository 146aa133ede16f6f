"""The curves of `robustness.json`: a panel a corruption, scores above, unchanged answers below, clean as severity 0.

Bands are 95 % intervals over documents. A run and the checkpoint it came from share the panels. Vector PDF and SVG, the
same bytes each time.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docvlm.files import part_of_name, write_bytes
from docvlm.reporting.figures.fonts import fit

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Result = Mapping[str, Any]
COLOURS = {"ours": "#1b6ca8", "zero-shot": "#c2571a"}
SERVED = "#4a7a2c"
MEAN = "mean of them"
STYLE: dict[Any, Any] = {"font.size": 8, "axes.spines.top": False, "axes.spines.right": False}
SAVED: dict[Any, Any] = {"svg.hashsalt": "docvlm"}  # else the names of clip paths are drawn anew each time


def write(folder: Path, whole: Mapping[str, Any]) -> list[Path]:
    """`robustness-<family>-<benchmark>.pdf` and `.svg` for every family and benchmark in `whole`."""
    import matplotlib

    groups: dict[tuple[str, str], list[Result]] = {}
    for result in whole["results"]:
        groups.setdefault((result["family"], result["benchmark"]), []).append(result)
    files = []
    for (family, benchmark), results in groups.items():
        drawn = figure(results, whole["corruptions"])
        truetype = fit(drawn)
        for kind, date in (("pdf", "CreationDate"), ("svg", "Date")):
            path = folder / f"robustness-{part_of_name(family)}-{benchmark}.{kind}"
            content = io.BytesIO()
            with matplotlib.rc_context({**SAVED, "pdf.fonttype": 42 if truetype else 3}):
                drawn.savefig(content, format=kind, metadata={date: None})
            write_bytes(path, content.getvalue())
            files.append(path)
    return files


def figure(results: Sequence[Result], corruptions: Mapping[str, Any]) -> Figure:
    """Curves of one family on one benchmark; `results` and `corruptions` as `robustness.json` holds them."""
    import matplotlib
    from matplotlib.figure import Figure

    names = [name for name in corruptions if any(p["corruption"] == name for p in results[0]["points"])]
    with matplotlib.rc_context(STYLE):
        columns = [*names, None]
        drawn = Figure(figsize=(1.75 * len(columns) + 0.6, 4.1), layout="constrained")
        axes = drawn.subplots(2, len(columns), sharex="col", sharey="row", squeeze=False)
        for column, name in enumerate(columns):
            for row, key in enumerate(("score", "consistency")):
                for result in results:
                    _curve(axes[row, column], result, name, key)
                axes[row, column].set_ylim(0, 1.02)
                axes[row, column].grid(axis="y", linewidth=0.4, alpha=0.5)
            axes[0, column].set_title(MEAN if name is None else corruptions[name]["title"], fontsize=9)
            _severities(axes[1, column], results[0], None if name is None else corruptions[name])
        axes[0, 0].set_ylabel(results[0]["metric"])
        axes[1, 0].set_ylabel("same answer as on\nthe clean page")
        handles, labels = axes[0, 0].get_legend_handles_labels()
        about = "{family} on {benchmark}, {questions} questions on {documents} documents".format(**results[0])
        drawn.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
        drawn.suptitle(about, fontsize=9, x=0.01, ha="left")
    return drawn


def _curve(axes: Axes, result: Result, name: str | None, key: str) -> None:
    """One line with its band; severity 0 is the clean score, and an answer is always that of its own page."""
    points = sorted(
        (p for p in result["points"] if p["corruption"] == name and p["severity"] is not None),
        key=lambda p: p["severity"],
    )
    whole = {"mean": 1.0, "low": 1.0, "high": 1.0}
    intervals = [result["clean"] if key == "score" else whole, *(p[key] for p in points)]
    places = [0, *(p["severity"] for p in points)]
    colour = COLOURS[result["subject"]] if result["subject"] in COLOURS else SERVED
    axes.fill_between(
        places, [i["low"] for i in intervals], [i["high"] for i in intervals], color=colour, alpha=0.18, lw=0
    )
    axes.plot(places, [i["mean"] for i in intervals], "o-", color=colour, ms=3, lw=1.2, label=result["subject"])


def _severities(axes: Axes, result: Result, corruption: Mapping[str, Any] | None) -> None:
    severities = sorted({p["severity"] for p in result["points"] if p["severity"] is not None})
    axes.set_xticks([0, *severities])
    if corruption is None:
        axes.set_xticklabels(["clean", *map(str, severities)])
        axes.set_xlabel("severity")
        return
    axes.set_xticklabels(["clean", *(f"{corruption['levels'][s - 1]:g}" for s in severities)])
    axes.set_xlabel(corruption["unit"])
