"""One look for all figures, and how a figure becomes files: SVG and PDF, the same bytes for the same numbers.

Colours are Okabe and Ito's (jfly.uni-koeln.de/color), which people with colour-blindness tell apart; marker shapes say
the same again. In the page each colour becomes a CSS variable, so that one drawing reads on light and on dark. Fonts
are embedded as TrueType (PDF type 42), which journals ask for; those with CFF outlines as Type 3, since Matplotlib 3.11
calls them TrueType in the PDF, which they are not. Matplotlib's `Figure` is used without pyplot: no global state, no
display.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from docvlm.files import write_bytes, write_whole
from docvlm.reporting.blocks import Figure
from docvlm.reporting.figures.fonts import OWN, fit

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

INK, MUTED, GRID = "#1f2933", "#52606d", "#d5dce4"
SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
MARKERS = ("o", "s", "^", "D", "v", "P")
WIDTH, HEIGHT = 7.2, 3.0  # inches: the text width of a paper, two panels side by side
_RC = {
    "text.parse_math": False,  # labels are other people's words: a "$" is a dollar
    "svg.hashsalt": "docvlm", "svg.fonttype": "path", "pdf.fonttype": 42, "font.size": 9, "font.family": OWN,
    "axes.titlesize": 9.5, "axes.labelsize": 9, "legend.fontsize": 8, "xtick.labelsize": 8, "ytick.labelsize": 8,
    "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": MUTED, "xtick.color": MUTED, "ytick.color": MUTED,
    "xtick.labelcolor": INK, "ytick.labelcolor": INK, "axes.titlecolor": INK, "grid.color": GRID, "axes.grid": True,
    "axes.axisbelow": True, "axes.spines.top": False, "axes.spines.right": False, "grid.linewidth": 0.6,
    "figure.facecolor": "none", "axes.facecolor": "none", "savefig.facecolor": "none", "legend.frameon": False,
    "lines.linewidth": 1.8, "lines.markersize": 5.5,
}  # fmt: skip
_VARIABLES = {INK: "var(--ink)", MUTED: "var(--muted)", GRID: "var(--grid)"}
_VARIABLES |= {colour: f"var(--series-{i})" for i, colour in enumerate(SERIES)}


@contextmanager
def drawing(width: float = WIDTH, height: float = HEIGHT, panels: int = 1) -> Iterator[Panels]:
    """A figure with `panels` axes side by side, in docvlm's look; sizes in inches."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure as Drawing

    with rc_context(_RC):  # type: ignore[arg-type]  # rc keys are literals in matplotlib's types
        figure = Drawing(figsize=(width, height), layout="constrained")
        axes = figure.subplots(1, panels, squeeze=False)
        yield Panels(figure, list(axes[0]))


class Panels:
    """A figure in work and its axes, left to right."""

    def __init__(self, figure: Drawing, axes: list[Axes]) -> None:
        self.figure = figure
        self.axes = axes


def from_zero(axes: Axes) -> None:
    """Let the y axis begin at 0, with room above the highest point: markers are not cut."""
    top = axes.dataLim.ymax  # -inf where nothing is drawn
    axes.set_ylim(0, 1.06 * top if 0 < top < float("inf") else 1.0)


def finish(panels: Panels, folder: Path, name: str, title: str, alt: str) -> Figure:
    """Write `<name>.svg` and `<name>.pdf` in `folder`, and return the figure for the page."""
    from matplotlib import rc_context

    truetype = fit(panels.figure)
    text = io.StringIO()
    panels.figure.savefig(text, format="svg", metadata={"Date": None, "Creator": "docvlm"})
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / f"{name}.svg", lambda file: file.write(text.getvalue()))
    document = io.BytesIO()
    about = {"CreationDate": None, "Creator": "docvlm", "Title": title}
    with rc_context({"pdf.fonttype": 42 if truetype else 3}):
        panels.figure.savefig(document, format="pdf", metadata=about)
    write_bytes(folder / f"{name}.pdf", document.getvalue())
    return Figure(name, title, alt, inline(text.getvalue(), name))


def inline(svg: str, name: str) -> str:
    """An SVG file as part of a page: no prologue, sized by its view box, its ids its own, colours as CSS variables."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", body, flags=re.DOTALL)  # comments repeat every label
    points = float(re.search(r'width="([\d.]+)pt"', body)[1])  # type: ignore[index]  # matplotlib always writes it
    body = re.sub(r'(<svg [^>]*?) width="[^"]*"', r"\1", body, count=1)
    body = re.sub(r'(<svg [^>]*?) height="[^"]*"', r"\1", body, count=1)
    body = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', body)
    body = re.sub(r'(xlink:href|href)="#([^"]+)"', rf'\1="#{name}-\2"', body)
    body = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", body)
    for colour, variable in _VARIABLES.items():
        body = re.sub(colour, variable, body, flags=re.IGNORECASE)
    shown = f'<svg aria-hidden="true" focusable="false" style="max-width: {points / 10:.1f}rem" '
    return body.replace("<svg ", shown, 1).strip()
