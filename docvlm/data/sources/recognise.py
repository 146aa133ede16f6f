"""Where the questions come from: `data.source` recognised by what it holds, and its rows handed out split by split.

    hub, a known repository id     parquet files through `datasets`               snapshots.py
    https://…, s3://…, hf://…      parquet files that stay there                  streamed.py (as the two around it,
                                   where `data.streaming` says so)
    a `save_to_disk` folder        the same, from disk                            snapshots.py
    *.parquet                      a clone of a hub repository                    snapshots.py
    the authors' own download      what a benchmark's `download` recognises       originals.py
    qa.jsonl or qa.csv + images    own pages                                      own_folder.py

Nothing is guessed from the folder's name. Reading rows opens no image.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from docvlm.data.benchmark import BENCHMARKS, Benchmark, Download, Public
from docvlm.data.rows import Row
from docvlm.data.sources.ownership import OtherRows
from docvlm.data.streaming.remote import is_address
from docvlm.data.streaming.settings import Streaming
from docvlm.errors import DocvlmError


class Layout(Enum):
    """How a source is laid out on disk, or that it is on the hub."""

    HUB = "hub repository"
    SAVED = "`datasets` folder"
    PARQUET = "parquet snapshot"
    ADDRESS = "address of parquet files"
    DOWNLOAD = "original download"
    FOLDER = "folder of own pages"


@dataclass(frozen=True, slots=True)
class Source:
    """A recognised source. `path` is the folder or file; `repo` the repository of the hub, or the address.

    `download` is the authors' form in which an original download is.
    """

    layout: Layout
    path: Path = Path()
    repo: str = ""
    download: Download | None = None

    @property
    def kind(self) -> str:
        """What it is, in words."""
        return self.download.title if self.download else self.layout.value

    def __str__(self) -> str:
        return self.repo or str(self.path)


def recognise(source: str, benchmark: Benchmark) -> Source:
    """Tell what `data.source` is. Raises `DocvlmError` if it cannot be read, and says what was looked for."""
    path = Path(source).expanduser()
    if is_address(source):
        return Source(Layout.ADDRESS, repo=source.rstrip("/"))
    if source == "hub" or (source in benchmark.hub and not path.exists()):
        if not benchmark.hub:
            advice = "is not read from the hub; give the folder of its download"
            if not benchmark.published:
                advice = "has no public data set; give a folder"
            raise DocvlmError(f"data.source={source}: data={benchmark.name} {advice}")
        return Source(Layout.HUB, repo=next(iter(benchmark.hub)) if source == "hub" else source)
    if not path.exists():
        known = "a folder or a .jsonl/.csv file"
        if benchmark.published:
            known = ", ".join(["hub", *benchmark.hub, "generated"]) if benchmark.hub else "the folder of its download"
        raise DocvlmError(
            f"data.source={source}: no such file or folder; for data={benchmark.name} give a path or {known}"
        )
    return _source(path, benchmark)


def _source(path: Path, benchmark: Benchmark) -> Source:
    from docvlm.data.sources import own_folder, snapshots

    if path.is_file():
        if path.suffix == ".parquet":
            return Source(Layout.PARQUET, path)
        if path.suffix.lower() in own_folder.SUFFIXES:
            return Source(Layout.FOLDER, path)
        raise DocvlmError(f"data.source={path}: expected a folder, .jsonl, .csv or .parquet")
    if (path / "dataset_dict.json").is_file() or (path / "state.json").is_file():
        return Source(Layout.SAVED, path)
    if own_folder.question_files(path).files:
        return Source(Layout.FOLDER, path)
    own = benchmark.download  # comes first: one folder may hold the downloads of several benchmarks
    if own is not None and own.holds(path):
        return Source(Layout.DOWNLOAD, path, download=own)
    if snapshots.parquet_files(path):
        return Source(Layout.PARQUET, path)
    for download in dict.fromkeys(one.download for one in BENCHMARKS.values()):
        if download is not None and download.holds(path):
            return Source(Layout.DOWNLOAD, path, download=download)
    raise OtherRows(
        f"data.source={path}: nothing readable for data={benchmark.name}; expected qa.jsonl or qa.csv with images, "
        "parquet files, a `datasets` folder, or the benchmark's original download"
    )


def rows(
    source: Source,
    benchmark: Benchmark,
    split: Public,
    offline: bool,
    revision: str | None = None,
    streaming: Streaming | None = None,
) -> Iterator[Row] | None:
    """The rows of one published split; None if the source has no such split. `revision` is one of the hub's."""
    from docvlm.data.sources import snapshots, streamed

    if streaming is not None:
        match source.layout:
            case Layout.HUB:
                return streamed.hub_rows(source.repo, benchmark, split, revision, streaming)
            case Layout.ADDRESS:
                return streamed.address_rows(source.repo, benchmark, split, streaming)
            case Layout.PARQUET:
                return streamed.folder_rows(source.path, benchmark, split, streaming)
    match source.layout:
        case Layout.HUB:
            return snapshots.hub_rows(source.repo, benchmark, split, offline, revision)
        case Layout.SAVED:
            return snapshots.saved_rows(source.path, benchmark, split)
        case Layout.PARQUET:
            return snapshots.parquet_rows(source.path, benchmark, split)
        case Layout.DOWNLOAD:
            assert source.download is not None
            return source.download.rows(source.path, benchmark, split)
        case Layout.ADDRESS:
            raise DocvlmError(f"data.source={source}: an address is read with data.streaming=true only; give it too")
        case Layout.FOLDER:
            raise ValueError("own pages are read by `reading.Reader`, which knows their splits")
