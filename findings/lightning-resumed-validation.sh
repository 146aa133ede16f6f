#!/usr/bin/env bash
# A run that is stopped while it is validated reports, once resumed, the mean of a part of its validation set.
#
# Guess: a run resumed from a checkpoint that was saved in the middle of a validation ends with the validation result of a
# run that nothing stopped: what was validated before is not validated again, or all of it is.
#
# Seen on 2026-11-29 with Lightning 2.6.6, torch 2.15.0, Python 3.11.7: neither. The checkpoint keeps how many batches of
# the validation set were done, and the resumed loop ends after as many as were *left*; but the loader begins anew, so it
# is the first ones that are validated, a second time, and the others never. What the earlier process had logged is gone.
# With 6 batches of values 0 to 5, stopped at the fourth, the resumed run says 1.0 (of 0, 1, 2) where the mean is 2.5, and
# nothing is printed. Early stopping and `monitor="val"` then choose by that number. A checkpoint is saved there by whoever
# saves in `on_exception`, and by Lightning itself where Slurm queues a job again.
# 2.5.5 does the same. Lightning's issue 19549, open since 2024, is of checkpoints between two validations of an epoch.
# The script prints:
#   still so: lightning 2.6.6, torch 2.15.0: val 2.5 of 6 batches, and 1.0 of 3 where the run was stopped and resumed
#
# What helps: a validation loader that has `state_dict` and `load_state_dict`, with metrics that are saved too; or setting
# the counters of `epoch_loop.val_loop.batch_progress` in the checkpoint back, so that the validation begins anew.
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

env/bin/python -I - 2>run.log <<'PYTHON' || { tail -n 5 run.log >&2; exit 1; }
import sys
from importlib.metadata import version

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch.utils.data import DataLoader

BATCHES, STOPPED_AT = 6, 3


class Model(LightningModule):
    stops = False

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))
        self.validated = 0

    def training_step(self, batch, batch_idx):
        return (self.weight * batch).sum()

    def on_validation_epoch_start(self):
        self.validated = 0

    def validation_step(self, batch, batch_idx):
        if self.stops and batch_idx == STOPPED_AT:
            raise InterruptedError
        self.validated += 1
        self.log("val", batch.mean(), batch_size=1)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.0)


class SaveAtTheEnd(Callback):
    def on_exception(self, trainer, module, exception):
        trainer.save_checkpoint("last.ckpt")


def fitted(model, **more):
    trainer = Trainer(
        max_epochs=1, accelerator="cpu", callbacks=[SaveAtTheEnd()], logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
    )
    numbers = torch.arange(float(BATCHES))
    trainer.fit(model, DataLoader(numbers), DataLoader(numbers), **more)
    return float(trainer.callback_metrics["val"]), model.validated


whole = fitted(Model())
Model.stops = True
try:
    fitted(Model())
except InterruptedError:
    pass
Model.stops = False
resumed = fitted(Model(), ckpt_path="last.ckpt")

versions = f"lightning {version('lightning')}, torch {version('torch')}"
said = f"val {whole[0]} of {whole[1]} batches, and {resumed[0]} of {resumed[1]} where the run was stopped and resumed"
if whole != (2.5, BATCHES) or resumed[1] >= BATCHES:
    print(f"no longer so: {versions}: {said}")
    sys.exit(1)
print(f"still so: {versions}: {said}")
PYTHON
