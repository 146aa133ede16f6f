"""Draw the contact sheet of corrupted pages: `python docs/draw/corruptions.py docs/img/corruptions.jpg`.

Two rows a corruption, the clean page and the four severities from left to right: a small generated page as a whole, and
a piece of a full-size one, pixel for pixel. A few seconds on one core.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from docvlm.data.benchmarks import DEFAULT
from docvlm.data.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from docvlm.data.generated.canvas import font_file
from docvlm.data.generated.page import DrawnPage
from docvlm.errors import DocvlmError
from docvlm.writing import one_line_errors

WIDTH, HEIGHT, GAP, LINE = 280, 168, 8, 18
GROUND, INK = (226, 228, 232), (40, 42, 48)
SMALL = DrawnPage(DEFAULT.name, "train", 2, "tiny", 0)
FULL = DrawnPage(DEFAULT.name, "train", 8, "full", 0)


def sheet() -> Image.Image:
    """All corruptions at all severities, an RGB image."""
    pages = (SMALL.open(), FULL.open())
    severities = (0, *SEVERITIES)
    row = LINE + 2 * (HEIGHT + GAP)
    size = (len(severities) * (WIDTH + GAP) + GAP, len(CORRUPTIONS) * row + GAP)
    picture = Image.new("RGB", size, GROUND)
    pen = ImageDraw.Draw(picture)
    font = ImageFont.truetype(str(font_file("DejaVuSans.ttf")), 12)
    for number, (name, corruption) in enumerate(CORRUPTIONS.items()):
        for column, severity in enumerate(severities):
            left, top = GAP + column * (WIDTH + GAP), GAP // 2 + number * row
            level = "" if severity == 0 else f" {severity}: {corruption.levels[severity - 1]:g} ({corruption.unit})"
            pen.text((left, top), f"{corruption.title}{level}" if level else "clean", font=font, fill=INK)
            small, full = (corrupt(page, name, severity) for page in pages)
            picture.paste(_fitted(small), (left, top + LINE))
            picture.paste(_piece(full), (left, top + LINE + HEIGHT + GAP))
    return picture


def _fitted(page: Image.Image) -> Image.Image:
    """The whole page; one whose canvas has grown is made smaller."""
    if page.size == (WIDTH, HEIGHT):
        return page
    page.thumbnail((WIDTH, HEIGHT), Image.Resampling.LANCZOS)
    cell = Image.new("RGB", (WIDTH, HEIGHT), GROUND)
    cell.paste(page, ((WIDTH - page.width) // 2, (HEIGHT - page.height) // 2))
    return cell


def _piece(page: Image.Image) -> Image.Image:
    """From the middle, which a turn leaves where it is."""
    left, top = (page.width - WIDTH) // 2, (page.height - HEIGHT) // 2
    return page.crop((left, top, left + WIDTH, top + HEIGHT))


@one_line_errors
def main(arguments: list[str] | None = None) -> None:
    """Write the sheet to a file whose ending says the format."""
    parser = argparse.ArgumentParser(description="A contact sheet of corrupted pages.")
    parser.add_argument("file", type=Path, help="the picture, such as corruptions.jpg, in an existing folder")
    file: Path = parser.parse_args(arguments).file
    if not file.parent.is_dir() or file.suffix.lower() not in (".jpg", ".png"):
        raise DocvlmError(f"{file}: give a .jpg or .png file in an existing folder")
    picture = sheet()
    picture.save(file, quality=60, optimize=True)
    print(f"{file}: {picture.width} x {picture.height}, {file.stat().st_size // 1024} KB")


if __name__ == "__main__":
    main()
