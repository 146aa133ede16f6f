#!/usr/bin/env bash
# A page that was blacked out in place is stored as it was before.
#
# Guess: a Pillow image put into an `Image` column is stored with the pixels it has. Whatever was drawn on it before, or by a
# function given to `map`, is in the data set.
#
# Seen on 2026-11-29 with datasets 5.2.0, Pillow 12.3.0, Python 3.11.7: an image that `Image.open` read from a path still
# knows that path after it is changed in place (ImageDraw, `paste`, `putpixel`, `thumbnail`), and `datasets` stores the path,
# not the pixels. What was blacked out for privacy is readable again, in `map`'s result and in the bytes that `save_to_disk`
# then puts into the data set; a page made small is large again. No warning. A copy (`image.copy()`) has no path and keeps
# its pixels, and so does an image that came as bytes: the same `map` loses its work on the files of a folder and keeps it on
# embedded images. 4.0.0 did the same.
# The script prints:
#   still so: datasets 5.2.0: blacked out 0, stored 255 (from_dict), 255 (map), 255 (save_to_disk); a copy keeps 0; a thumbnail of 10 px is 40 px again
#
# What helps: `copy()` before drawing.
set -euo pipefail
pins=(datasets==5.2.0 pillow==12.3.0 pandas==3.1.1 pyarrow==26.0.1)
if [ $# -gt 0 ]; then pins=("$@"); fi

room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
cd "$room"
export TMPDIR="$room" HF_HOME="$room/hf" HF_HUB_OFFLINE=1 HF_DATASETS_DISABLE_PROGRESS_BARS=1
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
import io
import sys

import datasets
from datasets import Dataset, Features
from PIL import Image, ImageDraw

datasets.disable_progress_bars()
version = f"datasets {datasets.__version__}"
page = "page.png"
Image.new("L", (40, 40), 255).save(page)
columns = Features({"image": datasets.Image()})


def black_out(image):
    ImageDraw.Draw(image).rectangle((0, 0, 40, 40), fill=0)
    return image


def stored(image):
    return Dataset.from_dict({"image": [image]}, features=columns)[0]["image"]


drawn = black_out(Image.open(page))
small = Image.open(page)
small.thumbnail((10, 10))
folder = Dataset.from_dict({"image": [page]}, features=columns)
mapped = folder.map(lambda row: {"image": black_out(row["image"])})
mapped.save_to_disk("saved")
(saved,) = datasets.load_from_disk("saved").cast_column("image", datasets.Image(decode=False))["image"]
if saved["bytes"] is None:
    sys.exit(f"no longer so: {version}: save_to_disk keeps no pixels, only the path {saved['path']}")

given, copied = drawn.getpixel((5, 5)), stored(drawn.copy()).getpixel((5, 5))
kept = [stored(drawn), mapped[0]["image"], Image.open(io.BytesIO(saved["bytes"]))]
kept = [image.getpixel((5, 5)) for image in kept]
again = stored(small).width
if given or copied or small.width != 10:
    sys.exit(f"no longer so: {version}: drawing gives {given}, its copy is stored as {copied}")
if kept != [255, 255, 255] or again != 40:
    sys.exit(f"no longer so: {version}: blacked out, the page is stored as {kept}, the thumbnail {again} px wide")
print(
    f"still so: {version}: blacked out {given}, stored {kept[0]} (from_dict), {kept[1]} (map), {kept[2]} (save_to_disk);",
    f"a copy keeps {copied}; a thumbnail of {small.width} px is {again} px again",
)
PYTHON
