"""What was measured beside scores: `benchmark.json`, `robustness.json` and `controls.json`, wherever they lie.

Of several measurements of the same thing the latest is shown; where one came from is the file's own folder.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from docvlm.files import read_json, shown
from docvlm.runs.finished import Run, apart


@dataclass(frozen=True)
class Measured:
    """Records of one kind: (the folder they came from, the record). `about` holds what the records share."""

    records: tuple[tuple[str, dict[str, Any]], ...]
    about: dict[str, Any]


def benchmarks(roots: Sequence[Path], own: Path, runs: Sequence[Run] = ()) -> Measured:
    """Latency, memory, costs and the frontier of every model, benchmark and device.

    Checkpoints of one name are told apart, from each other and from those of `runs`.
    """
    latest: dict[tuple[Any, ...], tuple[str, dict[str, Any]]] = {}
    for file in _files(roots, own, "benchmark.json"):
        record = read_json(file)
        weights = record["run"] or record["checkpoint"]["fingerprint"]
        latest[record["family"], weights, record["benchmark"], record["device"]] = (shown(file.parent), record)
    names = {run.model: run.checkpoint[0] for run in runs}  # a run may have been measured under the name it has now
    found = [
        ((names.get(record["family"], record["family"]), record["checkpoint"]["fingerprint"]), where, record)
        for where, record in latest.values()
    ]
    told = apart([*(run.checkpoint for run in runs), *(checkpoint for checkpoint, _, _ in found)])
    return Measured(tuple((where, record | {"family": told[mark]}) for mark, where, record in found), {})


def results(roots: Sequence[Path], own: Path, name: str, definitions: str, runs: Sequence[Run] = ()) -> Measured:
    """Results of every model and benchmark in files called `name`; `definitions` is their key for what was done.

    Those of `runs` stand under the names that these have now.
    """
    names = {str(run.folder.root): run.model for run in runs}
    latest: dict[tuple[Any, ...], tuple[str, dict[str, Any]]] = {}
    about: dict[str, Any] = {}
    for file in _files(roots, own, name):
        whole = read_json(file)
        about |= whole[definitions]
        for one in whole["results"]:
            key = (one["family"], one["subject"], one["run"], one["benchmark"], one["split"])
            latest[key] = (shown(file.parent), one | {"family": names.get(one["run"], one["family"])})
    return Measured(tuple(latest.values()), about)


def _files(roots: Sequence[Path], own: Path, name: str) -> Iterator[Path]:
    """Oldest first, the report's own folder left out."""
    files = [file for root in roots for file in root.rglob(name) if not file.is_relative_to(own)]
    yield from sorted(files, key=lambda file: (file.stat().st_mtime, file))
