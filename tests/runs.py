"""Real training runs cut small: the real config, an untrained checkpoint, a handful of generated questions."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from docvlm.config import Job, TrainConfig
from docvlm.config.compose import load
from docvlm.train import main
from tests.tiny import checkpoint

SMALL = (
    "scale=tiny", "data.limit_train=12", "data.limit_val=4", "data.limit_test=6", "data.batch_size=2",
    "data.max_new_tokens=2", "trainer.max_epochs=2", "lora.r=4",
)  # fmt: skip


def overrides(family: str, *more: str) -> list[str]:
    """Command-line words of a small run of a family."""
    return [f"model={family}", f"model.checkpoint={checkpoint(family)}", *SMALL, *more]


def config(family: str, *more: str) -> TrainConfig:
    """The typed config of a small run."""
    return load("train", TrainConfig, overrides(family, *more))


def train(folder: Path, family: str = "qwen2vl", *more: str, sweep: Path | None = None) -> float:
    """Train in this process, in `folder`, as the command would after Hydra has made the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    score: float = main.__wrapped__(config(family, *more), Job(folder, more, sweep, 0 if sweep else None))  # type: ignore[attr-defined]
    return score


def result(folder: Path) -> dict[str, Any]:
    """`result.json` of a run."""
    found: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return found


def rows(folder: Path) -> list[dict[str, str]]:
    """`epochs.csv` of a run."""
    with (folder / "epochs.csv").open(newline="") as file:
        return list(csv.DictReader(file))
