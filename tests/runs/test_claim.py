"""Which folder a command belongs to: its own, one to continue, or one that is finished."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from docvlm.config import Job
from docvlm.errors import DocvlmError, TrainedElsewhere
from docvlm.runs.claim import claim
from docvlm.runs.folder import Action, RunFolder, done_in, follow, point
from docvlm.runs.identity import Identity
from docvlm.runs.interrupt import Interrupted
from docvlm.runs.result import ResultFile, record_failure

IDENTITY = Identity("abc", "data", "checkpoint", {"data": 1})
OTHER = replace(IDENTITY, run="other")


def left(folder: Path, status: str, started: str = "2026-01-01", **fields: Any) -> Path:
    """A folder in which an earlier command left a result."""
    folder.mkdir(parents=True)
    known = {"fingerprint": IDENTITY.run, "code": IDENTITY.code, "started": started}
    (folder / "result.json").write_text(json.dumps({"status": status, **known, **fields}))
    return folder


def single(tmp_path: Path, name: str = "new") -> Job:
    folder = tmp_path / "outputs" / name
    (folder / ".hydra").mkdir(parents=True, exist_ok=True)
    return Job(folder, runs=tmp_path / "outputs", sweeps=tmp_path / "multirun")


def cell(tmp_path: Path, sweep: str = "new", number: int = 0) -> Job:
    folder = tmp_path / "multirun" / sweep / str(number)
    (folder / ".hydra").mkdir(parents=True, exist_ok=True)
    return Job(folder, (), folder.parent, number, tmp_path / "outputs", tmp_path / "multirun")


@pytest.fixture(params=["outputs/old", "multirun/old/3"])
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Where an earlier run may lie."""
    return tmp_path / request.param


@pytest.mark.parametrize("status", ["running", "interrupted", "failed"])
def test_an_unfinished_run_continues_and_the_new_folder_goes(status: str, old: Path, tmp_path: Path) -> None:
    left(old, status)
    job = single(tmp_path)
    found = claim(job, IDENTITY, rerun=False)
    point(job, found)
    assert (found.folder.root, found.action) == (old, Action.CONTINUE)
    assert not job.folder.exists()


@pytest.mark.parametrize("status", ["running", "interrupted", "failed"])
def test_a_cell_continues_an_unfinished_run(status: str, old: Path, tmp_path: Path) -> None:
    job = cell(tmp_path)
    left(old, status)
    found = claim(job, IDENTITY, rerun=False)
    point(job, found)
    assert (found.folder.root, found.action) == (old, Action.CONTINUE)
    assert (follow(job.folder).root, done_in(job.folder)) == (old, Action.CONTINUE)


def test_a_finished_single_run_trains_anew(old: Path, tmp_path: Path) -> None:
    left(old, "finished")
    job = single(tmp_path)
    found = claim(job, IDENTITY, rerun=False)
    assert (found.folder.root, found.action) == (job.folder, Action.START)


def test_a_finished_run_is_a_cell_wherever_it_was_trained(old: Path, tmp_path: Path) -> None:
    left(tmp_path / "multirun" / "between" / "1", "running", "2026-01-03")
    left(tmp_path / "outputs" / "older", "finished", "2025-12-31")
    left(old, "finished", "2026-01-02")
    job = cell(tmp_path)
    found = claim(job, IDENTITY, rerun=False)
    point(job, found)
    assert (found.folder.root, found.action, found.lock) == (old, Action.REUSE, None)
    assert (follow(job.folder).root, done_in(job.folder)) == (old, Action.REUSE)


def test_rerun_and_other_settings_start_anew(old: Path, tmp_path: Path) -> None:
    left(old, "finished")
    found = claim(cell(tmp_path), IDENTITY, rerun=True)
    assert (found.folder.root, found.action) == (cell(tmp_path).folder, Action.START)
    assert claim(cell(tmp_path, "newer"), OTHER, rerun=False).action is Action.START


@pytest.mark.parametrize(
    ("version", "which"), [("0123456789abcdef", "which part is not recorded"), ("data=2 gone=1", "data, gone")]
)
def test_other_code_starts_anew_and_says_which_part(
    version: str, which: str, old: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    left(old, "finished", code=version)
    assert claim(cell(tmp_path), IDENTITY, rerun=False).action is Action.START
    line = f"{old} is this run, made by another version of the code ({which}); training it anew\n"
    assert capsys.readouterr().out == line


def test_a_run_that_is_alive_is_left_alone(old: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lock, job = RunFolder(left(old, "running")).lock(), single(tmp_path)
    found = claim(job, IDENTITY, rerun=False)
    assert found.folder.root == job.folder
    assert "another process is training this very run" in capsys.readouterr().out
    found.release()
    found.folder.result.unlink()
    lock.release()
    assert claim(single(tmp_path, "newer"), IDENTITY, rerun=False).folder.root == old


def until(seconds: float, folder: Path, **fields: Any) -> threading.Timer:
    """Hold a folder as another process would, and leave it with `fields` in its result."""
    lock = FileLock(folder / ".lock", thread_local=False)
    lock.acquire()

    def leave() -> None:
        result = json.loads((folder / "result.json").read_text())
        (folder / "result.json").write_text(json.dumps({**result, **fields}))
        lock.release()

    timer = threading.Timer(seconds, leave)
    timer.start()
    return timer


def test_a_cell_that_is_alive_is_put_off_or_waited_for(old: Path, tmp_path: Path) -> None:
    """Also where an older attempt at it lies about unfinished: that one must not be continued meanwhile."""
    left(tmp_path / "outputs" / "older", "interrupted", "2025-12-31")
    job, timer = cell(tmp_path), until(0.5, left(old, "running"), status="finished")
    with pytest.raises(TrainedElsewhere) as elsewhere:
        claim(job, IDENTITY, rerun=False)
    assert elsewhere.value.folder == old and not (job.folder / "result.json").exists()
    found = claim(replace(job, wait=True), IDENTITY, rerun=False)
    timer.join()
    assert (found.folder.root, found.action) == (old, Action.REUSE)


def test_a_cell_whose_process_died_is_continued_by_the_one_that_waits(old: Path, tmp_path: Path) -> None:
    timer = until(0.2, left(old, "running"))
    found = claim(replace(cell(tmp_path), wait=True), IDENTITY, rerun=False)
    timer.join()
    assert (found.folder.root, found.action) == (old, Action.CONTINUE)


CLAIM = """
import sys, time
from pathlib import Path
from docvlm.config import Job
from docvlm.errors import TrainedElsewhere
from docvlm.runs.identity import Identity
from docvlm.runs.claim import claim

sweep = Path(sys.argv[1])
(sweep / "0").mkdir(parents=True)
print("ready", flush=True)
sys.stdin.readline()
try:
    identity = Identity("abc", "data", "checkpoint", {"data": 1})
    found = claim(Job(sweep / "0", (), sweep, 0), identity, rerun=False)  # with its lock
    print(found.action.value)
except TrainedElsewhere as elsewhere:
    print("elsewhere")
sys.stdout.flush()
sys.stdin.readline()
"""


def test_of_processes_begun_at_once_one_trains(tmp_path: Path, root: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(root)}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", CLAIM, str(tmp_path / name)],
            env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for name in "abc"
    ]  # fmt: skip

    def say(process: subprocess.Popen[str]) -> None:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()

    def hear(process: subprocess.Popen[str]) -> str:
        assert process.stdout is not None
        return process.stdout.readline().strip()

    assert [hear(process) for process in processes] == ["ready"] * 3
    for process in processes:
        say(process)
    assert sorted(hear(process) for process in processes) == ["elsewhere", "elsewhere", "start"]
    for process in processes:
        process.communicate("\n")


def test_a_given_folder_is_continued_but_never_overwritten(tmp_path: Path) -> None:
    given = left(tmp_path / "mine", "interrupted")
    assert claim(Job(given), IDENTITY, rerun=False).action is Action.CONTINUE
    with pytest.raises(DocvlmError, match=r"other settings; give another hydra\.run\.dir, or rerun=true"):
        claim(Job(given), OTHER, rerun=False)
    with pytest.raises(DocvlmError, match=r"another version of the code \(data\); give another hydra\.run\.dir"):
        claim(Job(given), replace(IDENTITY, versions={"data": 2}), rerun=False)
    with pytest.raises(DocvlmError, match="this run is finished"):
        claim(Job(left(tmp_path / "done", "finished")), IDENTITY, rerun=False)
    assert claim(Job(tmp_path / "done"), IDENTITY, rerun=True).action is Action.START
    assert json.loads((tmp_path / "done" / "result.json").read_text())["status"] == "running"


def test_a_given_folder_on_other_embedded_weights_says_which(tmp_path: Path) -> None:
    given = left(tmp_path / "mine", "interrupted")
    base = {"family": "qwen2vl", "checkpoint": {"name": "embedded", "fingerprint": "22a164486430795e"}}
    (given / "manifest.json").write_text(json.dumps(base))
    with pytest.raises(DocvlmError, match=r"began from version 1 of the embedded qwen2vl weights, which .*; give ano"):
        claim(Job(given), OTHER, rerun=False)
    with pytest.raises(DocvlmError, match="other settings"):
        claim(Job(given), replace(OTHER, checkpoint="22a164486430795e"), rerun=False)


def test_a_sweep_in_a_given_folder_takes_up_its_own_cells(tmp_path: Path) -> None:
    """`hydra.sweep.dir=mine` twice: cells that finished, failed before their run was known, were interrupted."""
    sweep = tmp_path / "mine"
    left(sweep / "0", "finished")
    left(sweep / "1", "failed", fingerprint=None)
    left(sweep / "2", "interrupted")
    jobs = [Job(sweep / str(number), (), sweep, number) for number in range(3)]
    done = [claim(jobs[0], IDENTITY, rerun=False), claim(jobs[2], IDENTITY, rerun=False)]
    assert [found.action for found in done] == [Action.REUSE, Action.CONTINUE]
    for job, found in zip((jobs[0], jobs[2]), done, strict=True):
        point(job, found)
        assert (follow(job.folder).root, done_in(job.folder)) == (job.folder, found.action)
        found.release()
    for number in (0, 2):
        (sweep / str(number) / "result.json").unlink()
    assert claim(jobs[1], IDENTITY, rerun=False).action is Action.START
    claim(jobs[0], OTHER, rerun=True)
    assert done_in(jobs[0].folder) is Action.START


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (DocvlmError("data.source=x: gone"), "failed", "data.source=x: gone"),
        (ValueError("odd\n value"), "failed", "ValueError: odd value"),
        (Interrupted(), "interrupted", "stopped by the user; the same command continues"),
        (Interrupted("stopped by SIGTERM"), "interrupted", "stopped by SIGTERM; the same command continues"),
        (KeyboardInterrupt(), "interrupted", "stopped by the user; the same command continues"),
        (SystemExit(1), "interrupted", "stopped by the user; the same command continues"),
    ],
)
def test_every_end_is_recorded_and_goes_on(error: BaseException, status: str, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    with pytest.raises(type(error)), ResultFile(path, {"fingerprint": IDENTITY.run}):
        assert json.loads(path.read_text())["status"] == "running"
        raise error
    found = json.loads(path.read_text())
    assert (found["status"], found["reason"], found["fingerprint"]) == (status, reason, IDENTITY.run)


def test_a_job_that_failed_before_it_had_a_result_gets_one(tmp_path: Path) -> None:
    record_failure(Job(tmp_path), "freeze=120: …")
    assert json.loads((tmp_path / "result.json").read_text())["reason"] == "freeze=120: …"
    record_failure(Job(tmp_path), "later")
    assert json.loads((tmp_path / "result.json").read_text())["reason"] == "freeze=120: …"
