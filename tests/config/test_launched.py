"""Sweeps whose cells are trained in processes that tell the launching one nothing, as on a cluster.

submitit's local executor stands for Slurm: the same launcher, pickled cells and processes of their own.
"""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from docvlm.config import Job, TrainConfig, verb
from docvlm.errors import DocvlmError, TrainedElsewhere
from docvlm.runs.folder import put_off

WORDS = ("scale=tiny", "hydra/launcher=submitit_local", "hydra.launcher.timeout_min=2", "-m")


def work(cfg: TrainConfig, job: Job) -> float:
    """A cell by its seed: 1 succeeds, 2 fails, 3 is killed, 4 is another command's."""
    (job.folder / "pid").write_text(str(os.getpid()))
    if cfg.seed == 2:
        raise DocvlmError("seed=2: not this one")
    if cfg.seed == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    if cfg.seed == 4:
        raise TrainedElsewhere(job.folder.parent / "other")
    return float(cfg.seed)


class Ended:
    """What the launching process did at the end."""

    def __init__(self, unfinished: int) -> None:
        self.folders: list[Path] = []
        self.unfinished = unfinished

    def __call__(self, folder: Path) -> int:
        self.folders.append(folder)
        return self.unfinished

    def __reduce__(self) -> tuple[type[Ended], tuple[int]]:
        return Ended, (self.unfinished,)  # cells are pickled with their command


def failed(job: Job, reason: str) -> None:
    (job.folder / "failed.txt").write_text(reason)


def command(ended: Ended, *words: str) -> int:
    main = verb("train", TrainConfig, after_sweep=ended, on_failure=failed, on_put_off=put_off)(work)
    try:
        main([*words, *WORDS])
    except SystemExit as end:
        return int(end.code or 0)
    return 0


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(root))


def test_a_sweep_ends_in_the_process_that_launched_it(capfd: pytest.CaptureFixture[str]) -> None:
    ended = Ended(0)
    assert command(ended, "seed=1,4") == 0
    (folder,) = ended.folders
    assert all(int((folder / cell / "pid").read_text()) != os.getpid() for cell in "01")
    assert json.loads((folder / "1" / "reused.json").read_text()) == {"run": "../other", "action": "elsewhere"}
    asked = json.loads((folder / "cells.json").read_text())["cells"]
    assert [words[0] for words in asked] == ["seed=1", "seed=4"]
    assert command(Ended(1), "seed=1") == 1, "a cell that is not finished, by what lies there"


@pytest.mark.parametrize(
    ("seed", "line"),
    [(2, "error: seed=2: not this one\n"), pytest.param(3, "error: LocalLauncher: ", marks=pytest.mark.slow)],
)
def test_a_cell_that_fails_or_is_killed_is_a_line_and_the_sweep_ends_with_its_table(
    seed: int, line: str, capfd: pytest.CaptureFixture[str]
) -> None:
    ended = Ended(0)
    assert command(ended, f"seed=1,{seed}") == 1
    said = capfd.readouterr().err
    assert line in said and "Traceback" not in said
    (folder,) = ended.folders
    assert (folder / "0" / "pid").exists()
    assert (folder / "1" / "failed.txt").exists() == (seed == 2)
