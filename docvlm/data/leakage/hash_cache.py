"""Perceptual hashes of pages, and how far pairs of them agree, kept between runs in one SQLite file.

Any number of processes may read and write it at once: what one adds is added in one transaction, and none is lost.
Every entry is named after its content, so an older one is never a wrong answer. May be deleted at any time. About 400
bytes a page and 100 a pair; over `LIMIT` pages or `PAIRS_LIMIT` pairs the oldest go.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import sqlite3
import warnings
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
from docvlm.data.leakage.parallel import parallel_map
from docvlm.errors import DocvlmError
from docvlm.writing import discard, unwritable, written

LIMIT = 200_000  # pages
PAIRS_LIMIT = 2_000_000  # pairs of pages that look alike: there are many to a page
PAGES = 8  # pages a process takes at a time
WAIT = 60.0  # seconds that another process may take to write
_ASKED = 500  # keys in one query
_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS hashes (key TEXT UNIQUE, pixels TEXT, hashes TEXT)",
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
        rows = self._known("SELECT key, pixels, hashes FROM hashes WHERE key IN", keys)
        return {key: PageHash(pixels, tuple(hashes.split())) for key, pixels, hashes in rows}

    def add_hashes(self, found: Mapping[str, PageHash]) -> None:
        """Add what is not there."""
        self._hashes |= found

    def agreements(self, pairs: Iterable[Pair]) -> dict[Pair, float]:
        """How far the pages of each pair agree, where it has been looked at."""
        named = {_name(pair): pair for pair in pairs}
        rows = self._known("SELECT key, agreement FROM pairs WHERE key IN", named)
        return {named[key]: agreement for key, agreement in rows}

    def add_agreements(self, found: Mapping[Pair, float]) -> None:
        """Add what is not there."""
        self._pairs |= {_name(pair): share for pair, share in found.items()}

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
        rows = ((key, one.pixels, " ".join(one.hashes)) for key, one in self._hashes.items())
        base.executemany("INSERT OR IGNORE INTO hashes VALUES (?, ?, ?)", rows)
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


def _name(pair: Pair) -> str:
    return f"{pair[0].pixels}:{pair[1].pixels}"


def page_hashes(
    pages: Sequence[Page], cache: HashCache | None = None, say: Callable[[str], None] = print
) -> list[PageHash]:
    """The hashes of every page, from `cache` where it has them. Pages new to it are added, unreadable ones not.

    `say` is told where it will take long.
    """
    keys = [key(page) for page in pages]
    known: dict[str, PageHash] = {} if cache is None else cache.hashes(k for k in keys if k is not None)
    missing = list(dict.fromkeys(page for page, k in zip(pages, keys, strict=True) if k is None or k not in known))
    taken = dict(zip(missing, parallel_map(read_hash, missing, say, "pages to open", PAGES), strict=True))
    found = [known[k] if k is not None and k in known else taken[page] for page, k in zip(pages, keys, strict=True)]
    if cache is not None:
        cache.add_hashes({k: p for k, p in zip(keys, found, strict=True) if k is not None and not p.error})
    return found


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
    found = page_hashes(pages, cache, say)
    if cache is not None:
        cache.save()
    return {page.name: one.error for page, one in zip(pages, found, strict=True) if one.error}
