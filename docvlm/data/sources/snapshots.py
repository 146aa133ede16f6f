"""Parquet data sets through `datasets`: from the hub, from a clone on disk, or from `save_to_disk`.

`datasets` turns parquet into memory-mapped Arrow files once (its cache); rows are then read without their images, and
a page is a (file, row) that any worker can open. Importing `datasets` takes seconds, so it happens only here, only
when needed.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, TypeVar

from docvlm.data.benchmark import Benchmark, HubSplit, Public
from docvlm.data.pages import ArrowPage, arrow_filled, arrow_rows
from docvlm.data.rows import Row, require
from docvlm.data.sources.columns import decoders
from docvlm.data.sources.download import fetched
from docvlm.data.sources.listing import walk
from docvlm.data.sources.ownership import foreign, owners, refuse
from docvlm.data.sources.places import Place, placed
from docvlm.errors import DocvlmError

if TYPE_CHECKING:
    import datasets

P = TypeVar("P", bound=PurePath)
F = TypeVar("F")

UNUSED = frozenset({"ocr", "ocr_results"})
"""Columns of published data sets that are large and that no benchmark reads."""

_FOOTER = 1 << 20  # bytes: the footers of published files take up to 100 KB

ALIASES: dict[Public, tuple[str, ...]] = {
    "train": ("train",),
    "validation": ("validation", "val", "valid", "dev"),
    "test": ("test",),
}


def hub_rows(
    repo: str, benchmark: Benchmark, split: Public, offline: bool, revision: str | None = None
) -> Iterator[Row] | None:
    """Rows of a public data set, at `revision` instead of the benchmark's own. Raises as `download.fetched` does."""
    place = hub_place(repo, benchmark, split, revision)
    return None if place is None else _rows(fetched(place, split, offline), benchmark, split, f"{repo} {split}")


def hub_place(repo: str, benchmark: Benchmark, split: Public, revision: str | None) -> HubSplit | None:
    """Where a split lives on the hub, at `revision` instead of the benchmark's own; None where it has none."""
    if split not in benchmark.hub[repo]:
        return None
    place = benchmark.hub[repo][split]
    return place if revision is None else replace(place, revision=revision)


def saved_rows(path: Path, benchmark: Benchmark, split: Public) -> Iterator[Row] | None:
    """Rows of a `save_to_disk` folder. A single data set without splits serves as whatever split it says it is."""
    for name, folder in _saved_splits(path).items():
        if name in ALIASES[split]:
            return _rows(_saved(folder), benchmark, split, f"{path}/{name}")
    return None


def _saved_splits(path: Path) -> dict[str, Path]:
    """The folder of each split of a `save_to_disk` folder."""
    if (path / "state.json").is_file():
        return {str(_json(path / "state.json", "_split") or "test"): path}
    return {str(name): path / str(name) for name in _json(path / "dataset_dict.json", "splits")}


def _saved(folder: Path) -> datasets.Dataset:
    """What `datasets.load_from_disk` gives, which would read `::` in a path as an instruction to unpack something."""
    import datasets

    names = [entry["filename"] for entry in _json(folder / "state.json", "_data_files")]
    try:
        about = json.loads((folder / "dataset_info.json").read_text(encoding="utf-8"))
        info = datasets.DatasetInfo.from_dict(about)
        parts = [datasets.Dataset.from_file(str(folder / name), info=info) for name in names]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _not_saved(folder, error) from error
    return datasets.concatenate_datasets(parts)


def _json(file: Path, key: str) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))[key]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _not_saved(file.parent, error) from error


def _not_saved(folder: Path, error: Exception) -> DocvlmError:
    reason = " ".join(str(error).split())[:160]
    return DocvlmError(f"{folder}: not a readable `datasets` folder: {reason}; save it again with save_to_disk")


def parquet_files(path: Path) -> list[Path]:
    """The parquet files of a source, which may be one itself, in order of their names."""
    return [path] if path.is_file() else [file for file in walk(path) if file.suffix == ".parquet"]


def parquet_rows(path: Path, benchmark: Benchmark, split: Public) -> Iterator[Row] | None:
    """Rows of the parquet files of a split: `train-00000-of-00012.parquet`, `val.parquet`, `test/x.parquet`."""
    chosen = own(files_of(parquet_files(path), path, benchmark, split), benchmark, _columns)
    return _rows(_converted(chosen, split), benchmark, split, f"{path} {split}") if chosen else None


def files_of(files: Sequence[P], root: P, benchmark: Benchmark, split: Public) -> list[P]:
    """Those of a source's parquet files that are of a split, by their names. Raises `DocvlmError` where none says."""
    if benchmark.folder and any(benchmark.folder in file.relative_to(root).parts for file in files if file != root):
        files = [file for file in files if benchmark.folder in file.relative_to(root).parts]
    names = {file: _split_of(file, root) for file in files}
    if not any(names.values()):
        raise DocvlmError(f"{files[0]}: no split in the file name; call it train*, validation* or test*.parquet")
    return [file for file in files if names[file] == split]


