#!/usr/bin/env bash
# NNCF packs a row of equal positive weights to seven eighths of itself, and a row of equal negative ones exactly.
#
# Guess: packed to whole numbers with a scale a row, a weight comes back to within half a step. Of weights that are all equal there is
# nothing to round, so an average (1/9 each) comes back as it is, whatever its sign.
#
# Seen on 2026-11-30 with NNCF 3.4.0 and OpenVINO 2026.4.1, Python 3.11.7, Linux on x86-64: in INT4_SYM 64 weights of 1/9 come back as 0.875
# of that, in INT8_SYM as 0.992, without a message; 64 of -1/9 come back exactly. The scale has the sign that puts a row's largest weight
# on -8, since there is no +8; the sign is chosen by comparing |least| with largest, and where both are one number it is taken for a
# negative one. Of 1 and -1 side by side the positive ones become 0.875 too. INT4_ASYM and INT8_ASYM are right. The script prints:
#   still so: nncf 3.4.0: of 1/9 in INT4_SYM 0.875 is left, of -1/9 1.000; INT8_SYM 0.992 and 1.000; INT4_ASYM 1.000 and 1.000
#
# What helps: the asymmetric modes.
set -euo pipefail
pins=(nncf==3.4.0 openvino==2026.4.1)
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

env/bin/python -I - 2>packing.log <<'PYTHON' || { code=$?; [ $code -eq 1 ] && tail -n 5 packing.log >&2; exit $code; }
import sys
from importlib.metadata import version

sys.modules["openvino_telemetry"] = None  # both would tell a server of it
answers, sys.stdout = sys.stdout, sys.stderr  # NNCF prints tables

import nncf
import numpy as np
import openvino
from openvino import opset13 as ops

COUNT = 64
ROWS = np.stack([np.full(COUNT, 1 / 9), np.full(COUNT, -1 / 9)]).astype(np.float32)


def left(mode, **how):
    """Of each row's sum, the share that is left."""
    page = ops.parameter([1, COUNT], dtype=np.float32)
    model = openvino.Model([ops.matmul(page, ops.constant(ROWS), False, True)], [page])
    packed = nncf.compress_weights(model, mode=mode, **how)
    exact = {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0"}
    (sums,) = openvino.compile_model(packed, "CPU", exact)(np.ones((1, COUNT), np.float32))[0]
    return sums / ROWS.sum(1)


modes, four = nncf.CompressWeightsMode, {"group_size": COUNT, "ratio": 1.0, "all_layers": True}
found = {
    "INT4_SYM": left(modes.INT4_SYM, **four),
    "INT8_SYM": left(modes.INT8_SYM),
    "INT4_ASYM": left(modes.INT4_ASYM, **four),
}
still = found["INT4_SYM"][0] < 0.95 < found["INT4_SYM"][1]
first, *others = ((mode, f"{plus:.3f}", f"{minus:.3f}") for mode, (plus, minus) in found.items())
print(
    f"{'still so' if still else 'no longer so'}: nncf {version('nncf')}: of 1/9 in {first[0]} {first[1]} is left, of -1/9 {first[2]};",
    "; ".join(f"{mode} {plus} and {minus}" for mode, plus, minus in others),
    file=answers,
    flush=True,
)
sys.exit(not still)
PYTHON
