"""Which folder a command belongs to: its own, one to continue, or one that is finished."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from docvlm.config import Job
from docvlm.errors import DocvlmError
from docvlm.training.folder import Action, RunFolder, claim, follow, point
from docvlm.training.interrupt import Interrupted
from docvlm.training.result import ResultFile, record_failure

FINGERPRINT = "abc"


def left(folder: Path, status: str, fingerprint: str | None = FINGERPRINT) -> Path:
    """A folder in which an earlier command left a result."""
    folder.mkdir(parents=True)
    (folder / "result.json").write_text(json.dumps({"status": status, "fingerprint": fingerprint}))
    return folder


def single(tmp_path: Path, name: str = "new") -> Job:
    (tmp_path / name / ".hydra").mkdir(parents=True, exist_ok=True)
    return Job(tmp_path / name)


def cell(tmp_path: Path, sweep: str = "new", number: int = 0) -> Job:
    folder = tmp_path / sweep / str(number)
    (folder / ".hydra").mkdir(parents=True, exist_ok=True)
    return Job(folder, (), tmp_path / sweep, number)


@pytest.mark.parametrize("status", ["running", "interrupted", "failed"])
def test_an_unfinished_run_continues_and_the_new_folder_goes(status: str, tmp_path: Path) -> None:
    old, job = left(tmp_path / "old", status), single(tmp_path)
    found = claim(job, FINGERPRINT, rerun=False)
    point(job, found.folder)
    assert (found.folder.root, found.action) == (old, Action.CONTINUE)
    assert not job.folder.exists()


def test_a_finished_single_run_trains_anew(tmp_path: Path) -> None:
    left(tmp_path / "old", "finished")
    job = single(tmp_path)
    found = claim(job, FINGERPRINT, rerun=False)
    assert (found.folder.root, found.action) == (job.folder, Action.START)


def test_a_finished_cell_is_reused_whatever_sweep_it_is_of(tmp_path: Path) -> None:
    left(tmp_path / "older" / "1", "running")
    old, job = left(tmp_path / "old" / "3", "finished"), cell(tmp_path)
    found = claim(job, FINGERPRINT, rerun=False)
    point(job, found.folder)
    assert (found.folder.root, found.action, found.lock) == (old, Action.REUSE, None)
    assert follow(job.folder).root == old.resolve()


def test_rerun_and_other_settings_start_anew(tmp_path: Path) -> None:
    left(tmp_path / "old" / "0", "finished")
    assert claim(cell(tmp_path), FINGERPRINT, rerun=True).action is Action.START
    assert claim(cell(tmp_path, "newer"), "other", rerun=False).action is Action.START


def test_a_run_that_is_alive_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old, job = left(tmp_path / "old", "running"), single(tmp_path)
    lock = RunFolder(old).lock()
    assert claim(job, FINGERPRINT, rerun=False).folder.root == job.folder
    assert "another process is training this very run" in capsys.readouterr().out
    lock.release()
    assert claim(single(tmp_path, "newer"), FINGERPRINT, rerun=False).folder.root == old


def test_a_given_folder_is_continued_but_never_overwritten(tmp_path: Path) -> None:
    given = left(tmp_path / "mine", "interrupted")
    assert claim(Job(given), FINGERPRINT, rerun=False).action is Action.CONTINUE
    with pytest.raises(DocvlmError, match=r"other settings; give another hydra\.run\.dir, or rerun=true"):
        claim(Job(given), "other", rerun=False)
    with pytest.raises(DocvlmError, match="this run is finished"):
        claim(Job(left(tmp_path / "done", "finished")), FINGERPRINT, rerun=False)
    assert claim(Job(tmp_path / "done"), FINGERPRINT, rerun=True).action is Action.START
    assert not (tmp_path / "done" / "result.json").exists()


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (DocvlmError("data.source=x: gone"), "failed", "data.source=x: gone"),
        (ValueError("odd\n value"), "failed", "ValueError: odd value"),
        (Interrupted(), "interrupted", "stopped by the user; the same command continues"),
        (KeyboardInterrupt(), "interrupted", "stopped by the user; the same command continues"),
    ],
)
def test_every_end_is_recorded_and_goes_on(error: BaseException, status: str, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    with pytest.raises(type(error)), ResultFile(path, {"fingerprint": FINGERPRINT}):
        assert json.loads(path.read_text())["status"] == "running"
        raise error
    found = json.loads(path.read_text())
    assert (found["status"], found["reason"], found["fingerprint"]) == (status, reason, FINGERPRINT)


def test_a_job_that_failed_before_it_had_a_result_gets_one(tmp_path: Path) -> None:
    record_failure(Job(tmp_path), "freeze=120: …")
    assert json.loads((tmp_path / "result.json").read_text())["reason"] == "freeze=120: …"
    record_failure(Job(tmp_path), "later")
    assert json.loads((tmp_path / "result.json").read_text())["reason"] == "freeze=120: …"
