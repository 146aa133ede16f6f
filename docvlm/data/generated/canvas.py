"""A small page on a character grid: what the embedded checkpoints can read.

Why a grid: a vision token often covers 28 x 28 pixels. With a monospaced face whose advance is 14 pixels and rows
of 28, each token holds exactly two characters, which is what a model of two million weights learns to read in minutes
on a CPU; a glyph that straddles tokens costs it many times the pages (docs/LOG.md). Sides are multiples of 28, so
neither qwen-vl-utils nor the image processors resize the page.

Cost: a glyph is drawn once per face and then pasted, about 1 ms a page of 20 x 6 characters.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from docvlm.data.generated.drawing import with_words

ADVANCE = 14
ROW = 28
Face = Literal["sans", "bold", "oblique", "typewriter"]
FACES: dict[str, tuple[str, float]] = {
    # face: font file that matplotlib ships, size in pixels at which a character is 14 pixels wide
    "sans": ("DejaVuSansMono.ttf", 23.25),
    "bold": ("DejaVuSansMono-Bold.ttf", 23.25),
    "oblique": ("DejaVuSansMono-Oblique.ttf", 23.25),
    "typewriter": ("cmtt10.ttf", 26.6),
}


def font_file(name: str) -> Path:
    """A font file that every matplotlib installation carries, so that a page looks the same on every machine."""
    import matplotlib

    return Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name


@cache
def glyph(character: str, face: str) -> np.ndarray:
    """Ink of one printable character in its cell: float32, ROW x ADVANCE, 0 = paper, 1 = ink."""
    file, size = FACES[face]
    font = ImageFont.truetype(str(font_file(file)), size, layout_engine=ImageFont.Layout.BASIC)
    cell = Image.new("L", (ADVANCE, ROW), 0)
    ImageDraw.Draw(cell).text((0, ROW - 7), character, font=font, fill=255, anchor="ls")
    return np.asarray(cell, dtype=np.float32) / 255


class GridCanvas:
    """A page of `columns` x `rows` characters; grey levels 0 (black) to 1 (white); positions count from 0.

    `columns` must be even, so that the width is a multiple of 28 pixels. Text that does not fit raises ValueError: a
    generator that cuts its own words would ask questions the page cannot answer.
    """

    def __init__(self, columns: int = 20, rows: int = 6, paper: float = 1.0) -> None:
        if columns % 2:
            raise ValueError(
                f"columns={columns}: the page's width must be a multiple of 28 pixels, take an even number"
            )
        self.columns, self.rows = columns, rows
        self.words: list[str] = []  # all that was written
        self.level = np.full((rows * ROW, columns * ADVANCE), paper, dtype=np.float32)

    def text(self, row: int, column: int, words: str, face: str = "sans", ink: float = 0.0) -> None:
        """Write `words` from one cell on. `ink` is the text's grey level."""
        if column < 0 or row < 0 or row >= self.rows or column + len(words) > self.columns:
            raise ValueError(f"{words!r} at row {row}, column {column} leaves a page of {self.columns} x {self.rows}")
        self.words.append(words)
        for offset, character in enumerate(words):
            self.blend(row, (column + offset) * ADVANCE, glyph(character, face), ink)

    def blend(self, row: int, left: int, mask: np.ndarray, ink: float) -> None:
        """Put ink of a grey level on a row where `mask` (ROW x width) says, from pixel `left` on."""
        if left < 0 or left + mask.shape[1] > self.columns * ADVANCE:
            raise ValueError(f"{mask.shape[1]} pixels from {left} on leave a page of {self.columns * ADVANCE}")
        cell = self.level[row * ROW : (row + 1) * ROW, left : left + mask.shape[1]]
        cell += mask * (ink - cell)

    def fill(self, row: int, column: int, width: int, level: float) -> None:
        """Shade `width` cells of a row with one grey level, for headers, bars and panels."""
        self.level[row * ROW : (row + 1) * ROW, column * ADVANCE : (column + width) * ADVANCE] = level

    def bar(self, row: int, column: int, length: float, level: float = 0.45) -> None:
        """A horizontal bar of `length` cells (fractions allowed), inset by 6 pixels above and below."""
        top, left = row * ROW, column * ADVANCE
        self.level[top + 6 : top + ROW - 6, left : left + round(length * ADVANCE)] = level

    def rule(self, row: int, level: float = 0.3) -> None:
        """A horizontal line, two pixels thick, along the bottom edge of a row."""
        bottom = (row + 1) * ROW
        self.level[bottom - 2 : bottom] = level

    def polygon(self, corners: tuple[tuple[float, float], ...], level: float) -> None:
        """Fill a polygon, corners (x, y) in pixels from the page's upper left: slices of a pie, pieces of a line."""
        mask = Image.new("L", (self.columns * ADVANCE, self.rows * ROW), 0)
        ImageDraw.Draw(mask).polygon(corners, fill=1)
        self.level[np.asarray(mask) == 1] = level

    def noise(self, rng: np.random.Generator, strength: float) -> None:
        """Scanner noise: Gaussian with standard deviation `strength` in grey levels."""
        self.level += rng.normal(0.0, strength, self.level.shape).astype(np.float32)

    def image(self) -> Image.Image:
        """The page as an RGB image of `columns * 14` x `rows * 28` pixels."""
        grey = np.clip(self.level * 255 + 0.5, 0, 255).astype(np.uint8)
        return with_words(Image.fromarray(grey, mode="L").convert("RGB"), self.words)
