"""Perceptual hashes of pages, and how far pairs of them agree, kept between runs in one SQLite file.

Any number of processes may read and write it at once: what one adds is added in one transaction, and none is lost.
Every entry is named after its content, so an older one is never a wrong answer. May be deleted at any time. About 1.2
KB a page and 100 bytes a pair; over `LIMIT` pages or `PAIRS_LIMIT` pairs the oldest go.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import sqlite3
import warnings
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

from docvlm import data
from docvlm.data import leakage
from docvlm.data.example import Example, Page
from docvlm.data.generated import DrawnPage
from docvlm.data.leakage.hashes import PageHash, key, read_hash
from docvlm.data.leakage.parallel import parallel_each
from docvlm.errors import DocvlmError
from docvlm.writing import discard, unwritable, written

LIMIT = 1_200_000  # pages
PAIRS_LIMIT = 2_000_000  # pairs of pages that look alike: there are many to a page
PAGES = 8  # pages a process takes at a time
SAVED = 2048  # pages that are asked for, and kept, at a time
WAIT = 60.0  # seconds that another process may take to write
_ASKED = 500  # keys in one query
_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS hashes (key TEXT UNIQUE, pixels TEXT, hashes TEXT, details BLOB)",
    "CREATE TABLE IF NOT EXISTS pairs (key TEXT UNIQUE, agreement REAL)",
)
Pair = tuple[PageHash, PageHash]


def recipe() -> str:
    """What the entries depend on beside the pages: another recipe begins another file."""
    decoders = [importlib.metadata.version(package) for package in ("pillow", "imagehash")]
    said = repr((data.REVISION, leakage.REVISION, decoders))
    return hashlib.blake2b(said.encode(), digest_size=8).hexdigest()


class HashCache:
    """Hashes by the key of their page, and agreements by pair of pixel hashes, in `folder`/hashes-<recipe>.sqlite.

    What is added is written by `save`. Raises `DocvlmError` where the file cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self.file = folder / f"hashes-{recipe()}.sqlite"
        self._hashes: dict[str, PageHash] = {}  # what is not written yet
        self._pairs: dict[str, float] = {}
        self._rows("SELECT count(*) FROM hashes")  # says at once what is wrong with the file

    def hashes(self, keys: Iterable[str]) -> dict[str, PageHash]:
        """What is known of these pages."""
        rows = self._known("SELECT key, pixels, hashes, details FROM hashes WHERE key IN", keys)
        return {key: PageHash(pixels, tuple(hashes.split()), "", details) for key, pixels, hashes, details in rows}

    def add_hashes(self, found: Mapping[str, PageHash]) -> None:
        """Add what is not there."""
        self._hashes |= found

    def agreements(self, pairs: Iterable[Pair], copies: bool = False) -> dict[Pair, float]:
        """How far the pages of each pair agree, where it has been looked at; `copies`: where only a copy counted."""
        named = {_name(pair, copies): pair for pair in pairs}
        rows = self._known("SELECT key, agreement FROM pairs WHERE key IN", named)
        return {named[key]: agreement for key, agreement in rows}

    def add_agreements(self, found: Mapping[Pair, float], copies: bool = False) -> None:
        """Add what is not there."""
        self._pairs |= {_name(pair, copies): share for pair, share in found.items()}

    def save(self) -> None:
        """Write what is new. Raises `DocvlmError` if it cannot be written."""
        if not self._hashes and not self._pairs:
            return
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with closing(self._opened()) as base, base:
                self._write(base)
        except OSError as error:
            raise unwritable(f"features_folder: {self.file}", error) from error
        except sqlite3.Error as error:
            raise self._refused(error) from error
        self._hashes, self._pairs = {}, {}

    def _write(self, base: sqlite3.Connection) -> None:
        base.execute("BEGIN IMMEDIATE")
        for table in _SCHEMA:
            base.execute(table)
        rows = ((key, one.pixels, " ".join(one.hashes), one.details) for key, one in self._hashes.items())
        base.executemany("INSERT OR IGNORE INTO hashes VALUES (?, ?, ?, ?)", rows)
        base.executemany("INSERT OR IGNORE INTO pairs VALUES (?, ?)", self._pairs.items())
        for table, limit in (("hashes", LIMIT), ("pairs", PAIRS_LIMIT)):
            oldest = f"SELECT rowid FROM {table} ORDER BY rowid DESC LIMIT -1 OFFSET {limit}"
            base.execute(f"DELETE FROM {table} WHERE rowid IN ({oldest})")

    def _opened(self) -> sqlite3.Connection:
        return sqlite3.connect(self.file, timeout=WAIT, isolation_level=None)

    def _known(self, query: str, keys: Iterable[str]) -> Iterator[Any]:
        left = iter(keys)
        while some := list(islice(left, _ASKED)):
            yield from self._rows(f"{query} ({', '.join('?' * len(some))})", some)

    def _rows(self, query: str, values: Sequence[str] = ()) -> list[Any]:
        """The rows of a query; none where there is no file yet, or a damaged one, which is begun anew."""
        try:
            if not self.file.stat().st_size:  # another process is about to fill it
                return []
            with closing(self._opened()) as base:
                return base.execute(query, values).fetchall()
        except FileNotFoundError:
            return []
        except (OSError, sqlite3.OperationalError) as error:
            why = error.strerror if isinstance(error, OSError) else error
            raise DocvlmError(
                f"features_folder: {self.file} cannot be read ({why}); mend it or name another folder"
            ) from error
        except sqlite3.DatabaseError as error:
            warnings.warn(f"{self.file}: damaged ({error!r}); the pages are opened again", stacklevel=4)
            discard(self.file)
            return []

    def _refused(self, error: sqlite3.Error) -> DocvlmError:
        """SQLite says only that writing failed: bytes that are written beside its file say why."""
        probe = self.file.with_suffix(".part")
        try:
            with written(Path(f"features_folder: {self.file}")):
                probe.write_bytes(bytes(4096))
        except DocvlmError as known:
            return known
        finally:
            discard(probe)
        return unwritable(f"features_folder: {self.file}", error)


