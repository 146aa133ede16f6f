#!/usr/bin/env bash
# A US Letter page drawn at 150 dpi is 1651 pixels high.
#
# Guess: 8.5 x 11 inches at 150 dots an inch are 1275 x 1650 pixels, and `page.render(scale=150 / 72)`, the documented way to ask
# for it, gives them.
#
# Seen on 2026-11-29 with pypdfium2 5.15.2, Python 3.11.7: sizes are rounded up, and 792 * (150 / 72) is 1650.0000000000002 in
# floats, so the page gets a row more, at 300 and 600 dpi as well; at 100, 144, 200 and 400 it does not, and the width never.
# 4.30.0 did the same. The row is not added at the edge: the page is stretched over it, so all pixels differ from those of a page of 1650 rows.
# Pages of one scan drawn by two tools, or boxes measured on one and used on the other, do not fit. The script prints:
#   still so: pypdfium2 5.15.2: US Letter has 1275x1651 pixels at 150 dpi, 2550x3301 at 300, 5100x6601 at 600, and as many as expected at 100 144 200 400; the page is drawn to the last row
#
# What helps: 25 / 12 is the same float; a scale a hair smaller, `dpi / 72 * (1 - 1e-12)`, gives 1275 x 1650.
set -euo pipefail
pins=(pypdfium2==5.15.2)
if [ $# -gt 0 ]; then pins=("$@"); fi

room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
cd "$room"
export TMPDIR="$room"
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
import ctypes
import sys
from importlib.metadata import version as installed

import pypdfium2 as pdfium
from pypdfium2 import raw

version = f"pypdfium2 {installed('pypdfium2')}"
document = pdfium.PdfDocument.new()
page = document.new_page(612, 792)  # US Letter in points
black = raw.FPDFPageObj_CreateNewRect(0, 0, 612, 792)
raw.FPDFPageObj_SetFillColor(black, 0, 0, 0, 255)
raw.FPDFPath_SetDrawMode(black, raw.FPDF_FILLMODE_ALTERNATE, False)
raw.FPDFPage_InsertObject(page, black)
raw.FPDFPage_GenerateContent(page)


def drawn(dpi, part=1.0):
    return page.render(scale=dpi / 72 * part, grayscale=True)


right, longer = [], []
for dpi in (100, 144, 150, 200, 300, 400, 600):
    image = drawn(dpi)
    expected = (dpi * 17 // 2, dpi * 11)
    (right if (image.width, image.height) == expected else longer).append((dpi, image.width, image.height))
image = drawn(150)
last = (image.height - 1) * image.stride
row = bytes(image.buffer)[last : last + image.width]
smaller = drawn(150, 1 - 1e-12)
if longer != [(150, 1275, 1651), (300, 2550, 3301), (600, 5100, 6601)] or (smaller.width, smaller.height) != (1275, 1650):
    sys.exit(f"no longer so: {version}: other sizes than 8.5 x 11 inches have at {longer}")
if any(row):
    sys.exit(f"no longer so: {version}: the page is not drawn to the last of its {image.height} rows")
sizes = ", ".join(f"{width}x{height}{' pixels' * (dpi == 150)} at {dpi}{' dpi' * (dpi == 150)}" for dpi, width, height in longer)
print(
    f"still so: {version}: US Letter has {sizes}, and as many as expected at {' '.join(str(dpi) for dpi, *_ in right)};",
    "the page is drawn to the last row",
)
PYTHON
