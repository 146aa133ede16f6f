#!/usr/bin/env bash
# A NumPy view saved by safetensors comes back with other numbers in it.
#
# Guess: `safetensors.numpy.save_file` takes any array and `load_file` gives it back; an array that it cannot take, such as
# a view that is not contiguous, it refuses, as `safetensors.torch` does.
#
# Seen on 2026-11-29 with safetensors 0.8.0, NumPy 2.4.6, Python 3.11.7 on Linux: the shape is the view's, the bytes are
# those from the start of its memory. A page moved to channels first (`transpose(2, 0, 1)`), every second column, rows
# upside down: all are saved without a word and read back wrong. `save` does the same. 0.7.0 saved all three rightly, so
# code that was right for years is not any more. The script prints:
#   still so: safetensors 0.8.0: [[0, 3], [1, 4], [2, 5]] comes back as [[0, 1], [2, 3], [4, 5]]; also other views: channels first, every second column, upside down
#
# What helps: `np.ascontiguousarray` before saving.
# Try another version: findings/safetensors-numpy-views.sh safetensors==0.7.0 numpy==2.4.6
set -euo pipefail
pins=(safetensors==0.8.0 numpy==2.4.6)
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
import sys

import numpy as np
import safetensors
from safetensors.numpy import load_file, save_file

version = f"safetensors {safetensors.__version__}"
page = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
table = np.arange(6).reshape(2, 3)
views = {
    "transposed": table.T,
    "channels first": page.transpose(2, 0, 1),
    "every second column": page[:, ::2],
    "upside down": page[::-1],
}
try:
    save_file(views, "views.safetensors")
except ValueError as error:
    sys.exit(f"no longer so: {version} refuses views that are not contiguous: {error}")
read = load_file("views.safetensors")
save_file({name: np.ascontiguousarray(view) for name, view in views.items()}, "copies.safetensors")
copies = load_file("copies.safetensors")
if not all(np.array_equal(copies[name], view) for name, view in views.items()):
    sys.exit(f"no longer so: {version} does not even keep contiguous arrays")
wrong = [name for name, view in views.items() if read[name].shape == view.shape and not np.array_equal(read[name], view)]
if "transposed" not in wrong or len(wrong) < len(views):
    sys.exit(f"no longer so: {version}: of {len(views)} views {len(wrong)} come back as other numbers: {', '.join(wrong)}")
others = ", ".join(name for name in wrong if name != "transposed")
print(f"still so: {version}: {table.T.tolist()} comes back as {read['transposed'].tolist()}; also other views: {others}")
PYTHON
