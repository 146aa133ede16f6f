"""The runs that training left, and the best of each family.

A run is a folder with `manifest.json` and `result.json` under `outputs/` or `multirun/`. Only finished runs compete, by
the score on the split that selects; the split that reports plays no part in the choice.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from docvlm import registry
from docvlm.errors import DocvlmError
from docvlm.files import read_json
from docvlm.metrics.registry import goodness
from docvlm.runs.folder import RunFolder, follow
from docvlm.runs.result import read as read_result
from docvlm.vlms.families import FAMILIES

ROOTS = (Path("outputs"), Path("multirun"))
FINISHED = "finished"


@dataclass(frozen=True)
class Run:
    """One training run as its files tell it."""

    folder: RunFolder
    manifest: dict[str, Any]
    result: dict[str, Any]

    @property
    def family(self) -> str:
        """Name of the model's family (`docvlm.vlms.families`)."""
        return str(self.manifest["family"])

    @property
    def extensions(self) -> tuple[str, ...]:
        """Modules of one's own that it was trained with; versions before there were any recorded none."""
        return tuple(self.manifest["config"].get("extensions", ()))

    @property
    def unknown(self) -> str:
        """What of it nobody has registered, and which extensions would, in a line; "" where all is known."""
        if self.family in FAMILIES:
            return ""
        return f"{self.folder.root}: its family {self.family} is not known here; {registry.advice(self.extensions)}"

    @property
    def scale(self) -> str:
        """`tiny` or `full`."""
        return str(self.manifest["scale"])

    @property
    def trained_on(self) -> str:
        """Label of the benchmark, or of the mixture."""
        return str(self.manifest["data"]["benchmark"])

    @property
    def status(self) -> str:
        """`running`, `finished`, `failed` or `interrupted`."""
        return str(self.result["status"])

    @property
    def selection(self) -> float:
        """Headline on the split that selects, of the epoch that was kept; of an error, what it lacks to 1."""
        found = self.result["selection"]
        return goodness(found["metric"], float(found["value"]))


def read(folder: Path) -> Run:
    """The run in `folder`, or the one its pointer names. Raises `DocvlmError` if it is none, saved no weights, or is of
    a family that is not known.
    """
    if not folder.is_dir():
        raise DocvlmError(f"run={folder}: no such folder; give one that docvlm.train left under outputs/ or multirun/")
    cells = sorted(path.parent for path in folder.glob("*/result.json"))
    if cells and not (folder / "result.json").exists():
        raise DocvlmError(f"run={folder}: a sweep of {len(cells)} runs; give one of them, such as run={cells[0]}")
    place = follow(folder)
    run = Run(place, read_json(place.manifest), read_result(place.result))
    if run.unknown:
        raise DocvlmError(f"run={run.unknown}")
    if not place.best.is_dir():
        raise DocvlmError(
            f"run={folder}: status {run.status}, and no weights in {place.best}; "
            "repeat its training command to finish it, or give another run"
        )
    return run


def finished(roots: Iterable[Path] = ROOTS) -> list[Run]:
    """Every finished run with weights under `roots`, oldest first. A folder that only points elsewhere is skipped."""
    files = [path for root in roots for depth in ("*", "*/*") for path in root.glob(f"{depth}/result.json")]
    runs = []
    for path in sorted(files):
        place = RunFolder(path.parent)
        result = read_result(path)
        if result["status"] == FINISHED and place.manifest.exists() and place.best.is_dir():
            runs.append(Run(place, read_json(place.manifest), result))
    return runs


def best(runs: Sequence[Run]) -> dict[str, Run]:
    """Per family the run with the highest selection score; the later one on a tie."""
    chosen: dict[str, Run] = {}
    for run in runs:
        if run.family not in chosen or run.selection >= chosen[run.family].selection:
            chosen[run.family] = run
    return dict(sorted(chosen.items()))
