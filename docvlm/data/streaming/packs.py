"""The pages of row groups as files on this disk, at most so many bytes of them; any number of processes share them.

A pack holds what the cells of a row group's image columns hold, each content once, behind a header that says where:

    DVPACK1\\n   length of the header (8 bytes, little-endian)   header (JSON)   contents

    header   cells: [length, digest] of each content in order; rows: by column, the number of each row's content or null

It is written beside its place and moved there, so a reader sees a whole pack or none. Every content is compared with
its digest when it is read. What does not fit is refused before anything is fetched (`docvlm.data.streaming.shards`).
Over the limit, packs that were not used for longest go. A lock lets one process fetch a pack while others wait for it.
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from docvlm import locks
from docvlm.errors import Unwritable
from docvlm.writing import discard, full, unwritable

if TYPE_CHECKING:
    from filelock import FileLock

_MAGIC = b"DVPACK1\n"
_LENGTH = 8  # bytes
_LOCKS = 64  # files that packs share for their locks: none has to be cleared away
_DIGEST = 16  # bytes
_KINDS = ("*.pack", "*.page")
SINGLE = 0.25  # of the limit, for pages that are kept by themselves
GB = 10**9


class Damaged(Exception):
    """A pack that is not what was written."""


class Header(NamedTuple):
    """Where the contents of a pack lie: (offset, length, digest) of each, and by column the content of each row."""

    cells: tuple[tuple[int, int, str], ...]
    rows: dict[str, list[int | None]]


class Pack:
    """The pages of a row group in memory, each content once."""

    def __init__(self, columns: Mapping[str, Sequence[bytes | memoryview | None]]) -> None:
        self.contents: dict[str, bytes | memoryview] = {}
        self.rows: dict[str, list[str | None]] = {}
        for name, cells in columns.items():
            self.rows[name] = [None if cell is None else self._add(cell) for cell in cells]

    def _add(self, cell: bytes | memoryview) -> str:
        digest = digest_of(cell)
        self.contents.setdefault(digest, cell)
        return digest

    def cell(self, column: str, row: int) -> tuple[str, bytes] | None:
        """Digest and content of a cell, None where there is none."""
        digest = self.rows[column][row]
        return None if digest is None else (digest, bytes(self.contents[digest]))

    def head(self) -> bytes:
        """What stands before the contents in a file."""
        number = {digest: place for place, digest in enumerate(self.contents)}
        rows = {name: [None if d is None else number[d] for d in digests] for name, digests in self.rows.items()}
        cells = [[len(content), digest] for digest, content in self.contents.items()]
        header = json.dumps({"cells": cells, "rows": rows}, separators=(",", ":")).encode()
        return _MAGIC + len(header).to_bytes(_LENGTH, "little") + header


def shared_lock(folder: str | Path, name: str) -> FileLock:
    """The lock of this name in a cache folder. Raises `DocvlmError` where it cannot be made."""
    try:
        Path(folder, "locks").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(f"data.cache_folder: {folder}", error) from error
    return locks.lock(Path(folder, "locks", f"{name}.lock"))


def digest_of(content: bytes | memoryview) -> str:
    """The hash by which `docvlm.data.pages` knows a page's bytes."""
    return hashlib.blake2b(content, digest_size=_DIGEST).hexdigest()


