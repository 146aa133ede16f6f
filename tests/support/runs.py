"""Real training runs cut small: the real config, an untrained checkpoint, a handful of generated questions."""

from __future__ import annotations

import csv
import json
import shutil
import tempfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from docvlm.config import Job, TrainConfig
from docvlm.config.compose import load
from docvlm.train import main
from tests.support.tiny import checkpoint

SMALL = (
    "scale=tiny", "data.limit_train=12", "data.limit_val=4", "data.limit_test=6", "data.batch_size=2",
    "data.max_new_tokens=2", "trainer.max_epochs=2", "trainer.accumulate_grad_batches=2",
    "trainer.checkpoint_every_n_steps=1", "lora.r=4", "lora.dropout=0.2",
)  # fmt: skip


def overrides(family: str = "qwen2vl", *more: str) -> list[str]:
    """Command-line words of a small run of a family; dropout is on, so that a wrong random state would show."""
    return [f"model={family}", f"model.checkpoint={checkpoint(family)}", *SMALL, *more]


def train(folder: Path, *more: str, family: str = "qwen2vl") -> float:
    """Train in this process, in `folder`, as the command would after Hydra has made the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    cfg = load("train", TrainConfig, overrides(family, *more))
    score: float = main.__wrapped__(cfg, Job(folder, more))  # type: ignore[attr-defined]
    return score


@lru_cache
def finished() -> Path:
    """A run that nothing disturbed, shared by all tests of a session: do not change it."""
    folder = Path(tempfile.mkdtemp(prefix="docvlm-run-")) / "outputs" / "whole"
    train(folder)
    return folder


def after(command: Callable[[list[str]], None], folder: Path, *words: str) -> Path:
    """`folder` with a copy of that run as `outputs/run`, and what a command that was given there made of it."""
    shutil.copytree(finished(), folder / "outputs" / "run")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        command(list(words))
    return folder


def copied(made: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of what a module's tests share, to be changed by one of them: `folder`, the working directory now."""
    shutil.copytree(made, folder, dirs_exist_ok=True)
    monkeypatch.chdir(folder)
    return folder


def result(folder: Path) -> dict[str, Any]:
    """`result.json` of a run."""
    found: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return found


def rows(folder: Path) -> list[dict[str, str]]:
    """`epochs.csv` of a run."""
    with (folder / "epochs.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """The adapter a run reports."""
    return load_file(folder / "checkpoints" / "best" / "adapter_model.safetensors")


class Killed(BaseException):
    """What a power cut looks like from inside: nothing may catch it."""


def on_call(number: int, act: Callable[[], Any], inner: Callable[..., Any]) -> Callable[..., Any]:
    """`inner`, which does `act` instead on its call `number`, counted from 1."""
    calls = 0

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == number:
            act()
        return inner(*args, **kwargs)

    return wrapped


def kill(*_: Any) -> None:
    """Die."""
    raise Killed
