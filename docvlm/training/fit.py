"""Learning: epoch 0, the epochs, and what a killed run takes up again."""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from docvlm import build
from docvlm.files import read_json, write_json
from docvlm.runs.interrupt import StopRequest
from docvlm.training import checkpoint, feature_choice, ranks
from docvlm.training.checkpoint import BestCheckpoint, LastCheckpoint, PlainFiles
from docvlm.training.epochs import EpochTable
from docvlm.training.manifest import manifest
from docvlm.training.module import AnswerModule
from docvlm.training.optim import OptimPartials
from docvlm.training.preflight import Preflight, out_of_memory
from docvlm.training.progress import ProgressLines
from docvlm.training.run import Run, release_memory
from docvlm.training.sharding import Sharded
from docvlm.vlms import losses
from docvlm.vlms.base import VLM
from docvlm.vlms.proof import prove

PROOF_EXAMPLES = 4


@dataclass(frozen=True)
class Learned:
    """What learning leaves in memory; the weights are in `best/`.

    `val_changed`: the best epoch was chosen before rows of val were changed.
    """

    trainer: Trainer
    epochs: EpochTable
    best: BestCheckpoint
    val_changed: bool


class OwnSignals(Callback):
    """Gives the signals that ask a run to stop back to it in every loop.

    Lightning adds a handler of its own for SIGTERM, after which its loop ends behind the batch in progress, in the
    middle of an accumulated step (2.6.6); under Slurm it would also queue the job again by itself, and with a
    checkpoint of its own form.
    """

    def __init__(self, stop: StopRequest) -> None:
        self.stop = stop

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Before the first step."""
        self.stop.listen()

    def on_validation_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Before an evaluation, of epoch 0 too."""
        self.stop.listen()


class Proof(Callback):
    """Prints, once and before anything is measured, that what is said to learn learns and the rest does not move."""

    def __init__(self, run: Run) -> None:
        self.run: Run | None = run

    def on_validation_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Before epoch 0."""
        self._prove(module)

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Before a resumed run goes on."""
        self._prove(module)

    def _prove(self, module: LightningModule) -> None:
        run, self.run = self.run, None
        if run is None:
            return
        assert isinstance(module, AnswerModule)
        codec, examples = module.vlm.codec, run.data.learned()[:PROOF_EXAMPLES]
        with torch.enable_grad():
            batch = codec.packed_batch(examples) if run.data.packing else codec.train_batch(examples)
            line = prove(module.vlm, batch)
        run.console.print(line, highlight=False)


def fit(run: Run) -> Learned:
    """Evaluate before training, learn, evaluate after every epoch; `best/` and `epochs.csv` are what stays."""
    _quiet()
    assert run.vlm is not None
    module = answering(run, run.vlm, run.stop)
    epochs, best = EpochTable(run.folder.epochs), BestCheckpoint(run.folder.best, run.cfg.select)
    last = LastCheckpoint(run.folder.last, run.identity, run.cfg.trainer.checkpoint_every_n_steps)
    flush = feature_choice.Flush(run.vlm.codec)
    own: list[Callback] = [
        OwnSignals(run.stop),
        Proof(run),
        Preflight(run),
        flush,
        epochs,
        best,
        ProgressLines(epochs, run.console),
    ]
    # `last` comes last: it stores the state the others have after the same event
    trainer = _trainer(run, [*own, *build.callbacks(run.cfg.callbacks), last])
    try:
        feature_choice.attach(run, trainer.strategy.root_device)
    except torch.OutOfMemoryError as error:
        raise out_of_memory(f"{feature_choice.TRIAL} pages encoded to see how long that takes: {error}") from error
    device = trainer.strategy.root_device.type
    if device != "cpu":  # where there is no choice
        entropy = losses.describe(device, feature_choice.training_dtype(run.cfg, run.vlm))
        run.console.print(f"cross-entropy of answers: {entropy}", highlight=False)
    if ranks.is_main():
        _record(run, device)
    run.vlm = None
    try:
        val_changed = _learn(run, trainer, module, epochs, best)
    except torch.OutOfMemoryError as error:
        raise out_of_memory(str(error).split(". ")[0]) from error
    _let_go(trainer, module)
    return Learned(trainer, epochs, best, val_changed)


def _let_go(trainer: Trainer, module: AnswerModule) -> None:
    """Free the model and the optimizer's state: else both stand beside the best weights that answer the test split.

    Lightning's trainer, its hooks and callbacks keep the module, so what the module holds is taken from it.
    """
    trainer.strategy.optimizers = []
    del module.vlm
    release_memory()


