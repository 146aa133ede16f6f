"""Sweeps whose cells are trained in processes that tell the launching one nothing, as on a cluster.

submitit's local executor stands for Slurm: the same launcher, pickled cells and processes of their own.
"""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest

from docvlm.config import Job, TrainConfig
from docvlm.errors import DocvlmError, TrainedElsewhere
from tests.support.launched import Ended, command

WORDS = ("scale=tiny", "hydra/launcher=submitit_local", "hydra.launcher.timeout_min=2", "-m")


def work(cfg: TrainConfig, job: Job) -> float:
    """A cell by its seed: 1 succeeds, 2 fails, 3 is killed, 4 is another command's, 5 ends after 20 s."""
    (job.folder / "pid").write_text(str(os.getpid()))
    if cfg.seed == 2:
        raise DocvlmError("seed=2: not this one")
    if cfg.seed == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    if cfg.seed == 5:
        time.sleep(20)  # what submitit gives a slow file system for the result of the first is 15
        (job.folder / "ended").touch()
    if cfg.seed == 4:
        raise TrainedElsewhere(job.folder.parent / "other")
    return float(cfg.seed)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(root))


def test_a_sweep_ends_in_the_process_that_launched_it(capfd: pytest.CaptureFixture[str]) -> None:
    ended = Ended()
    assert command(work, ended, "seed=1,4", *WORDS) == 0
    (folder,) = ended.folders
    assert all(int((folder / cell / "pid").read_text()) != os.getpid() for cell in "01")
    assert json.loads((folder / "1" / "reused.json").read_text()) == {"run": "../other", "action": "elsewhere"}
    asked = json.loads((folder / "cells.json").read_text())["cells"]
    assert [words[0] for words in asked] == ["seed=1", "seed=4"]
    assert command(work, Ended(1), "seed=1", *WORDS) == 1, "a cell that is not finished, by what lies there"


def test_a_cell_that_fails_is_a_line_and_the_sweep_ends_with_its_table(capfd: pytest.CaptureFixture[str]) -> None:
    ended = Ended()
    assert command(work, ended, "seed=1,2", *WORDS) == 1
    said = capfd.readouterr().err
    assert "error: seed=2: not this one\n" in said and "Traceback" not in said
    (folder,) = ended.folders
    assert (folder / "0" / "pid").exists() and (folder / "1" / "failed.txt").exists()


@pytest.mark.slow
def test_cells_that_are_killed_are_a_line_each_once_all_others_have_ended(capfd: pytest.CaptureFixture[str]) -> None:
    ended = Ended()
    assert command(work, ended, "seed=3,5,3", *WORDS) == 1
    said = capfd.readouterr().err
    lines = [line for line in said.splitlines() if line.startswith("error: ")]
    assert [line.partition(" (")[0] for line in lines] == ["error: cell 0", "error: cell 2"]
    assert all(
        " ended: without a result, as where its process is killed; what it printed is in " in line for line in lines
    )
    assert "Traceback" not in said
    assert "ended" in ended.found["1"], "none is being trained when the table is made"
