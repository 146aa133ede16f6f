"""Signals that leave a resumable run: the step in progress ends, its state is saved, the run stops.

Ctrl-C and what schedulers send (`docvlm.errors.SIGNALS`): SIGTERM, once or several times within milliseconds (Slurm
preempts so), and SIGUSR1 and SIGUSR2 before a time limit. All of them only ask; the training loop looks after every
optimizer step and between evaluation batches. A second Ctrl-C alone stops at once: then the run continues from the
checkpoint before. Whoever listened to a signal before the run did, such as a launcher that queues a job again, gets it
once all is saved.

Slurm queues a preempted job again when its time of grace is over, and not a job that has ended before on its own: under
Slurm a run that was asked by SIGTERM stays, with everything saved, until it is ended.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from docvlm.errors import SIGNALS

GRACE = 600.0  # seconds; a scancel ends a job after 30 (KillWait), a partition's GraceTime is minutes


class Interrupted(Exception):
    """Somebody asked to stop and the run has stopped at a point it can continue from."""


class StopRequest:
    """Whether somebody asked this process to stop, and by which signals."""

    def __init__(self) -> None:
        self.by: list[signal.Signals] = []
        self._owner = os.getpid()

    @property
    def asked(self) -> bool:
        """Whether anybody did."""
        return bool(self.by)

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        """Signal handler: ask, and interrupt on the second Ctrl-C."""
        if os.getpid() != self._owner:  # a forked data-loader worker: its parent decides, and still needs its pages
            return
        if signum == signal.SIGINT and signal.SIGINT in self.by:
            raise KeyboardInterrupt
        self.by.append(signal.Signals(signum))
        if len(self.by) == 1:
            again = " (again: at once)" if signum == signal.SIGINT else ""
            line = f"\n{self.by[0].name}: stopping after this step{again}; the same command continues"
            print(line, file=sys.stderr, flush=True)

    def check(self) -> None:
        """Raise `Interrupted` if asked: for places where nothing is left to save."""
        if self.asked:
            raise self.interrupted()

    def interrupted(self) -> Interrupted:
        """The exception that says who asked."""
        sent = [number for number in self.by if number != signal.SIGINT]
        return Interrupted(f"stopped by {sent[0].name}" if sent else "stopped by the user")

    def listen(self) -> None:
        """Take the signals, whoever has them: Lightning puts handlers of its own before ours in every loop."""
        if _main_thread():
            for number in SIGNALS:
                signal.signal(number, self)


@contextmanager
def stop_on_signal() -> Iterator[StopRequest]:
    """Catch `SIGNALS` while inside. The earlier handlers come back at the end, and are handed what came meanwhile."""
    request = StopRequest()
    if not _main_thread():
        yield request
        return
    earlier: dict[signal.Signals, Any] = {number: signal.getsignal(number) for number in SIGNALS}
    request.listen()
    try:
        yield request
    finally:
        for number, handler in earlier.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)  # None: not set from Python
        for number in dict.fromkeys(request.by):
            if callable(handler := earlier[number]) and handler is not signal.default_int_handler:
                handler(number, None)
        if signal.SIGTERM in request.by and "SLURM_JOB_ID" in os.environ:
            print("saved; waiting for Slurm to end this job, which queues it again", file=sys.stderr, flush=True)
            time.sleep(GRACE)


def _main_thread() -> bool:
    """Whether this is the thread in which Python sets handlers: not that of a test or a server."""
    return threading.current_thread() is threading.main_thread()
