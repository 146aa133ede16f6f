#!/usr/bin/env bash
# A SlideVQA F1 of 1.5: saying the right word three times beats saying it once.
#
# Guess: an F1 is the harmonic mean of two shares, so it lies between 0 and 1, and no prediction scores above the accepted
# answer itself.
#
# Seen on 2026-11-29 with lmms-eval 0.7.3, Python 3.11.7: `word_f1` of its SlideVQA task counts, for recall as for precision,
# the words of the *prediction* that stand in the answer. A word that is said again counts again, and recall is no longer a
# share: "red red red cars" to "red cars" has a recall of 4 / 2. The mean over a test set is lifted by models that repeat
# themselves, which small ones do. SQuAD's F1, whose name it has, compares bags of words and cannot pass 1.
# The script prints:
#   still so: lmms-eval 0.7.3: to "Red cars" the F1 of "red cars" 1.00, "red red red cars" 1.33, "red red red red" 1.33
#
# What helps: bags of words (a `Counter` of each side, and their intersection), as SQuAD's script has them.
set -euo pipefail
pins=(lmms-eval==0.7.3)
if [ $# -gt 0 ]; then pins=("$@"); fi

room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
cd "$room"
export TMPDIR="$room"
# Without its requirements, some gigabytes: of them the task's file needs Pillow, and an edit distance for another metric.
{
	if command -v uv; then
		uv venv --python python3 env && uv pip install --python env/bin/python --no-deps "${pins[@]}" && uv pip install --python env/bin/python pillow==12.3.0 rapidfuzz==3.14.6
	else
		python3 -m venv env && env/bin/python -m pip install --disable-pip-version-check --no-deps "${pins[@]}" && env/bin/python -m pip install --disable-pip-version-check pillow==12.3.0 rapidfuzz==3.14.6
	fi
} >install.log 2>&1 || {
	tail -n 5 install.log >&2
	echo "not tried: ${pins[*]} cannot be installed for $(python3 --version)" >&2
	exit 2
}

env/bin/python -I - <<'PYTHON'
import importlib.util
import sys
import types
from importlib.metadata import distribution

from rapidfuzz.distance import Levenshtein

package = distribution("lmms-eval")
for name in ("lmms_eval", "lmms_eval.api", "lmms_eval.api.metrics"):
    sys.modules[name] = types.ModuleType(name)  # the package itself imports all its requirements
sys.modules["lmms_eval.api.metrics"].levenshtein_distance = Levenshtein.distance
file = package.locate_file("lmms_eval/tasks/slidevqa/utils.py")
spec = importlib.util.spec_from_file_location("slidevqa", file)
task = importlib.util.module_from_spec(spec)
spec.loader.exec_module(task)

version = f"lmms-eval {package.version}"
question = {"question": "Which is faster?", "answer": "Red cars"}
said = ("red cars", "red red red cars", "red red red red")
found = [task.slidevqa_process_results(question, [text])["f1"] for text in said]
if not found[0] == 1.0 < min(found[1:]):
    sys.exit(f"no longer so: {version}: F1 of {dict(zip(said, found))}")
scores = ", ".join(f'"{text}" {score:.2f}' for text, score in zip(said, found))
print(f"still so: {version}: to \"Red cars\" the F1 of {scores}")
PYTHON
