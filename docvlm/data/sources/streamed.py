"""Rows of parquet files that stay where they are: on the hub, at an address, or in a folder (`data.streaming=true`).

The same rows as `snapshots` hands out, with the same names, so that splits, limits and fingerprints are the same. The
columns of questions are fetched and kept; every page is read once for its size and digest (`docvlm.data.streaming`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from docvlm.data.benchmark import Benchmark, Public
from docvlm.data.rows import Row
from docvlm.data.sources import download, snapshots
from docvlm.data.sources.columns import decoders
from docvlm.data.sources.listing import shadow
from docvlm.data.sources.places import Place, placed
from docvlm.data.streaming import remote
from docvlm.data.streaming.index import Cell, looked_through
from docvlm.data.streaming.packs import GB
from docvlm.data.streaming.page import StreamedPage
from docvlm.data.streaming.settings import WINDOWS, Streaming
from docvlm.data.streaming.shards import Opened, Shard, Wanted, opened
from docvlm.errors import DocvlmError

if TYPE_CHECKING:
    import pyarrow as pa

BATCH = 1000  # rows that are turned into values at a time


def hub_rows(
    repo: str, benchmark: Benchmark, split: Public, revision: str | None, streaming: Streaming
) -> Iterator[Row] | None:
    """Rows of a public data set. Raises as `download.shards` does, and as fetching."""
    place = snapshots.hub_place(repo, benchmark, split, revision)
    return (
        None if place is None else _rows(download.shards(place, split), benchmark, split, f"{repo} {split}", streaming)
    )


def folder_rows(path: Path, benchmark: Benchmark, split: Public, streaming: Streaming) -> Iterator[Row] | None:
    """Rows of the parquet files of a folder, or of one file."""
    files = snapshots.files_of(snapshots.parquet_files(path), path, benchmark, split)
    return _rows([str(file.absolute()) for file in files], benchmark, split, f"{path} {split}", streaming)


def address_rows(url: str, benchmark: Benchmark, split: Public, streaming: Streaming) -> Iterator[Row] | None:
    """Rows of the parquet files below an address. Raises `DocvlmError` where there is none."""
    root = PurePosixPath(url)
    urls = {PurePosixPath(one): one for one in remote.find(url)}
    files = [one for one in urls if not any(map(shadow, one.relative_to(root).parts))]
    if not files:
        raise DocvlmError(f"data.source={url}: no parquet files there; give the folder that holds train*.parquet")
    chosen = snapshots.files_of(files, root, benchmark, split)
    return _rows([urls[file] for file in chosen], benchmark, split, f"{url} {split}", streaming)


def _rows(
    urls: Sequence[str], benchmark: Benchmark, split: Public, where: str, streaming: Streaming
) -> Iterator[Row] | None:
    wanted = Wanted(benchmark.images, tuple(sorted(snapshots.UNUSED)), named=not benchmark.published)
    found = {one.shard.url: one for one in opened(urls, wanted, streaming.store)}
    kept = [found[url] for url in snapshots.own(urls, benchmark, lambda url: found[url].schema.names)]
    if not kept:
        return None
    shards = [one.shard for one in kept]
    for shard in shards:
        _fits(shard, streaming)
    known = looked_through([s for s in shards if s.images], streaming.folder, streaming.say, streaming.look)
    cells = dict(zip((s for s in shards if s.images), known, strict=True))
    return _numbered(kept, cells, split, where)


def _fits(shard: Shard, streaming: Streaming) -> None:
    """Raise `DocvlmError` where the cache would lose row groups before their window is read."""
    largest = max(shard.sizes, default=0)
    needed = WINDOWS * max(streaming.window, largest)
    if needed > streaming.cache:
        least = ceil(1000 * needed / GB) / 1000
        raise DocvlmError(
            f"data.cache_gb={streaming.cache / GB:g}: {shard.url} has row groups of up to {largest / GB:.3g} GB of"
            f" pages, and {WINDOWS} windows of them must fit; give data.cache_gb={least:g} or more"
        )


def _numbered(
    kept: Sequence[Opened], cells: dict[Shard, dict[int, dict[str, list[Cell | None]]]], split: Public, where: str
) -> Iterator[Row]:
    number = 0
    for one in kept:
        places: Iterator[Place | None] = _places(one.shard, cells[one.shard]) if one.shard.images else iter(())
        using = {
            name: decode for name, decode in decoders(_features(one.table)).items() if name in one.table.schema.names
        }
        for batch in one.table.to_batches(max_chunksize=BATCH):
            for values in batch.to_pylist():
                yield placed(values, using, f"{where} row {number}", number, split, next(places, None))
                number += 1


def _features(table: pa.Table) -> object:
    import datasets

    return datasets.Features.from_arrow_schema(table.schema)


@dataclass(frozen=True, slots=True)
class _ShardPlace(Place):
    """A row of a row group, with what the index knows of its pictures."""

    shard: Shard
    group: int
    row: int
    cells: tuple[Cell | None, ...]

    def page(self, name: str, column: str) -> StreamedPage:
        cell = self.cells[self.columns.index(column)]
        where = (name, self.shard, self.group, self.row, column)
        if cell is None:
            fault = f"no image in column {column!r} (row {self.row} of row group {self.group} of {self.shard.url})"
            return StreamedPage(*where, "", None, fault)
        return StreamedPage(*where, cell.content, cell.size, cell.fault, length=cell.length)


def _places(shard: Shard, known: dict[int, dict[str, list[Cell | None]]]) -> Iterator[_ShardPlace]:
    for group, rows in enumerate(shard.rows):
        columns = [known[group][name] for name in shard.images]
        for row in range(rows):
            cells = tuple(column[row] for column in columns)
            yield _ShardPlace(shard.images, tuple(cell is not None for cell in cells), shard, group, row, cells)
