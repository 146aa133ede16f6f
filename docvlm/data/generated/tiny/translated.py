"""Small pages in other languages: 280 x 168 pixels, six lines.

Where letters stand in a row (Korean, Chinese, Japanese, German) they keep to the character grid of the English pages: a
full-width character fills two cells, 28 x 28 pixels, everything else one, in the monospaced face. Arabic and Hindi are
set line by line, as their letters join.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING

from docvlm.data.generated.drawing import Drawing
from docvlm.data.generated.languages import content
from docvlm.data.generated.languages.content import Align, Content, Line, Pair, Row, Text, Title
from docvlm.data.generated.languages.known import LANGUAGES
from docvlm.data.generated.languages.language import cells
from docvlm.data.generated.languages.values import LocalValues

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

    from docvlm.data.generated.canvas import GridCanvas

COLUMNS, ROWS = content.COLUMNS, 6
ADVANCE, ROW = 14, 28  # pixels of a cell
SIZE = 21.0  # of shaped type, in pixels; smaller where a line would not fit
WIDE = 26.0  # of full-width characters
NOISE = (0.0, 0.0, 0.03, 0.06)


@dataclass(frozen=True)
class Style:
    """How a page looks: face of the grid's letters, grey levels, noise."""

    face: str
    ink: float
    paper: float
    noise: float
    seed: int


def _kind(make: Callable[[LocalValues, bool], Content], values: LocalValues) -> Drawing:
    face = values.pick(("sans", "sans", "bold"))
    style = Style(face, values.pick((0.0, 0.1, 0.25)), values.pick((1.0, 1.0, 0.93)), values.pick(NOISE),
                  values.rng.getrandbits(32))  # fmt: skip
    page = make(values, True)
    return Drawing(page.kind, page.questions, partial(paint, page.lines, values.language.code, style))


def paint(lines: tuple[Line, ...], code: str, style: Style) -> Image:
    """Draw the lines, one a row. Raises DocvlmError where the language's font is missing."""
    import numpy as np

    from docvlm.data.generated.canvas import GridCanvas

    canvas = GridCanvas(COLUMNS, ROWS, style.paper)
    pen = _Pen(canvas, code, style)
    for row, line in enumerate(lines):
        pen.draw(row, line)
    if style.noise:
        canvas.noise(np.random.default_rng(style.seed), style.noise)
    return canvas.image()


class _Pen:
    """Writes lines on a canvas from the side where the language begins."""

    def __init__(self, canvas: GridCanvas, code: str, style: Style) -> None:
        self.canvas, self.code, self.style = canvas, code, style
        self.turned = LANGUAGES[code].right_to_left

    def draw(self, row: int, line: Line) -> None:
        if isinstance(line, Title):
            self.canvas.fill(row, 0, COLUMNS, 0.25)
            self.words(row, line.words, "middle", face="bold", ink=1.0)
        elif isinstance(line, Text):
            self.words(row, line.words, line.align, face="oblique" if line.hand else None)
        elif isinstance(line, Pair):
            left = self.words(row, line.label, "start", room=COLUMNS // 2)
            right = self.words(row, line.value, "end", room=COLUMNS - 1 - left)
            if line.dots:
                self._dots(row, left, right)
        else:
            self._row(row, line)

    def words(
        self,
        row: int,
        words: str,
        align: Align,
        *,
        end: int = COLUMNS,
        room: int = COLUMNS,
        face: str | None = None,
        ink: float | None = None,
    ) -> int:
        """Write at the start, in the middle, or so that words end before cell `end`. Returns the cells they fill."""
        self.canvas.words.append(words)
        mask = line_ink(words, self.code, face or self.style.face, room * ADVANCE)
        width = mask.shape[1]
        x = {"start": 0, "middle": (COLUMNS * ADVANCE - width) // 2, "end": end * ADVANCE - width}[align]
        if self.turned:
            x = COLUMNS * ADVANCE - x - width
        self.canvas.blend(row, x, mask, self.style.ink if ink is None else ink)
        return -(-width // ADVANCE)

    def _dots(self, row: int, left: int, right: int) -> None:
        start, stop = (right, COLUMNS - left) if self.turned else (left, COLUMNS - right)
        self.canvas.text(row, start, "." * (stop - start), self.style.face, self.style.ink)

    def _row(self, row: int, line: Row) -> None:
        if line.label:
            self.words(row, line.label, "start", room=6)
        for place, words in enumerate(line.cells, start=1):
            end = COLUMNS - 7 * (len(line.cells) - place)
            self.words(row, words, "end", end=end, room=7, face="bold" if line.head else None)
        if line.head:
            self.canvas.rule(row)


@cache
def line_ink(words: str, code: str, face: str, room: int) -> np.ndarray:
    """Ink of a line: float32, 28 x its width, at most `room` pixels wide; 0 = paper, 1 = ink."""
    import numpy as np
    from PIL import Image, ImageDraw

    from docvlm.data.generated.canvas import glyph
    from docvlm.data.generated.languages import fonts

    if not LANGUAGES[code].shaped:
        if cells(words) * ADVANCE > room:
            raise ValueError(f"{words!r} does not fit {room} pixels of a small page")
        return np.concatenate([_wide(c, code) if cells(c) == 2 else glyph(c, face) for c in words], axis=1)
    font = fonts.found(code)
    size = font.fitting(words, room, SIZE)
    width = int(np.ceil(font.length(words, size)))
    line = Image.new("L", (width, ROW), 0)
    pen, bold = ImageDraw.Draw(line), 0.4 if face == "bold" else 0
    pen.text((0, ROW - 8), words, font=font.at(size), fill=255, anchor="ls", stroke_width=bold, **font.options)
    return np.asarray(line, dtype=np.float32) / 255


@cache
def _wide(character: str, code: str) -> np.ndarray:
    """Ink of a full-width character in its two cells."""
    import numpy as np
    from PIL import Image, ImageDraw

    from docvlm.data.generated.languages import fonts

    cell = Image.new("L", (2 * ADVANCE, ROW), 0)
    ImageDraw.Draw(cell).text((ADVANCE, ROW - 5), character, font=fonts.found(code).at(WIDE), fill=255, anchor="ms")
    return np.asarray(cell, dtype=np.float32) / 255


KINDS = tuple(partial(_kind, make) for make in content.ALL)
