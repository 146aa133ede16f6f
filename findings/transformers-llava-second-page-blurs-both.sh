#!/usr/bin/env bash
# LLaVA-OneVision sees a page in 21 tiles when it is alone, and in one when a second page is in the same prompt.
#
# Guess: what a processor makes of a page depends on the page and on `image_grid_pinpoints`, not on its neighbours.
#
# Seen on 2026-11-29 with transformers 5.23.0, Python 3.11.7: with more than one page in a prompt (a list of lists of images) the grid is
# dropped, and each page is one tile of 384 x 384, too small to read print. The same pages in a flat list are taken as
# prompts of one page each, and keep their tiles: the nesting of the list decides what can be read. A model that was tuned on
# single pages gets two-page documents as thumbnails. No warning. The script prints:
#   still so: transformers 5.23.0: tiles of a page of 1240 x 1754: alone [21]; two in one prompt [1, 1]; the same two in a flat list [21, 21]
#
# What helps: ask each page by itself, or join the pages of a document to one image.
set -euo pipefail
pins=(transformers==5.23.0 numpy==2.4.6 pillow==12.3.0)
if [ $# -gt 0 ]; then pins=("$@"); fi

room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
cd "$room"
export TMPDIR="$room" HF_HOME="$room/hf" HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error
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
import sys

import transformers
from PIL import Image
from transformers.models.llava_onevision.image_processing_pil_llava_onevision import LlavaOnevisionImageProcessorPil

version = f"transformers {transformers.__version__}"
page = Image.new("RGB", (1240, 1754), "white")
processor = LlavaOnevisionImageProcessorPil()


def tiles(images):
    return [len(pixels) for pixels in processor(images, do_pad=False)["pixel_values"]]


alone, together, flat = tiles([[page]]), tiles([[page, page]]), tiles([page, page])
if not (together == [1, 1] and alone[0] > 1 and flat == 2 * alone):
    sys.exit(f"no longer so: {version}: tiles of a page alone: {alone}; two in one prompt: {together}; flat: {flat}")
print(
    f"still so: {version}: tiles of a page of 1240 x 1754: alone {alone}; two in one prompt {together};",
    f"the same two in a flat list {flat}",
)
PYTHON
