"""Cells of a sweep beside each other: as many processes as `jobs` says, each with one cell and one thread at a time.

A miniature model keeps two cores busy no longer than one: its matrices are too small to be shared. So each core gets a
cell of its own. Hydra runs the cells of a sweep through its launcher; this one forks the workers, hands them one cell
after another, and prints their lines as they come, each behind the number of its cell. A worker has a process group
of its own: Ctrl-C reaches the command alone, which passes it on, so that every cell stops as a run does, once. The
kernel tells the workers where the command itself is killed. What a cell ends with comes back as if it had been trained
in this process.
"""

from __future__ import annotations

import ctypes
import io
import logging
import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType
from typing import ClassVar

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus, configure_log, filter_overrides, run_job, setup_globals
from omegaconf import OmegaConf, open_dict

from docvlm.config.compose import detect_scale
from docvlm.config.launched import BASIC, Outcome
from docvlm.errors import INTERRUPTED, SIGNALS, DocvlmError

_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG
log = logging.getLogger("docvlm.sweep")


class CellFailed(DocvlmError):
    """A cell ended with an error that its own process has printed."""


def use_workers(outcome: Outcome) -> None:
    """Let sweeps with `jobs` above 1 train their cells beside each other; what they leave is added to `outcome`.

    Hydra takes launchers only from a package called `hydra_plugins`, so ours answers to the name of Hydra's own.
    """

    CellLauncher.outcome = outcome
    Plugins.instance().class_name_to_class[BASIC] = CellLauncher


class CellLauncher(BasicLauncher):
    """Hydra's launcher, with workers where `jobs` asks for more than one. Hydra makes it, without arguments."""

    outcome: ClassVar[Outcome]

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """What each cell came to, in their order."""
        assert self.config is not None
        jobs = OmegaConf.select(self.config, "jobs") or 1
        if jobs < 2:
            return super().launch(job_overrides, initial_job_idx)
        if sys.platform != "linux" or detect_scale() == "full":
            raise DocvlmError(f"jobs={jobs}: processes beside each other need Linux, and no GPU; give jobs=1")
        setup_globals()
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        sweep = Path(self.config.hydra.runtime.cwd, str(self.config.hydra.sweep.dir))
        sweep.mkdir(parents=True, exist_ok=True)
        self.outcome.sweeps.add(sweep)
        cells = {initial_job_idx + place: list(overrides) for place, overrides in enumerate(job_overrides)}
        workers = min(jobs, len(cells))
        print(f"{len(cells)} cells, {workers} at a time with one thread each (jobs={jobs})", flush=True)
        returned = _Desk(cells, self._cell, self.outcome).run(workers)
        return [returned[number] for number in cells]

    def _cell(self, number: int, overrides: Sequence[str]) -> JobReturn:
        """Run one cell in this process, as Hydra's launcher does."""
        assert self.config is not None and self.hydra_context is not None and self.task_function is not None
        config = self.hydra_context.config_loader.load_sweep_config(self.config, list(overrides))
        with open_dict(config):
            config.hydra.job.id = config.hydra.job.num = number
        return run_job(
            hydra_context=self.hydra_context,
            task_function=self.task_function,
            config=config,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
        )


@dataclass
class _Worker:
    process: BaseProcess
    connection: Connection
    at: int | None = None  # the number of its cell


