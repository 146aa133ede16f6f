#!/usr/bin/env bash
# One number among the answers, and answers that are text are read as JSON once more.
#
# Guess: in JSON lines a quoted answer is text. Where one line holds a number instead, loading fails, or the number becomes
# text; what is quoted stays what it is.
#
# Seen on 2026-11-29 with datasets 5.2.0, pandas 3.1.1, Python 3.11.7: the column gets the type `Json`, and every *string* in it
# that is itself JSON is decoded: the answer "null" becomes None, "007" becomes 7, "950.50" becomes 950.5, "true" becomes True,
# "[1]" a list. Only "abc" stays. Lists of answers fare the same. Without the line `5` all of them stay text, so one edited line changes the others. In Parquet
# the texts stand with quotes around them: pandas reads "abc" as a string of five characters. No warning. The script prints:
#   still so: datasets 5.2.0: beside a 5, 'null' '007' '950.50' 'true' '[1]' 'abc' are read as None 7 950.5 True [1] 'abc'; pandas reads 'abc' as '"abc"'
#
# What helps: `features=Features({"answer": Value("string")})`, which leaves the texts alone (and makes '1200.0' of 1200.00).
# Try another version: findings/datasets-json-text-read-twice.sh datasets==4.0.0 pandas==2.3.3, which refuses such a file.
set -euo pipefail
pins=(datasets==5.2.0 pandas==3.1.1 pyarrow==26.0.1)
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
import json
import sys

import datasets
import pandas
from datasets import load_dataset

datasets.disable_progress_bars()
version = f"datasets {datasets.__version__}"
texts = ["null", "007", "950.50", "true", "[1]", "abc"]


def read(name, answers):
    with open(name, "w") as file:
        file.writelines(json.dumps({"answer": answer}) + "\n" for answer in answers)
    return load_dataset("json", data_files=name, split="train")


alone = read("text.jsonl", texts)["answer"][:]
if alone != texts:
    sys.exit(f"no longer so: {version}: a column of text alone is read as {alone}")
try:
    mixed = read("mixed.jsonl", [*texts, 5])
except datasets.exceptions.DatasetGenerationError as error:
    sys.exit(f"no longer so: {version} refuses a column of text and numbers: {error}")
found = mixed["answer"][: len(texts)]
mixed.to_parquet("mixed.parquet")
written = pandas.read_parquet("mixed.parquet").answer[texts.index("abc")]
if found != [None, 7, 950.5, True, [1], "abc"] or written != '"abc"':
    sys.exit(f"no longer so: {version}: {texts} beside a number are read as {found}, and pandas reads abc as {written!r}")
print(
    f"still so: {version}: beside a 5, {' '.join(map(repr, texts))} are read as {' '.join(map(repr, found))};",
    f"pandas reads 'abc' as {written!r}",
)
PYTHON
