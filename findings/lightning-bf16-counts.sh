#!/usr/bin/env bash
# Under `precision="bf16-true"` a metric stops counting at a few hundred.
#
# Guess: Lightning casts the model to bfloat16 and leaves torchmetrics' counters alone: a metric overrides `half()` and `float()`
# to do nothing, its documentation says that only `set_dtype` changes its states, and both come from one house.
#
# Seen on 2026-11-29 with Lightning 2.6.6, torchmetrics 1.9.0, torch 2.15.0, Python 3.11.7 on a CPU: the model's `.to(bfloat16)`
# reaches the metrics inside it, and their float states become bfloat16, which has 8 bits: 1024 + 4 is 1024. 300 pages read
# wrong and then 700 read right have a character error rate of 0.3; it is given as 1.0, because nothing that comes after
# the first 256 pages counts. `metric.half()` does nothing, as documented. No warning. The script prints:
#   still so: lightning 2.6.6 with torchmetrics 1.9.0: 1000 pages of 4 characters, the first 300 wrong: character error rate 0.3 at 32-true, 1.0 at bf16-true, where it has counted 1024 characters
#
# What helps: keep the metric out of the module's attributes (in a list), call `set_dtype(torch.float32)` on it when the
# epoch starts, or take `bf16-mixed`.
# It installs PyTorch as the registry has it: 5 GB, three to six minutes with pip on two cores.
set -euo pipefail
pins=(torch==2.15.0 lightning==2.6.6 torchmetrics==1.9.0 numpy==2.4.6)
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
import logging
import sys
import warnings

warnings.simplefilter("ignore")
import lightning
import torch
import torchmetrics
from torch.utils.data import DataLoader
from torchmetrics.text import CharErrorRate

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
version = f"lightning {lightning.__version__} with torchmetrics {torchmetrics.__version__}"
PAGES, WRONG = 1000, 300


class Reader(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.errors = CharErrorRate()

    def validation_step(self, batch, index):
        self.errors.update(["wxyz" if index < WRONG else "abcd"], ["abcd"])

    def on_validation_epoch_end(self):
        self.rate, self.counted = round(float(self.errors.compute()), 3), int(self.errors.total)


def validated(precision):
    reader, quiet = Reader(), {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = lightning.Trainer(precision=precision, accelerator="cpu", **quiet)
    trainer.validate(reader, DataLoader(torch.zeros(PAGES, 1)), verbose=False)
    return reader


whole, short = validated("32-true"), validated("bf16-true")
if whole.rate != WRONG / PAGES:
    sys.exit(f"no longer so: {version}: the error rate is {whole.rate} at 32-true")
if short.rate == whole.rate or short.counted >= 4 * PAGES:
    sys.exit(f"no longer so: {version}: at bf16-true the error rate is {short.rate}, of {short.counted} characters")
print(
    f"still so: {version}: {PAGES} pages of 4 characters, the first {WRONG} wrong: character error rate {whole.rate} at",
    f"32-true, {short.rate} at bf16-true, where it has counted {short.counted} characters",
)
PYTHON
