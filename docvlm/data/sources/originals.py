"""What authors hand out: JSON with a folder of images. RRC's form is here, since two benchmarks have it.

People unpack these archives differently (`documents/`, `spdocvqa_images/`, one folder a split), so images are found
by their relative path where it holds and by their base name otherwise, in one walk over the source.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from docvlm.data.benchmark import Benchmark, Download, Public
from docvlm.data.lines import Number
from docvlm.data.pages import FilePage
from docvlm.data.rows import BadRow, Row, require
from docvlm.data.sources.listing import walk
from docvlm.data.sources.ownership import OtherRows, refuse
from docvlm.errors import DocvlmError

RRC_NAME = re.compile(r"(?:^|_)(train|val|test)_v\d[\d.]*(_withQT)?\.json$")
IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".bmp", ".gif"})
SHORT: dict[Public, str] = {"train": "train", "validation": "val", "test": "test"}


def rrc_files(path: Path) -> list[Path]:
    """Annotation files of an RRC download at most two folders deep, those with question types first."""
    found = [file for file in walk(path, deepest=2) if RRC_NAME.search(file.name)]
    return sorted(found, key=lambda file: ("_withQT" not in file.name, str(file)))


def rrc_rows(path: Path, benchmark: Benchmark, split: Public) -> Iterator[Row] | None:
    """Rows of one of the benchmarks that RRC hands out, told apart by the name of their image column.

    Raises `DocvlmError` if the annotation file is not JSON or the folder holds another benchmark.
    """
    others: dict[Path, list[dict[str, Any]]] = {}
    for file in rrc_files(path):
        match = RRC_NAME.search(file.name)
        if not match or match[1] != SHORT[split]:
            continue
        entries = entries_of(file)
        if entries and benchmark.image_key in entries[0]:
            return _rrc_rows(entries, path, file, benchmark, split)
        others[file] = entries
    for file, entries in others.items():
        refuse(entries[0] if entries else (), benchmark.name, str(file))
        raise OtherRows(f"{file}: no '{benchmark.image_key}' in its rows; is this another benchmark's download?")
    return None


def _rrc_rows(
    entries: list[dict[str, Any]], root: Path, file: Path, benchmark: Benchmark, split: Public
) -> Iterator[Row]:
    require(entries[0], benchmark.columns, str(file))
    images = Images(root)
    for number, entry in enumerate(entries):
        yield images.row(f"{file.name} entry {number}", number, split, entry, entry.get(benchmark.image_key))


RRC = Download("RRC download", rrc_files, rrc_rows)


class Images:
    """The images below a folder, found by relative path first and by base name second."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.by_name = _index(root)

    def row(self, where: str, number: int, split: Public, values: Mapping[str, Any], image: object) -> Row:
        """A row with its page, or with the fault that it has none."""
        page = self.find(image) if isinstance(image, str) else None
        if page is None:
            return Row(where, number, split, values, fault=f"image {image!r} not found under {self.root}")
        return Row(where, number, split, values, (page,))

    def pages(self, names: Iterable[str]) -> tuple[FilePage, ...]:
        """The image of each name, which has no suffix. Raises `BadRow` for the first that is not there."""
        found = []
        for name in names:
            if (paths := self.by_stem.get(name)) is None:
                raise BadRow(f"image {name!r} not found under {self.root}", "image not found")
            found.append(FilePage(paths[0]))
        return tuple(found)

    @cached_property
    def by_stem(self) -> Mapping[str, tuple[str, ...]]:
        return {Path(name).stem: paths for name, paths in self.by_name.items()}

    def find(self, image: str) -> FilePage | None:
        relative = image.replace("\\", "/").lstrip("/")
        if (self.root / relative).is_file():
            return FilePage(str(self.root / relative))
        paths = self.by_name.get(Path(relative).name, ())
        fitting = [path for path in paths if path.endswith(f"/{relative}")] or list(paths)
        return FilePage(fitting[0]) if fitting else None


@lru_cache(maxsize=8)
def _index(root: Path) -> Mapping[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {}
    for file in walk(root):
        if file.suffix.lower() in IMAGE_SUFFIXES:
            found.setdefault(file.name, []).append(str(file))
    return {name: tuple(paths) for name, paths in found.items()}


def entries_of(file: Path) -> list[dict[str, Any]]:
    """The questions of an annotation file: a list, or an object with `data`. Raises `DocvlmError` otherwise."""
    try:
        data = json.loads(file.read_text(encoding="utf-8"), parse_int=Number, parse_float=Number)
    except (OSError, ValueError) as error:
        raise DocvlmError(f"{file}: not readable JSON: {error}; download it again") from error
    entries = data["data"] if isinstance(data, dict) and "data" in data else data
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise DocvlmError(f"{file}: expected a list of questions or an object with 'data'; download it again")
    return entries
