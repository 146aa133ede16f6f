"""Errors a user can mend: one line that names the file or key, the value, and what to do."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from pathlib import Path

_BREAKS = re.compile(r"[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")  # where `str.splitlines` splits

INTERRUPTED = 130  # what a shell reports for a process that Ctrl-C ended
SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2") if hasattr(signal, name))
"""What asks a command to stop: Ctrl-C, and what schedulers send before they end a job."""


class DocvlmError(Exception):
    """A problem with input, configuration or files that the user can mend. The message is one complete line."""

    def __init__(self, message: str = "") -> None:
        super().__init__(one_line(message))


class Unwritable(DocvlmError):
    """A file that could not be written: a full disk, a quota, no permission. What was there before is still there."""


class TrainedElsewhere(DocvlmError):
    """Another live process is training the very run this cell of a sweep asks for, in `folder`."""

    def __init__(self, folder: Path) -> None:
        super().__init__(f"another process is training this very run in {folder}")
        self.folder = folder


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error and those it was raised from, the first cause last: libraries wrap what a system said several times."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def one_line(text: str) -> str:
    """A text with its line breaks as escapes: names of files and folders may hold some."""
    return _BREAKS.sub(lambda found: repr(found[0])[1:-1], text)
