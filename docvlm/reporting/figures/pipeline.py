"""The model pipeline: from pages and a question to an answer, and what of it learns in the reported runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from docvlm.reporting.blocks import Figure
from docvlm.reporting.figures.style import INK, MUTED, SERIES, drawing, finish
from docvlm.reporting.naming import adapter, freeze_language, name
from docvlm.runs.finished import Run
from docvlm.vlms.families import label

_BOX, _GAP, _TALL = 1.0, 0.42, 0.78


def draw(folder: Path, runs: list[Run]) -> Figure:
    """A row of boxes for each run; the coloured part of a box is the share of it that learns."""
    title = "From page to answer, and what learns"
    with drawing(width=7.2, height=0.15 + 1.1 * len(runs)) as panels:
        (axes,) = panels.axes
        axes.set_axis_off()
        for i, run in enumerate(runs):
            _row(axes, run, len(runs) - 1 - i)
        axes.set_xlim(-0.05, 5 * (_BOX + _GAP))
        axes.set_ylim(-0.1, 1.25 * len(runs) - 0.18)
        alt = f"{title}. " + " ".join(f"{name(run.family, run)}: {_said(run.manifest['trainable'])}." for run in runs)
        return finish(panels, folder, "pipeline", title, alt)


def _row(axes: Any, run: Run, row: int) -> None:
    from matplotlib.patches import Rectangle

    learned, low = run.manifest["trainable"], 1.25 * row
    vision = learned["vision_trainable_blocks_percent"] / 100
    language = f"{adapter(learned)} r={learned['lora_r']}" if learned["lora_r"] else "learns in full"
    still = freeze_language(learned)
    language += f", {still} % frozen" if still else ""
    share = 0.12 if learned["lora_r"] else 1 - still / 100
    seen = f"{100 * vision:.0f} % of blocks learn" if vision else "frozen"
    joint = "learns" if vision else "frozen"
    boxes = (
        ("page,\nquestion", "", 0.0), ("vision\ntower", seen, vision), ("projector", joint, float(vision > 0)),
        ("language\nmodel", language, share), ("answer", "only this is learned", 0.0),
    )  # fmt: skip
    title = f"{label(run.model)}, {learned['percent']:.1f} % of parameters learn"
    axes.text(0, low + _TALL + 0.12, title, size=9, weight="bold")
    for i, (text, below, part) in enumerate(boxes):
        left = i * (_BOX + _GAP)
        if part:
            axes.add_patch(
                Rectangle((left, low), _BOX, _TALL * part, facecolor=SERIES[5], alpha=0.45, edgecolor="none")
            )
        axes.add_patch(Rectangle((left, low), _BOX, _TALL, fill=False, edgecolor=INK, linewidth=1.1))
        axes.text(left + _BOX / 2, low + _TALL * 0.58, text, ha="center", va="center", size=8.5)
        axes.text(left + _BOX / 2, low + _TALL * 0.16, below, ha="center", va="center", size=6.6, color=MUTED)
        if i:
            arrow = {"arrowstyle": "-|>", "color": MUTED, "lw": 1.2}
            axes.annotate("", (left - 0.03, low + _TALL / 2), (left - _GAP + 0.03, low + _TALL / 2), arrowprops=arrow)


def _said(learned: dict[str, Any]) -> str:
    language = f"{adapter(learned)} of rank {learned['lora_r']}" if learned["lora_r"] else "all of the language model"
    if still := freeze_language(learned):
        language += f" above {still} % of the decoder's blocks"
    return f"{language} and {learned['vision_trainable_blocks_percent']:.0f} % of the vision tower's blocks learn"
