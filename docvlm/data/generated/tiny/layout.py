"""How the small pages are laid out: marks on a character grid, recorded first and drawn only when the page is opened.

Recording instead of drawing keeps a data set of thousands of pages cheap to set up (some 20 microseconds of marks a
page against a millisecond of pixels), and a word that leaves the page is an error at once.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from functools import partial
from typing import TYPE_CHECKING

from docvlm.data.generated.drawing import Drawing, Question
from docvlm.data.generated.values import Values

if TYPE_CHECKING:
    from PIL.Image import Image

COLUMNS, ROWS = 20, 6
FACES = ("sans", "sans", "sans", "bold", "typewriter")
NOISE = (0.0, 0.0, 0.03, 0.06)
Mark = tuple[str, tuple[object, ...]]  # a method of GridCanvas and its arguments


class Grid:
    """A page of `columns` x `rows` characters that is being laid out, in one face, for one stream of values."""

    def __init__(self, values: Values, columns: int = COLUMNS, rows: int = ROWS) -> None:
        self.columns, self.rows = columns, rows
        self.face = values.pick(FACES)
        self.ink = values.pick((0.0, 0.1, 0.25))
        self.paper = values.pick((1.0, 1.0, 0.93))
        self.noise = values.pick(NOISE)
        self.noise_seed = values.rng.getrandbits(32)
        self.marks: list[Mark] = []

    def text(self, row: int, column: int, words: str, face: str | None = None, ink: float | None = None) -> None:
        """Write from a cell on. Raises ValueError where the words leave the page."""
        if not (0 <= row < self.rows and column >= 0 and column + len(words) <= self.columns):
            raise ValueError(f"{words!r} at row {row}, column {column} leaves a page of {self.columns} x {self.rows}")
        self.marks.append(("text", (row, column, words, face or self.face, self.ink if ink is None else ink)))

    def centred(self, row: int, words: str, face: str | None = None) -> None:
        """Write in the middle of a row."""
        self.text(row, (self.columns - len(words)) // 2, words, face)

    def right(self, row: int, words: str, end: int | None = None, face: str | None = None) -> None:
        """Write so that the words end before column `end` (default: the page's edge)."""
        self.text(row, (self.columns if end is None else end) - len(words), words, face)

    def leader(self, row: int, key: str, value: str) -> None:
        """A key at the left, a value at the right edge, dots between them."""
        dots = self.columns - len(key) - len(value)
        if dots < 1:
            raise ValueError(f"{key!r} and {value!r} do not fit a row of {self.columns}")
        self.text(row, 0, key + "." * dots + value)

    def stacked(self, row: int, column: int, key: str, value: str) -> None:
        """A key with its value below it."""
        self.text(row, column, key)
        self.text(row + 1, column, value)

    def banner(self, row: int, words: str) -> None:
        """White words on a dark strip across the page."""
        self.marks.append(("fill", (row, 0, self.columns, 0.25)))
        self.text(row, (self.columns - len(words)) // 2, words, "bold", 1.0)

    def rule(self, row: int) -> None:
        """A thin line under a row."""
        self.marks.append(("rule", (row,)))

    def fill(self, row: int, column: int, width: int, level: float) -> None:
        """A shaded panel; write on it afterwards."""
        self.marks.append(("fill", (row, column, width, level)))

    def polygon(self, corners: tuple[tuple[float, float], ...], level: float) -> None:
        """A filled polygon, corners in pixels, for pies and lines."""
        self.marks.append(("polygon", (corners, level)))

    def next_page(self) -> Grid:
        """An empty page in the same face on the same paper, with noise of its own."""
        page = copy(self)
        page.marks, page.noise_seed = [], self.noise_seed + 1
        return page

    def paint(self) -> Callable[[], Image]:
        """The function that draws what is written so far."""
        return partial(draw, tuple(self.marks), self.columns, self.rows, self.paper, self.noise, self.noise_seed)

    def drawing(self, kind: str, questions: list[Question]) -> Drawing:
        """The finished page, with the questions asked about it."""
        return Drawing(kind, tuple(questions), self.paint())


def draw(marks: tuple[Mark, ...], columns: int, rows: int, paper: float, noise: float, noise_seed: int) -> Image:
    """Draw recorded marks, in order: an RGB page of `14 * columns` x `28 * rows` pixels."""
    import numpy as np

    from docvlm.data.generated.canvas import GridCanvas

    canvas = GridCanvas(columns, rows, paper)
    for method, arguments in marks:
        getattr(canvas, method)(*arguments)
    if noise:
        canvas.noise(np.random.default_rng(noise_seed), noise)
    return canvas.image()
