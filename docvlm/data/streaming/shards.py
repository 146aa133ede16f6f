"""A parquet file that stays where it is: its small columns are kept here, its pages come a row group at a time.

What is kept of a shard is its footer and the columns that hold no pictures, named after its address and state: a file
that takes the place of another is read anew. A cell of a parquet file can only be had with the column of its whole row
group, which is therefore what is fetched, and kept as a pack (`packs`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, cast

from docvlm.data.streaming import remote
from docvlm.data.streaming.packs import Pack, PackStore, shared_lock
from docvlm.errors import DocvlmError
from docvlm.writing import discard, written

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

AT_ONCE = 8  # shards whose questions are fetched at the same time
_FOOTER = 64 << 10  # bytes that are asked for at first, as pyarrow does; a footer takes up to 100 KB
_TAIL = 8  # bytes after a footer: its length, and what ends every parquet file
_MAGIC = b"PAR1"


@dataclass(frozen=True)
class Wanted:
    """Which columns hold the pictures, and which nobody reads. `named`: a column of texts holds names of files."""

    images: tuple[str, ...]
    unused: tuple[str, ...]
    named: bool

    def pictures(self, schema: pa.Schema) -> tuple[str, ...]:
        """The columns of pictures that a file has; none where the first of them holds names of files."""
        import pyarrow.types as types

        there = tuple(name for name in self.images if name in schema.names)
        first = schema.field(there[0]).type if there else None
        texts = first is not None and (types.is_string(first) or types.is_large_string(first))
        return () if self.named and texts else there

    def small(self, schema: pa.Schema) -> list[str]:
        """The columns that are kept here: those that are read and hold no pictures."""
        left_out = {*self.pictures(schema), *self.unused}
        return [one.name for one in schema if one.name not in left_out and not _holds_bytes(one.type)]


@dataclass(frozen=True)
class Shard:
    """A parquet file by address. `key` names its state and what is read of it; `images` are its columns of pictures.

    `rows` and `sizes` are rows and bytes of pictures of each row group. `length` counts the bytes of the whole file.
    `state` tells its content from any other (`remote.state`).
    """

    key: str
    url: str = field(compare=False)
    length: int = field(compare=False)
    state: str = field(compare=False, repr=False)
    images: tuple[str, ...] = field(compare=False)
    store: PackStore = field(compare=False)
    rows: tuple[int, ...] = field(compare=False, repr=False)
    sizes: tuple[int, ...] = field(compare=False, repr=False)

    def cell(self, group: int, column: str, row: int) -> tuple[str, bytes] | None:
        """Digest and bytes of the picture in a row of a row group; None where it has none."""
        return self.store.cell(f"{self.key}-{group}", column, row, lambda: self._fetched(group))

    def pack(self, group: int) -> Pack:
        """All pictures of a row group."""
        return self.store.pack(f"{self.key}-{group}", lambda: self._fetched(group))

    def ensure(self, group: int) -> None:
        """Fetch the pictures of a row group unless they are here."""
        self.store.ensure(f"{self.key}-{group}", lambda: self._fetched(group))

    def unchanged(self) -> bool:
        """Whether no other file has taken its place since its questions were read. Raises `DocvlmError` as fetching."""
        return remote.state(self.url) == (self.length, self.state)

    def _fetched(self, group: int) -> Pack:
        """The pictures of a row group, from where the shard is."""
        file = remote.Ranges(self.url, self.length)
        _hold_footer(file, _kept(self.store, self.key))
        with _parquet(file) as parquet:
            file.hold(_spans(parquet.metadata, group, self.images))
            table = parquet.read_row_group(group, columns=list(self.images), use_threads=False)
            return Pack({name: _pictures(table[name]) for name in self.images})


@dataclass(frozen=True)
class Opened:
    """A shard with its questions: the `table` of its columns that hold no pictures, and the `schema` of all."""

    shard: Shard
    table: pa.Table
    schema: pa.Schema


def opened(urls: Sequence[str], wanted: Wanted, store: PackStore) -> list[Opened]:
    """Shards with their questions, fetched where they are not kept.

    Raises `DocvlmError` for a file that cannot be read or is no parquet.
    """
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(lambda url: _opened(url, wanted, store), urls))


def _opened(url: str, wanted: Wanted, store: PackStore) -> Opened:
    length, state = remote.state(url)
    key = hashlib.blake2b(repr((remote.lasting(url), length, state, wanted)).encode(), digest_size=12).hexdigest()
    kept, file = _kept(store, key), remote.Ranges(url, length)
    footer = _hold_footer(file, kept)
    with _parquet(file) as parquet:
        about, schema = parquet.metadata, parquet.schema_arrow
        pictures, small = wanted.pictures(schema), wanted.small(schema)
        groups = range(about.num_row_groups)
        if not kept.exists():
            file.hold([span for group in groups for span in _spans(about, group, small)])
            _keep(kept, footer, parquet.read(columns=small, use_threads=False))
    sizes = tuple(sum(stop - start for start, stop in _spans(about, group, pictures)) for group in groups)
    rows = tuple(int(about.row_group(group).num_rows) for group in groups)
    return Opened(Shard(key, url, length, state, pictures, store, rows, sizes), _table(kept), schema)


def _kept(store: PackStore, key: str) -> Path:
    """Where the questions of a shard are kept; its footer lies beside them."""
    return Path(store.folder, "shards", f"{key}.arrow")


def _hold_footer(file: remote.Ranges, kept: Path) -> bytes:
    """The end of a parquet file, its footer in it, from where it is kept; `file` has it then."""
    beside = kept.with_suffix(".footer")
    held = beside.read_bytes() if beside.exists() else _footer(file)
    file.put(file.size - len(held), held)
    return held


def _footer(file: remote.Ranges) -> bytes:
    """The end of a parquet file, its footer in it. Raises `DocvlmError` for a file that ends otherwise."""
    start = max(0, file.size - _FOOTER)
    file.seek(start)
    end = file.read()
    if end[-len(_MAGIC) :] != _MAGIC:
        raise DocvlmError(f"{file.url}: not readable parquet: it does not end as one; download it again")
    needed = int.from_bytes(end[-_TAIL : -len(_MAGIC)], "little") + _TAIL
    if needed > len(end):
        file.seek(max(0, file.size - needed))
        end = file.read(needed - len(end)) + end
    return end


def _keep(kept: Path, footer: bytes, table: pa.Table) -> None:
    """Write questions and footer, each whole or not at all; the questions last, by which both are known to be there.

    What a killed process left half written goes.
    """
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    with shared_lock(kept.parent.parent, "shards"):  # one process writes at a time: what else is half written is left
        for left in kept.parent.glob("*.part"):
            discard(left)
        for path, content in ((kept.with_suffix(".footer"), footer), (kept, sink.getvalue())):
            part = path.with_name(f"{path.name}.part")
            try:
                with written(path):
                    path.parent.mkdir(parents=True, exist_ok=True)
                    part.write_bytes(content)
                    part.replace(path)
            finally:
                discard(part)


def _table(kept: Path) -> pa.Table:
    import pyarrow as pa

    try:
        with kept.open("rb") as stream:
            return pa.ipc.open_file(stream).read_all()
    except (OSError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())[:160]
        raise DocvlmError(f"{kept}: cannot be read ({reason}); delete it, and it is fetched again") from error


@contextmanager
def _parquet(file: remote.Ranges) -> Iterator[pq.ParquetFile]:
    """A parquet file over ranges of it. What pyarrow says of damaged bytes is one `DocvlmError` that names it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        yield pq.ParquetFile(pa.PythonFile(file, mode="r"))
    except (OSError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())[:160]
        raise DocvlmError(f"{file.url}: not readable parquet: {reason}; it may have changed just now") from error


