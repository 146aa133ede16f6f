#!/usr/bin/env bash
# A pair whose similarity is exactly the cut-off is thrown away.
#
# Guess: `score_cutoff=c` keeps what scores at least c and makes the rest 0, as its documentation says. So a pair is kept at
# a cut-off that is its own score, and at 0.8 if it scores 0.8.
#
# Seen on 2026-11-29 with RapidFuzz 3.14.6 (and 3.9.0), Python 3.11.7, Linux on x86-64: "12.50" and "12.58" score 0.8 and
# `0.8 >= 0.8`, but with `score_cutoff=0.8` they score 0.0, and `process.extractOne` finds no match. It depends on the number:
# 0.4, 0.6, 0.8 and 2/3 are thrown away at every length, 0.5, 0.7, 0.75 and 0.9 are kept. It depends on the build as well:
# with `RAPIDFUZZ_IMPLEMENTATION=python`, and so where there is no compiled wheel, 0.8 is kept and two machines disagree.
# The script prints:
#   still so: rapidfuzz 3.14.6: similarity 0.8, with score_cutoff=0.8 it is 0.0 and extractOne gives None; of 0.4 0.5 0.6 0.7 0.75 0.8 0.9 lost: 0.4 0.6 0.8; kept in pure Python
#
# What helps: cut off whole distances (`Levenshtein.distance`), one above the largest that counts, and compare afterwards.
set -euo pipefail
pins=(rapidfuzz==3.14.6)
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
import os
import subprocess
import sys

import rapidfuzz
from rapidfuzz import process
from rapidfuzz.distance import Levenshtein

similarity = Levenshtein.normalized_similarity
version = f"rapidfuzz {rapidfuzz.__version__}"
read, written = "12.58", "12.50"
plain, cut = similarity(read, written), similarity(read, written, score_cutoff=0.8)
best = process.extractOne(read, [written], scorer=similarity, score_cutoff=0.8)
if not plain >= 0.8:
    sys.exit(f"no longer so: {version}: the pair scores {plain}, below the cut-off")
if cut != 0 or best is not None:
    sys.exit(f"no longer so: {version}: at score_cutoff=0.8 a similarity of {plain} stays {cut}, extractOne gives {best}")

lost = []
pairs = {0.4: (5, 3), 0.5: (4, 2), 0.6: (5, 2), 0.7: (10, 3), 0.75: (4, 1), 0.8: (5, 1), 0.9: (10, 1)}  # length, edits
for cutoff, (length, edits) in pairs.items():
    pair = "a" * length, "a" * (length - edits) + "b" * edits
    if similarity(*pair) >= cutoff and similarity(*pair, score_cutoff=cutoff) == 0:
        lost.append(cutoff)

question = "from rapidfuzz.distance import Levenshtein as L; print(L.normalized_similarity('12.58', '12.50', score_cutoff=0.8))"
slow = os.environ | {"RAPIDFUZZ_IMPLEMENTATION": "python"}
pure = float(subprocess.run([sys.executable, "-I", "-c", question], env=slow, check=True, capture_output=True).stdout)
print(
    f"still so: {version}: similarity {plain}, with score_cutoff=0.8 it is {cut} and extractOne gives {best};",
    f"of {' '.join(map(str, pairs))} lost: {' '.join(map(str, lost))}; {'kept' if pure else 'lost'} in pure Python",
)
PYTHON
