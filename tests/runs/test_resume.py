"""Invariant 5: a run that was stopped anywhere and started again ends with the weights of one that was not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from docvlm.runs import interrupt
from docvlm.training import final_test
from docvlm.training.module import AnswerModule
from tests.support import runs
from tests.support.runs import Killed, kill, on_call

TIMES = {"train_seconds", "eval_seconds", "questions_per_second", "peak_memory_mb"}


def assert_same_run(folder: Path) -> None:
    whole = runs.finished()
    last = [torch.load(run / "checkpoints" / "last.ckpt", weights_only=True) for run in (whole, folder)]
    assert last[0]["state_dict"].keys() == last[1]["state_dict"].keys()
    assert all(torch.equal(weight, last[1]["state_dict"][name]) for name, weight in last[0]["state_dict"].items())
    best = runs.weights(folder)
    assert all(torch.equal(weight, best[name]) for name, weight in runs.weights(whole).items())
    kept = [[{k: v for k, v in row.items() if k not in TIMES} for row in runs.rows(run)] for run in (whole, folder)]
    assert kept[0] == kept[1]
    assert runs.result(folder)["status"] == "finished"
    assert runs.result(folder)["headline"] == runs.result(whole)["headline"]


# An epoch has 6 batches, 3 optimizer steps and 1 batch of val; epoch 0 is the first call of validation_step.
POINTS = [
    pytest.param(AnswerModule, "training_step", 4, id="half an accumulated step"),
    pytest.param(AnswerModule, "validation_step", 2, id="evaluation of epoch 1"),
    pytest.param(AnswerModule, "training_step", 7, id="first batch of epoch 2"),
    pytest.param(AnswerModule, "training_step", 1, id="before any checkpoint", marks=pytest.mark.slow),
    pytest.param(AnswerModule, "training_step", 11, id="end of epoch 2", marks=pytest.mark.slow),
    pytest.param(final_test, "answer", 1, id="test split", marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("owner", "name", "call"), POINTS)
def test_a_killed_run_ends_like_one_that_was_not(
    owner: Any, name: str, call: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, again = tmp_path / "outputs" / "first", tmp_path / "outputs" / "second"
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, on_call(call, kill, getattr(owner, name)))
        with pytest.raises(Killed):
            runs.train(first)
    record = json.loads((first / "result.json").read_text())
    (first / "result.json").write_text(json.dumps({**record, "status": "running"}))  # a real kill writes nothing
    runs.train(again)
    assert not again.exists()
    assert_same_run(first)


def test_ctrl_c_saves_the_step_in_progress_and_the_same_command_continues(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first, again = tmp_path / "outputs" / "first", tmp_path / "outputs" / "second"
    more = "trainer.checkpoint_every_n_steps=100"  # only the interruption itself saves
    with monkeypatch.context() as patch:
        ctrl_c = lambda: os.kill(os.getpid(), signal.SIGINT)  # noqa: E731
        patch.setattr(AnswerModule, "training_step", on_call(3, ctrl_c, AnswerModule.training_step))
        with pytest.raises(KeyboardInterrupt):
            runs.train(first, more)
    assert runs.result(first)["status"] == "interrupted"
    assert "same command continues" in runs.result(first)["reason"]
    saved = torch.load(first / "checkpoints" / "last.ckpt", weights_only=True)["docvlm"]
    assert (saved["epoch"], saved["batch"], saved["done"]) == (0, 4, False)
    runs.train(again, more)
    assert "continuing after 0 epochs and 4 batches" in capsys.readouterr().out
    assert_same_run(first)


@pytest.mark.parametrize(
    ("sent", "owner", "name", "call", "step"),
    [
        # Slurm sends SIGTERM twice within milliseconds; a micro-batch is half a step
        ((signal.SIGTERM, signal.SIGTERM), AnswerModule, "training_step", 3, (0, 4)),
        pytest.param((signal.SIGUSR2,), AnswerModule, "training_step", 3, (0, 4), marks=pytest.mark.slow),
        ((signal.SIGTERM,), AnswerModule, "validation_step", 2, (0, 6)),
        pytest.param((signal.SIGUSR1,), AnswerModule, "validation_step", 1, None, marks=pytest.mark.slow),
        pytest.param((signal.SIGTERM,), final_test, "answer", 1, (2, 0), marks=pytest.mark.slow),
    ],
    ids=["preempted", "time limit", "evaluation", "epoch 0", "test split"],
)
def test_what_a_scheduler_sends_saves_and_is_handed_on_and_the_same_command_continues(
    sent: tuple[signal.Signals, ...],
    owner: Any,
    name: str,
    call: int,
    step: tuple[int, int] | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, again = tmp_path / "outputs" / "first", tmp_path / "outputs" / "second"
    handed: list[tuple[int, str]] = []
    launcher = lambda number, frame: handed.append((number, runs.result(first)["status"]))  # noqa: E731
    earlier = signal.signal(sent[0], launcher)  # as a launcher does, to queue the job again
    more = "trainer.checkpoint_every_n_steps=100"
    try:
        with monkeypatch.context() as patch:
            send = lambda: [os.kill(os.getpid(), number) for number in sent]  # noqa: E731
            patch.setattr(owner, name, on_call(call, send, getattr(owner, name)))
            with pytest.raises(KeyboardInterrupt):
                runs.train(first, more)
        assert signal.getsignal(sent[0]) is launcher
    finally:
        signal.signal(sent[0], earlier)
    assert handed == [(sent[0], "interrupted")]
    assert runs.result(first)["reason"] == f"stopped by {sent[0].name}; the same command continues"
    last = first / "checkpoints" / "last.ckpt"
    assert last.exists() == (step is not None)
    if step is not None:
        saved = torch.load(last, weights_only=True)["docvlm"]
        assert (saved["epoch"], saved["batch"]) == step
    runs.train(again, more)
    assert not again.exists()
    assert_same_run(first)


def test_a_launcher_that_ends_its_job_ends_it_in_its_own_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As submitit does once the job is in the queue again: a `KeyboardInterrupt` would be a traceback in its log."""
    earlier = signal.signal(signal.SIGUSR2, lambda number, frame: sys.exit(7))
    try:
        send = lambda: os.kill(os.getpid(), signal.SIGUSR2)  # noqa: E731
        monkeypatch.setattr(AnswerModule, "training_step", on_call(3, send, AnswerModule.training_step))
        with pytest.raises(SystemExit) as end:
            runs.train(tmp_path / "outputs" / "first")
    finally:
        signal.signal(signal.SIGUSR2, earlier)
    assert end.value.code == 7
    assert runs.result(tmp_path / "outputs" / "first")["status"] == "interrupted"


