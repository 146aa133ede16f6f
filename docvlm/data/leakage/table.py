"""What many pages are recognised by, as arrays: 170 bytes a page in memory, its details in a file without a name."""

from __future__ import annotations

import errno
import os
import tempfile
from contextlib import AbstractContextManager
from io import FileIO
from pathlib import Path
from types import TracebackType

import numpy as np

from docvlm.data.leakage.details import MOST
from docvlm.data.leakage.hashes import BITS, WINDOWS, PageHash
from docvlm.writing import written

_BYTES = BITS // 8  # of a hash
_WORDS = -(-_BYTES // 8)  # of 64 bits that hold it
_RECORD = 8 * MOST  # bytes in the file for a page
TOGETHER = 4096  # pairs whose hashes are compared at a time


def unnamed() -> FileIO:
    """A file without a name in the folder for such (`TMPDIR`): it goes with the process, however that ends."""
    return tempfile.TemporaryFile(prefix="docvlm-details-", buffering=0)


def unwritten() -> AbstractContextManager[None]:
    """Raises `DocvlmError` for what cannot be written into such a file."""
    return written(Path(f"TMPDIR: {tempfile.gettempdir()}"))


class Parts:
    """Numbers of 64 bits, dealt out to parts in a file without a name."""

    def __init__(self, parts: int) -> None:
        self._where: list[list[tuple[int, int]]] = [[] for _ in range(parts)]
        with unwritten():
            self._file = unnamed()

    def add(self, parts: np.ndarray, numbers: np.ndarray) -> None:
        """Deal out numbers, each to its part. Raises `DocvlmError` where they cannot be written."""
        order = np.argsort(parts, kind="stable")
        stops = np.cumsum(np.bincount(parts.astype(np.int64), minlength=len(self._where)))
        with unwritten():
            self._file.seek(0, os.SEEK_END)
            for where, some in zip(self._where, np.split(numbers[order], stops[:-1]), strict=True):
                if len(some):
                    where.append((self._file.tell(), len(some)))
                    some.tofile(self._file)

    def part(self, number: int) -> np.ndarray:
        """What was dealt to a part, in that order."""
        found = np.empty(sum(count for _, count in self._where[number]), dtype=np.uint64)
        at = 0
        for start, count in self._where[number]:
            os.preadv(self._file.fileno(), [found[at : at + count].data], start)
            at += count
        return found

    def close(self) -> None:
        """Give the file back."""
        self._file.close()


class PageTable:
    """Hashes of so many pages by number, as they are `put`. The file goes when the block ends, or the process."""

    def __init__(self, count: int) -> None:
        self.errors: dict[int, str] = {}  # of pages that cannot be decoded
        self.known = np.zeros(count, dtype=bool)  # pages that are here and can be decoded
        self.counts = np.zeros(count, dtype=np.uint8)  # details of each page
        self._pixels = np.zeros((count, 2), dtype=np.uint64)
        self._windows = np.zeros((_WORDS, count, len(WINDOWS)), dtype=np.uint64)
        with unwritten():
            self._file = unnamed()

    def __enter__(self) -> PageTable:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def put(self, number: int, one: PageHash) -> None:
        """Keep what a page is recognised by. Raises `DocvlmError` where its details cannot be written."""
        if one.error:
            self.errors[number] = one.error
            return
        self.known[number] = True
        self.counts[number] = len(one.details) // 8
        self._pixels[number] = np.frombuffer(bytes.fromhex(one.pixels), dtype=np.uint64)
        for window, digits in enumerate(one.hashes):
            self._windows[:, number, window] = np.frombuffer(
                bytes.fromhex(digits).ljust(8 * _WORDS, b"\0"), dtype=np.uint64
            )
        with unwritten():
            if os.pwrite(self._file.fileno(), one.details.ljust(_RECORD, b"\0"), number * _RECORD) < _RECORD:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def hash_of(self, number: int) -> PageHash:
        """What was put, without details."""
        words = (window.tobytes()[:_BYTES].hex() for window in self._windows[:, number].T)
        return PageHash(self._pixels[number].tobytes().hex(), tuple(words))

    def contents(self) -> np.ndarray:
        """For each page the first that has the same pixels."""
        order = np.lexsort((np.arange(len(self._pixels)), self._pixels[:, 1], self._pixels[:, 0]))
        pixels = self._pixels[order]
        new = np.ones(len(order), dtype=bool)
        new[1:] = (pixels[1:] != pixels[:-1]).any(1)
        first = np.empty(len(order), dtype=np.int64)
        first[order] = order[np.maximum.accumulate(np.where(new, np.arange(len(order)), 0))]
        return first

    def details(self, numbers: np.ndarray) -> np.ndarray:
        """Pages x `MOST` codes, 0 where a page has fewer."""
        found = np.zeros((len(numbers), MOST), dtype="<u8")
        starts = np.flatnonzero(np.diff(numbers, prepend=-2) != 1)  # neighbours are read at once
        bounds = zip(starts.tolist(), [*starts[1:].tolist(), len(numbers)], numbers[starts].tolist(), strict=True)
        for start, stop, number in bounds:
            os.preadv(self._file.fileno(), [found[start:stop].data], number * _RECORD)  # the last may lack
        return found

    def bits(self, some: np.ndarray, others: np.ndarray) -> np.ndarray:
        """Bits by which the hashes of each pair differ, at the window that fits best, as `hashes.distances`."""
        return self._apart(some, others, range(_WORDS))

    def close(self, some: np.ndarray, others: np.ndarray, most: int) -> np.ndarray:
        """Whether the hashes of each pair differ in so many bits at most. Nearly all others differ in their first."""
        left = np.flatnonzero(self._apart(some, others, range(1)) <= most)
        found = np.zeros(len(some), dtype=bool)
        found[left] = self.bits(some[left], others[left]) <= most
        return found

    def _apart(self, some: np.ndarray, others: np.ndarray, words: range) -> np.ndarray:
        found = np.full(len(some), np.iinfo(np.uint8).max, dtype=np.uint8)
        for start in range(0, len(some), TOGETHER):
            pairs = slice(start, start + TOGETHER)
            one, other = (np.zeros((len(some[pairs]), len(WINDOWS)), dtype=np.uint8) for _ in range(2))
            for word in words:
                ours, theirs = self._windows[word][some[pairs]], self._windows[word][others[pairs]]
                one += np.bitwise_count(ours ^ theirs[:, :1])
                other += np.bitwise_count(ours[:, :1] ^ theirs)
            for column in (*one.T, *other.T):  # a third of the time of `min`
                np.minimum(found[pairs], column, out=found[pairs])
        return found
