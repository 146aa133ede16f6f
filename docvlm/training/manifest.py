"""`manifest.json`: everything that decided a run, enough to repeat it and to tell what it was."""

from __future__ import annotations

import dataclasses
from typing import Any

from docvlm.config import Job, TrainConfig
from docvlm.data.datamodule import DocumentDataModule
from docvlm.training.identity import Identity
from docvlm.training.machine import git_commit, hardware, versions
from docvlm.vlms.base import VLM
from docvlm.vlms.trainable import Trainable


def manifest(
    cfg: TrainConfig, job: Job, identity: Identity, data: DocumentDataModule, vlm: VLM, accelerator: str
) -> dict[str, Any]:
    """Plain types for JSON. Counts are of questions and of parameters; percentages are of 100."""
    assert vlm.trainable is not None
    return {
        "fingerprint": identity.run,
        "name": cfg.name,
        "overrides": list(job.overrides),
        "family": cfg.model.family,
        "scale": cfg.scale.name,
        "seed": cfg.seed,
        "checkpoint": {"name": cfg.model.checkpoint, "fingerprint": identity.checkpoint},
        "data": {
            "benchmark": data.label,
            "source": data.source,
            "fingerprint": identity.data,
            "questions": {"train": len(data.train), "val": len(data.val), "test": len(data.test)},
            "quarantined": len(data.quarantine.rejected),
        },
        "budget": dataclasses.asdict(vlm.codec.budget),
        "trainable": describe(vlm.trainable),
        "git_commit": git_commit(),
        "versions": versions(),
        "hardware": hardware(accelerator),
        "config": dataclasses.asdict(cfg),
    }


def describe(trainable: Trainable) -> dict[str, Any]:
    """What learns, in numbers."""
    return {
        "parameters": trainable.count,
        "total": trainable.total,
        "percent": trainable.percent,
        "freeze": trainable.freeze,
        "lora_r": trainable.lora.r,
        "lora_alpha": trainable.lora.alpha,
        "vision_frozen_blocks_percent": trainable.vision_frozen_blocks,
        "vision_trainable_blocks_percent": trainable.vision_trainable_blocks,
        "vision_frozen_parameters_percent": trainable.vision_frozen_parameters,
        "vision_trainable_parameters_percent": trainable.vision_trainable_parameters,
    }
