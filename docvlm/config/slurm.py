"""A sweep's jobs in Slurm's queue: hydra-submitit-launcher's launcher, which hears of every end.

submitit asks `sacct`, which a cluster without accounting does not have: it then waits for ever for a job that left no
result. So `squeue` is asked. Which job is which cell is left in the folder of the sweep (`jobs.json`), for those who
look when this command is gone.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from hydra.core.utils import JobReturn
from hydra_plugins.hydra_submitit_launcher.submitit_launcher import SlurmLauncher
from submitit.slurm.slurm import SlurmInfoWatcher, SlurmJob

from docvlm.config import squeue
from docvlm.config.job import JOBS
from docvlm.config.squeue import ENDED
from docvlm.config.submitted import WaitingLauncher
from docvlm.files import read_json, write_json

EVERY = 20  # seconds at most between two calls of squeue; fewer while the jobs are young
GONE = "no longer in the queue"
_WHY = re.compile(r"^(?:srun|slurmstepd\S*): error: (.*(?:\btasks? [\d,-]+: |memory limit$|oom.kill).*)$", re.MULTILINE)
"""Which task was killed, by srun; that memory ran out, by Slurm's own watch or the kernel's."""


class Queue(SlurmInfoWatcher):
    """The states of the jobs of this command; `first` is the number of the first job's cell in the sweep `folder`."""

    def __init__(self, folder: Path, first: int) -> None:
        super().__init__(delay_s=EVERY)
        self.jobs: list[str] = []
        self._file, self._first = folder / JOBS, first
        self._before = read_json(self._file) if self._file.exists() else {}  # an optimiser launches several times

    def register_job(self, job_id: str) -> None:
        """Note a job that has been submitted, for others too."""
        if job_id not in self.jobs:
            self.jobs.append(job_id)
            cells = {str(number): job for number, job in enumerate(self.cells, self._first)}
            write_json(self._file, self._before | cells)
        super().register_job(job_id)

    @property
    def cells(self) -> list[str]:
        """The jobs in the order of their cells: those of an array, without the array."""
        arrays = {job.partition("_")[0] for job in self.jobs if "_" in job}
        return [job for job in self.jobs if job not in arrays]

    def is_done(self, job_id: str, mode: str = "standard") -> bool:
        """Whether it has ended for good."""
        return self.get_state(job_id, mode) in {*ENDED, GONE}

    def ended_well(self, job_id: str) -> bool:
        """Whether it ended as jobs do, by what was heard last."""
        return self.get_state(job_id, "cache") in {"COMPLETED", GONE}

    def end(self, job_id: str, folder: Path) -> str:
        """Its state, and what Slurm wrote among what it printed."""
        return " ".join([self.get_state(job_id, "cache"), *_why(folder)])

    def _make_command(self) -> list[str]:
        return squeue.command("--me")

    def read_info(self, string: bytes | str) -> dict[str, dict[str, str]]:
        """The state of every job, by its id. What ended is known, also when Slurm has forgotten it."""
        text = string if isinstance(string, str) else string.decode()
        listed = squeue.listed(text)
        before = {job: info["State"] for job, info in self._info_dict.items() if info["State"] in ENDED}
        return {job: {"JobID": job, "State": listed.get(job, before.get(job, GONE))} for job in self.cells}


class QueueLauncher(WaitingLauncher, SlurmLauncher):
    """submitit's launcher for Slurm. Hydra makes it, with the launcher's keys."""

    def noted(self, folder: Path, first: int) -> Queue:
        """Slurm's queue."""
        queue = SlurmJob.watcher = Queue(folder, first)
        return queue

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """As `WaitingLauncher`. Ctrl-C ends the waiting, not the jobs, and says which there are."""
        try:
            return super().launch(job_overrides, initial_job_idx)
        except KeyboardInterrupt:
            queue = SlurmJob.watcher
            if isinstance(queue, Queue) and (left := [job for job in queue.cells if not queue.is_done(job)]):
                said = f"{len(left)} jobs go on in Slurm; to end them: scancel {' '.join(left)}"
                print(said, file=sys.stderr, flush=True)
            raise


def _why(folder: Path) -> list[str]:
    """What Slurm wrote among what a job printed: which of its processes were killed, on which node, memory."""
    logs = [file.read_text("utf-8", errors="replace") for file in sorted(folder.glob("*_log.err"))]
    found = list(dict.fromkeys(line for text in logs for line in _WHY.findall(text)))
    return [f"({'; '.join(found[-3:])})"] if found else []
