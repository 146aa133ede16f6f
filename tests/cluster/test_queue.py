"""Cells as jobs of a real Slurm, with work that takes no time: how each end reaches the command."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from submitit.slurm.slurm import SlurmJob

from docvlm.config import Job, TrainConfig, slurm
from docvlm.sweep import main as sweep
from tests.support.launched import Ended, command
from tests.support.slurm import CGROUPS, CannotStart, Cluster, until

LIMIT = 300  # seconds
WORDS = (
    "scale=tiny", "hydra/launcher=slurm", "hydra.launcher.gpus_per_node=null", "hydra.launcher.cpus_per_task=1",
    "hydra.launcher.mem_gb=1", "hydra.launcher.timeout_min=5", "-m",
)  # fmt: skip


def work(cfg: TrainConfig, job: Job) -> float:
    """A cell by its seed: 3 is killed at once, 2 ends after 10 s, 4 takes twice the memory that it asked for."""
    (job.folder / "began").write_text(os.environ["SLURMD_NODENAME"])
    if cfg.seed == 2:
        time.sleep(10)
        (job.folder / "ended").touch()
    if cfg.seed == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    if cfg.seed == 4:
        return float(len(b"1" * (2 << 30)))
    return float(cfg.seed)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root: Path) -> Iterator[None]:
    def late(number: int, frame: object) -> None:
        raise TimeoutError(f"still waiting after {LIMIT} s")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(root))
    earlier = signal.signal(signal.SIGALRM, late)
    signal.alarm(LIMIT)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, earlier)


def test_a_job_that_is_killed_is_a_line_once_the_other_cells_have_ended(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, cluster: Cluster
) -> None:
    monkeypatch.setattr(SlurmJob, "_results_timeout_s", 1)  # what it gives a slow file system outlasts the other cell,
    monkeypatch.setattr(slurm, "EVERY", 1)  # as may the time between two looks
    ended = Ended()
    assert command(work, ended, "seed=3,2", *WORDS) == 1
    assert "began" in ended.found["0"] and {"began", "ended"} <= ended.found["1"]
    said = capfd.readouterr().err
    (line,) = [line for line in said.splitlines() if line.startswith("error: ")]
    assert re.match(r"error: cell 0 \(seed=3 .*\): its job \d+_0 ended: FAILED \(n[12]: task 0: Killed\); what", line)
    assert line.endswith("the same command continues it")
    assert "sacct" not in said and "Traceback" not in said


@pytest.mark.slow
def test_a_job_that_the_kernel_ends_for_its_memory_is_a_line_that_says_so(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under cgroups, as most clusters are; without, Slurm looks at memory itself. 22.05 calls both FAILED."""
    monkeypatch.setattr(SlurmJob, "_results_timeout_s", 1)
    monkeypatch.setattr(slurm, "EVERY", 1)
    with ExitStack() as stack:
        try:
            constrained = stack.enter_context(Cluster(cgroups=True))
        except CannotStart as reason:
            pytest.skip(f"no Slurm with cgroups: {reason}")
        for name in ("SLURM_CONF", "PATH"):
            monkeypatch.setenv(name, constrained.environment[name])
        ended = Ended()
        assert command(work, ended, "seed=4,5", *WORDS) == 1
    assert "began" in ended.found["0"] and "began" in ended.found["1"]
    said = capfd.readouterr().err
    (line,) = [line for line in said.splitlines() if line.startswith("error: ")]
    how = r"(FAILED|OUT_OF_MEMORY) \(Detected 1 oom-kill event.*: task 0: Out Of Memory\)"
    assert re.match(rf"error: cell 0 \(seed=4 .*\): its job \d+_0 ended: {how}; what", line)
    assert line.endswith("the same command continues it") and "Traceback" not in said
    assert not list(CGROUPS.glob("*/slurm*")), "nothing of the cluster is left"


@pytest.mark.slow
def test_jobs_outlive_ctrl_c_and_are_named(capfd: pytest.CaptureFixture[str], cluster: Cluster) -> None:
    def interrupt() -> None:
        while not list(Path("multirun").glob("*/0/began")):
            time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    assert command(work, Ended(), "seed=2,2", *WORDS) == 130
    said = capfd.readouterr().err
    named = re.search(r"^2 jobs go on in Slurm; to end them: (scancel (\d+)_0 \2_1)$", said, re.MULTILINE)
    assert named is not None, said
    cluster.ask(*named[1].split())


@pytest.mark.slow
def test_cells_are_followed_to_their_ends_when_the_launching_command_is_gone(
    capsys: pytest.CaptureFixture[str], cluster: Cluster
) -> None:
    code = "from tests.cluster.test_queue import *; command(work, Ended(), 'seed=2,2', *WORDS)"
    launching = subprocess.Popen([sys.executable, "-c", code])
    try:
        until(lambda: list(Path("multirun").glob("*/0/began")), LIMIT, "the first cell")
    finally:
        launching.kill()
        launching.wait()
    (folder,) = (path for path in Path("multirun").iterdir() if path.is_dir())
    with pytest.raises(SystemExit) as end:
        sweep([str(folder), "--follow", "--every", "2"])
    assert end.value.code == 1 and all((folder / cell / "ended").exists() for cell in "01")
    out = capsys.readouterr().out
    for cell in "01":
        assert f"\ncell {cell} ({cell}): running" in out
        assert re.search(rf"\ncell {cell} \({cell}\): stopped: process \d+ on \S+, job \d+_{cell} ended before", out)
