#!/usr/bin/env bash
# A transparent page in gray or with a palette arrives as a black sheet.
#
# Guess: `fetch_image` puts a page with transparency on white, whatever its mode, as it does with RGBA.
#
# Seen on 2026-11-30 with qwen-vl-utils 0.0.14, Pillow 12.3.0, NumPy 2.4.6, Python 3.11.7: only RGBA is put on white. Of LA, PA
# and P with a transparent colour the alpha is dropped and what lies under it shows: black, where a scanner or an office
# program left zeros. Black text on it cannot be seen. The image processor of Transformers 5.23.0 puts all of them on white.
# The script prints:
#   still so: qwen-vl-utils 0.0.14: black text on a transparent page: RGBA 2 colours, LA 1, P 1, PA 1
#
# What helps: composite a page on white before it is handed on.
set -euo pipefail
pins=(qwen-vl-utils==0.0.14 pillow==12.3.0 numpy==2.4.6 torch==2.15.0 torchvision==0.29.2)
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

cat >pages.py <<'PYTHON'
import numpy as np
from PIL import Image, ImageDraw
from qwen_vl_utils import fetch_image

page = Image.new("RGBA", (112, 112), (0, 0, 0, 0))
ImageDraw.Draw(page).rectangle((28, 28, 60, 60), fill=(0, 0, 0, 255))
palette = Image.new("P", page.size, 0)
palette.putpalette([0, 0, 0, 0, 0, 0] + [255] * 762)
palette.paste(1, mask=page.split()[3])
palette.info["transparency"] = 0
pages = {"RGBA": page, "LA": page.convert("LA"), "P": palette, "PA": page.convert("PA")}
print(*(f"{mode} {len(np.unique(np.asarray(fetch_image({'image': image}))))}" for mode, image in pages.items()), sep=", ")
PYTHON
version="qwen-vl-utils $(env/bin/python -c 'import importlib.metadata as m; print(m.version("qwen-vl-utils"))')"
found=$(env/bin/python pages.py 2>err.log)
if [ "$found" != "RGBA 2, LA 1, P 1, PA 1" ]; then
	echo "no longer so: $version: colours of black text on a transparent page: $found" >&2
	exit 1
fi
echo "still so: $version: black text on a transparent page: ${found/RGBA 2/RGBA 2 colours}"
