"""Parquet data sets through `datasets`: from the hub, from a clone on disk, or from `save_to_disk`.

`datasets` turns parquet into memory-mapped Arrow files once (its cache); rows are then read without their images, and
a page is a (file, row) that any worker can open. Importing `datasets` takes seconds, so it happens only here, only
when needed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docvlm.data.benchmark import Benchmark, HubSplit, Public
from docvlm.data.pages import ArrowPage
from docvlm.data.rows import Row, require
from docvlm.errors import DocvlmError

if TYPE_CHECKING:
    import datasets

IMAGE = "image"
UNUSED = frozenset({"ocr", "ocr_results"})
"""Columns of published data sets that are large and that no benchmark reads."""

ALIASES: dict[Public, tuple[str, ...]] = {
    "train": ("train",),
    "validation": ("validation", "val", "valid", "dev"),
    "test": ("test",),
}


def hub_rows(repo: str, benchmark: Benchmark, split: Public, offline: bool) -> Iterator[Row] | None:
    """Rows of a public data set. With `offline`, only what `datasets` has in its cache.

    Raises `DocvlmError` naming the repository and the remedy if it cannot be had.
    """
    if split not in benchmark.hub[repo]:
        return None
    place = benchmark.hub[repo][split]
    if offline:
        os.environ["HF_HUB_OFFLINE"] = "1"
    import datasets
    import huggingface_hub

    if offline:
        # The variable is read at import, which may have happened before.
        datasets.config.HF_HUB_OFFLINE = True
        huggingface_hub.constants.HF_HUB_OFFLINE = True
    try:
        table = datasets.load_dataset(**_arguments(place))
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        reason = "offline=true and it is not in the cache" if offline else " ".join(str(error).split())[:160]
        folder = place.repo.split("/")[-1]
        raise DocvlmError(
            f"data.source=hub: cannot load {place.repo} ({split}): {reason}; fetch it where there is a network with "
            f"`hf download {place.repo} --repo-type dataset --local-dir {folder}` and give data.source={folder}, "
            "or use data.source=generated"
        ) from error
    return _rows(table, benchmark, split, f"{repo} {split}")


def _arguments(place: HubSplit) -> dict[str, Any]:
    """Arguments of `load_dataset`. Undeclared files go to the parquet builder: the card's splits would not fit."""
    if place.files:
        revision = f"@{place.revision}" if place.revision else ""
        files = f"hf://datasets/{place.repo}{revision}/{place.files}"
        return {"path": "parquet", "data_files": {place.split: files}, "split": place.split}
    return {"path": place.repo, "name": place.config, "split": place.split, "revision": place.revision}


def saved_rows(path: Path, benchmark: Benchmark, split: Public) -> Iterator[Row] | None:
    """Rows of a `save_to_disk` folder. A single data set without splits serves as whatever split it says it is."""
    import datasets

    try:
        saved = datasets.load_from_disk(str(path))
    except (OSError, ValueError, KeyError) as error:
        raise DocvlmError(f"data.source={path}: not a readable `datasets` folder: {error}") from error
    if isinstance(saved, datasets.Dataset):
        saved = datasets.DatasetDict({str(saved.split) if saved.split else "test": saved})
    for name in ALIASES[split]:
        if name in saved:
            return _rows(saved[name], benchmark, split, f"{path}/{name}")
    return None


def parquet_rows(path: Path, benchmark: Benchmark, split: Public) -> Iterator[Row] | None:
    """Rows of the parquet files of a split: `train-00000-of-00012.parquet`, `val.parquet`, `test/x.parquet`."""
    files = [path] if path.is_file() else sorted(path.rglob("*.parquet"))
    if benchmark.folder and any(benchmark.folder in file.relative_to(path).parts for file in files if file != path):
        files = [file for file in files if benchmark.folder in file.relative_to(path).parts]
    names = {file: _split_of(file, path) for file in files}
    if not any(names.values()):
        raise DocvlmError(f"{files[0]}: no split in the file name; call it train*, validation* or test*.parquet")
    chosen = [str(file) for file in files if names[file] == split]
    if not chosen:
        return None
    import datasets

    try:
        # Not `load_dataset`: that counts the load at a server, even for files on this disk.
        table = datasets.Dataset.from_parquet(chosen, split=split)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        reason = " ".join(str(error.__cause__ or error).split())[:160]
        raise DocvlmError(f"{chosen[0]}: not readable parquet: {reason}; download it again") from error
    return _rows(table, benchmark, split, f"{path} {split}")


def _split_of(file: Path, root: Path) -> Public | None:
    words = [file.stem, *reversed(file.relative_to(root).parts[:-1])] if file != root else [file.stem]
    for word in words:
        for split, names in ALIASES.items():
            if re.match(rf"({'|'.join(names)})([-_.]|$)", word.lower()):
                return split
    return None


def _rows(table: datasets.Dataset, benchmark: Benchmark, split: Public, where: str) -> Iterator[Row]:
    """Rows with their pages as (Arrow file, row). The table is a run of whole files, so a row finds its file."""
    require(table.column_names, ((IMAGE,), *benchmark.columns), where)
    places = list(_places(table, where))
    columns = [name for name in table.column_names if name != IMAGE and name not in UNUSED]
    # Arrow's own batches: row by row, `datasets` takes three times as long.
    batches = table.select_columns(columns).with_format("arrow").iter(batch_size=1000)
    values = (row for batch in batches for row in batch.to_pylist())
    return (
        Row(
            where=f"{where} row {number}",
            number=number,
            split=split,
            values=row,
            pages=(ArrowPage(f"{where} row {number}", *places[number], IMAGE),),
        )
        for number, row in enumerate(values)
    )


def _places(table: datasets.Dataset, where: str) -> Iterator[tuple[str, int]]:
    from docvlm.data.pages import arrow_rows

    files = [cached["filename"] for cached in table.cache_files]
    counts = [arrow_rows(file) for file in files]
    if sum(counts) != len(table):
        raise DocvlmError(f"{where}: {len(table)} rows, but its Arrow files hold {sum(counts)}; save the data set anew")
    for file, count in zip(files, counts, strict=True):
        yield from ((file, row) for row in range(count))
