#!/usr/bin/env bash
# The last step of an epoch counts less where micro-batches are accumulated.
#
# Guess: with `accumulate_grad_batches=4` and five batches, the second step is the mean over the one batch that it holds.
#
# Seen on 2026-11-30 with Lightning 2.6.6, torch 2.15.0, Python 3.11.7: every loss is divided by 4, so of a loss whose gradient
# is 1 the first step gets 1 and the second 0.25. With a plain learning rate the last documents of each epoch move the weights
# a fourth as much; with Adam they enter its averages so. The script prints:
#   still so: lightning 2.6.6: gradients of the steps of 5 batches, accumulate_grad_batches=4: [1.0, 0.25]
#
# What helps: sum losses, and divide by what a step held in `on_before_optimizer_step`.
set -euo pipefail
pins=(lightning==2.6.6 torch==2.15.0)
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

cat >steps.py <<'PYTHON'
import lightning
import torch
from torch.utils.data import DataLoader


class Model(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.seen = []

    def training_step(self, batch, index):
        return self.weight.sum()

    def on_before_optimizer_step(self, optimizer):
        self.seen.append(self.weight.grad.item())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 1.0)


model = Model()
quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
trainer = lightning.Trainer(max_epochs=1, accumulate_grad_batches=4, accelerator="cpu", **quiet)
trainer.fit(model, DataLoader(torch.zeros(5), batch_size=1))
print(model.seen)
PYTHON
version="lightning $(env/bin/python -c 'import importlib.metadata as m; print(m.version("lightning"))')"
found=$(env/bin/python steps.py 2>err.log | tail -n 1)
if [ "$found" != "[1.0, 0.25]" ]; then
	echo "no longer so: $version: gradients of the steps of 5 batches, accumulate_grad_batches=4: $found" >&2
	exit 1
fi
echo "still so: $version: gradients of the steps of 5 batches, accumulate_grad_batches=4: $found"
