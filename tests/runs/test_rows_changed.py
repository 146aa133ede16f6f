"""A row of test or val that is mended or left out costs the final exam, and no training."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from docvlm.errors import DocvlmError
from docvlm.evaluate import main as evaluate
from docvlm.training import final_test
from docvlm.training.module import AnswerModule
from tests.support import own, runs
from tests.support.own import change
from tests.support.runs import kill, on_call


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working directory with pages of one's own."""
    monkeypatch.chdir(tmp_path)
    own.pages()


def command(*more: str) -> None:
    own.train("audit=off", "features=off", *more)


def refuse(*_: Any, **__: Any) -> None:
    raise DocvlmError("page test1.png: broken; replace the file or remove its questions")


def failed_in_its_exam(monkeypatch: pytest.MonkeyPatch, *more: str) -> None:
    """The run of a command whose second answer on test could not be given."""
    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(final_test, "answer", after_one_answer(final_test.answer))
        command(*more)


def after_one_answer(answer: Callable[..., Any]) -> Callable[..., Any]:
    def broken(model: Any, data: Any, examples: Any, path: Path, progress: Any) -> Any:
        return answer(model, data, examples, path, on_call(2, refuse, progress))

    return broken


def only() -> Path:
    (folder,) = Path("outputs").iterdir()
    return folder


def untrained(patch: pytest.MonkeyPatch) -> None:
    """From here on a step of training ends the test."""
    patch.setattr(AnswerModule, "training_step", kill)
    patch.setattr(AnswerModule, "validation_step", kill)


@pytest.mark.slow
def test_a_failed_exam_names_both_ways_on_and_a_mended_row_costs_an_exam(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failed_in_its_exam(monkeypatch)
    folder, error = only(), capsys.readouterr().err
    assert error.startswith("error: page test1.png: broken") and error.count("\n") == 1
    assert f"training has ended and is kept: mend it and give the same command again, or {ways(folder)}" in error
    assert runs.result(folder)["status"] == "failed"
    answered = (folder / "predictions.jsonl").read_text().splitlines()
    assert len(answered) == 2
    first = json.loads(answered[0])["question_id"]

    evaluate([f"run={folder}", "benchmarks=[docvqa]", "limit=2", "baseline=false"])
    assert "ours on docvqa-generated test" in capsys.readouterr().out
    before = runs.weights(folder)

    changed = json.loads(answered[1])["question_id"]
    change(changed, question="Which page is this now?")
    untrained(monkeypatch)
    command()
    out = capsys.readouterr().out
    assert f"continue: {folder}" in out and only() == folder
    assert "rows of test are others than when" in out and "its training stands" in out
    assert "1 answers to questions that are as they were are kept, 1 to others are not" in out
    result = runs.result(folder)
    assert result["status"] == "finished" and result["examples"] == {"scored": 3, "expected": 3}
    assert not result["selection"]["val_changed"]
    assert (folder / "predictions.jsonl").read_text().splitlines()[0] == answered[0], first
    assert all((before[name] == weight).all() for name, weight in runs.weights(folder).items())
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["fingerprint"] == result["fingerprint"] and manifest["preflight"]


def ways(folder: Path) -> str:
    return f"python -m docvlm.evaluate run={folder}"


@pytest.mark.slow
def test_a_row_of_val_that_changes_is_recorded_and_one_of_train_trains_anew(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failed_in_its_exam(monkeypatch)
    folder = only()
    change("val1")
    change("test2")
    with monkeypatch.context() as patch:
        untrained(patch)
        with patch.context() as again, pytest.raises(SystemExit):  # it is found by its new rows, then by newer ones
            again.setattr(final_test, "answer", refuse)
            command()
        change("test0", answers=["zero"])
        command()
    out = capsys.readouterr().out
    assert "rows of val and test are others" in out
    assert "its best epoch was chosen on val before rows of it were changed" in out
    result = runs.result(folder)
    assert result["selection"]["val_changed"] and result["selection"]["questions"] == 2
    assert result["examples"]["expected"] == 2 and only() == folder
    change("train1", answers=["another"])
    command()
    assert len(list(Path("outputs").iterdir())) == 2


def test_a_training_that_was_stopped_goes_on_beside_other_rows_of_test_only(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(AnswerModule, "training_step", on_call(3, refuse, AnswerModule.training_step))
        command("trainer.accumulate_grad_batches=1", "data.batch_size=1")
    folder = only()
    change("test1")
    command("trainer.accumulate_grad_batches=1", "data.batch_size=1", "trainer.max_epochs=1")
    out = capsys.readouterr().out
    assert f"continue: {folder}" in out and "continuing after 0 epochs and 2 batches" in out
    assert runs.result(only())["status"] == "finished"


def test_a_finished_cell_lends_its_training_to_one_with_other_rows_of_test(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command("-m")
    (first,) = (path for path in Path("multirun").iterdir() if path.is_dir())
    earlier = {path: path.read_bytes() for path in (first / "0").rglob("*") if path.is_file()}
    change("test1", question="Which?")
    untrained(monkeypatch)
    command("-m")
    second = max(path for path in Path("multirun").iterdir() if path.is_dir())
    out = capsys.readouterr().out
    assert f"examine: {second / '0'}" in out and f"rows of test are others than when {first / '0'} was begun" in out
    assert "2 answers to questions that are as they were are kept, 1 to others are not" in out
    assert "of 1 cells: 1 examined anew" in out
    assert {path: path.read_bytes() for path in earlier} == earlier
    result = runs.result(second / "0")
    assert result["status"] == "finished" and result["fingerprint"] != runs.result(first / "0")["fingerprint"]
    command("-m")
    assert f"reused: {second / '0'} is this very run" in capsys.readouterr().out
