"""What was measured beside scores: `benchmark.json`, `robustness.json` and `controls.json`, wherever they lie.

Of several measurements of the same thing the latest is shown; where one came from is the file's own folder.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from docvlm.files import read_json, shown


@dataclass(frozen=True)
class Measured:
    """Records of one kind: (the folder they came from, the record). `about` holds what the records share."""

    records: tuple[tuple[str, dict[str, Any]], ...]
    about: dict[str, Any]


def benchmarks(roots: Sequence[Path], own: Path) -> Measured:
    """Latency, memory, costs and the frontier of every model, benchmark and device."""
    latest: dict[tuple[Any, ...], tuple[str, dict[str, Any]]] = {}
    for file in _files(roots, own, "benchmark.json"):
        record = read_json(file)
        weights = record["run"] or record["checkpoint"]["fingerprint"]
        latest[record["family"], weights, record["benchmark"], record["device"]] = (shown(file.parent), record)
    return Measured(tuple(latest.values()), {})


def results(roots: Sequence[Path], own: Path, name: str, definitions: str) -> Measured:
    """Results of every model and benchmark in files called `name`; `definitions` is their key for what was done."""
    latest: dict[tuple[Any, ...], tuple[str, dict[str, Any]]] = {}
    about: dict[str, Any] = {}
    for file in _files(roots, own, name):
        whole = read_json(file)
        about |= whole[definitions]
        for one in whole["results"]:
            key = (one["family"], one["subject"], one["run"], one["benchmark"], one["split"])
            latest[key] = (shown(file.parent), one)
    return Measured(tuple(latest.values()), about)


def _files(roots: Sequence[Path], own: Path, name: str) -> Iterator[Path]:
    """Oldest first, the report's own folder left out."""
    files = [file for root in roots for file in root.rglob(name) if not file.is_relative_to(own)]
    yield from sorted(files, key=lambda file: (file.stat().st_mtime, file))
