"""What `squeue` says of a sweep's jobs, and what follows from it. Slurm itself: `tests/cluster`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from docvlm.config.slurm import GONE, Queue


@pytest.fixture
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Queue:
    """A sweep of three cells in Slurm's array 7, and a `squeue` that prints `squeue.txt`."""
    program = tmp_path / "squeue"
    program.write_text(f'#!/bin/sh\ncat "{tmp_path}/squeue.txt"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    (tmp_path / "jobs.json").write_text('{"0": "6"}')
    made = Queue(tmp_path, 1)
    for job in ("7", "7_0", "7_1", "7_2"):
        made.register_job(job)
    return made


def test_a_job_has_ended_when_slurm_says_so_or_has_forgotten_it(queue: Queue, tmp_path: Path) -> None:
    assert queue.cells == ["7_0", "7_1", "7_2"]
    assert json.loads((tmp_path / "jobs.json").read_text()) == {"0": "6", "1": "7_0", "2": "7_1", "3": "7_2"}
    said = tmp_path / "squeue.txt"
    queue.update()
    assert not queue.is_done("7_0", "cache"), "squeue fails: nothing is known"
    said.write_text("7_0|OUT_OF_MEMORY\n7_1|RUNNING\n7_2|REQUEUE_HOLD\n8_0|COMPLETED\n")
    queue.update()
    assert [queue.is_done(job, "cache") for job in queue.cells] == [True, False, False]
    said.write_text("7_2|COMPLETING\n")
    queue.update()
    assert [queue.get_state(job, "cache") for job in queue.cells] == ["OUT_OF_MEMORY", GONE, "COMPLETING"]
    assert [queue.is_done(job, "cache") for job in queue.cells] == [True, True, False]
    assert [queue.ended_well(job) for job in queue.cells] == [False, True, False]
    said.write_text("")
    queue.update()
    assert all(queue.is_done(job, "cache") for job in queue.cells)
