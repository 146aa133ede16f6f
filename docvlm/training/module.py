"""The LightningModule: one VLM that learns from answers and is judged by the answers it generates.

Loss: the cross-entropy of every answer token in the *accumulated, global* batch, summed and divided by their number. A
micro-batch therefore contributes its sum to the gradient, and the division happens once, before clipping, when the
number is known (from every device). Accumulation and devices then change nothing: 8 x 2, 4 x 4 and 16 x 1 examples are
the same step. A mean of micro-batch means would weigh a token by how many others happened to share its micro-batch.

Dropout noise is drawn from (seed, epoch, batch, device), not from a stream, so a resumed run needs no generator state.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.distributed as dist
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch.optim import Optimizer

from docvlm.data.example import EvalBatch, Example
from docvlm.data.loading.datamodule import DocumentDataModule
from docvlm.errors import DocvlmError
from docvlm.runs.interrupt import StopRequest
from docvlm.training.evaluation import Evaluation, Tally
from docvlm.training.optim import OptimPartials, parameter_groups
from docvlm.training.sharding import Sharded
from docvlm.vlms import sharded
from docvlm.vlms.base import VLM


class AnswerModule(LightningModule):
    """`vlm` with its trainable groups, as Lightning wants it.

    `at_epoch` is the epoch being learned (0 before any), `evaluation` the latest complete evaluation, `train_loss` the
    loss of the latest optimizer step (nats a token), `step_ended` whether the latest batch completed one, `stopping`
    whether the user asked to stop, agreed between devices at every optimizer step.
    """

    strict_loading = False  # the frozen base is not in a checkpoint; `on_load_checkpoint` checks the rest by name

    def __init__(
        self,
        vlm: VLM,
        optim: OptimPartials | None = None,
        *,
        metrics: Mapping[str, str],
        max_new_tokens: int,
        seed: int = 0,
        stop: StopRequest | None = None,
    ) -> None:
        super().__init__()
        self.vlm = vlm
        self.optim = optim
        self.metrics = dict(metrics)
        self.max_new_tokens = max_new_tokens
        self.seed = seed
        self.stop = stop or StopRequest()
        self.stopping = False
        self.step_ended = False
        self.at_epoch = 0
        self.train_loss = math.nan
        self.evaluation: Evaluation | None = None
        self._tally = Tally(self.metrics)
        self._loss: float | Tensor = 0.0
        self._tokens = 0

    def configure_model(self) -> None:
        """Shard the model where the strategy does; Lightning calls this at the start of every stage."""
        if isinstance(strategy := self.trainer.strategy, Sharded):
            strategy.shard(self.vlm)

    # Learning

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Optimizer over the trainable groups, schedule over all optimizer steps of the training."""
        assert self.vlm.trainable is not None and self.optim is not None
        optimizer = self.optim.optimizer(parameter_groups(self.vlm.trainable.groups, self.optim.learning_rates))
        scheduler = self.optim.scheduler(optimizer, total=self._total_steps())
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def _total_steps(self) -> int:
        """Optimizer steps of the whole training.

        Not `trainer.estimated_stepping_batches`: that sets the loader up before Lightning knows that a run is resumed,
        and then leaves it at the start of the epoch.
        """
        batches = len(self.trainer.datamodule.train_dataloader())  # type: ignore[attr-defined]
        total = math.ceil(batches / self.trainer.accumulate_grad_batches) * int(self.trainer.max_epochs or 1)
        return total if self.trainer.max_steps == -1 else min(total, self.trainer.max_steps)

    def on_fit_start(self) -> None:
        """Training mode for what learns: Lightning leaves the modes alone, and Transformers loads in eval mode."""
        self.vlm.train()

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Dropout noise that depends on the position alone."""
        self.at_epoch, self.step_ended = self.current_epoch + 1, False
        position = hash((self.seed, self.current_epoch, batch_idx, self.global_rank))  # of ints: the same everywhere
        # Without a GPU `torch.manual_seed` only writes down where it was called, for one that may come: 1 ms a step.
        seed = torch.default_generator.manual_seed if self.device.type == "cpu" else torch.manual_seed
        seed(position % 2**63)

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """Summed token loss of a micro-batch; `on_before_optimizer_step` divides the gradient."""
        loss, tokens = self.vlm.loss(batch)
        self._loss = self._loss + loss.detach()
        self._tokens += tokens
        return loss

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Turn the gradient of the sum into the gradient of the mean over all answer tokens of the step."""
        totals = torch.tensor([float(self._loss), self._tokens, self.stop.asked], device=self.device)
        devices = 1
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(totals)
            devices = dist.get_world_size()
        loss, tokens, asked = totals.tolist()
        self._loss, self._tokens, self.stopping = 0.0, 0, asked > 0
        self.step_ended = True
        self.train_loss = loss / tokens if tokens else math.nan
        if not math.isfinite(self.train_loss):
            raise DocvlmError(
                f"step {self.global_step}: the training loss is {self.train_loss}; lower optim.lr or optim.vision_lr,"
                " or train in trainer.precision=32-true"
            )
        # Lightning divided by the micro-batches of a step, DDP and FSDP by the devices: both are undone here.
        factor = self.trainer.accumulate_grad_batches * devices / tokens
        grads = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        torch._foreach_mul_(grads, factor)
        self._log_step(optimizer)

    def configure_gradient_clipping(
        self, optimizer: Optimizer, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """Clip the norm. Lightning's own refuses fused optimizers, for the sake of a scaler that only 16-mixed has."""
        if gradient_clip_val is not None:
            parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
            torch.nn.utils.clip_grad_norm_(parameters, gradient_clip_val)

    def _log_step(self, optimizer: Optimizer) -> None:
        if self.global_step % self.trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            rates = {f"lr/{group['name']}": group["lr"] for group in optimizer.param_groups}
            for logger in self.trainer.loggers:
                logger.log_metrics({"train/loss": self.train_loss, **rates}, step=self.global_step)

    # Answering

    @property
    def running_score(self) -> float:
        """The headline of what this device has answered of the split in work."""
        return self._tally.score

    def on_validation_epoch_start(self) -> None:
        """Start an empty tally."""
        self._begin()

    def validation_step(self, batch: EvalBatch, batch_idx: int) -> None:
        """Loss and generated answers of one batch."""
        self._agree(answering=True)
        self._tally.measure(self.vlm, batch)
        self._tally.answer(self.vlm, batch, self.max_new_tokens)

    def on_validation_epoch_end(self) -> None:
        """Score the whole split; the one number logged is what early stopping watches."""
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        self._end(data, data.val, measured=True)
        self.evaluation = self._tally.finish(data.shown(data.val), data.reading)
        self.log("val/score", self.evaluation.goodness, batch_size=1, sync_dist=True)  # the same on every device

    def on_test_epoch_start(self) -> None:
        """Start an empty tally."""
        self._begin()

    def test_step(self, batch: EvalBatch, batch_idx: int) -> None:
        """Generated answers of one batch."""
        self._agree(answering=True)
        self._tally.answer(self.vlm, batch, self.max_new_tokens)

    def on_test_epoch_end(self) -> None:
        """Score the whole split."""
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        self._end(data, data.test, measured=False)
        self.evaluation = self._tally.finish(data.shown(data.test), data.reading)

    def _begin(self) -> None:
        self._tally = Tally(self.metrics)
        if sharded.is_sharded(self.vlm) and not self.vlm.in_step:
            sharded.gather(self.vlm)

    def _agree(self, *, answering: bool) -> bool:
        """Stop where that was asked for; else whether a device is answering a batch now, by what this one says.

        Devices that share the weights find out together, before a forward pass that needs them all.
        """
        if not self.vlm.in_step:
            self.stop.check()
            return answering
        said = torch.tensor([answering, self.stop.asked], dtype=torch.int32, device=self.device)
        dist.all_reduce(said, dist.ReduceOp.MAX)
        anywhere, asked = said.tolist()
        if anywhere and asked:
            raise self.stop.interrupted()
        return bool(anywhere)

    def _end(self, data: DocumentDataModule, split: Sequence[Example], *, measured: bool) -> None:
        """Make the forward passes of devices that have more batches than this one, with a question of its own."""
        if not self.vlm.in_step:
            if sharded.is_sharded(self.vlm):
                sharded.release(self.vlm)
            return
        spare = None
        while self._agree(answering=False):
            spare = spare or data.transfer_batch_to_device(data.one_asked(split), self.device, 0)
            unheard = Tally(self.metrics)
            if measured:
                unheard.measure(self.vlm, spare)
            unheard.answer(self.vlm, spare, self.max_new_tokens)

    # Checkpoints

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what learns; the frozen base is identified by the manifest's fingerprint."""
        learning = self._learning()
        checkpoint["state_dict"] = {name: t for name, t in checkpoint["state_dict"].items() if name in learning}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse a checkpoint whose weights are not exactly those that learn here (Lightning would ignore the rest)."""
        found, learning = set(checkpoint["state_dict"]), self._learning()
        if found != learning:
            odd = sorted(found ^ learning)[0]
            raise DocvlmError(
                f"last.ckpt: holds {len(found)} weights but {len(learning)} learn here; {odd} is on one side only."
                " It belongs to another model, freeze or lora setting; give rerun=true"
            )
        at = checkpoint["docvlm"]
        self.at_epoch = at["epoch"] + (at["batch"] > 0)  # its evaluation may be all that is left of it

    def _learning(self) -> set[str]:
        return {name for name, parameter in self.named_parameters() if parameter.requires_grad}
