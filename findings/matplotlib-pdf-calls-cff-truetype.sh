#!/usr/bin/env bash
# A PDF figure with an OpenType font of CFF outlines (.otf, Noto CJK) calls them TrueType.
#
# Guess: with `pdf.fonttype` 42 Matplotlib embeds CFF outlines as what they are (`/FontFile3`), or draws them as Type 3, or
# says that it cannot embed them.
#
# Seen on 2026-11-29 with Matplotlib 3.11.2, fontTools 4.68.0, Python 3.11.7: the figure is saved without a word. Its font is
# a `/CIDFontType2`, a TrueType font, and the stream in `/FontFile2`, where ISO 32000 wants a TrueType font program, begins
# with `OTTO`. Some readers look at the bytes and draw it all the same; one that goes by the standard, as print shops' and
# publishers' checks do, has no font. `pdf.fonttype` 3 is right. 3.10.0 did the same.
# The script prints:
#   still so: Matplotlib 3.11.2: pdf.fonttype 42 embeds b'OTTO' as /CIDFontType2 in /FontFile2; at 3 it is /Type3
#
# What helps: `pdf.fonttype` 3 for figures with such a font.
set -euo pipefail
pins=(matplotlib==3.11.2 fonttools==4.68.0)
if [ $# -gt 0 ]; then pins=("$@"); fi

room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
cd "$room"
export TMPDIR="$room" MPLCONFIGDIR="$room"
{
	if command -v uv; then
		uv venv --python python3 env && uv pip install --python env/bin/python "${pins[@]}"
	else
		python3 -m venv env && env/bin/python -m pip install --disable-pip-version-check "${pins[@]}"
	fi
} >install.log 2>&1 || {
	tail -n 5 install.log >&2
	echo "not tried: ${pins[*]} cannot be installed for $(python3 --version)" >&2
	exit 2
}

env/bin/python -I - <<'PYTHON'
import re
import sys
import zlib
from pathlib import Path

import matplotlib
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.t2CharStringPen import T2CharStringPen
from matplotlib import pyplot
from matplotlib.font_manager import FontProperties

matplotlib.use("pdf")
version = f"Matplotlib {matplotlib.__version__}"


def box(width):
    pen = T2CharStringPen(width, None)
    pen.moveTo((50, 0))
    for corner in ((50, 700), (width - 50, 700), (width - 50, 0)):
        pen.lineTo(corner)
    pen.closePath()
    return pen.getCharString()


glyphs = [".notdef", "space", "T", "l", "o", "p"]  # Matplotlib measures a line by "lp"
font = FontBuilder(1000, isTTF=False)
font.setupGlyphOrder(glyphs)
font.setupCharacterMap({ord(" "): "space", **{ord(letter): letter for letter in "Tlop"}})
font.setupCFF("Boxes-Regular", {"FullName": "Boxes Regular"}, {name: box(600) for name in glyphs}, {})
font.setupHorizontalMetrics({name: (600, 50) for name in glyphs})
font.setupHorizontalHeader(ascent=800, descent=-200)
font.setupNameTable({"familyName": "Boxes", "styleName": "Regular", "psName": "Boxes-Regular"})
font.setupOS2(sTypoAscender=800, usWinAscent=800, usWinDescent=200)
font.setupPost()
font.save("boxes.otf")


def saved(fonttype):
    pyplot.rcParams["pdf.fonttype"] = fonttype
    figure = pyplot.figure()
    figure.text(0.2, 0.5, "To To", fontproperties=FontProperties(fname="boxes.otf"))
    figure.savefig("figure.pdf")
    return Path("figure.pdf").read_bytes()


def embedded(data):
    """The first bytes of the stream that /FontFile2 refers to."""
    number = re.search(rb"/FontFile2 (\d+) 0 R", data)
    if number is None:
        return None
    body = re.search(rb"(?:^|\n)" + number[1] + rb" 0 obj\n<<.*?>>\nstream\n(.*?)\nendstream", data, re.S)[1]
    try:
        return zlib.decompress(body)[:4]
    except zlib.error:
        return body[:4]


truetype, drawn = saved(42), saved(3)
start, descendant = embedded(truetype), b"/CIDFontType2" in truetype
if start != b"OTTO" or not descendant or b"/FontFile3" in truetype:
    sys.exit(f"no longer so: {version}: pdf.fonttype 42 embeds {start}, CIDFontType2 {descendant}")
if b"/Type3" not in drawn or b"/FontFile" in drawn:
    sys.exit(f"no longer so: {version}: pdf.fonttype 3 does not draw the glyphs itself")
print(f"still so: {version}: pdf.fonttype 42 embeds {start} as /CIDFontType2 in /FontFile2; at 3 it is /Type3")
PYTHON
