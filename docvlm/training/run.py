"""One run: its parts, and the folder it is kept in from the first line of `result.json` to the last."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from lightning.pytorch import seed_everything
from rich.console import Console
from transformers.utils.logging import disable_progress_bar

from docvlm import build, machine
from docvlm.config import Job, TrainConfig
from docvlm.config.train import refuse_half_on_cpu
from docvlm.data.leakage.hash_cache import hashing
from docvlm.data.loading.datamodule import DocumentDataModule
from docvlm.files import shown
from docvlm.metrics.registry import goodness
from docvlm.runs.claim import claim
from docvlm.runs.folder import Action, RunFolder, point
from docvlm.runs.identity import Identity, identify
from docvlm.runs.interrupt import Interrupted, StopRequest, stop_on_signal
from docvlm.runs.result import ResultFile
from docvlm.runs.result import read as read_result
from docvlm.selection import chooser
from docvlm.training import ranks
from docvlm.training.leakage import guard, hash_cache
from docvlm.vlms import embedded, load_family, quant
from docvlm.vlms.base import VLM
from docvlm.vlms.checkpoint import fingerprint
from docvlm.vlms.codec import Budget
from docvlm.vlms.families import called
from docvlm.vlms.prepare import apply
from docvlm.vlms.trainable import Parts, describe
from docvlm.writing import room

LOG_WIDTH = 160  # columns of a table where the output is no terminal


@dataclass
class Run:
    """What the stages share. `vlm` is None once the trainer has it: it must not outlive it."""

    cfg: TrainConfig
    job: Job
    data: DocumentDataModule
    vlm: VLM | None
    identity: Identity
    folder: RunFolder
    resuming: bool
    stop: StopRequest
    console: Console
    features: str = "off"  # whether the tower's output is stored
    prefill: str = "off"  # whether what frozen blocks of the decoder make of pages is
    trainable: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)

    @property
    def finished(self) -> bool:
        """Whether there is a result already."""
        return bool(self.summary)

    @property
    def selection(self) -> float:
        """Best score on val: what a sweep, or an optimiser, compares."""
        found = self.summary["selection"]
        return goodness(found["metric"], float(found["value"]))


def read(cfg: TrainConfig, job: Job) -> DocumentDataModule:
    """Documents → splits, audited for leakage. Bad rows and overlaps are listed in the job's folder."""
    if cfg.quant != quant.NONE:
        quant.place()  # to read the data first may take minutes
    refuse_half_on_cpu(cfg.trainer)
    machine.reset_peak_memory()
    data = build.datamodule(cfg.data)
    data.quarantine.report = job.folder / "quarantine.jsonl"
    family = load_family(cfg.model.family)
    budget, revision = Budget(**vars(cfg.budget)), cfg.model.revision
    codec = family.codec_of(base_checkpoint(cfg), budget, offline=cfg.offline, revision=revision)
    data.selection = cfg.selection
    data.gate(codec, hashing(hash_cache(cfg)))
    data.choose = chooser(data.reading.selection, offline=cfg.offline)
    data.setup()
    for role in ("train", "val", "test"):
        data.filled(role)  # before pages are opened to compare them
    data.learned()  # likewise
    data.shown(data.val + data.test)
    guard(cfg, job, data)
    if ranks.is_main():
        counts = " / ".join(f"{len(split)} {name}" for name, split in _splits(data).items())
        lines = [*codec.account(), f"data: {data.label}, {counts} questions", *data.account()]
        print("\n".join(lines), flush=True)
    return data


