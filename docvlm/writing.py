"""What every write shares: text that no encoding stops, and a full disk that is one line and no traceback.

A terminal that is not UTF-8 cannot show every answer, and a file name that is not UTF-8 reaches Python with half a
surrogate pair in it, which no file can hold. Both are written as backslash escapes. In JSON `\\udcXX` is that
character's own escape, so such a file reads back as what was written.

Libraries wrap a failed write in errors of their own, a few in a bare `Exception`: `full` knows them by their text.
"""

from __future__ import annotations

import errno
import io
import re
import shutil
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from pathlib import Path
from types import TracebackType
from typing import ParamSpec, TypeVar

from docvlm.errors import INTERRUPTED, DocvlmError, Unwritable, causes

P = ParamSpec("P")
R = TypeVar("R")

ESCAPED = "backslashreplace"
"""The `errors` of every text file that is written (PEP 293)."""
_FULL = {errno.ENOSPC, errno.EFBIG, errno.EDQUOT}  # no space, a limit on the size of files, a quota
_REASONS = r"No space left on device|File too large|Disk quota exceeded"  # how the same three are spelled
_TORCH = r"PytorchStreamWriter failed writing|unexpected pos \d+ vs \d+|iostream error"  # torch.save, by its text only
_SPELLED = re.compile(rf"{_REASONS}|(Storage|File)(Full|TooLarge)|{_TORCH}", re.IGNORECASE)
_ADVICE = "free space or raise the limit, and give the same command again"


def escaped(text: str) -> str:
    """The text with a backslash escape for each half of a surrogate pair."""
    return text.encode("utf-8", ESCAPED).decode()


def encodable(text: str) -> bool:
    """Whether text is whole: half a surrogate pair is what Python makes of bytes that are no UTF-8."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def escape_streams() -> None:
    """Let standard output and error write an escape for what their encoding lacks, instead of ending the command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a notebook's streams take everything
            stream.reconfigure(errors=ESCAPED)


def full(error: BaseException | None) -> bool:
    """Whether a full disk, a quota or a limit on file sizes is behind an error, or behind what it was raised from."""
    return any(
        (isinstance(link, OSError) and link.errno in _FULL)
        or (isinstance(link, Exception) and _SPELLED.search(str(link)) is not None)
        for link in causes(error)
    )


def unwritable(path: Path | str, error: BaseException) -> Unwritable:
    """The one line for a file or folder that could not be written, with what to do about it."""
    return Unwritable(f"{path}: cannot be written {why(error)}")


def why(error: BaseException) -> str:
    """What the operating system said of a failed write, in brackets, and what to do about it."""
    return f"({_reason(error)}); {_ADVICE if full(error) else 'check its permissions, or name another place'}"


def explained(error: BaseException, folder: Path | str) -> str | None:
    """One line for an error that a full disk is behind, None for any other; `folder` where it names no file itself."""
    if not full(error):
        return None
    if (known := next((link for link in causes(error) if isinstance(link, DocvlmError)), None)) is not None:
        return str(known)
    named = error.filename if isinstance(error, OSError) and error.filename else folder
    return str(unwritable(named, error))


class written:  # read as a word: `with written(path):`
    """For a block that does nothing but write `path`: whatever a library says of it is one `Unwritable` line.

    tokenizers raise a bare `Exception`, torch a `RuntimeError`, safetensors an error of its own.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        foreign = isinstance(error, Exception) and not isinstance(error, DocvlmError)
        if error is not None and (isinstance(error, OSError) or (foreign and full(error))):
            raise unwritable(self.path, error) from error


class room(written):
    """For a block that does anything: a full disk behind an error of it is one line, every other goes on as it is.

    `path` is the folder that is named where the error names no file.
    """

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, Exception) and not isinstance(error, DocvlmError):
            line = explained(error, self.path)
            if line is not None:
                raise Unwritable(line) from error


def one_line_errors(main: Callable[P, R]) -> Callable[P, R]:
    """Turn a `DocvlmError` raised by a verb, a full disk, or Ctrl-C into one line on stderr and exit code 1 or 130."""

    @wraps(main)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        escape_streams()
        try:
            with room(Path.cwd()):
                return main(*args, **kwargs)
        except DocvlmError as error:
            print(f"error: {error}", file=sys.stderr)
            raise SystemExit(1) from None
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            raise SystemExit(INTERRUPTED) from None

    return run


def discard(part: Path) -> None:
    """Remove what a failed write left, so that it holds no space; where all went well nothing is there."""
    with suppress(OSError):  # the folder itself may be what is missing
        if part.is_dir():
            shutil.rmtree(part)
        part.unlink(missing_ok=True)


def _reason(error: BaseException) -> str:
    """What the operating system said."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = " ".join(str(error).split())
    spelled = re.search(_REASONS, text, re.IGNORECASE)
    return spelled[0] if spelled else "no space left on the disk" if full(error) else text[:200]