def _spans(about: pq.FileMetaData, group: int, columns: Sequence[str]) -> list[tuple[int, int]]:
    """Where the chunks of columns of a row group lie in the file: [start, stop) of each."""
    wanted, found = frozenset(columns), []
    rows = about.row_group(group)
    for number in range(rows.num_columns):
        chunk = rows.column(number)
        if chunk.path_in_schema.partition(".")[0] in wanted:
            start = chunk.data_page_offset
            if chunk.has_dictionary_page and 0 < chunk.dictionary_page_offset < start:
                start = chunk.dictionary_page_offset
            found.append((start, start + chunk.total_compressed_size))
    return found


def _pictures(column: pa.ChunkedArray) -> list[memoryview | None]:
    """The encoded bytes of each row, without a copy."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_struct(column.type):
        column = pc.struct_field(column, "bytes")  # null also where the struct is
    cells = (cell.as_buffer() for cell in column)
    return [None if cell is None else memoryview(cast("bytes", cell)) for cell in cells]


def _holds_bytes(kind: pa.DataType) -> bool:
    """Whether a column holds files: plain bytes, or what `datasets` makes of an image or a recording."""
    import pyarrow.types as types

    if types.is_struct(kind):
        return any(_holds_bytes(kind.field(number).type) for number in range(kind.num_fields))
    if types.is_list(kind) or types.is_large_list(kind):
        return _holds_bytes(kind.value_type)
    return bool(types.is_binary(kind) or types.is_large_binary(kind))
