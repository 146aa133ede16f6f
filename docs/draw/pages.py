"""Draw contact sheets of the generated pages, one picture a benchmark: `python docs/draw/pages.py docs/img`.

A sheet shows two small and two full pages of every kind, each with a question and its answer below. Cost: half a minute
for all four on one core.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from docvlm.data.generated.canvas import font_file
from docvlm.data.generated.page import DrawnPage, kinds, names
from docvlm.errors import DocvlmError
from docvlm.writing import one_line_errors

CELL = 290
LINE = 17
GAP = 12
ROWS = (("tiny", 0), ("tiny", 1), ("full", 0), ("full", 1))  # preset, which page of its kind
COLOURS = 128  # of the palette a sheet is saved with: a quarter of the size in the repository


def thumbnail(page: DrawnPage) -> Image.Image:
    """The page at the sheet's width, with its kind and first question in two lines below."""
    drawing = page.drawing()
    picture = _side_by_side([paint() for paint in drawing.pages])
    cell = Image.new("RGB", (CELL, picture.height + 4 + 2 * LINE), (226, 228, 232))
    cell.paste(picture, ((CELL - picture.width) // 2, 0))
    pen, question = ImageDraw.Draw(cell), drawing.questions[0]
    regular, bold = (ImageFont.truetype(str(font_file(f"DejaVuSans{weight}.ttf")), 12) for weight in ("", "-Bold"))
    head = f"{drawing.kind}: "
    pen.text((2, picture.height + 3), head, font=bold, fill=(40, 42, 48))
    room = CELL - 4 - bold.getlength(head)
    pen.text(
        (2 + bold.getlength(head), picture.height + 3),
        _cut(question.text, regular, room),
        font=regular,
        fill=(40, 42, 48),
    )
    answer = _cut(f"→ {question.answers[0]}", regular, CELL - 4)
    pen.text((2, picture.height + 3 + LINE), answer, font=regular, fill=(20, 90, 60))
    return cell


def _side_by_side(pages: list[Image.Image]) -> Image.Image:
    """One page at the sheet's width, or several in two columns."""
    width = CELL if len(pages) == 1 else (CELL - 4) // 2
    small = [
        page.resize((width, page.height * width // page.width), Image.Resampling.LANCZOS)
        if page.width > width
        else page
        for page in pages
    ]
    if len(small) == 1:
        return small[0]
    step = max(page.height for page in small) + 4
    picture = Image.new("RGB", (CELL, step * ((len(small) + 1) // 2)), (226, 228, 232))
    for number, page in enumerate(small):
        picture.paste(page, (number % 2 * (width + 4), number // 2 * step))
    return picture


def _cut(words: str, font: ImageFont.FreeTypeFont, room: float) -> str:
    if font.getlength(words) <= room:
        return words
    while words and font.getlength(words + "…") > room:
        words = words[:-1]
    return words + "…"


def sheet(benchmark: str, split: str = "train", seed: int = 0) -> Image.Image:
    """All kinds of a benchmark side by side; rows of small pages first, full pages below."""
    count = len(kinds(benchmark, "tiny"))
    rows = [
        [thumbnail(DrawnPage(benchmark, split, kind + which * count, preset, seed)) for kind in range(count)]
        for preset, which in ROWS
    ]
    heights = [max(cell.height for cell in row) for row in rows]
    size = (count * (CELL + GAP) + GAP, sum(heights) + GAP * (len(rows) + 1))
    picture = Image.new("RGB", size, (226, 228, 232))
    top = GAP
    for row, height in zip(rows, heights, strict=True):
        for column, cell in enumerate(row):
            picture.paste(cell, (GAP + column * (CELL + GAP), top))
        top += height + GAP
    return picture


@one_line_errors
def main(arguments: list[str] | None = None) -> None:
    """Write pages-NAME.png for each benchmark into a folder."""
    parser = argparse.ArgumentParser(description="Contact sheets of the generated pages.")
    parser.add_argument("folder", type=Path, help="where the pictures go; an existing folder")
    parser.add_argument("--split", default="train", help="train, val or test (default: train)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the pages (default: 0)")
    options = parser.parse_args(arguments)
    if not options.folder.is_dir():
        raise DocvlmError(f"{options.folder}: no such folder; create it first")
    for benchmark in names():
        path = options.folder / f"pages-{benchmark}.png"
        picture = sheet(benchmark, options.split, options.seed)
        few = picture.quantize(COLOURS, method=Image.Quantize.MAXCOVERAGE, kmeans=3, dither=Image.Dither.NONE)
        few.save(path, optimize=True)
        print(f"{path}: {picture.width} x {picture.height}, {path.stat().st_size // 1024} KB")


if __name__ == "__main__":
    main()