def _record(run: Run, device: str) -> None:
    """Write the manifest. One that is there stays, but for what changes with rows of val and test."""
    place = run.folder.manifest
    if not place.exists():
        write_json(place, manifest(run, device))
    elif (earlier := read_json(place))["fingerprint"] != run.identity.run:
        now = manifest(run, device)
        write_json(
            place, earlier | {name: now[name] for name in ("fingerprint", "name", "overrides", "data", "config")}
        )


def answering(run: Run, vlm: VLM, stop: StopRequest) -> AnswerModule:
    """The LightningModule of a run around `vlm`."""
    optim = run.cfg.optim
    partials = OptimPartials(
        build.optimizer(optim), build.scheduler(optim), {"language": optim.lr, "vision": optim.vision_lr}
    )
    return AnswerModule(
        vlm, partials, metrics=run.data.metrics, max_new_tokens=run.data.max_new_tokens, seed=run.cfg.seed, stop=stop
    )


def _learn(run: Run, trainer: Trainer, module: AnswerModule, epochs: EpochTable, best: BestCheckpoint) -> bool:
    """Learn what is left; whether the best epoch was chosen on other rows of val than there are now."""
    saved = checkpoint.read(run.folder.last, run.identity) if run.resuming else None
    if saved is None:
        trainer.validate(module, datamodule=run.data, verbose=False)
        trainer.fit(module, datamodule=run.data)
    elif saved["docvlm"]["done"]:
        for callback in (epochs, best):
            callback.load_state_dict(saved["callbacks"][callback.state_key])
        at = saved["docvlm"]
        changed = at["fingerprint"] != run.identity.run and at["val"] != run.identity.splits["val"]
        note = "; its best epoch was chosen on val before rows of it were changed" if changed else ""
        run.console.print(f"training had ended; only the test split is left{note}", highlight=False, soft_wrap=True)
        return changed
    else:
        at = saved["docvlm"]
        run.console.print(f"continuing after {at['epoch']} epochs and {at['batch']} batches", highlight=False)
        if run.cfg.trainer.sharded and at["devices"] != trainer.world_size:
            checkpoint.share_steps(trainer, at)
            line = f"{at['devices']} devices began this run, {trainer.world_size} go on with it:"
            line += f" trainer.accumulate_grad_batches={trainer.accumulate_grad_batches}, as many questions a step"
            run.console.print(line, highlight=False)
        trainer.fit(module, datamodule=run.data, ckpt_path=run.folder.last, weights_only=True)
    if epochs.rows[-1]["step"] != trainer.global_step:  # `max_steps` ended it within an epoch
        trainer.validate(module, datamodule=run.data, verbose=False)
    return False


def _trainer(run: Run, callbacks: list[Callback]) -> Trainer:
    conf = run.cfg.trainer
    logs = run.folder.root / "logs"
    session = len(list(logs.iterdir())) if logs.exists() else 0  # a logger would overwrite an earlier session's files
    group = None if run.job.sweep is None else run.job.sweep.name
    loggers = build.loggers(run.cfg.logger, logs / str(session), group) if ranks.is_main() else []
    options: dict[str, Any] = {
        "max_epochs": conf.max_epochs,
        "max_steps": conf.max_steps,
        "accelerator": conf.accelerator,
        "devices": conf.devices,
        "num_nodes": conf.num_nodes,
        "strategy": build.strategy(conf),
        "precision": conf.precision,
        "accumulate_grad_batches": conf.accumulate_grad_batches,
        "gradient_clip_val": conf.gradient_clip_val,
        "deterministic": conf.deterministic,
        "log_every_n_steps": conf.log_every_n_steps,
    }
    return Trainer(
        **options,
        logger=loggers,
        callbacks=callbacks,
        plugins=None if isinstance(options["strategy"], Sharded) else [PlainFiles()],  # which has its own way
        default_root_dir=run.folder.root,
        num_sanity_val_steps=0,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        inference_mode=False,  # inference tensors (cached positions) could not be used in training afterwards
        use_distributed_sampler=False,
    )


def _quiet() -> None:
    """Leave out what Lightning says about choices that are deliberate here."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in (
        ".*does not have many workers.*",
        ".*in eval mode at the start of training.*",  # frozen parts
        ".*smaller than the logging interval.*",
        ".*transfer_batch_to_device.*",
        ".*broadcast_buffers. is deprecated.*",  # its successor is unknown to older torch
        ".*returned a view tensor.*",  # of FSDP2, about blocks whose output nothing changes in place
        ".*treespec, LeafSpec.*",  # Lightning's own use of torch
        ".*`srun` command is available.*",  # a run of one process needs none
    ):
        warnings.filterwarnings("ignore", message=message)
