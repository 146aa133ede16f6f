"""A sheet of paper for the `full` preset: proportional type, rules, boxes, handwriting and stamps, drawn with Pillow.

Only fonts that matplotlib ships are used, so that a bare machine draws the same page. Computer Modern has no underscore
and no angle brackets, and its italic has a pound sign for a dollar; no page writes those in it. Positions are pixels,
y is the baseline of text.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Literal

from PIL import Image, ImageDraw, ImageFont

from docvlm.data.generated.canvas import font_file
from docvlm.data.generated.drawing import with_words
from docvlm.data.generated.full.scan import Scan, scan
from docvlm.data.generated.values import Values

WIDTH, HEIGHT = 1204, 1596  # A4-like, multiples of 28
MARGIN = 96
Colour = tuple[int, int, int]
Align = Literal["l", "m", "r"]
Weight = Literal["regular", "bold", "italic"]
FAMILIES: dict[str, tuple[str, str, str]] = {
    "sans": ("DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique"),
    "serif": ("DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSerif-Italic"),
    "times": ("STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic"),
    "roman": ("cmr10", "cmb10", "STIXGeneralItalic"),
    "grotesque": ("cmss10", "DejaVuSans-Bold", "DejaVuSans-Oblique"),
    "typewriter": ("cmtt10", "cmtt10", "cmtt10"),
    "mono": ("DejaVuSansMono", "DejaVuSansMono-Bold", "DejaVuSansMono-Oblique"),
    "hand": ("cmti10", "cmti10", "cmti10"),
}
SCALE = {"times": 1.14, "roman": 1.12, "grotesque": 1.08, "typewriter": 1.08, "sans": 0.96, "serif": 0.96, "hand": 1.25}
INK: Colour = (25, 25, 30)
GREY: Colour = (110, 110, 115)
PALE: Colour = (232, 233, 236)
BLUE: Colour = (32, 52, 140)
ACCENTS: tuple[Colour, ...] = ((30, 60, 110), (120, 30, 40), (20, 95, 80), (70, 70, 80), (150, 85, 20), (85, 45, 110))


@dataclass(frozen=True, slots=True)
class Look:
    """How one page looks: typeface, colour, which layout of its kind, and what the scanner did to it."""

    family: str
    accent: Colour
    layout: int
    scan: Scan


def look(values: Values, families: tuple[str, ...], layouts: int) -> Look:
    """A look drawn from a page's stream: one of the families, one of `layouts` layouts, one scan."""
    return Look(values.pick(families), values.pick(ACCENTS), values.count(0, layouts - 1), Scan.of(values))


@cache
def font(file: str, size: int) -> ImageFont.FreeTypeFont:
    """A face at a size in pixels, loaded once a process; basic layout, so that no shaping library changes pages."""
    return ImageFont.truetype(str(font_file(f"{file}.ttf")), size, layout_engine=ImageFont.Layout.BASIC)


class Paper:
    """A white page that is written on and then scanned."""

    def __init__(self, look: Look, width: int = WIDTH, height: int = HEIGHT, colour: Colour = (255, 255, 255)) -> None:
        self.look, self.width, self.height = look, width, height
        self.picture = Image.new("RGB", (width, height), colour)
        self.pen = ImageDraw.Draw(self.picture)
        self.words: list[str] = []  # all that was written

    def face(self, size: float, weight: Weight = "regular", family: str | None = None) -> ImageFont.FreeTypeFont:
        """The font of a family; sizes are matched by eye, so that 28 is about as large in every family."""
        name = family or self.look.family
        file = FAMILIES[name][("regular", "bold", "italic").index(weight)]
        return font(file, round(size * SCALE.get(name, 1.0)))

    def length(self, words: str, size: float, weight: Weight = "regular", family: str | None = None) -> float:
        """How wide the words are, in pixels."""
        return self.face(size, weight, family).getlength(words)

    def text(
        self,
        x: float,
        y: float,
        words: str,
        size: float = 26,
        weight: Weight = "regular",
        *,
        family: str | None = None,
        fill: Colour = INK,
        align: Align = "l",
    ) -> float:
        """Write one line: x is its left, middle or right by `align`, y its baseline. Returns its width."""
        self.words.append(words)
        return self._write(x, y, words, size, weight, family, fill, align)

    def _write(
        self,
        x: float,
        y: float,
        words: str,
        size: float,
        weight: Weight,
        family: str | None,
        fill: Colour,
        align: Align = "l",
    ) -> float:
        self.pen.text((x, y), words, font=self.face(size, weight, family), fill=fill, anchor=align + "s")
        return self.length(words, size, weight, family)

    def fitted(
        self, x: float, y: float, words: str, width: float, size: float, weight: Weight = "regular", **more: object
    ) -> None:
        """Write one line in the largest size up to `size` that keeps it within `width`."""
        while self.length(words, size, weight, more.get("family")) > width:  # type: ignore[arg-type]  # str or None
            size -= 1
        self.text(x, y, words, size, weight, **more)  # type: ignore[arg-type]  # passed on as they came

    def paragraph(
        self, x: float, y: float, width: float, words: str, size: float = 26, leading: float = 1.45, align: Align = "l"
    ) -> float:
        """Write words broken into lines of at most `width`. Returns the baseline after the last line."""
        line = ""
        for word in words.split():
            if line and self.length(f"{line} {word}", size) > width:
                self.text(x, y, line, size, align=align)
                y, line = y + size * leading, ""
            line = f"{line} {word}".strip()
        self.text(x, y, line, size, align=align)
        return y + size * leading

    def rule(self, x0: float, y: float, x1: float, width: int = 2, fill: Colour = INK) -> None:
        """A horizontal line."""
        self.pen.line((x0, y, x1, y), fill=fill, width=width)

    def box(
        self,
        x0: float,
        y0: float,
        x1: float,
        y1: float,
        *,
        fill: Colour | None = None,
        edge: Colour | None = INK,
        width: int = 2,
        radius: int = 0,
    ) -> None:
        """A rectangle, with rounded corners where `radius` is given."""
        self.pen.rounded_rectangle((x0, y0, x1, y1), radius, fill=fill, outline=edge, width=width if edge else 0)

    def hand(self, x: float, y: float, words: str, size: float, rng: Random, fill: Colour = BLUE) -> None:
        """Write by hand: a slanted face in ink, each letter a little off the line and off its size."""
        self.words.append(words)
        for letter in words:
            family = "times" if letter in "$_<>" else "hand"
            offset, stretch = rng.uniform(-1.6, 1.6), rng.uniform(0.94, 1.06)
            x += self._write(x, y + offset, letter, size * stretch, "italic", family, fill) * 0.97

    def stamp(self, x: int, y: int, words: str, size: float, rng: Random, fill: Colour) -> None:
        """A rubber stamp: framed capitals at an angle, in thin ink, its middle at (x, y)."""
        self.words.append(words)
        width = round(self.length(words, size, "bold", "sans")) + 44
        ink = Image.new("L", (width, round(size * 2)), 0)
        pen = ImageDraw.Draw(ink)
        pen.rounded_rectangle((3, 3, width - 4, ink.height - 4), 8, outline=200, width=5)
        pen.text((width / 2, ink.height / 2), words, font=self.face(size, "bold", "sans"), fill=200, anchor="mm")
        ink = ink.rotate(rng.uniform(4, 16), expand=True, resample=Image.Resampling.BICUBIC)
        self.picture.paste(fill, (x - ink.width // 2, y - ink.height // 2), ink)

    def finished(self) -> Image.Image:
        """The page as the scanner delivers it."""
        return with_words(scan(self.picture, self.look.scan), self.words)
