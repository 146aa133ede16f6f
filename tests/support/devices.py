"""The training command with several processes, as torchrun starts them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.support import runs

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
# Two steps of 4 questions: where a global batch is shorter than the devices, one repeats a question to have a share.
SAME = ("lora.dropout=0.0", "trainer.max_steps=2", "data.limit_train=11", "data.eval_batch_size=2")


def run(
    folder: Path,
    root: Path,
    launcher: list[str],
    *more: str,
    family: str = "qwen2vl",
    target: Sequence[str] = ("-m", "docvlm.train"),
) -> subprocess.CompletedProcess[str]:
    """Run the training command, or a script that takes its words, in `folder`."""
    words = [*launcher, *target, *runs.overrides(family, *SAME, *more)]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    folder.mkdir(exist_ok=True, parents=True)
    return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=900)


def command(folder: Path, root: Path, launcher: list[str], *more: str, family: str = "qwen2vl") -> str:
    """What a run that succeeds prints."""
    done = run(folder, root, launcher, *more, family=family)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout
