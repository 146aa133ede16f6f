"""Cells of a sweep beside each other: who runs them, what is printed, how they end. The verb here trains nothing."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from docvlm.config import Job, TrainConfig, verb
from docvlm.config.compose import load
from docvlm.errors import DocvlmError, TrainedElsewhere
from docvlm.runs.interrupt import stop_on_signal

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux only")


class Command:
    """A verb whose cells do `work`, and what every cell wrote down in its folder: it runs in another process."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.capsys = folder, capsys
        self.tables: list[Path] = []
        self.work: Callable[[TrainConfig, Job], None] = lambda config, job: None

        def main(cfg: TrainConfig, job: Job) -> float:
            found = {"pid": os.getpid(), "threads": torch.get_num_threads(), "seed": cfg.seed}
            (job.folder / f"seen{'-waited' if job.wait else ''}.json").write_text(json.dumps(found))
            print(f"seed {cfg.seed}\n", flush=True)
            self.work(cfg, job)
            return float(cfg.seed)

        def failed(job: Job, reason: str) -> None:
            (job.folder / "failed.txt").write_text(reason)

        self.main = verb("train", TrainConfig, after_sweep=self.tables.append, on_failure=failed)(main)

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        """Exit code, stdout, stderr."""
        try:
            self.main([*arguments, "scale=tiny", "-m"])
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        out, err = self.capsys.readouterr()
        return code, out, err

    def seen(self, name: str = "seen") -> dict[int, dict[str, float]]:
        """What the cells wrote down, by their number."""
        (sweep,) = self.tables
        files = {int(cell.name): cell / f"{name}.json" for cell in sweep.iterdir() if cell.is_dir()}
        return {number: json.loads(file.read_text()) for number, file in sorted(files.items()) if file.exists()}


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    monkeypatch.chdir(tmp_path)
    return Command(tmp_path, capsys)


def test_two_processes_share_the_cells_with_a_thread_each(command: Command) -> None:
    def work(config: TrainConfig, job: Job) -> None:
        (job.folder / "open").touch()
        late = time.monotonic() + 60
        while not all((job.folder.parent / name / "open").exists() for name in "01"):
            assert time.monotonic() < late, "the first two run at once"
            time.sleep(0.01)

    command.work = work
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        code, out, err = command("jobs=2", "seed=1,2,3,4,5")
    finally:
        torch.set_num_threads(threads)
    seen = command.seen()
    assert (code, err) == (0, "")
    assert [cell["seed"] for cell in seen.values()] == [1, 2, 3, 4, 5]
    assert len({cell["pid"] for cell in seen.values()} - {os.getpid()}) == 2
    assert {cell["threads"] for cell in seen.values()} == {1}
    assert seen[0]["pid"] != seen[1]["pid"]
    assert "5 cells, 2 at a time with one thread each (jobs=2)" in out
    assert all(f"\n#{number} seed {number + 1}\n" in out for number in range(5))
    assert (command.tables[0] / "4" / ".hydra" / "overrides.yaml").is_file() and len(command.tables) == 1


def test_one_job_is_this_process_with_all_its_threads(command: Command) -> None:
    code, out, _ = command("jobs=1", "seed=1,2")
    assert code == 0 and {cell["pid"] for cell in command.seen().values()} == {os.getpid()}
    assert "at a time" not in out and "\nseed 1\n" in out


def test_cells_that_fail_or_that_another_command_trains_end_as_they_do_one_after_another(command: Command) -> None:
    def work(config: TrainConfig, job: Job) -> None:
        if config.seed == 2:
            raise DocvlmError("page 7 is broken: mend it")
        if config.seed == 3 and not job.wait:
            raise TrainedElsewhere(Path("multirun/other/0"))

    command.work = work
    code, out, _ = command("jobs=2", "seed=1,2,3,4")
    assert code == 1 and list(command.seen()) == [0, 1, 2, 3]
    assert (command.tables[0] / "1" / "failed.txt").read_text() == "page 7 is broken: mend it"
    assert "#2 cell 2 (jobs=2 seed=3 scale=tiny): another process is training this very run" in out
    assert list(command.seen("seen-waited")) == [2], "which was waited for at the end"


@pytest.mark.parametrize(("killed", "left"), [({1}, {2, 3}), ({0, 1}, set())], ids=["one", "all"])
def test_a_cell_whose_process_is_killed_is_named(command: Command, killed: set[int], left: set[int]) -> None:
    def work(config: TrainConfig, job: Job) -> None:
        if job.number in killed:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.2)

    command.work = work
    code, _, err = command("jobs=2", "seed=1,2,3,4")
    assert code == 1 and set(command.seen()) == {0, 1} | left
    lost = killed if left else {0, 1, 2, 3}
    assert all(f"error: cell {number} (" in err for number in lost) and err.count("error: cell") == len(lost)
    assert "its process ended with -9; the same command continues it" in err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGUSR2])
def test_a_signal_stops_every_cell_once_and_no_other_begins(command: Command, number: signal.Signals) -> None:
    def work(config: TrainConfig, job: Job) -> None:
        with stop_on_signal() as stop:
            (job.folder / "open").touch()
            others = [job.folder.parent / name / "open" for name in "01"]
            while not all(other.exists() for other in others):
                time.sleep(0.01)
            if config.seed == 1:
                os.kill(os.getppid(), number)
            while not stop.asked:
                time.sleep(0.01)
            (job.folder / "stopped").touch()
        raise KeyboardInterrupt

    command.work = work
    code, _, err = command("jobs=2", "seed=1,2,3")
    assert code == 130 and "the same command continues" in err
    assert list(command.seen()) == [0, 1] and len(command.tables) == 1
    assert all((command.tables[0] / name / "stopped").exists() for name in "01")


def test_as_many_cells_as_cores_where_nothing_else_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("docvlm.config.compose.detect_scale", lambda: "tiny")
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(4)))
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert load("train", TrainConfig, ["scale=tiny"]).jobs == 4
    assert load("train", TrainConfig, ["scale=full"]).jobs == 1
    assert load("train", TrainConfig, ["scale=tiny", "model.checkpoint=org/large"]).jobs == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert load("train", TrainConfig, ["scale=tiny"]).jobs == 3
    monkeypatch.setattr("docvlm.config.compose.detect_scale", lambda: "full")
    assert load("train", TrainConfig, ["scale=tiny"]).jobs == 1, "a GPU is one cell's"


def test_jobs_are_refused_where_there_is_a_gpu(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("docvlm.config.beside.detect_scale", lambda: "full")
    code, _, err = command("jobs=2", "seed=1,2")
    assert code == 1 and "error: jobs=2: processes beside each other need Linux, and no GPU; give jobs=1" in err
    code, _, err = command("jobs=0", "seed=1,2")
    assert code == 1 and "error: jobs=0: " in err
