"""Ctrl-C (and SIGTERM) that leaves a resumable run: the step in progress ends, its state is saved, the run stops.

The first signal only asks; the training loop looks after every optimizer step and between evaluation batches. A second
one stops at once: then the run continues from the checkpoint before.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupted(Exception):
    """The user asked to stop and the run has stopped at a point it can continue from."""


class StopRequest:
    """Whether somebody asked this process to stop."""

    def __init__(self) -> None:
        self.asked = False
        self._owner = os.getpid()

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        """Signal handler: ask on the first signal, interrupt on the second."""
        if os.getpid() != self._owner:  # a forked data-loader worker: its parent decides, and still needs its pages
            return
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        name = signal.Signals(signum).name
        print(
            f"\n{name}: stopping after this step (again: at once); the same command continues",
            file=sys.stderr,
            flush=True,
        )

    def check(self) -> None:
        """Raise `Interrupted` if asked: for places where nothing is left to save."""
        if self.asked:
            raise Interrupted("stopped by the user")


@contextmanager
def stop_on_signal() -> Iterator[StopRequest]:
    """Catch SIGINT and SIGTERM while inside; the earlier handlers come back at the end."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():  # Python sets handlers only there (tests, servers)
        yield request
        return
    earlier = {number: signal.signal(number, request) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield request
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)