def load(cfg: TrainConfig, data: DocumentDataModule) -> VLM:
    """Checkpoint → a model of which exactly what `freeze`, `freeze_language` and `lora` say learns.

    Random adapters come from `seed`.
    """
    disable_progress_bar()  # one more for every shard that `best/` is written in
    seed_everything(cfg.seed, verbose=False)
    checkpoint = base_checkpoint(cfg)
    vlm = load_family(cfg.model.family).load(
        checkpoint,
        Budget(**vars(cfg.budget)),
        dtype=getattr(torch, cfg.model.dtype),
        attn=cfg.model.attn,
        offline=cfg.offline,
        quant=cfg.quant,
        revision=cfg.model.revision,
        parts=Parts(cfg.model.tower, cfg.model.blocks),
    )
    trainable = apply(vlm, cfg.freeze, cfg.lora, cfg.freeze_language)
    if cfg.trainer.gradient_checkpointing:
        vlm.gradient_checkpointing()
    if cfg.trainer.sharded:
        vlm.run_layers_once()
    vlm.codec.reading = data.reading
    data.codec = vlm.codec
    if ranks.is_main():
        print(trainable, flush=True)
    return vlm


def base_checkpoint(cfg: TrainConfig) -> str:
    """Folder or hub id of the weights a run starts from."""
    name = cfg.model.checkpoint
    return str(embedded.checkpoint(cfg.model.family)) if name == "embedded" else os.path.expanduser(name)


@contextmanager
def opened(cfg: TrainConfig, job: Job, data: DocumentDataModule, vlm: VLM) -> Iterator[Run]:
    """Take the folder this command belongs to, keep its `result.json` true, and let go of everything at the end.

    A finished cell of a sweep comes back with its summary and is not to be trained. Raises `KeyboardInterrupt` where
    the user stopped the run, `TrainedElsewhere` where another process is training this cell, and what a launcher raises
    that is handed a signal once all is saved.
    """
    identity = identify(cfg, data, fingerprint(vlm.checkpoint, vlm.revision))
    claimed = ranks.agree(lambda: claim(job, identity, rerun=cfg.rerun))
    main, folder = ranks.is_main(), claimed.folder
    point(job, claimed)
    console = Console(quiet=not main, width=None if sys.stdout.isatty() else LOG_WIDTH)
    assert vlm.trainable is not None
    resuming = claimed.action in (Action.CONTINUE, Action.EXAMINE)
    run = Run(cfg, job, data, vlm, identity, folder, resuming, StopRequest(), console)
    run.trainable = describe(vlm.trainable)
    del vlm  # this frame outlives the training: the model must be free to go before the best one is loaded
    head = identity.known | {
        "name": cfg.name,
        "family": called(cfg.model.family, cfg.model.checkpoint),
        "benchmark": data.label,
    }
    try:
        if claimed.action is Action.REUSE:
            run.summary = read_result(folder.result)
            console.print(
                f"reused: {shown(folder.root)} is this very run, finished; rerun=true trains it again", highlight=False
            )
            yield run
            return
        console.print(f"{claimed.action.value}: {shown(folder.root)}", highlight=False)
        if claimed.changed:
            whose = shown((claimed.trained_in or folder).root)
            rows = " and ".join(claimed.changed)
            line = f"rows of {rows} are others than when {whose} was begun, those of train are not: its training stands"
            console.print(line, highlight=False, soft_wrap=True)
        with (
            stop_on_signal() as run.stop,
            ResultFile(folder.result, head | {"audit": data.audited}) if main else nullcontext() as result,
            room(folder.root),  # loggers and progress bars have errors of their own for it
            _second_ctrl_c(),
        ):
            yield run
            if result is not None:
                result.finish(run.summary)
    except Interrupted as error:
        raise KeyboardInterrupt from error
    finally:
        claimed.release()
        run.vlm = data.codec = None
        release_memory()


@contextmanager
def _second_ctrl_c() -> Iterator[None]:
    """What Lightning turns into SystemExit. A launcher's own, by which a job ends once it is queued again, stays it."""
    try:
        yield
    except SystemExit as error:
        raise KeyboardInterrupt from error


def _splits(data: DocumentDataModule) -> dict[str, list[Any]]:
    return {"train": data.train, "val": data.val, "test": data.test}


def release_memory() -> None:
    """Let go of tensors that nothing holds but a circle: they must be free before the next model is loaded."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