@dataclass(frozen=True)
class PackStore:
    """Packs by name in `folder`, `limit` bytes of them. Picklable, and without anything open."""

    folder: str
    limit: int

    def cell(self, name: str, column: str, row: int, fetch: Callable[[], Pack]) -> tuple[str, bytes] | None:
        """Digest and content of a cell, None where it holds none; from `fetch` where the pack is not here.

        Raises what `fetch` does, and `DocvlmError` where a pack cannot be written.
        """
        for _ in range(2):  # the second time, what was damaged has gone
            try:
                return self._read(name, column, row)
            except FileNotFoundError:
                break
            except Damaged as error:
                warnings.warn(f"{self._file(name)}: {error}; fetched again", stacklevel=2)
                self._file(name).unlink(missing_ok=True)
        with self._fetching(name) as there:
            if there:
                with suppress(FileNotFoundError, Damaged):
                    return self._read(name, column, row)
            pack = fetch()
            self._write(name, pack)
        return pack.cell(column, row)

    def pack(self, name: str, fetch: Callable[[], Pack]) -> Pack:
        """A pack as a whole, all of it compared with its digests. Raises as `cell` does."""
        with self._fetching(name) as there:
            if there:
                with suppress(FileNotFoundError, Damaged):
                    return self._read_all(name)
            found = fetch()
            self._write(name, found)
        return found

    def ensure(self, name: str, fetch: Callable[[], Pack]) -> None:
        """See to it that a pack is here, without reading it."""
        with self._fetching(name) as there:
            if there:
                with suppress(FileNotFoundError):
                    os.utime(self._file(name))
            else:
                self._write(name, fetch())

    def single(self, digest: str, fetch: Callable[[], bytes]) -> bytes:
        """A page that is kept by itself, since little else of its row group is read; from `fetch` at first.

        Pages that are kept so outlast packs, up to `SINGLE` of the limit. Raises as `cell` does.
        """
        path = Path(self.folder) / f"{digest}.page"
        with suppress(FileNotFoundError):
            content = path.read_bytes()
            if digest_of(content) == digest:
                os.utime(path)
                return content
            warnings.warn(f"{path}: a damaged page; fetched again", stacklevel=2)
        content = fetch()
        self._put(path, [content])
        return content

    def held(self) -> int:
        """Bytes of all packs and pages."""
        return sum(size for pattern in _KINDS for _, size, _ in self._files(pattern))

    @contextmanager
    def _fetching(self, name: str) -> Iterator[bool]:
        """Hold the lock of a pack; whether it is there."""
        with self._lock(name):
            yield self._file(name).exists()

    def _file(self, name: str) -> Path:
        return Path(self.folder) / f"{name}.pack"

    def _lock(self, name: str) -> FileLock:
        return shared_lock(self.folder, str(int(digest_of(name.encode())[:8], 16) % _LOCKS))

    def _read(self, name: str, column: str, row: int) -> tuple[str, bytes] | None:
        path = self._file(name)
        with path.open("rb") as file:
            header = _header(path, file)
            number = header.rows[column][row]
            if number is None:
                return None
            content = _content(file, *header.cells[number])
        with suppress(FileNotFoundError):
            os.utime(path)  # used: the last to go
        return header.cells[number][2], content

    def _read_all(self, name: str) -> Pack:
        path = self._file(name)
        with path.open("rb") as file:
            header = _header(path, file)
            contents = [_content(file, *cell) for cell in header.cells]
        rows = {c: [None if n is None else contents[n] for n in numbers] for c, numbers in header.rows.items()}
        return Pack(rows)

    def _write(self, name: str, pack: Pack) -> None:
        self._put(self._file(name), [pack.head(), *pack.contents.values()])

    def _put(self, whole: Path, contents: Sequence[bytes | memoryview]) -> None:
        """Write a file once there is room for it, whole or not at all; one process at a time does.

        Raises `DocvlmError` if it cannot be written.
        """
        part = whole.with_name(f"{whole.name}.part")
        try:
            with locks.lock(Path(self.folder, "locks", "room.lock")):
                self._make_room(sum(map(len, contents)))
                with part.open("wb") as file:
                    for content in contents:
                        file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                part.replace(whole)
        except OSError as error:
            discard(part)
            if full(error):
                raise Unwritable(
                    f"data.cache_gb={self.limit / GB:g}: the disk of {self.folder} is full before that"
                    f" ({error.strerror}); give less, or free space; the same command goes on"
                ) from error
            raise unwritable(f"data.cache_folder: {whole}", error) from error

    def _make_room(self, needed: int) -> None:
        """Remove what was not used for longest until `needed` more bytes fit, and what killed processes left."""
        for part in Path(self.folder).glob("*.part"):
            discard(part)
        packs, pages = (sorted(self._files(pattern)) for pattern in _KINDS)
        single = sum(size for _, size, _ in pages)
        total = needed + single + sum(size for _, size, _ in packs)
        beyond = single - int(SINGLE * self.limit)
        for _, size, path in pages:
            if beyond <= 0:
                break
            path.unlink(missing_ok=True)
            beyond, total = beyond - size, total - size
        for _, size, path in packs:
            if total <= self.limit:
                break
            path.unlink(missing_ok=True)
            total -= size

    def _files(self, pattern: str) -> list[tuple[int, int, Path]]:
        """When each file was used last, its bytes, and where it is."""
        found = []
        for path in Path(self.folder).glob(pattern):
            with suppress(FileNotFoundError):
                about = path.stat()
                found.append((about.st_mtime_ns, about.st_size, path))
        return found


def _header(path: Path, file: BinaryIO) -> Header:
    about = os.fstat(file.fileno())
    return _read_header(str(path), about.st_ino, about.st_size)


@lru_cache(maxsize=256)
def _read_header(path: str, inode: int, size: int) -> Header:
    """The header of the pack that has this inode and size. Raises `Damaged` where it holds none."""
    with Path(path).open("rb") as file:
        start = file.read(len(_MAGIC) + _LENGTH)
        if not start.startswith(_MAGIC) or len(start) < len(_MAGIC) + _LENGTH:
            raise Damaged("no pack of pages")
        length = int.from_bytes(start[len(_MAGIC) :], "little")
        said = file.read(min(length, size))
    at = len(start) + length
    cells = []
    try:
        found = json.loads(said)
        for count, digest in found["cells"]:
            cells.append((at, count, digest))
            at += count
        return Header(tuple(cells), found["rows"])
    except (ValueError, KeyError, TypeError) as error:  # no JSON, or another's
        raise Damaged("its header is damaged") from error


def _content(file: BinaryIO, offset: int, length: int, digest: str) -> bytes:
    file.seek(offset)
    content = file.read(length)
    if digest_of(content) != digest:
        raise Damaged("a page in it is damaged")
    return content
