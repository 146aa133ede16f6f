"""`python -m docvlm.sweep`: what the cells of a sweep are at, from their folders, locks and Slurm's queue alone."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from docvlm.config import squeue
from docvlm.config.marks import lives
from docvlm.files import write_json
from docvlm.runs.folder import RunFolder
from docvlm.sweep import main as sweep
from tests.support import runs
from tests.support.slurm import until

COMMAND = """
import sys, time
from docvlm.config import Job, TrainConfig, verb


def work(cfg: TrainConfig, job: Job) -> float:
    (job.folder / "here").touch()
    time.sleep(600)
    return 0.0


verb("train", TrainConfig)(work)()
"""


def folder_of(tmp_path: Path) -> Path:
    """Five cells: finished, running, killed, failed, not begun."""
    folder = tmp_path / "multirun" / "one"
    for number in range(4):
        cell = folder / str(number)
        shutil.copytree(runs.finished(), cell)
        (cell / ".hydra").mkdir()
        (cell / ".hydra" / "overrides.yaml").write_text(f"- model=qwen2vl\n- lora.r={number}\n")
    for number, status, reason in ((1, "running", None), (2, "running", None), (3, "failed", "lora.r=3: no")):
        file = folder / str(number) / "result.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), "status": status, "reason": reason}))
    write_json(folder / "cells.json", {"cells": [["model=qwen2vl", f"lora.r={number}"] for number in range(5)]})
    return folder


def test_every_cell_has_its_state_and_the_table_is_made_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = folder_of(tmp_path)
    capsys.readouterr()
    lock = RunFolder(folder / "1").lock()
    try:
        with pytest.raises(SystemExit) as end:
            sweep([str(folder)])
    finally:
        lock.release()
    out = capsys.readouterr().out
    assert end.value.code == 1
    assert out.splitlines()[:5] == [
        "5 cells: 1 finished, 1 running, 1 stopped, 1 failed, 1 not begun",
        "cell 1 (lora.r=1): running: after epoch 2, anls 0.000",
        "cell 2 (lora.r=2): stopped: its process was killed; the same command continues it",
        "cell 3 (lora.r=3): failed: lora.r=3: no",
        "cell 4 (lora.r=4): not begun",
    ]
    assert "\nlora.r=1: running: it is being trained\nlora.r=2: stopped: its process was killed; the same" in out
    assert "lora.r=4: missing: it did not begin" in out and "lora.r=0" in (folder / "sweep.csv").read_text()


def follow(folder: Path, monkeypatch: pytest.MonkeyPatch, *between: Callable[[], object]) -> int:
    """The exit code of `--follow`. Between two looks the next of `between` is done; there must be no more looks."""
    waiting = list(between)

    def slept(seconds: float) -> None:
        assert seconds == 3.0 and waiting, "it has to end"
        waiting.pop(0)()

    monkeypatch.setattr("docvlm.sweep.time", SimpleNamespace(sleep=slept))  # not for other modules
    try:
        sweep([str(folder), "--follow", "--every", "3"])
    except SystemExit as end:
        assert not waiting
        return int(end.code or 0)
    assert not waiting
    return 0


def nothing() -> None:
    """The second look, without anything new, after which it ends."""


def test_it_follows_until_nothing_is_trained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = folder_of(tmp_path)
    lock = RunFolder(folder / "1").lock()
    assert follow(folder, monkeypatch, lock.release, nothing) == 1, "nobody is there to begin the last one"
    line = "\ncell 1 (lora.r=1): stopped: its process was killed; the same command continues it\n"
    assert line in capsys.readouterr().out


def test_a_result_that_is_seen_later_than_the_end_of_its_process_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = folder_of(tmp_path)
    for number in (2, 3):
        shutil.rmtree(folder / str(number))
    (folder / "cells.json").unlink()
    lock, file = RunFolder(folder / "1").lock(), folder / "1" / "result.json"

    def seen() -> None:
        file.write_text(json.dumps({**json.loads(file.read_text()), "status": "finished"}))

    assert follow(folder, monkeypatch, lock.release, seen) == 0


@pytest.fixture
def begun(tmp_path: Path, root: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A sweep of two cells, one after another, that is at its first, and has no result yet."""
    (tmp_path / "command.py").write_text(COMMAND)
    words = ["seed=1,2", "scale=tiny", "jobs=1", "hydra.sweep.dir=multirun/one", "-m"]
    process = subprocess.Popen(
        [sys.executable, "command.py", *words], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(root)},
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    until((tmp_path / "multirun" / "one" / "0" / "here").exists, 60, "the first cell")
    yield process
    process.kill()
    process.wait()


