"""Full pages in other languages, 1204 x 1596 pixels: three layouts, six colours, and what a scanner does.

Everything is set in the one face that has the language's glyphs (`languages.fonts`), from the side where it begins.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from docvlm.data.generated.drawing import Drawing
from docvlm.data.generated.full.paper import BLUE, GREY, INK, MARGIN, PALE, WIDTH, Colour, Look, Paper, look
from docvlm.data.generated.languages import content
from docvlm.data.generated.languages.content import Align, Content, Line, Pair, Row, Text, Title
from docvlm.data.generated.languages.known import LANGUAGES
from docvlm.data.generated.languages.values import LocalValues

if TYPE_CHECKING:
    from PIL.Image import Image

WHITE: Colour = (255, 255, 255)
TOP, STEP = 150, 84  # where the first line stands, and how far apart lines are
MIDDLE = 0.42  # of the width between the margins: where values begin that stand in a column


def _kind(make: Callable[[LocalValues, bool], Content], values: LocalValues) -> Drawing:
    style = look(values, ("sans",), 3)
    page = make(values, False)
    return Drawing(page.kind, page.questions, partial(paint, page.lines, values.language.code, style))


def paint(lines: tuple[Line, ...], code: str, style: Look) -> Image:
    """Draw the lines below each other. Raises DocvlmError where the language's font is missing."""
    paper = Paper(style)
    pen = _Pen(paper, code)
    y = float(TOP)
    for line in lines:
        pen.draw(line, y)
        y += STEP * (1.5 if isinstance(line, Title) else 1)
    return paper.finished()


class _Pen:
    """Writes lines on paper from the side where the language begins."""

    def __init__(self, paper: Paper, code: str) -> None:
        from docvlm.data.generated.languages import fonts

        self.paper, self.look, self.font = paper, paper.look, fonts.found(code)
        self.turned = LANGUAGES[code].right_to_left

    def draw(self, line: Line, y: float) -> None:
        right, accent, layout = WIDTH - MARGIN, self.look.accent, self.look.layout
        if isinstance(line, Title):
            if layout == 2:
                self.paper.box(MARGIN, y - 56, right, y + 30, fill=accent, edge=None)
            self.words(line.words, "middle", y, 46, fill=WHITE if layout == 2 else accent, bold=True)
            if layout == 1:
                self.paper.rule(MARGIN, y + 36, right, 4, accent)
        elif isinstance(line, Text):
            self.words(line.words, line.align, y, 40 if line.hand else 30, fill=BLUE if line.hand else INK)
        elif isinstance(line, Pair):
            self._pair(line, y)
        else:
            self._row(line, y)

    def _pair(self, line: Pair, y: float) -> None:
        right, layout = WIDTH - MARGIN, self.look.layout
        if layout == 0:
            self.paper.rule(MARGIN, y + 26, right, 1, GREY)
        elif layout == 1:
            self.paper.box(MARGIN, y - 52, right, y + 32, edge=GREY, width=1)
        elif line.dots:
            self.paper.box(MARGIN, y - 46, right, y + 26, fill=PALE, edge=None)
        self.words(line.label, "start", y, 28, inset=16, fill=GREY if layout == 0 else INK)
        if layout == 1:
            self.words(line.value, "start", y, 30, inset=MIDDLE * (right - MARGIN))
        else:
            self.words(line.value, "end", y, 30, inset=16)

    def _row(self, line: Row, y: float) -> None:
        right, layout = WIDTH - MARGIN, self.look.layout
        if line.head:
            self.paper.box(MARGIN, y - 52, right, y + 32, fill=self.look.accent if layout == 2 else PALE, edge=None)
        elif layout == 1:
            self.paper.box(MARGIN, y - 52, right, y + 32, edge=GREY, width=1)
        self.words(line.label, "start", y, 26, inset=16)
        step = (right - MARGIN) * 0.78 / len(line.cells)
        for place, words in enumerate(reversed(line.cells)):
            fill = WHITE if line.head and layout == 2 else INK
            size = self.font.fitting(words, step - 24, 26)
            self.words(words, "end", y, size, inset=16 + place * step, fill=fill, bold=line.head)

    def words(
        self,
        words: str,
        align: Align,
        y: float,
        size: float,
        *,
        inset: float = 0,
        fill: Colour = INK,
        bold: bool = False,
    ) -> None:
        """Write one line, `inset` pixels from the margin where the language begins or ends; smaller if it must."""
        self.paper.words.append(words)
        size = self.font.fitting(words, WIDTH - 2 * MARGIN - inset, size)
        x = {"start": MARGIN + inset, "middle": WIDTH / 2, "end": WIDTH - MARGIN - inset}[align]
        anchor = {"start": "l", "middle": "m", "end": "r"}[align]
        if self.turned:
            x, anchor = WIDTH - x, {"l": "r", "m": "m", "r": "l"}[anchor]
        self.paper.pen.text(
            (x, y), words, font=self.font.at(size), fill=fill, anchor=f"{anchor}s",
            stroke_width=0.7 if bold else 0, **self.font.options,
        )  # fmt: skip


KINDS = tuple(partial(_kind, make) for make in content.ALL)
