"""Errors a user can mend: one line that names the file or key, the value, and what to do."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import ParamSpec, TypeVar

_BREAKS = re.compile(r"[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")  # where `str.splitlines` splits
P = ParamSpec("P")
R = TypeVar("R")

INTERRUPTED = 130  # what a shell reports for a process that Ctrl-C ended


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


def one_line(text: str) -> str:
    """A text with its line breaks as escapes: names of files and folders may hold some."""
    return _BREAKS.sub(lambda found: repr(found[0])[1:-1], text)


def one_line_errors(main: Callable[P, R]) -> Callable[P, R]:
    """Turn a `DocvlmError` raised by a verb, a full disk, or Ctrl-C into one line on stderr and exit code 1 or 130."""
    from docvlm import writing  # which knows the errors of this module

    @wraps(main)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        writing.escape_streams()
        try:
            with writing.room(Path.cwd()):
                return main(*args, **kwargs)
        except DocvlmError as error:
            print(f"error: {error}", file=sys.stderr)
            raise SystemExit(1) from None
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            raise SystemExit(INTERRUPTED) from None

    return run