def own(files: Sequence[F], benchmark: Benchmark, columns_of: Callable[[F], Sequence[str]]) -> list[F]:
    """Without the files of other benchmarks, where one folder holds several. Nothing is converted to know.

    Raises `DocvlmError` where a column is missing, and `OtherRows` where all are of another benchmark.
    """
    columns = {file: columns_of(file) for file in files}
    mine = [file for file in files if not foreign(columns[file], benchmark.name)]
    if len(mine) < len(files) and not any(benchmark.name in owners(columns[file]) for file in mine):
        other = next(file for file in files if file not in mine)
        refuse(columns[other], benchmark.name, str(other))
    for file in mine:
        require(columns[file], (benchmark.images[:1], *benchmark.columns), str(file))
    return mine


def _columns(file: Path) -> list[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with file.open("rb") as stream:
            return list(pq.read_schema(stream).names)
    except (OSError, pa.ArrowException) as error:
        raise _not_parquet(file, error) from error


def _not_parquet(file: Path, error: BaseException) -> DocvlmError:
    reason = " ".join(str(error).split())[:160]
    return DocvlmError(f"{file}: not readable parquet: {reason}; download it again")


def _converted(files: Sequence[Path], split: Public) -> datasets.Dataset:
    """Parquet files as a memory-mapped table, which `datasets` keeps in its cache for next time."""
    import datasets

    links = [_link(file.absolute(), Path(datasets.config.HF_DATASETS_CACHE) / "docvlm") for file in files]
    try:
        # Not `load_dataset`: that counts the load at a server, even for files on this disk.
        return datasets.Dataset.from_parquet(links, split=split)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise _not_parquet(files[0], error.__cause__ or error) from error


def _link(file: Path, folder: Path) -> str:
    """A link to a file under a name that is nothing but a name: `datasets` reads patterns, variables and chains in it.

    The name also says which file it is, by size, time and footer (which holds sizes and bounds of all columns): one
    that takes the place of another is converted anew.
    """
    try:
        about = file.stat()
        identity = hashlib.blake2b(repr((str(file), about.st_size, about.st_mtime_ns)).encode(), digest_size=16)
        with file.open("rb") as stream:
            stream.seek(max(0, about.st_size - _FOOTER))
            identity.update(stream.read())
        link = folder / f"{identity.hexdigest()}.parquet"
        folder.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            link.symlink_to(file)
    except OSError as error:
        raise DocvlmError(f"{file}: cannot be read ({error.strerror}); check the path and its permissions") from error
    return str(link)


def _split_of(file: PurePath, root: PurePath) -> Public | None:
    words = [file.stem, *reversed(file.relative_to(root).parts[:-1])] if file != root else [file.stem]
    for word in words:
        for split, names in ALIASES.items():
            if re.match(rf"({'|'.join(names)})([-_. ]|$)", word.lower()):
                return split
    return None


def _rows(table: datasets.Dataset, benchmark: Benchmark, split: Public, where: str) -> Iterator[Row]:
    """Rows with their pages as (Arrow file, row). The table is a run of whole files, so a row finds its file."""
    refuse(table.column_names, benchmark.name, where)
    require(table.column_names, (benchmark.images[:1], *benchmark.columns), where)
    first = table.features[benchmark.images[0]]
    named = not benchmark.published and getattr(first, "dtype", "") in ("string", "large_string")
    images = [] if named else [name for name in benchmark.images if name in table.column_names]
    places: list[Place | None] = [None] * len(table) if named else list(_places(table, images, where))
    columns = [name for name in table.column_names if name not in images and name not in UNUSED]
    # Arrow's own batches: row by row, `datasets` takes three times as long.
    batches = table.select_columns(columns).with_format("arrow").iter(batch_size=1000)
    values = (row for batch in batches for row in batch.to_pylist())
    using = {name: decode for name, decode in decoders(table.features).items() if name in columns}
    return (
        placed(row, using, f"{where} row {number}", number, split, places[number]) for number, row in enumerate(values)
    )


@dataclass(frozen=True, slots=True)
class _ArrowPlace(Place):
    """A row of an Arrow file on this disk."""

    file: str
    row: int

    def page(self, name: str, column: str) -> ArrowPage:
        return ArrowPage(name, self.file, self.row, column)


def _places(table: datasets.Dataset, images: Sequence[str], where: str) -> Iterator[_ArrowPlace]:
    files = [cached["filename"] for cached in table.cache_files]
    counts = [arrow_rows(file) for file in files]
    if sum(counts) != len(table):
        raise DocvlmError(f"{where}: {len(table)} rows, but its Arrow files hold {sum(counts)}; save the data set anew")
    names = tuple(images)
    for file, count in zip(files, counts, strict=True):
        filled = list(zip(*(arrow_filled(file, name) for name in names), strict=True))
        yield from (_ArrowPlace(names, filled[row], file, row) for row in range(count))
