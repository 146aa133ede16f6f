"""Size, digest and faults of every page of shards, found in one pass over their row groups and kept for good.

The pass reads every page once. It may be stopped at any time: what was found of a row group is on disk before the next
one is looked at, and the next start goes on there. One process reads at a time; others wait for what it finds.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from docvlm import locks
from docvlm.data.pages import BytesPage, check
from docvlm.data.streaming.kept import Kept
from docvlm.data.streaming.packs import GB, Pack
from docvlm.data.streaming.shards import Shard
from docvlm.errors import DocvlmError

_SCHEMA = "CREATE TABLE IF NOT EXISTS cells (shard TEXT, part INTEGER, found TEXT, UNIQUE (shard, part))"
Say = Callable[[str], None]
Look = Callable[[Sequence[BytesPage], Executor], None]
"""What else is done with pages while their bytes are here."""


class Cell(NamedTuple):
    """What is known of a picture: hash and number of its bytes, and its upright (width, height) or what is wrong."""

    content: str
    length: int
    size: tuple[int, int] | None
    fault: str = ""


Cells = dict[str, list[Cell | None]]
"""By column, what each row of a row group holds."""


class Index:
    """Cells of row groups, kept in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._kept = Kept(folder, "index", _SCHEMA)

    def parts(self, shard: Shard) -> set[int]:
        """The row groups of a shard that are known."""
        return {part for (part,) in self._kept.rows("SELECT part FROM cells WHERE shard = ?", (shard.key,))}

    def cells(self, shard: Shard) -> dict[int, Cells]:
        """What is known of each row group of a shard."""
        rows = self._kept.rows("SELECT part, found FROM cells WHERE shard = ?", (shard.key,))
        return {part: _read(json.loads(found)) for part, found in rows}

    def add(self, shard: Shard, part: int, found: Cells) -> None:
        """Keep what was found of a row group. Raises `DocvlmError` if it cannot be written."""
        text = json.dumps(_written(found), separators=(",", ":"))
        self._kept.write("INSERT OR REPLACE INTO cells VALUES (?, ?, ?)", [(shard.key, part, text)])

    def forget(self, shard: Shard) -> None:
        """Keep nothing of a shard. Raises as `add` does."""
        self._kept.write("DELETE FROM cells WHERE shard = ?", [(shard.key,)])


def _written(found: Cells) -> dict[str, Any]:
    """Each content once, since questions about one page repeat it."""
    known = {cell: number for number, cell in enumerate(dict.fromkeys(c for cells in found.values() for c in cells))}
    return {"known": list(known), "rows": {name: [known[cell] for cell in cells] for name, cells in found.items()}}


def _read(said: dict[str, Any]) -> Cells:
    known = [None if one is None else _cell_of(*one) for one in said["known"]]
    return {name: [known[number] for number in rows] for name, rows in said["rows"].items()}


def _cell_of(content: str, length: int, size: list[int] | None, fault: str) -> Cell:
    return Cell(content, length, None if size is None else (size[0], size[1]), fault)


def looked_through(shards: Sequence[Shard], folder: Path, say: Say, look: Look | None = None) -> list[dict[int, Cells]]:
    """What is known of the row groups of each shard, once all of them have been read.

    `say` hears beforehand what has to be read. `look` is shown the pages that are. Raises `DocvlmError` as
    fetching, and for a file that has changed meanwhile.
    """
    index = Index(folder)
    if _left(index, shards):
        with _turn(folder, say):
            if left := _left(index, shards):
                say(_announced(shards, left, folder))
                _pass(index, left, look)
                _still(index, [shard for shard, _ in left])
    return [index.cells(shard) for shard in shards]


def _left(index: Index, shards: Iterable[Shard]) -> list[tuple[Shard, int]]:
    known = {shard: index.parts(shard) for shard in shards}
    return [(shard, part) for shard, parts in known.items() for part in range(len(shard.rows)) if part not in parts]


def _announced(shards: Sequence[Shard], left: Sequence[tuple[Shard, int]], folder: Path) -> str:
    size = sum(shard.sizes[part] for shard, part in left) / GB
    whole = sum(sum(shard.sizes) for shard in shards) / GB
    count = sum(len(shard.rows) for shard in shards)
    return (
        f"streaming: reads {size:.3g} of {whole:.3g} GB of pages once ({len(left)} of {count} row groups), for their"
        f" sizes, digests and faults; kept in {folder}, and a stopped start goes on"
    )


class _turn:  # read as a word: `with _turn(folder, say):`
    """For a block that one process at a time goes through; who has to wait says so."""

    def __init__(self, folder: Path, say: Say) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._lock, self._say = locks.lock(folder / "index.lock"), say

    def __enter__(self) -> None:
        from filelock import Timeout

        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            self._say("streaming: another process reads the pages for the first time; waiting for what it finds")
            self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def _pass(index: Index, left: Sequence[tuple[Shard, int]], look: Look | None) -> None:
    """Read row groups in order, the next one while one is looked at."""
    with ThreadPoolExecutor(1) as ahead, ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for (shard, part), pack in zip(left, _ahead(left, ahead), strict=True):
            found = _cells(pack, pool)
            if look is not None:
                good = {cell.content for cells in found.values() for cell in cells if cell and not cell.fault}
                name = f"{shard.url} row group {part}"
                look([BytesPage(name, bytes(pack.contents[c]), digest=c) for c in pack.contents if c in good], pool)
            index.add(shard, part, found)


def _still(index: Index, shards: Iterable[Shard]) -> None:
    """Forget what was found of a shard that is another file by now, and raise `DocvlmError`."""
    for shard in dict.fromkeys(shards):
        if not shard.unchanged():
            index.forget(shard)
            raise DocvlmError(
                f"{shard.url}: has changed while it was read, so its pages may not be those of its questions; give the"
                " same command again, which reads it anew"
            )


def _ahead(left: Sequence[tuple[Shard, int]], ahead: Executor) -> Iterator[Pack]:
    shard, part = left[0]
    coming = ahead.submit(shard.pack, part)
    for shard, part in left[1:]:
        pack, coming = coming.result(), ahead.submit(shard.pack, part)
        yield pack
    yield coming.result()


def _cells(pack: Pack, pool: Executor) -> Cells:
    """What is found of the pages of a row group."""
    known = dict(zip(pack.contents, pool.map(_cell, pack.contents.items()), strict=True))
    return {name: [None if one is None else known[one] for one in rows] for name, rows in pack.rows.items()}


def _cell(one: tuple[str, bytes | memoryview]) -> Cell:
    content, data = one
    page = BytesPage("", bytes(data))
    try:
        return Cell(content, len(data), check(page))
    except DocvlmError as error:
        return Cell(content, len(data), None, str(error).removeprefix(f"page {page.name}: "))
