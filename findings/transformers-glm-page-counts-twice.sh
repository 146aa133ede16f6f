#!/usr/bin/env bash
# GLM's image processor reads a page with half the pixels that its `size` allows.
#
# Guess: `size={"longest_edge": pixels}` means the same for GLM-4.6V's image processor as for Qwen2-VL's, whose keys, patches of
# 14 and merging of 2 x 2 it has: a page may have as many pixels as that.
#
# Seen on 2026-11-29 with transformers 5.23.0, Python 3.11.7: the pixels are those of all frames, and a still image counts as
# `temporal_patch_size` = 2 of them, as it is repeated to fill a temporal patch. With room for 100 tokens, a page of 1000 x 1000
# gets 100 from Qwen2-VL's and 49 from GLM's. A budget in pixels that is carried from one to the other halves what is read
# of every page that has to be made smaller. No warning. The script prints:
#   still so: transformers 5.23.0: with at most 78400 pixels, a page of 1000 x 1000 is 100 tokens for Qwen2-VL and 49 for GLM-4.6V; with twice as many, 100 for GLM-4.6V
#
# What helps: twice the pixels for GLM (`longest_edge` and `shortest_edge`).
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
from transformers.models.glm46v.image_processing_pil_glm46v import Glm46VImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

version = f"transformers {transformers.__version__}"
TOKEN = 28 * 28  # pixels of a token: 2 x 2 patches of 14 x 14
page = Image.new("RGB", (1000, 1000), "white")


def tokens(processor, most):
    images = processor(size={"shortest_edge": 4 * TOKEN, "longest_edge": most * TOKEN})
    return int(images(page, return_tensors="np")["image_grid_thw"][0].prod()) // 4


found = tokens(Qwen2VLImageProcessorPil, 100), tokens(Glm46VImageProcessorPil, 100), tokens(Glm46VImageProcessorPil, 200)
if found != (100, 49, 100):
    sys.exit(f"no longer so: {version}: tokens of Qwen2-VL, GLM-4.6V, and GLM-4.6V with twice the pixels: {found}")
print(
    f"still so: {version}: with at most {100 * TOKEN} pixels, a page of 1000 x 1000 is {found[0]} tokens for Qwen2-VL and",
    f"{found[1]} for GLM-4.6V; with twice as many, {found[2]} for GLM-4.6V",
)
PYTHON
