"""Sweeps by their command: failed cells, kill -9, and what the same command does the second time and beside itself."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from docvlm.runs import finished
from docvlm.runs.folder import RunFolder
from docvlm.train import main
from docvlm.training.module import AnswerModule
from tests.support import runs
from tests.support.runs import Killed, kill, on_call

WORDS = [*(word for word in runs.overrides() if not word.startswith("lora.r=")), "trainer.max_epochs=1"]


def test_a_sweep_goes_on_after_a_failure_and_ends_with_its_table_and_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main([*WORDS, "lora.r=-1,2", "-m"])
    assert ended.value.code == 1
    out = capsys.readouterr().out
    assert "lora.r=-1: failed: lora.r=-1" in out
    assert [line for line in out.splitlines() if line.startswith("lora.r=2 ")]
    (first,) = (path for path in (tmp_path / "multirun").iterdir() if path.is_dir())
    assert runs.result(first / "1")["status"] == "finished"


def test_the_same_sweep_again_does_only_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A cell that was trained alone before, a cell that was killed; then the same once more, and with rerun=true."""
    command = [*WORDS, "lora.r=2,4", "-m"]
    monkeypatch.chdir(tmp_path)
    main([*WORDS, "lora.r=2"])
    (single,) = Path("outputs").iterdir()
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(AnswerModule, "training_step", on_call(4, kill, AnswerModule.training_step))
        main(command)
    killed = sweeps()[0]
    record = runs.result(killed / "1")
    (killed / "1" / "result.json").write_text(json.dumps({**record, "status": "running"}))  # a kill writes nothing
    capsys.readouterr()
    main(command)
    out, second = capsys.readouterr().out, sweeps()[1]
    assert f"reused: {single} is this very run" in out
    assert f"continue: {killed.relative_to(tmp_path) / '1'}" in out and "continuing after 0 epochs and 2 batches" in out
    assert "of 2 cells: 1 reused (lora.r=2), 1 continued (lora.r=4)" in out
    assert (second / "1" / "reused.json").exists() and not (second / "1" / "result.json").exists()

    with monkeypatch.context() as patch:
        patch.setattr(AnswerModule, "training_step", kill)
        main(command)
        assert "of 2 cells: 2 reused (lora.r=2; lora.r=4)" in capsys.readouterr().out
        assert table(sweeps()[2]) == table(second)
        with pytest.raises(Killed):
            main([*command, "rerun=true"])
    assert f"start: {sweeps()[3].relative_to(tmp_path) / '0'}" in capsys.readouterr().out


