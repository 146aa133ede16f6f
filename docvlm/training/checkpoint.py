"""The two checkpoints of a run.

`last.ckpt` is everything a killed run needs to end as if it had not been killed: the weights that learn, optimizer,
schedule, loop counters (hence the position in the shuffled epoch), early stopping, the rows of `epochs.csv`. It is
written after whole optimizer steps only, so no half-accumulated gradient is lost, and never between the last step of an
epoch and its evaluation, which Lightning could not take up again. Random state is not in it: order and dropout are
functions of (seed, epoch, batch). Devices that share the weights write it as a folder (`sharding`).

`best/` is what the run reports: the weights with the best score on val (the lower loss winning a tie), or with
`select=loss` those with the lowest loss (the better score winning a tie). Epoch 0 is included: training that only harms
is reported as such.
"""

from __future__ import annotations

import io
import math
import os
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.trainer.states import RunningStage, TrainerFn

from docvlm.errors import DocvlmError
from docvlm.files import replace_folder
from docvlm.runs.folder import UNREADABLE, state_of
from docvlm.runs.identity import Identity
from docvlm.runs.interrupt import Interrupted
from docvlm.training.module import AnswerModule
from docvlm.vlms import saved
from docvlm.vlms.sharded import whole_weights
from docvlm.writing import discard, written


class PlainFiles(TorchCheckpointIO):
    """Checkpoints in files of this machine. Lightning's own way reads `::` in a path as fsspec's chain."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write the whole file at once, as Lightning does: torch itself would report a full disk in other words."""
        content = io.BytesIO()
        torch.save(checkpoint, content)
        Path(path).write_bytes(content.getbuffer())

    def load_checkpoint(
        self, path: str | Path, map_location: Any = "cpu", weights_only: bool | None = None
    ) -> dict[str, Any]:
        """What `save_checkpoint` wrote, on the CPU unless told otherwise; tensors and plain values only."""
        found: dict[str, Any] = torch.load(path, map_location=map_location, weights_only=True)
        return found


