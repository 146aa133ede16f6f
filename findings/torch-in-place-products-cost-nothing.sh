#!/usr/bin/env bash
# PyTorch's counter of operations counts a product of matrices, and not the same product added in place.
#
# Guess: `FlopCounterMode` gives 2 x rows x inner x columns for a product, however its result is written; an operation that
# it does not know is named.
#
# Seen on 2026-11-30 with torch 2.15.0, Python 3.11.7: 8 x 16 times 16 x 32 are 8192 by `addmm`, by `addmm(out=)` and by `mm`,
# and 0 by `addmm_`; `baddbmm_` is 0 beside `baddbmm`, `addbmm` is 0, and so is a matrix times a vector (`mv`, `addmv`). No
# warning. The total of a model whose LoRA adds in place came out smaller than the work, and its utilisation with it.
# The script prints:
#   still so: torch 2.15.0: addmm 8192, out= 8192, addmm_ 0; baddbmm 32768, baddbmm_ 0; a matrix times a vector 0
#
# What helps: `torch.addmm(out, a, b, out=out)`, which works in place and is counted.
set -euo pipefail
pins=(torch==2.15.0 numpy==2.4.6)
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

import torch
from torch.utils.flop_counter import FlopCounterMode

version = f"torch {torch.__version__.split('+')[0]}"
one, other, to = torch.ones(8, 16), torch.ones(16, 32), torch.zeros(8, 32)
many, others, all_to = torch.ones(4, 8, 16), torch.ones(4, 16, 32), torch.zeros(4, 8, 32)


def counted(product):
    with FlopCounterMode(display=False) as counter:
        found = product()
    assert float(found.flatten()[0]) % 16 == 0 and float(found.flatten()[0]) > 0  # it was computed
    return counter.get_total_flops()


plain, out = counted(lambda: torch.addmm(to, one, other)), counted(lambda: torch.addmm(to, one, other, out=to))
in_place, batch = counted(lambda: to.addmm_(one, other)), counted(lambda: torch.baddbmm(all_to, many, others))
batch_in_place, vector = counted(lambda: all_to.baddbmm_(many, others)), counted(lambda: one @ torch.ones(16))
if (plain, out, batch) != (8192, 8192, 32768):
    sys.exit(f"no longer so: {version}: addmm {plain}, out= {out}, baddbmm {batch}")
if in_place or batch_in_place or vector:
    sys.exit(f"no longer so: {version}: addmm_ {in_place}, baddbmm_ {batch_in_place}, a matrix times a vector {vector}")
print(
    f"still so: {version}: addmm {plain}, out= {out}, addmm_ {in_place}; baddbmm {batch}, baddbmm_ {batch_in_place};",
    f"a matrix times a vector {vector}",
)
PYTHON
