"""`python -m docvlm.sweep`: what the cells of a sweep are at, from their folders and locks alone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from docvlm.files import write_json
from docvlm.runs.folder import RunFolder
from docvlm.sweep import main as sweep
from tests.support import runs


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


def test_it_follows_until_nothing_is_trained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = folder_of(tmp_path)
    (folder / "cells.json").unlink()
    lock = RunFolder(folder / "1").lock()

    def ends(seconds: float) -> None:
        assert seconds == 3.0
        lock.release()

    monkeypatch.setattr("docvlm.sweep.time.sleep", ends)
    with pytest.raises(SystemExit):
        sweep([str(folder), "--follow", "--every", "3"])
    assert (
        "\ncell 1 (lora.r=1): stopped: its process was killed; the same command continues it\n"
        in capsys.readouterr().out
    )


def test_a_folder_that_is_no_sweep_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for place, line in ((tmp_path / "none", "no such folder; give that of a sweep"), (tmp_path, "no cells of a sweep")):
        with pytest.raises(SystemExit):
            sweep([str(place)])
        assert line in capsys.readouterr().err
