"""Charts drawn by matplotlib: what a chart holds, and its picture.

The figure is drawn without pyplot, with matplotlib's built-in defaults (a user's matplotlibrc changes no page) and its
own font files. Cost: 0.2 to 0.4 s a chart on one core.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from docvlm.data.generated.canvas import font_file
from docvlm.data.generated.full.scan import Scan, scan

if TYPE_CHECKING:
    from PIL.Image import Image

WIDTH, HEIGHT = 1204, 896
PALETTES: tuple[tuple[tuple[str, str], ...], ...] = (
    (("blue", "#2f6db5"), ("orange", "#e8812a"), ("green", "#4a9d5b"),
     ("red", "#c8413b"), ("purple", "#8464a8"), ("gray", "#8a8d91")),
    (("green", "#1b7f6b"), ("yellow", "#e3b023"), ("red", "#b5323c"),
     ("blue", "#27548a"), ("brown", "#8a5a34"), ("pink", "#d68aa8")),
    (("purple", "#5b3a8c"), ("green", "#7bb342"), ("orange", "#ef6c1f"),
     ("blue", "#3c9dd0"), ("gray", "#6e6e73"), ("red", "#d0393e")),
)  # fmt: skip
FONTS = (
    ("DejaVuSans.ttf", "DejaVuSans-Bold.ttf"),
    ("DejaVuSerif.ttf", "DejaVuSerif-Bold.ttf"),
    ("STIXGeneral.ttf", "STIXGeneralBol.ttf"),
)


@dataclass(frozen=True)
class Chart:
    """One chart: its data in tenths of a unit, and how it looks. `form`: upright, sideways, line, pie or ring."""

    form: str
    title: str
    subtitle: str
    source: str
    labels: tuple[str, ...]
    series: tuple[tuple[str, tuple[int, ...]], ...]
    unit: str
    palette: int
    font: int
    grid: bool
    scan: Scan

    def shown(self, tenths: int) -> str:
        """A number as the chart prints it: 345 → 34.5, 340 → 34."""
        return f"{tenths / 10:g}"

    def colour(self, place: int) -> str:
        """The name of the colour of a series (or of a slice)."""
        return PALETTES[self.palette][place][0]


def plot(chart: Chart) -> Image:
    """Draw the chart: an RGB image of WIDTH x HEIGHT."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.font_manager import FontProperties
    from PIL import Image

    regular, bold = (str(font_file(file)) for file in FONTS[chart.font])
    scale = 1.2 if "STIX" in regular else 1.0  # Times runs small
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        figure = Figure(figsize=(WIDTH / 100, HEIGHT / 100), dpi=100)
        canvas = FigureCanvasAgg(figure)
        axes = figure.add_axes((0.08, 0.13, 0.86, 0.66))
        for y, words, file, size, colour in (
            (0.93, chart.title, bold, 19, "black"),
            (0.885, chart.subtitle, regular, 14, "#55585c"),
            (0.025, chart.source, regular, 11, "#77797d"),
        ):
            face = FontProperties(fname=file, size=size * scale)
            figure.text(0.05, y, words, fontproperties=face, color=colour)
        face = FontProperties(fname=regular, size=14 * scale)
        form = {"upright": _upright, "sideways": _sideways, "line": _line, "pie": _pie, "ring": _pie}[chart.form]
        form(axes, chart, face)
        canvas.draw()
        picture = Image.frombytes("RGBA", canvas.get_width_height(), bytes(canvas.buffer_rgba())).convert("RGB")
    return scan(picture, chart.scan)


def _style(axes: Any, chart: Chart, face: Any, along: str) -> None:
    """Fonts of ticks and legend, spines, grid lines across the direction the values run in."""
    for side in ("top", "right", "left" if along == "y" else "bottom"):
        axes.spines[side].set_visible(False)
    for tick in (*axes.get_xticklabels(), *axes.get_yticklabels()):
        tick.set_fontproperties(face)
    axes.tick_params(length=0, pad=8)
    axes.set_axisbelow(True)
    if chart.grid:
        axes.grid(axis=along, color="#dddfe2", linewidth=1)
    else:
        getattr(axes, f"{along}axis").set_visible(False)
    if len(chart.series) > 1:
        axes.legend(prop=face, frameon=False, ncols=3, loc="lower left", bbox_to_anchor=(-0.04, 1.0))