def _name(pair: Pair, copies: bool) -> str:
    return f"{pair[0].pixels}:{pair[1].pixels}" + ":copy" * copies


def page_hashes(
    pages: Sequence[Page], cache: HashCache | None = None, say: Callable[[str], None] = print
) -> Iterator[tuple[int, PageHash]]:
    """Number and hash of every page: those that `cache` knows, then the others, which are opened.

    What is new is added to `cache`, but for unreadable pages, and saved every `SAVED` pages: what has been looked at is
    kept, wherever this is stopped. `say` is told where it will take long.
    """
    missing = array("q")
    for start in range(0, len(pages), SAVED):
        keys = [key(page) for page in pages[start : start + SAVED]]
        known = {} if cache is None else cache.hashes(k for k in keys if k is not None)
        for number, k in enumerate(keys, start):
            if k is not None and k in known:
                yield number, known[k]
            else:
                missing.append(number)
    keyed: deque[str | None] = deque()  # of what is being opened: as it was before

    def opened() -> Iterator[Page]:
        for number in missing:
            keyed.append(key(pages[number]))
            yield pages[number]

    found = parallel_each(read_hash, opened(), len(missing), say, "pages to open", PAGES)
    for done, (number, one) in enumerate(zip(missing, found, strict=True), 1):
        k = keyed.popleft()
        if cache is not None and k is not None and not one.error:
            cache.add_hashes({k: one})
        if cache is not None and done % SAVED == 0:
            cache.save()
        yield number, one


def hashing(cache: HashCache) -> Callable[[Sequence[Page], Executor], None]:
    """What hashes pages while their bytes are here, in the threads of an executor, and keeps that in `cache`.

    Pages that are streamed are then not fetched again to be compared.
    """

    def look(pages: Sequence[Page], pool: Executor) -> None:
        keys = {named: page for page in pages if (named := key(page)) is not None}
        known = cache.hashes(keys)
        new = [named for named in keys if named not in known]
        found = zip(new, pool.map(read_hash, [keys[named] for named in new]), strict=True)
        cache.add_hashes({named: one for named, one in found if not one.error})
        cache.save()

    return look


def unreadable(
    examples: Iterable[Example], cache: HashCache | None = None, say: Callable[[str], None] = print
) -> dict[str, str]:
    """Pages of these examples that cannot be decoded, by name, with the line that says why; drawn pages always can.

    Each page is opened once, and not again where `cache` knows it. `cache` is saved.
    """
    pages = list(dict.fromkeys(page for e in examples for page in e.pages if not isinstance(page, DrawnPage)))
    broken = {pages[number].name: one.error for number, one in page_hashes(pages, cache, say) if one.error}
    if cache is not None:
        cache.save()
    return broken