class LastCheckpoint(Callback):
    """Writes `last.ckpt` every `every_n_steps` optimizer steps, at the end of an epoch, and when asked to stop."""

    def __init__(self, path: Path, identity: Identity, every_n_steps: int) -> None:
        self.path = path
        self.identity = identity
        self.every_n_steps = every_n_steps

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save where a step ended and it is time, and stop if asked."""
        assert isinstance(module, AnswerModule)
        if not module.step_ended:
            return
        last = batch_idx + 1 == trainer.num_training_batches
        if not last and (module.stopping or trainer.global_step % self.every_n_steps == 0):
            self._save(trainer)
        if module.stopping:
            raise module.stop.interrupted()

    def on_train_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Save the finished epoch, its evaluation included."""
        self._save(trainer)

    def on_exception(self, trainer: Trainer, module: LightningModule, exception: BaseException) -> None:
        """Save the epoch that is learned where its evaluation was asked to stop.

        Not where several devices evaluate: they need not be in the same batch, and saving waits for all of them.
        """
        if isinstance(exception, Interrupted) and _evaluating(trainer) and trainer.world_size == 1:
            self._save(trainer)

    def on_save_checkpoint(self, trainer: Trainer, module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Say whose checkpoint this is and where in the data it stands."""
        batches = trainer.fit_loop.epoch_loop.batch_idx + 1
        epoch_over = batches == trainer.num_training_batches and not _evaluating(trainer)
        if _evaluating(trainer):  # let it begin anew: Lightning would count on, with a loader that begins at the first
            at = checkpoint["loops"]["fit_loop"]["epoch_loop.val_loop.batch_progress"]
            for counted in (at["total"], at["current"]):
                counted |= {"ready": 1, "started": 1, "processed": 0, "completed": 0}
        epochs = trainer.current_epoch + epoch_over
        checkpoint["docvlm"] = {
            "fingerprint": self.identity.run,
            "training": self.identity.training,
            "val": self.identity.splits["val"],
            "epoch": epochs,
            "batch": 0 if epoch_over else batches,
            "devices": trainer.world_size,
            "accumulated": trainer.accumulate_grad_batches,
            "batches": trainer.num_training_batches,
            "done": epoch_over and (trainer.should_stop or epochs == trainer.max_epochs or _out_of_steps(trainer)),
        }

    def on_load_checkpoint(self, trainer: Trainer, module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Count batches as this number of devices does, where another wrote the checkpoint (`share_steps`).

        Raises `DocvlmError` where the rest of an epoch would be other batches: those by tokens are filled for devices.
        """
        at, now = checkpoint["docvlm"], trainer.world_size
        if "devices" not in at or at["devices"] == now:
            return
        data = trainer.datamodule  # type: ignore[attr-defined]
        if at["batch"] and data.batch_tokens is not None:
            there, here = at["batches"] * at["devices"], len(data.train_dataloader()) * now
            if there != here:
                raise DocvlmError(
                    f"data.batch_tokens={data.batch_tokens}: this run stopped within an epoch of {there} batches on"
                    f" {at['devices']} devices, which are {here} on {now}; go on with {at['devices']}, or give"
                    " rerun=true"
                )
        loops = checkpoint["loops"]["fit_loop"]
        (loader,) = loops["state_dict"]["combined_loader"]
        loader["batches"] = loader["batches"] * at["devices"] // now
        for counted in (loops["epoch_loop.batch_progress"][which] for which in ("total", "current")):
            # from which counters are one behind the others Lightning tells where in a batch a checkpoint was written
            more = counted["ready"] * at["devices"] // now - counted["ready"]
            counted |= {name: number + more for name, number in counted.items()}

    def _save(self, trainer: Trainer) -> None:
        part = self.path.with_name(f".{self.path.name}.part")
        try:
            with written(self.path):
                trainer.save_checkpoint(part)
                if trainer.is_global_zero and part.is_dir():
                    replace_folder(part, self.path)
                elif trainer.is_global_zero:
                    os.replace(part, self.path)
        finally:
            if trainer.is_global_zero:
                discard(part)
        trainer.strategy.barrier("last.ckpt")


class BestCheckpoint(Callback):
    """Saves the model whenever an evaluation beats the best so far, by `select` (score or loss), then by the other."""

    def __init__(self, folder: Path, select: str) -> None:
        self.folder = folder
        self.select = select
        self.epoch: int | None = None
        self.score = -math.inf
        self.loss = math.inf

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Compare, and save."""
        assert isinstance(module, AnswerModule) and module.evaluation is not None
        score, loss = module.evaluation.goodness, module.evaluation.loss
        loss = math.inf if loss is None else loss
        if self.epoch is not None and self._goodness(score, loss) <= self._goodness(self.score, self.loss):
            return
        self.epoch, self.score, self.loss = module.at_epoch, score, loss
        weights = whole_weights(module.vlm, main=trainer.is_global_zero)
        if trainer.is_global_zero:
            saved.save(module.vlm, self.folder, weights)
        trainer.strategy.barrier("best")

    def _goodness(self, score: float, loss: float) -> tuple[float, float]:
        return (score, -loss) if self.select == "score" else (-loss, score)

    def state_dict(self) -> dict[str, Any]:
        """What to beat."""
        return {"epoch": self.epoch, "score": self.score, "loss": self.loss}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from what was best."""
        self.epoch, self.score, self.loss = state_dict["epoch"], state_dict["score"], state_dict["loss"]


def read(path: Path, identity: Identity) -> dict[str, Any] | None:
    """`last.ckpt` of a run to continue, on the CPU; None where it was killed before the first save.

    It may have been written before rows of test were changed, and once training had ended also of val. Raises
    `DocvlmError` if it is unreadable or another run's.
    """
    if not path.exists():
        return None
    try:
        checkpoint: dict[str, Any] = torch.load(state_of(path), map_location="cpu", weights_only=True)
        said = checkpoint["docvlm"]
        same = said["fingerprint"] == identity.run or (
            "training" in said
            and said["training"] == identity.training
            and (said["done"] or said["val"] == identity.splits["val"])
        )
    except UNREADABLE as error:
        raise DocvlmError(f"{path}: no checkpoint of docvlm ({error}); delete it, or give rerun=true") from error
    if not same:
        raise DocvlmError(f"{path}: belongs to a run with other settings; delete it, or give rerun=true")
    return checkpoint


def share_steps(trainer: Trainer, said: dict[str, Any]) -> None:
    """Let each step have the batches it had where another number of devices began the run; `said`: of its checkpoint.

    Raises `DocvlmError` where they cannot be shared evenly.
    """
    batches, devices = said["devices"] * said["accumulated"], trainer.world_size
    if batches % devices:
        raise DocvlmError(
            f"trainer.devices: {devices} devices go on with a run that {said['devices']} began, with {batches} batches"
            f" a step, which they cannot share evenly; take a number that divides {batches}, or give rerun=true"
        )
    trainer.accumulate_grad_batches = batches // devices


def _evaluating(trainer: Trainer) -> bool:
    """Whether the evaluation at the end of an epoch is going on."""
    return trainer.state.fn == TrainerFn.FITTING and trainer.state.stage == RunningStage.VALIDATING


def _out_of_steps(trainer: Trainer) -> bool:
    return trainer.max_steps != -1 and trainer.global_step >= trainer.max_steps