def test_seeds_take_the_run_that_is_there_and_are_one_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A single run of before is the first of two seeds; real runs of two seeds are of one setting."""
    monkeypatch.chdir(tmp_path)
    main([*WORDS, "lora.r=2"])
    (single,) = Path("outputs").iterdir()
    main([*WORDS, "lora.r=2", "seeds=2", "-m"])
    out, (sweep,) = capsys.readouterr().out, sweeps()
    assert f"reused: {single} is this very run" in out and "of 2 cells: 1 reused (seed=42), 1 trained" in out
    assert [runs.result(folder)["status"] for folder in (single, sweep / "1")] == ["finished", "finished"]
    with (sweep / "seeds.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["seeds"], row["cells"]) == ("2", "0 1") and float(row["low"]) <= float(row["score"])
    (chosen,) = finished.best(finished.finished()).values()
    assert [run.folder.root for run in chosen.runs] == [sweep.relative_to(tmp_path) / "1", single]


@pytest.mark.slow
def test_a_sweep_killed_half_way_ends_with_the_table_of_one_that_was_not(tmp_path: Path, root: Path) -> None:
    """kill -9 in the second of three cells, and the same words again."""
    whole, again = (begin(tmp_path / name, root, "lora.r=2,4,8", "-m") for name in ("whole", "again"))
    assert again.stdout is not None
    cells = 0
    for line in again.stdout:
        cells += line.startswith("start: ")
        if cells == 2 and line.startswith("epoch 1/"):
            again.kill()
            break
    again.communicate()
    out = whole.communicate()[0]
    assert (again.returncode, whole.returncode) == (-9, 0) and "of 3 cells" not in out
    (killed,) = sweeps(tmp_path / "again")
    assert [runs.result(killed / str(n))["status"] for n in range(2)] == ["finished", "running"]
    finished = (killed / "0" / "result.json").read_bytes()

    repeated = begin(tmp_path / "again", root, "lora.r=2,4,8", "-m")
    out = repeated.communicate()[0]
    assert repeated.returncode == 0, out
    assert "of 3 cells: 1 reused (lora.r=2), 1 continued (lora.r=4), 1 trained" in out
    assert (killed / "0" / "result.json").read_bytes() == finished
    (reference,) = sweeps(tmp_path / "whole")
    assert table(sweeps(tmp_path / "again")[1]) == table(reference)


@pytest.mark.slow
def test_two_sweeps_begun_at_once_share_their_cells(tmp_path: Path, root: Path) -> None:
    both = [begin(tmp_path, root, "lora.r=2,4,8", "-m") for _ in range(2)]
    outs = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], outs
    first, second = sweeps(tmp_path)
    assert table(first) == table(second) and len(table(first)) == 3
    results = list((tmp_path / "multirun").glob("*/*/result.json"))
    assert len(results) == 3, "every cell has one writer"
    assert any("coming back to it at the end" in out for out in outs)


@pytest.mark.slow
def test_cells_beside_each_other_are_those_one_after_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the bit, where both have one thread."""
    found = []
    for jobs in ("jobs=1", "jobs=2"):
        (tmp_path / jobs).mkdir()
        monkeypatch.chdir(tmp_path / jobs)
        main([*WORDS, "lora.r=2,4", jobs, "-m"])
        found.append(sweeps()[0])
    one, two = found
    assert table(one) == table(two) and [row["status"] for row in table(two)] == ["finished", "finished"]
    for cell in "01":
        weights, others = runs.weights(one / cell), runs.weights(two / cell)
        assert weights.keys() == others.keys()
        assert all(torch.equal(tensor, others[name]) for name, tensor in weights.items())


@pytest.mark.slow
def test_cells_beside_each_other_stop_where_their_command_is_killed(tmp_path: Path, root: Path) -> None:
    """kill -9 of the command: its cells stop at a step they can go on from, and the same words end with its table."""
    command = ("lora.r=2,4,8", "trainer.max_epochs=3", "-m")
    whole = begin(tmp_path / "whole", root, *command)
    killed = begin(tmp_path / "killed", root, *command, "jobs=2")
    assert killed.stdout is not None
    next(line for line in killed.stdout if line.startswith("#0 epoch 1/"))
    killed.kill()
    killed.wait()
    (sweep,) = sweeps(tmp_path / "killed")
    for cell in "01":
        RunFolder(sweep / cell).wait()
    killed.stdout.close()
    assert not (sweep / "2" / "result.json").exists(), "nobody began another"
    again = begin(tmp_path / "killed", root, *command, "jobs=2")
    out = again.communicate()[0]
    assert again.returncode == 0, out
    assert whole.wait() == 0
    assert table(sweeps(tmp_path / "killed")[1]) == table(sweeps(tmp_path / "whole")[0])


def begin(folder: Path, root: Path, *more: str) -> subprocess.Popen[str]:
    """The command in a process of its own."""
    folder.mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, "-m", "docvlm.train", *WORDS, *more],
        cwd=folder, env={**os.environ, "PYTHONPATH": str(root)}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True,
    )  # fmt: skip


def sweeps(folder: Path | None = None) -> list[Path]:
    """The sweeps in a folder, oldest first."""
    return sorted(path for path in ((folder or Path.cwd()) / "multirun").iterdir() if path.is_dir())


def table(sweep: Path) -> list[dict[str, Any]]:
    """The rows of a sweep without times, memory and places."""
    rows = json.loads((sweep / "sweep.json").read_text())
    return [{k: v for k, v in row.items() if k not in {"done", "run", "minutes", "peak_memory_mb"}} for row in rows]
