"""Files that are either whole or absent: written beside their place, flushed, then renamed over it.

A reader (the report, a sweep that starts again, a person) never meets half a JSON file, whenever the writer was killed.
"""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex
from typing import Any, TextIO

from docvlm.errors import DocvlmError, Unwritable
from docvlm.writing import ESCAPED, discard, written


def write_whole(path: Path, write: Callable[[TextIO], object]) -> None:
    """Call `write` with a text file that takes the place of `path` only once all of it is on disk."""
    with _beside(path) as part, part.open("w", encoding="utf-8", errors=ESCAPED, newline="") as file:
        write(file)
        file.flush()
        os.fsync(file.fileno())


def write_bytes(path: Path, content: bytes) -> None:
    """As `write_whole`, for what is no text."""
    with _beside(path) as part, part.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """Where to write what then takes the place of `path`. Raises `Unwritable` naming `path`, and leaves nothing."""
    part = path.with_name(f".{path.name}.{token_hex(4)}.part")  # another process may be writing the same file
    try:
        with written(path):
            yield part
            os.replace(part, path)
    finally:
        discard(part)


class GrowingFile:
    """A file of lines that grows while something works: every `append` is on the disk when it returns, or not at all.

    What a full disk leaves of a line is cut off again; a process that is killed within one leaves it torn. Raises
    `Unwritable` naming the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with written(path):
            self._file = path.open("ab", buffering=0)

    def append(self, text: str) -> None:
        """Write whole lines."""
        size, left = self.size(), memoryview(text.encode("utf-8", ESCAPED))
        try:
            with written(self.path):
                while left:
                    left = left[self._file.write(left) :]
                os.fsync(self._file.fileno())
        except Unwritable:
            os.truncate(self._file.fileno(), size)
            raise

    def cut(self, torn: int) -> None:
        """Take away the last `torn` bytes: half a line, which a killed process left."""
        with written(self.path):
            os.truncate(self._file.fileno(), self.size() - torn)

    def size(self) -> int:
        """Bytes."""
        return os.fstat(self._file.fileno()).st_size

    def fileno(self) -> int:
        """For a lock on it."""
        return self._file.fileno()

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write JSON: keys in the given order, no NaN (the report could not read it back)."""
    write_whole(path, lambda file: json.dump(value, file, indent=2, ensure_ascii=False, allow_nan=False))


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object. Raises `DocvlmError` naming the file where it is missing or none."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DocvlmError(f"{path}: no such file; is its folder a run that docvlm.train left?") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DocvlmError(f"{path}: not JSON ({error}); delete the run's folder and train again") from error
    if not isinstance(value, dict):
        raise DocvlmError(
            f"{path}: holds {type(value).__name__}, not an object; delete the run's folder and train again"
        )
    return value


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows that share their keys, with a header."""

    def write(file: TextIO) -> None:
        table = csv.DictWriter(file, fieldnames=list(rows[0]) if rows else [])
        table.writeheader()
        table.writerows(rows)

    write_whole(path, write)


def shown(path: Path | str) -> str:
    """A path as a reader can use it: from the current folder where it lies below it."""
    path = Path(path)
    full, here = path.resolve(), Path.cwd().resolve()
    return full.relative_to(here).as_posix() if full.is_relative_to(here) else str(path)


def part_of_name(text: str) -> str:
    """What somebody else calls something (`user/name`) as part of a file's name."""
    return re.sub(r"[^\w.-]+", "-", text).strip(".-") or "unnamed"


def remove_unused(folder: Path, verb: str) -> None:
    """Hydra's folder of a command goes where nothing but Hydra's own record was written into it."""
    if {path.name for path in folder.iterdir()} <= {".hydra", f"{verb}.log"}:
        shutil.rmtree(folder)


def replace_folder(new: Path, place: Path) -> None:
    """Put folder `new` where `place` is. Between the two renames `place` is missing, never mixed from both."""
    old = place.with_name(f".{place.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if place.exists():
        os.replace(place, old)
    os.replace(new, place)
    shutil.rmtree(old, ignore_errors=True)


def follow_umask(folder: Path) -> None:
    """Give every file below `folder` the mode of a file that `open` makes. Raises `OSError` where that is refused.

    safetensors 0.8 writes its files with mode 0600, which only the user who trained could read.
    """
    umask = os.umask(0o077)  # it can only be read by setting it; what another thread makes meanwhile stays closed
    os.umask(umask)
    for file in folder.rglob("*"):
        if file.is_file():
            file.chmod(0o666 & ~umask)