def _upright(axes: Any, chart: Chart, face: Any) -> None:
    """Bars side by side, one colour a series, values on top."""
    width = 0.78 / len(chart.series)
    for place, (name, numbers) in enumerate(chart.series):
        at = [x + (place - (len(chart.series) - 1) / 2) * width for x in range(len(numbers))]
        colour = PALETTES[chart.palette][place][1]
        axes.bar(at, [number / 10 for number in numbers], width * 0.92, label=name, color=colour)
        for x, number in zip(at, numbers, strict=True):
            words = chart.shown(number) + ("%" if chart.unit == "%" else "")
            small = face.copy()
            small.set_size(face.get_size() * (1 if len(chart.series) == 1 else 0.8))
            axes.annotate(
                words, (x, number / 10), (0, 4), textcoords="offset points", ha="center", fontproperties=small
            )
    axes.set_xticks(range(len(chart.labels)), chart.labels)
    _style(axes, chart, face, "y")


def _sideways(axes: Any, chart: Chart, face: Any) -> None:
    """Bars from left to right, first label on top, values behind the bars."""
    _, numbers = chart.series[0]
    axes.barh(range(len(numbers)), [number / 10 for number in numbers], 0.62, color=PALETTES[chart.palette][0][1])
    for y, number in enumerate(numbers):
        words = chart.shown(number) + ("%" if chart.unit == "%" else "")
        axes.annotate(words, (number / 10, y), (6, 0), textcoords="offset points", va="center", fontproperties=face)
    axes.set_yticks(range(len(chart.labels)), chart.labels)
    axes.invert_yaxis()
    left = 0.05 + 0.0085 * max(map(len, chart.labels))
    axes.set_position((left + 0.02, 0.13, 0.9 - left, 0.66))
    _style(axes, chart, face, "x")


def _drops(numbers: tuple[int, ...], place: int) -> bool:
    """Whether the line falls to a point, so that the point's value is clear of the line only below it."""
    return place > 0 and numbers[place] < numbers[place - 1]


def _line(axes: Any, chart: Chart, face: Any) -> None:
    """Lines with a marker and a value at every point; a white halo keeps values clear of the line."""
    from matplotlib.patheffects import withStroke

    halo = [withStroke(linewidth=4, foreground="white")]
    small = face.copy()
    small.set_size(face.get_size() * (1 if len(chart.series) == 1 else 0.85))
    for place, (name, numbers) in enumerate(chart.series):
        colour = PALETTES[chart.palette][place][1]
        axes.plot(
            range(len(numbers)), [number / 10 for number in numbers], color=colour, marker="o", linewidth=3, label=name
        )
        for x, number in enumerate(numbers):
            axes.annotate(
                chart.shown(number),
                (x, number / 10),
                (0, -21 if _drops(numbers, x) else 9),
                textcoords="offset points",
                ha="center",
                fontproperties=small,
                path_effects=halo,
                color=colour if len(chart.series) > 1 else "#222222",
            )
    axes.set_xticks(range(len(chart.labels)), chart.labels)
    axes.margins(y=0.18)
    _style(axes, chart, face, "y")


def _pie(axes: Any, chart: Chart, face: Any) -> None:
    """A pie or a ring; label and share stand beside each slice."""
    _, numbers = chart.series[0]
    colours = [colour for _, colour in PALETTES[chart.palette]][: len(numbers)]
    words = [f"{label}\n{chart.shown(number)}%" for label, number in zip(chart.labels, numbers, strict=True)]
    hole = {"width": 0.42, "edgecolor": "white"} if chart.form == "ring" else {"edgecolor": "white"}
    _, texts = axes.pie(
        numbers, labels=words, colors=colours, startangle=90, counterclock=False, wedgeprops=hole, labeldistance=1.14
    )
    for text in texts:
        text.set_fontproperties(face)
    axes.set_aspect("equal")
