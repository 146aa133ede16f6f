"""What a benchmark leaves and shows: `benchmark.json` (all of it), and its tables with their CSV files.

One folder a benchmark and machine, so that the same run measured on an A100 and a T4 keeps both, and the table of costs
knows both. What other machines measured is read before this one begins: a wrong file shows at once, not after an hour.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docvlm.errors import DocvlmError
from docvlm.files import read_json, write_json
from docvlm.machine import git_commit, hardware, versions
from docvlm.tables import Table, to_csv
from docvlm.timing import cost, tables
from docvlm.timing.cost import OnMachine
from docvlm.version import __version__
from docvlm.vlms.checkpoint import fingerprint

if TYPE_CHECKING:
    from docvlm.config import BenchmarkConfig
    from docvlm.evaluation.subjects import Subject
    from docvlm.timing.frontier import Measured, Point
    from docvlm.timing.prices import Prices
    from docvlm.timing.selectors import Compared
    from docvlm.vlms.base import VLM

FILE = "benchmark.json"
KEYS = ("family", "checkpoint", "device", "benchmark", "points", "costs")
SETTINGS = ("pages", "warmup", "batch", "max_batch", "memory_limit_gb", "limit")


def device_name(kind: str) -> str:
    """The GPU's name as torch has it, or `cpu: ` with the processor's name and the cores this process may use."""
    found = hardware(kind)
    return str(found["gpus"][0]["name"]) if kind == "cuda" else f"cpu: {found['processor']}, {found['cores']} cores"


def identity(subject: Subject, vlm: VLM, label: str) -> dict[str, Any]:
    """Which model is measured on whose pages, and where."""
    return {
        "family": subject.family,
        "checkpoint": {"name": vlm.checkpoint, "fingerprint": fingerprint(vlm.checkpoint, vlm.revision)},
        "benchmark": label,
        "device": device_name(vlm.device.type),
    }


def folder_for(base: Path, about: Mapping[str, Any]) -> Path:
    """`base` / the benchmark / the device's name in letters, digits and dashes."""
    return base / about["benchmark"] / re.sub(r"[^a-z0-9]+", "-", about["device"].lower()).strip("-")


def other_machines(base: Path, about: Mapping[str, Any], named: Sequence[str]) -> list[OnMachine]:
    """What other machines measured of the same model and benchmark: their folders below `base`, and the files named.

    Raises `DocvlmError` for a file that is no benchmark's, or another model's.
    """
    folder = folder_for(base, about)
    files = {*folder.parent.glob(f"*/{FILE}"), *(Path(name).expanduser() for name in named)} - {folder / FILE}
    return [one for file in sorted(files) for one in cost.on_machine(read(file, like=about), str(file))]


def record(
    cfg: BenchmarkConfig,
    subject: Subject,
    vlm: VLM,
    about: Mapping[str, Any],
    source: str | None,
    measured: Measured,
    compared: Compared | None = None,
) -> dict[str, Any]:
    """Everything but the costs, in plain types. `about` is the model's `identity`."""
    kind = vlm.device.type
    return {
        "docvlm": __version__,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "subject": subject.title,
        **subject.described,
        **about,
        "dtype": str(vlm.dtype).removeprefix("torch."),
        "quant": vlm.quant,
        "split": measured.split,
        "source": source,
        "settings": {name: getattr(cfg, name) for name in SETTINGS},
        "points": [_point(point, best) for point, best in zip(measured.points, measured.best, strict=True)],
        "pages": [list(size) for size in measured.pages],
        **({} if compared is None else {"selectors": compared.as_dict()}),
        "git_commit": git_commit(),
        "versions": versions(),
        "hardware": hardware(kind),
    }


def _point(point: Point, best: bool) -> dict[str, Any]:
    difference = point.difference
    return {
        "resolution": point.resolution,
        "budget": asdict(point.budget),
        "pareto": best,
        "score": {"metric": point.score.metric, **asdict(point.score.interval)},
        "difference_to_first": None if difference is None else asdict(difference),
        "single": asdict(point.single),
        "batched": None if point.batched is None else asdict(point.batched),
        "largest": None if point.largest is None else asdict(point.largest),
        "answers": str(point.answers),
    }


def write(
    base: Path, found: dict[str, Any], others: Sequence[OnMachine], price_list: Prices
) -> tuple[Path, list[Table], list[Path]]:
    """Add the costs to a record and write its files into its folder under `base`; the folder, the tables, the files."""
    folder = folder_for(base, found)
    folder.mkdir(parents=True, exist_ok=True)
    here = folder / FILE
    pages = [(width, height) for width, height in found["pages"]]
    priced = cost.costs(price_list, [*cost.on_machine(found, str(here)), *others], pages)
    write_json(here, {**found, "costs": [row.as_dict() for row in priced]})
    made = [tables.latency(found), tables.frontier(found), tables.costs(priced, len(pages))]
    made += tables.selectors(found)
    for table in made:
        to_csv(folder / f"{table.name}.csv", table)
    return folder, made, [here, *(folder / f"{table.name}.csv" for table in made)]


def read(file: Path, like: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A benchmark's record. Raises `DocvlmError` if it is none, or of another model than `like`."""
    found = read_json(file)
    if missing := [key for key in KEYS if key not in found]:
        raise DocvlmError(f"{file}: no {', '.join(missing)} in it, so docvlm.benchmark did not write it")
    if like is not None:
        for key in ("family", "checkpoint", "benchmark"):
            mine, other = like[key], found[key]
            if key == "checkpoint":
                mine, other = mine["fingerprint"], other["fingerprint"]
            if mine != other:
                raise DocvlmError(f"{file}: its {key} is {other}, here it is {mine}: costs are compared for one model")
    return found


def files(roots: Sequence[Path]) -> list[Path]:
    """Every `benchmark.json` under `roots`, in the order of their paths: what the report reads."""
    return sorted(file for root in roots for file in root.rglob(FILE))