def test_an_evaluation_that_was_stopped_in_its_middle_is_of_all_questions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lightning's counters would go on from the batch in work, with a loader that begins at the first."""
    more = ("data.eval_batch_size=1", "trainer.max_epochs=1")
    with monkeypatch.context() as patch:
        began: list[int] = []

        def third_of_epoch_1(module: AnswerModule, batch: Any, batch_idx: int) -> None:
            if module.at_epoch == 1 and batch_idx == 2:
                os.kill(os.getpid(), signal.SIGTERM)
                began.append(batch_idx)
            step(module, batch, batch_idx)

        step = AnswerModule.validation_step
        patch.setattr(AnswerModule, "validation_step", third_of_epoch_1)
        with pytest.raises(KeyboardInterrupt):
            runs.train(tmp_path / "outputs" / "one", *more)
        assert began == [2]
    runs.train(tmp_path / "outputs" / "again", *more)
    assert [row["val_questions"] for row in runs.rows(tmp_path / "outputs" / "one")] == ["4", "4"]


def test_under_slurm_a_saved_run_stays_until_it_is_ended(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    slept: list[float] = []
    monkeypatch.setattr(interrupt.time, "sleep", slept.append)
    with interrupt.stop_on_signal() as stop:
        os.kill(os.getpid(), signal.SIGUSR1)
        assert stop.asked
    assert not slept, "its launcher queues it again"
    with interrupt.stop_on_signal():
        os.kill(os.getpid(), signal.SIGTERM)
    assert slept == [interrupt.GRACE]
    assert "saved; waiting for Slurm to end this job" in capsys.readouterr().err


def test_a_second_ctrl_c_stops_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    twice = lambda: [os.kill(os.getpid(), signal.SIGINT) for _ in range(2)]  # noqa: E731
    monkeypatch.setattr(AnswerModule, "training_step", on_call(3, twice, AnswerModule.training_step))
    with pytest.raises(KeyboardInterrupt):
        runs.train(tmp_path, "trainer.checkpoint_every_n_steps=100")
    assert not (tmp_path / "checkpoints" / "last.ckpt").exists()
    assert runs.result(tmp_path)["status"] == "interrupted"


def test_only_what_learns_is_in_the_checkpoint() -> None:
    saved = torch.load(runs.finished() / "checkpoints" / "last.ckpt", weights_only=True)
    assert saved["state_dict"]
    assert all("lora_" in name for name in saved["state_dict"])
    assert saved["docvlm"] == {**saved["docvlm"], "epoch": 2, "batch": 0, "done": True}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "status", "code"), [(signal.SIGKILL, "running", -9), (signal.SIGINT, "interrupted", 130)]
)
def test_the_command_itself_killed_and_repeated(
    number: int, status: str, code: int, tmp_path: Path, root: Path
) -> None:
    command = [sys.executable, "-m", "docvlm.train", *runs.overrides()]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("epoch 1/2"):
            process.send_signal(number)
            break
    process.stdout.read()
    assert process.wait(120) == code
    (folder,) = (tmp_path / "outputs").iterdir()
    assert runs.result(folder)["status"] == status
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, timeout=600)
    assert list((tmp_path / "outputs").iterdir()) == [folder]
    assert_same_run(folder)
