"""A sweep's jobs in Slurm's queue: hydra-submitit-launcher's launcher, which hears of every end and waits for all.

submitit asks `sacct`, which a cluster without accounting does not have: it then waits for ever for a job that left no
result. And the launcher breaks off at the first such job, with the others still being trained. So `squeue` is asked.
Which job is which cell is left in the folder of the sweep (`jobs.json`), for those who look when this command is gone.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra_plugins.hydra_submitit_launcher.submitit_launcher import SlurmLauncher
from submitit.core.utils import UncompletedJobError
from submitit.slurm.slurm import SlurmInfoWatcher, SlurmJob

from docvlm.config import squeue
from docvlm.config.job import JOBS
from docvlm.config.squeue import ENDED
from docvlm.errors import DocvlmError
from docvlm.files import read_json, write_json

EVERY = 20  # seconds at most between two calls of squeue; fewer while the jobs are young
GONE = "no longer in the queue"
_WHY = re.compile(r"^(?:srun|slurmstepd\S*): error: (.*(?:\btasks? [\d,-]+: |memory limit$|oom.kill).*)$", re.MULTILINE)
"""Which task was killed, by srun; that memory ran out, by Slurm's own watch or the kernel's."""


def use(target: str, failures: list[BaseException]) -> None:
    """Let `QueueLauncher` answer to `target`, the name of submitit's; errors that it has printed go to `failures`."""
    QueueLauncher.failures = failures
    Plugins.instance().class_name_to_class[target] = QueueLauncher


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

    def wait(self) -> None:
        """Come back when all jobs have ended."""
        while not all(self.is_done(job) for job in self.cells):
            time.sleep(1)

    def _make_command(self) -> list[str]:
        return squeue.command("--me")

    def read_info(self, string: bytes | str) -> dict[str, dict[str, str]]:
        """The state of every job, by its id. What ended is known, also when Slurm has forgotten it."""
        text = string if isinstance(string, str) else string.decode()
        listed = squeue.listed(text)
        before = {job: info["State"] for job, info in self._info_dict.items() if info["State"] in ENDED}
        return {job: {"JobID": job, "State": listed.get(job, before.get(job, GONE))} for job in self.cells}


class QueueLauncher(SlurmLauncher):
    """submitit's launcher, which returns when every cell's job has ended. Hydra makes it, with the launcher's keys."""

    failures: ClassVar[list[BaseException]]

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """What each cell came to. Raises `DocvlmError` after a line for each whose job did not end by itself.

        Ctrl-C ends the waiting, not the jobs, and says which there are.
        """
        assert self.config is not None
        folder = Path(self.config.hydra.runtime.cwd, str(self.config.hydra.sweep.dir))
        queue = SlurmJob.watcher = Queue(folder, initial_job_idx)
        try:
            return super().launch(job_overrides, initial_job_idx)
        except KeyboardInterrupt:
            if left := [job for job in queue.cells if not queue.is_done(job)]:
                print(
                    f"{len(left)} jobs go on in Slurm; to end them: scancel {' '.join(left)}",
                    file=sys.stderr,
                    flush=True,
                )
            raise
        except UncompletedJobError:  # of the first one
            queue.wait()
            if not (lost := [place for place, job in enumerate(queue.cells) if not self._ended_well(queue, job)]):
                raise
            for place in lost:
                cell = f"cell {initial_job_idx + place} ({' '.join(job_overrides[place])})"
                print(f"error: {cell}: {self._end(queue, queue.cells[place])}", file=sys.stderr, flush=True)
            failed = DocvlmError(f"{len(lost)} jobs ended without a result")
            self.failures.append(failed)
            raise failed from None

    def _ended_well(self, queue: Queue, job: str) -> bool:
        state = queue.get_state(job, "cache")
        tasks = range(self.params["nodes"] * self.params["tasks_per_node"])
        answers = [self._folder(job) / f"{job}_{task}_result.pkl" for task in tasks]
        return state in {"COMPLETED", GONE} and all(answer.exists() for answer in answers)

    def _end(self, queue: Queue, job: str) -> str:
        """How a job ended, where, and what to do, in a line."""
        folder = self._folder(job)
        said = " ".join([queue.get_state(job, "cache"), *_why(folder)])
        return f"its job {job} ended: {said}; what it printed is in {folder}; the same command continues it"

    def _folder(self, job: str) -> Path:
        return Path(str(self.params["submitit_folder"]).replace("%j", job))


def _why(folder: Path) -> list[str]:
    """What Slurm wrote among what a job printed: which of its processes were killed, on which node, memory."""
    logs = [file.read_text("utf-8", errors="replace") for file in sorted(folder.glob("*_log.err"))]
    found = list(dict.fromkeys(line for text in logs for line in _WHY.findall(text)))
    return [f"({'; '.join(found[-3:])})"] if found else []
