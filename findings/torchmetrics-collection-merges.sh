#!/usr/bin/env bash
# Two metrics in one collection become one for good, because they agreed on the first batch.
#
# Guess: a `MetricCollection` gives what its metrics give one by one. Where it saves work, it does so for metrics that compute
# the same sums, which it knows from their classes.
#
# Seen on 2026-11-29 with torchmetrics 1.9.0, torch 2.15.0, Python 3.11.7 on a CPU: after the first `update` metrics whose states
# are equal *in value* form a group, and only its first member is updated from then on. A first batch of one short answer (a
# page number read wrong) has one error in one character and one error in one word: from there on the word error rate is the
# character error rate. No warning. The values depend on the order of the batches; in another order they are right. Any two
# metrics that count in states of the same names are hit: ANLS and exact match both give 1 to a first answer that is right.
# The documentation has "all metrics in a compute group share the same metric state", not that a batch decides which do.
# The script prints:
#   still so: torchmetrics 1.9.0: word error rate 0.176 in a collection with the character error rate (0.176), 0.429 alone, 0.429 in it with the batches in another order
#
# What helps: `MetricCollection(..., compute_groups=False)`.
# It installs PyTorch as the registry has it: 5 GB, three to six minutes with pip on two cores.
set -euo pipefail
pins=(torch==2.15.0 torchmetrics==1.9.0 numpy==2.4.6)
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

import torchmetrics
from torchmetrics import MetricCollection
from torchmetrics.text import CharErrorRate, WordErrorRate

version = f"torchmetrics {torchmetrics.__version__}"
batches = [("7", "3"), ("total due", "total dua"), ("a b c d", "a b c e")]  # read, written on the page


def after(metric, order):
    for read, written in order:
        metric.update([read], [written])
    return metric.compute()


def rounded(value):
    return round(float(value), 3)


alone = rounded(after(WordErrorRate(), batches))
together = after(MetricCollection([CharErrorRate(), WordErrorRate()]), batches)
turned = after(MetricCollection([CharErrorRate(), WordErrorRate()]), batches[::-1])
apart = after(MetricCollection([CharErrorRate(), WordErrorRate()], compute_groups=False), batches)
words, characters = rounded(together["WordErrorRate"]), rounded(together["CharErrorRate"])
if rounded(apart["WordErrorRate"]) != alone or rounded(turned["WordErrorRate"]) != alone:
    sys.exit(f"no longer so: {version}: {alone} alone, {apart} without groups, {turned} in another order")
if words == alone or words != characters:
    sys.exit(f"no longer so: {version}: the word error rate is {words} in a collection and {alone} alone")
print(
    f"still so: {version}: word error rate {words} in a collection with the character error rate ({characters}),",
    f"{alone} alone, {alone} in it with the batches in another order",
)
PYTHON
