"""A colourful tall page for infographics: bands, discs, icons and big numbers, drawn with Pillow.

Round shapes are drawn four times as large and shrunk, since Pillow does not smooth edges by itself.
"""

from __future__ import annotations

from functools import cache

from PIL import Image, ImageDraw

from docvlm.data.generated.full.paper import Colour, Look, Paper
from docvlm.data.generated.values import Values

WHITE: Colour = (255, 255, 255)
THEMES: tuple[tuple[Colour, Colour, Colour, Colour], ...] = (
    # background, headline, and two colours for shapes
    ((245, 241, 232), (33, 71, 97), (226, 109, 90), (64, 145, 138)),
    ((232, 242, 244), (38, 50, 80), (240, 162, 2), (0, 119, 148)),
    ((251, 245, 243), (92, 42, 82), (214, 73, 98), (78, 128, 152)),
    ((240, 244, 233), (40, 70, 48), (218, 122, 40), (96, 150, 70)),
)
ICONS = ("person", "house", "tree", "coin", "cup", "star")
GRAIN = 4


@cache
def icon(name: str, side: int) -> Image.Image:
    """A mask of `side` x `side` pixels, 255 where the icon is."""
    unit = side * GRAIN / 100
    mask = Image.new("L", (side * GRAIN, side * GRAIN), 0)
    pen = ImageDraw.Draw(mask)

    def box(*corners: float) -> tuple[float, ...]:
        return tuple(unit * corner for corner in corners)

    if name == "person":
        pen.ellipse(box(34, 4, 66, 36), fill=255)
        pen.rounded_rectangle(box(24, 40, 76, 98), unit * 20, fill=255)
    elif name == "house":
        pen.polygon(box(50, 6, 96, 48, 4, 48), fill=255)
        pen.rectangle(box(16, 48, 84, 94), fill=255)
        pen.rectangle(box(42, 62, 58, 94), fill=0)
    elif name == "tree":
        pen.polygon(box(50, 4, 84, 46, 16, 46), fill=255)
        pen.polygon(box(50, 26, 92, 76, 8, 76), fill=255)
        pen.rectangle(box(43, 76, 57, 98), fill=255)
    elif name == "coin":
        pen.ellipse(box(6, 6, 94, 94), fill=255)
        pen.ellipse(box(18, 18, 82, 82), fill=0)
        pen.rounded_rectangle(box(44, 28, 56, 72), unit * 4, fill=255)
    elif name == "cup":
        pen.rounded_rectangle(box(12, 28, 70, 90), unit * 12, fill=255)
        pen.arc(box(56, 38, 96, 76), -90, 90, fill=255, width=round(unit * 9))
    elif name == "star":
        points = (50, 4, 62, 38, 97, 38, 69, 59, 80, 94, 50, 73, 20, 94, 31, 59, 3, 38, 38, 38)
        pen.polygon(box(*points), fill=255)
    elif name == "disc":
        pen.ellipse(box(0, 0, 100, 100), fill=255)
    else:
        raise ValueError(f"no icon is called {name!r}")
    return mask.resize((side, side), Image.Resampling.LANCZOS)


def theme(values: Values) -> int:
    """A colour theme drawn from a page's stream."""
    return values.count(0, len(THEMES) - 1)


class Poster(Paper):
    """Paper with a theme: `headline`, `warm` and `cool` are its colours."""

    def __init__(self, look: Look, theme: int) -> None:
        background, self.headline, self.warm, self.cool = THEMES[theme]
        super().__init__(look, colour=background)

    def icon(self, name: str, x: float, y: float, side: int, colour: Colour) -> None:
        """Draw an icon with its upper left corner at (x, y)."""
        self.picture.paste(colour, (round(x), round(y)), icon(name, side))

    def disc(self, x: float, y: float, radius: int, colour: Colour) -> None:
        """A filled circle around (x, y)."""
        self.icon("disc", x - radius, y - radius, 2 * radius, colour)

    def head(self, title: str, subtitle: str) -> None:
        """The headline on a band across the top."""
        self.box(0, 0, self.width, 210, fill=self.headline, edge=None)
        self.fitted(self.width / 2, 108, title, self.width - 160, 60, "bold", fill=WHITE, align="m")
        self.text(self.width / 2, 165, subtitle, 27, fill=WHITE, align="m")

    def foot(self, source: str) -> None:
        """The source on a band along the bottom."""
        self.box(0, self.height - 70, self.width, self.height, fill=self.headline, edge=None)
        self.text(self.width / 2, self.height - 27, f"Source: {source}", 22, fill=WHITE, align="m")
