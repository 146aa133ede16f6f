"""`manifest.json`: everything that decided a run, enough to repeat it and to tell what it was."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from docvlm.machine import git_commit, hardware, versions
from docvlm.scoring.protocol import described
from docvlm.training.feature_choice import training_dtype
from docvlm.vlms import losses
from docvlm.vlms.checkpoint import licence
from docvlm.vlms.trainable import describe

if TYPE_CHECKING:
    from docvlm.training.run import Run


def manifest(run: Run, accelerator: str) -> dict[str, Any]:
    """Plain types for JSON. Counts are of questions and of parameters; percentages are of 100."""
    cfg, job, identity, data, vlm = run.cfg, run.job, run.identity, run.data, run.vlm
    assert vlm is not None and vlm.trainable is not None
    return {
        "fingerprint": identity.run,
        "name": cfg.name,
        "overrides": list(job.overrides),
        "family": cfg.model.family,
        "scale": cfg.scale.name,
        "seed": cfg.seed,
        "checkpoint": {
            "name": cfg.model.checkpoint,
            "fingerprint": identity.checkpoint,
            **licence(vlm.checkpoint, offline=cfg.offline, revision=vlm.revision),
        },
        "data": {
            "benchmark": data.label,
            "source": data.source,
            "fingerprint": identity.data,
            "questions": {"train": len(data.train), "val": len(data.val), "test": len(data.test)},
            "metrics": {
                label: described(metric, label, [e.language for e in data.test if e.benchmark == label])
                for label, metric in data.metrics.items()
            },
            "quarantined": len(data.quarantine.rejected),
            "audit": data.audited,
        },
        "budget": dataclasses.asdict(vlm.codec.budget),
        "features": run.features,
        "prefill": run.prefill,
        "cross_entropy": losses.describe(accelerator, training_dtype(cfg, vlm)),
        "trainable": describe(vlm.trainable),
        "code": {"fingerprint": identity.code, "revisions": dict(identity.versions)},
        "git_commit": git_commit(),
        "versions": versions(),
        "hardware": hardware(accelerator),
        "config": dataclasses.asdict(cfg),
    }
