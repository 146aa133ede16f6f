"""The base's own pages: layouts and wordings other than the benchmarks', so that fine-tuning has something to teach.

Every page is drawn in one of the faces, inks and papers of the small benchmarks: what the base has to bring is that it
reads any of them; where things stand and how one asks for them is left to learn. Each page carries its full
transcription, row by row with runs of blanks collapsed, and questions whose answers stand on it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from PIL import Image

from docvlm.data.generated.canvas import GridCanvas
from pretraining import words
from pretraining.placing import Placement

FACES = ("sans", "sans", "sans", "typewriter", "typewriter", "oblique", "bold")
INKS = (0.0, 0.0, 0.1, 0.2, 0.3)
PAPERS = (1.0, 1.0, 0.96, 0.9)


@dataclass
class BasePage:
    """One page of the base's training: its drawing, the text on it by row, and questions with their answers."""

    kind: str
    canvas: GridCanvas
    lines: list[str]
    face: str = "sans"
    ink: float = 0.0
    questions: list[tuple[str, str]] = field(default_factory=list)
    transcribed: bool = True  # whether its transcription is learned too
    placement: Placement | None = None  # None: on the grid

    @classmethod
    def blank(cls, rng: Random, kind: str, columns: int = 20, rows: int = 6) -> BasePage:
        """An empty page in a face, an ink and on a paper of its own."""
        canvas = GridCanvas(columns, rows, rng.choice(PAPERS))
        return cls(kind, canvas, [""] * rows, rng.choice(FACES), rng.choice(INKS))

    @property
    def transcription(self) -> str:
        """All text, row by row, runs of blanks collapsed."""
        return "\n".join(" ".join(line.split()) for line in self.lines if line.strip())

    def image(self) -> Image.Image:
        """The drawing as it lies in its frame: RGB, the frame's size is the canvas's."""
        drawn = self.canvas.image()
        return self.placement.applied(drawn) if self.placement else drawn

    def put(self, row: int, column: int, text: str, face: str | None = None, ink: float | None = None) -> None:
        """Write from a cell on, in the page's own face and ink unless told otherwise."""
        self.canvas.text(row, column, text, face or self.face, self.ink if ink is None else ink)
        line = self.lines[row].ljust(self.canvas.columns)
        self.lines[row] = line[:column] + text + line[column + len(text) :]

    def right(self, row: int, end: int, text: str, face: str | None = None) -> None:
        """Write so that the text ends before column `end`."""
        self.put(row, end - len(text), text, face)


def lines(rng: Random, columns: int, rows: int) -> BasePage:
    """Unrelated words and numbers, for learning the letters."""
    page = BasePage.blank(rng, "lines", columns, rows)
    for row in range(rows):
        text = ""
        while len(text) < columns - 4:
            picks: tuple[Callable[[Random], str], ...] = (words.value, words.key, words.random_word)
            text += rng.choice(picks)(rng) + rng.choice([" ", " ", ": "])
        indent = rng.choice([0, 0, 0, 1, 2])
        text = text[: columns - indent].rstrip()
        page.put(row, indent, text, "bold" if rng.random() < 0.25 else None)
    return page