class _Desk:
    """Hands cells to workers and takes down what they say."""

    def __init__(
        self, cells: dict[int, list[str]], cell: Callable[[int, Sequence[str]], JobReturn], outcome: Outcome
    ) -> None:
        self.cells, self.cell, self.outcome = cells, cell, outcome
        self.waiting = deque(cells)
        self.returned: dict[int, JobReturn] = {}
        self.workers: list[_Worker] = []
        self.stopping = False

    def run(self, count: int) -> dict[int, JobReturn]:
        """What every cell came to. Raises `KeyboardInterrupt` once all workers have stopped, where the user asked."""
        with self._signals_passed_on():
            for _ in range(count):
                self.workers.append(self._begun())
            while self.workers:
                for connection in wait([worker.connection for worker in self.workers]):
                    self._hear(next(worker for worker in self.workers if worker.connection is connection))
        if self.stopping:
            raise KeyboardInterrupt
        return self.returned

    def _begun(self) -> _Worker:
        ours, theirs = multiprocessing.Pipe()
        inherited = [ours, *(worker.connection for worker in self.workers)]
        arguments = (theirs, inherited, self.cell, self.outcome, os.getpid())
        process = multiprocessing.get_context("fork").Process(target=_work, args=arguments)
        sys.stdout.flush()
        process.start()
        theirs.close()
        worker = _Worker(process, ours)
        self._next(worker)
        return worker

    def _next(self, worker: _Worker) -> None:
        """Give a worker another cell; without one it ends."""
        worker.at = self.waiting.popleft() if self.waiting and not self.stopping else None
        if worker.at is not None:
            log.info(f"\t#{worker.at} : {' '.join(filter_overrides(self.cells[worker.at]))}")
        worker.connection.send(None if worker.at is None else (worker.at, self.cells[worker.at]))

    def _hear(self, worker: _Worker) -> None:
        try:
            kind, content = worker.connection.recv()
        except EOFError:
            self._ended(worker)
            return
        if kind == "line":
            print(f"#{worker.at} {content}".rstrip(), flush=True)
            return
        value, failure, put_off = content
        assert worker.at is not None
        self.outcome.put_off += put_off
        self._close(worker.at, value, failure)
        self._next(worker)

    def _close(self, number: int, value: float | None, failure: str | None) -> None:
        done = JobReturn(overrides=self.cells[number], status=JobStatus.COMPLETED)
        done.return_value = value
        if failure is not None:
            done.status, done.return_value = JobStatus.FAILED, CellFailed(failure)
            self.outcome.failures.append(done._return_value)
        self.returned[number] = done

    def _ended(self, worker: _Worker) -> None:
        """A worker has gone: because there was nothing left to do, because it was asked to, or because it was killed.

        Where the last of them was killed, the cells that nobody took are missing as well.
        """
        worker.process.join()
        worker.connection.close()
        self.workers.remove(worker)
        if self.stopping:
            return
        lost = [] if worker.at is None else [worker.at]
        for number in lost + ([] if self.workers else list(self.waiting)):
            reason = f"its process ended with {worker.process.exitcode}; the same command continues it"
            print(f"error: cell {number} ({' '.join(self.cells[number])}): {reason}", file=sys.stderr, flush=True)
            self._close(number, None, reason)

    @contextmanager
    def _signals_passed_on(self) -> Iterator[None]:
        """Every signal that asks this command to stop goes to all workers; they end, and then the command does.

        A second Ctrl-C is one for them too: stop at once.
        """

        def stop(signum: int, frame: FrameType | None) -> None:
            self.stopping = True
            for worker in self.workers:
                if worker.process.pid is not None and worker.process.is_alive():
                    os.kill(worker.process.pid, signum)

        if threading.current_thread() is not threading.main_thread():  # Python sets handlers only there (tests)
            yield
            return
        earlier = {number: signal.signal(number, stop) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in earlier.items():
                signal.signal(number, handler)


def _work(
    connection: Connection,
    inherited: list[Connection],
    cell: Callable[[int, Sequence[str]], JobReturn],
    outcome: Outcome,
    parent: int,
) -> None:
    """A worker: run the cells that come over `connection`, one at a time, until None comes."""
    for other in inherited:  # or a worker that has ended would not be noticed
        other.close()
    os.setpgrp()
    for number in SIGNALS:
        signal.signal(number, signal.default_int_handler)  # until a run is open, and stops in its own way
    ctypes.CDLL(None).prctl(_DEATH_SIGNAL, signal.SIGTERM)
    if os.getppid() != parent:  # it was gone before it could be asked for
        return
    sys.stdout = _Lines(connection)
    import torch  # 2 s, which the command itself has no use for

    torch.set_num_threads(1)
    try:
        while (given := connection.recv()) is not None:
            outcome.put_off = []
            done = cell(*given)
            failed = done.status == JobStatus.FAILED
            failure = str(done._return_value) if failed else None
            connection.send(("done", (None if failed else done.return_value, failure, outcome.put_off)))
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None


class _Lines(io.TextIOBase):
    """A stream whose lines go to the command that began this worker."""

    encoding = "utf-8"

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._open = ""

    def write(self, text: str) -> int:
        """Send the lines that are whole."""
        *lines, self._open = (self._open + text).split("\n")
        for line in lines:
            self.connection.send(("line", line))
        return len(text)

    def writable(self) -> bool:
        """It is."""
        return True