def test_a_cell_that_is_killed_before_it_has_a_result_ends_the_following(
    tmp_path: Path, begun: subprocess.Popen[bytes], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "multirun" / "one"

    def killed() -> None:
        begun.kill()
        begun.wait()

    assert follow(folder, monkeypatch, nothing, killed, nothing) == 1
    out = capsys.readouterr().out
    assert out.startswith("2 cells: 1 running, 1 not begun\ncell 0 (seed=1): running\ncell 1 (seed=2): not begun\n")
    why = f"stopped: process {begun.pid} on {os.uname().nodename} ended before there was a result; the same command"
    assert out.count(f"cell 0 (seed=1): {why} trains it\n") == 1 and f"\nseed=1: {why}" in out
    again = "python -m docvlm.train seed=1,2 scale=tiny jobs=1 hydra.sweep.dir=multirun/one -m"
    assert out.endswith(f"\nwhat is missing: {again}\n")


def test_a_cell_that_was_left_to_another_command_is_followed_while_its_own_may_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = folder_of(tmp_path)
    for number in (1, 3):
        shutil.rmtree(folder / str(number))
    (folder / "cells.json").unlink()
    shutil.copytree(folder / "2", tmp_path / "multirun" / "other" / "0")
    write_json(folder / "2" / "reused.json", {"run": "../../other/0", "action": "elsewhere"})
    with lives(folder):
        file = tmp_path / "multirun" / "other" / "0" / "result.json"
        done = json.dumps({**json.loads(file.read_text()), "status": "finished"})
        assert follow(folder, monkeypatch, nothing, nothing, lambda: file.write_text(done)) == 0


class Slurm:
    """A `squeue` that lists what `says` holds."""

    def __init__(self, folder: Path) -> None:
        self.says = folder / "says"
        program = folder / "bin" / "squeue"
        program.parent.mkdir()
        program.write_text(f'#!/bin/sh\necho "$@" > {folder}/asked\ncat {self.says}\n')
        program.chmod(0o755)

    def __call__(self, text: str) -> Callable[[], object]:
        """Let it list `text`."""
        return lambda: self.says.write_text(text)


def test_slurm_says_whether_a_cell_that_nobody_trains_will_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder, slurm = folder_of(tmp_path), Slurm(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    write_json(folder / "jobs.json", {str(number): f"7_{number}" for number in range(5)})
    slurm("7_2|PENDING\n7_3|FAILED\n7_4|PENDING\n8|RUNNING\n")()
    later = (slurm("7_2|COMPLETING\n7_4|PENDING\n"), slurm("7_2|NODE_FAIL\n7_4|CANCELLED\n"), slurm(""))
    with lives(folder):  # the launching command cannot begin what Slurm has given up
        assert follow(folder, monkeypatch, *later) == 1
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith(("5 cells", "cell 2", "cell 4"))]
    assert said == [
        "5 cells: 2 queued, 1 finished, 1 stopped, 1 failed",
        "cell 2 (lora.r=2): queued: job 7_2: PENDING",
        "cell 4 (lora.r=4): queued: job 7_4: PENDING",
        "cell 2 (lora.r=2): running: job 7_2: COMPLETING",
        "cell 2 (lora.r=2): stopped: its process was killed; the same command continues it",
        "cell 4 (lora.r=4): not begun: its job 7_4 has ended",
    ]
    assert f"--user={os.getuid()} " in (tmp_path / "asked").read_text()


@pytest.mark.parametrize("installed", [True, False])
def test_a_queue_that_does_not_answer_is_said(
    installed: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = folder_of(tmp_path)
    monkeypatch.setattr(squeue, "PROGRAM", "false" if installed else "no-such-program")
    write_json(folder / "jobs.json", {"4": "7_4"})
    with pytest.raises(SystemExit):
        sweep([str(folder)])
    out, err = capsys.readouterr()
    if installed:
        assert err == "warning: squeue gives no answer: jobs that had not ended are taken to go on\n"
        assert "cell 4 (lora.r=4): queued: job 7_4: no answer" in out
    else:
        assert err.startswith("warning: squeue is not on this machine") and "cell 4 (lora.r=4): not begun" in out


def test_a_folder_that_is_no_sweep_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for place, line in ((tmp_path / "none", "no such folder; give that of a sweep"), (tmp_path, "no cells of a sweep")):
        with pytest.raises(SystemExit):
            sweep([str(place)])
        assert line in capsys.readouterr().err
