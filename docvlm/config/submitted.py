"""submitit's launchers, which return when the job of every cell has ended, and name those that left no result.

submitit's own break off at the first such job, with the others still being trained.
"""

from __future__ import annotations

import os
import sys
import time
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Protocol

from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra_plugins.hydra_submitit_launcher.submitit_launcher import BaseSubmititLauncher, LocalLauncher
from submitit.core.core import InfoWatcher
from submitit.core.utils import UncompletedJobError
from submitit.local.local import LocalJob

from docvlm.errors import DocvlmError


class Jobs(Protocol):
    """The jobs of a command."""

    @property
    def cells(self) -> list[str]:
        """Them in the order of their cells."""

    def is_done(self, job_id: str) -> bool:
        """Whether one has ended for good."""

    def ended_well(self, job_id: str) -> bool:
        """Whether one that has ended did so by itself, as far as its processes tell."""

    def end(self, job_id: str, folder: Path) -> str:
        """How one ended, in some words; what it printed is in `folder`."""


def use(launcher: type[WaitingLauncher], target: str, failures: list[BaseException]) -> None:
    """Let `launcher` answer to `target`, the name of submitit's; errors that it has printed go to `failures`."""
    launcher.failures = failures
    Plugins.instance().class_name_to_class[target] = launcher


class WaitingLauncher(BaseSubmititLauncher):
    """What the launchers share. Hydra makes one, with the launcher's keys."""

    failures: ClassVar[list[BaseException]]

    @abstractmethod
    def noted(self, folder: Path, first: int) -> Jobs:
        """What notes the jobs from now on; `first` is the number of their first cell in the sweep `folder`."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """What each cell came to. Raises `DocvlmError` after a line for each whose job did not end by itself."""
        assert self.config is not None
        folder = Path(self.config.hydra.runtime.cwd, str(self.config.hydra.sweep.dir))
        jobs = self.noted(folder, initial_job_idx)
        try:
            return super().launch(job_overrides, initial_job_idx)
        except UncompletedJobError:  # of the first one
            while not all(jobs.is_done(job) for job in jobs.cells):
                time.sleep(1)
            if not (lost := [place for place, job in enumerate(jobs.cells) if not self._has_result(jobs, job)]):
                raise
            for place in lost:
                cell = f"cell {initial_job_idx + place} ({' '.join(job_overrides[place])})"
                print(f"error: {cell}: {self._end(jobs, jobs.cells[place])}", file=sys.stderr, flush=True)
            failed = DocvlmError(f"{len(lost)} jobs ended without a result")
            self.failures.append(failed)
            raise failed from None

    def _has_result(self, jobs: Jobs, job: str) -> bool:
        tasks = range(self.params["nodes"] * self.params["tasks_per_node"])
        answers = [self._folder(job) / f"{job}_{task}_result.pkl" for task in tasks]
        return jobs.ended_well(job) and all(answer.exists() for answer in answers)

    def _end(self, jobs: Jobs, job: str) -> str:
        """How a job ended, where, and what to do, in a line."""
        folder = self._folder(job)
        said = f"its job {job} ended: {jobs.end(job, folder)}; what it printed is in {folder}"
        return f"{said}; the same command continues it"

    def _folder(self, job: str) -> Path:
        return Path(str(self.params["submitit_folder"]).replace("%j", job))


class Children(InfoWatcher):
    """Jobs that are processes of this machine: a job's id is that of the process that began the cell's."""

    def __init__(self) -> None:
        super().__init__()
        self.cells: list[str] = []

    def register_job(self, job_id: str) -> None:
        """Note a job that has begun."""
        self.cells.append(job_id)

    def is_done(self, job_id: str, mode: str = "standard") -> bool:
        """Whether it has ended, without taking its exit code from who asks for that."""
        try:
            return os.waitid(os.P_PID, int(job_id), os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        except ChildProcessError:  # somebody has
            return True

    def ended_well(self, job_id: str) -> bool:
        """Its own process ends well whatever became of the cell's."""
        return True

    def end(self, job_id: str, folder: Path) -> str:
        """Nobody keeps the exit code of a cell's process."""
        return "without a result, as where its process is killed"


class ChildrenLauncher(WaitingLauncher, LocalLauncher):
    """`hydra/launcher=submitit_local`: all cells at once, each in a process of its own on this machine."""

    def noted(self, folder: Path, first: int) -> Jobs:
        """The processes that begin."""
        children = LocalJob.watcher = Children()
        return children
