"""What a benchmark leaves and shows: `benchmark.json` (all of it), and three tables with their CSV files.

One folder a benchmark and machine, so that the same run measured on an A100 and a T4 keeps both, and the table of costs
knows both. What other machines measured is read before this one begins: a wrong file shows at once, not after an hour.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import docvlm
from docvlm.errors import DocvlmError
from docvlm.files import read_json, write_json
from docvlm.machine import git_commit, hardware, versions
from docvlm.scoring.intervals import Difference, Interval
from docvlm.tables import Column, Table, to_csv
from docvlm.timing import cost
from docvlm.timing.cost import Cost, OnMachine
from docvlm.vlms.checkpoint import fingerprint

if TYPE_CHECKING:
    from docvlm.config import BenchmarkConfig
    from docvlm.evaluation.subjects import Subject
    from docvlm.timing.frontier import Measured, Point
    from docvlm.timing.prices import Prices
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


def folder_for(base: Path, who: Mapping[str, Any]) -> Path:
    """`base` / the benchmark / the device's name in letters, digits and dashes."""
    return base / who["benchmark"] / re.sub(r"[^a-z0-9]+", "-", who["device"].lower()).strip("-")


def elsewhere(base: Path, who: Mapping[str, Any], named: Sequence[str]) -> list[OnMachine]:
    """What other machines measured of the same model and benchmark: their folders below `base`, and the files named.

    Raises `DocvlmError` for a file that is no benchmark's, or another model's.
    """
    folder = folder_for(base, who)
    files = {*folder.parent.glob(f"*/{FILE}"), *(Path(name).expanduser() for name in named)} - {folder / FILE}
    return [cost.on_machine(read(file, like=who), str(file)) for file in sorted(files)]


def record(
    cfg: BenchmarkConfig, subject: Subject, vlm: VLM, who: Mapping[str, Any], source: str | None, measured: Measured
) -> dict[str, Any]:
    """Everything but the costs, in plain types. `who` is the model's `identity`."""
    kind = vlm.device.type
    return {
        "docvlm": docvlm.__version__,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "subject": subject.title,
        **subject.described,
        **who,
        "dtype": str(vlm.dtype).removeprefix("torch."),
        "quant": vlm.quant,
        "split": measured.split,
        "source": source,
        "settings": {name: getattr(cfg, name) for name in SETTINGS},
        "points": [_point(point, best) for point, best in zip(measured.points, measured.best, strict=True)],
        "pages": [list(size) for size in measured.pages],
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
    base: Path, found: dict[str, Any], others: Sequence[OnMachine], listed: Prices
) -> tuple[Path, list[Table], list[Path]]:
    """Add the costs to a record and write its files into its folder under `base`; the folder, the tables, the files."""
    folder = folder_for(base, found)
    folder.mkdir(parents=True, exist_ok=True)
    here = folder / FILE
    pages = [(width, height) for width, height in found["pages"]]
    priced = cost.costs(listed, [cost.on_machine(found, str(here)), *others], pages)
    write_json(here, {**found, "costs": [row.as_dict() for row in priced]})
    tables = [latency(found), frontier(found), costs(priced, len(pages))]
    files = [here, *(folder / f"{table.name}.csv" for table in tables)]
    for table, file in zip(tables, files[1:], strict=True):
        to_csv(file, table)
    return folder, tables, files


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


_SPEEDS = (
    Column("resolution", "pixels", kind="text"),
    Column("batch", "batch"),
    Column("n", "n"),
    Column("p50_ms", "p50 ms", 0),
    Column("p95_ms", "p95 ms", 0),
    *map(Column, ("mean_ms", "prepare_p50_ms")),
    Column("first_token_p50_ms", "first token ms", 0),
    Column("first_token_p95_ms"),
    Column("tokens_per_s", "tokens/s", 0),
    Column("pages_per_s", "pages/s", 1),
    *map(Column, ("prompt_tokens", "new_tokens")),
    Column("peak_memory_mb", "peak MB", 0),
    Column("held_memory_mb", "held MB", 0),
    Column("bound"),
)


def latency(found: Mapping[str, Any]) -> Table:
    """A row for each page size, alone and in the largest batch, and what ended the search for that batch."""
    rows = [
        {**point[name], "resolution": point["resolution"], "bound": bound}
        for point in found["points"]
        for name, bound in (("single", ""), ("batched", point["largest"]["bound"] if point["largest"] else ""))
        if point[name] is not None
    ]
    bounds = [
        f"{point['resolution']}: largest batch {point['largest']['batch']}, ended by {point['largest']['bound']}"
        for point in found["points"]
        if point["largest"] is not None
    ]
    title = f"{found['family']} {found['subject']} ({found['dtype']}) on {found['device']}"
    notes = ["from opening the page to the text, of a whole batch; one question a page", *bounds]
    return Table("latency", title, _SPEEDS, rows, notes)


def frontier(found: Mapping[str, Any]) -> Table:
    """A row for each page size: the score, its difference to the first, and the median latency alone."""
    score = found["points"][0]["score"]
    columns = (
        Column("resolution", "pixels", kind="text"),
        Column("prompt_tokens", "tokens", 0),
        Column("metric"),
        Column("score", score["metric"], ends=("low", "high")),
        *map(Column, ("questions", "documents")),
        Column("difference", "Δ to the first", ends=("difference_low", "difference_high")),
        Column("p50_ms", "p50 ms", 0),
        *map(Column, ("p95_ms", "first_token_p50_ms", "pareto")),
        Column("best", "frontier", filed=False),
    )
    title = f"accuracy, latency, resolution: {found['benchmark']}, {found['split']} split, {score['n']} questions"
    note = f"mean with 95 % interval over {score['clusters']} documents; Δ paired on the same questions"
    return Table("frontier", title, columns, [_frontier_row(point) for point in found["points"]], [note])


def _frontier_row(point: Mapping[str, Any]) -> dict[str, Any]:
    score, difference, single = point["score"], point["difference_to_first"], point["single"]
    return {
        "resolution": point["resolution"],
        "metric": score["metric"],
        "score": Interval(*(score[key] for key in ("mean", "low", "high", "n", "clusters"))),
        "questions": score["n"],
        "documents": score["clusters"],
        "difference": None if difference is None else Difference(**difference),
        **{key: single[key] for key in ("prompt_tokens", "p50_ms", "p95_ms", "first_token_p50_ms")},
        "pareto": point["pareto"],
        "best": "yes" if point["pareto"] else "no",
    }


_COSTS = (
    Column("name", "machine or API", kind="text", filed=False),
    Column("resolution", "pixels", filed=False),
    Column("latency_ms", "latency ms", 0, filed=False),
    Column("usd_per_1000_pages", "USD alone", filed=False),
    Column("batch", "batch", filed=False),
    Column("usd_per_1000_pages_batched", "USD in batches", filed=False),
    Column("date", "price of", filed=False),
    *(Column(field.name) for field in fields(Cost)),
)


def costs(rows: Sequence[Cost], pages: int) -> Table:
    """US dollars for 1 000 pages on every machine and from every API, by `pages` timed pages."""
    note = f"one question a page; APIs by their formula on the {pages} timed pages; – where nothing was measured"
    told = [f"{row.name}: {row.note}" for row in rows if row.note and (row.measured_in or row.kind == "api")]
    title = "cost of 1 000 pages, US dollars"
    return Table("costs", title, _COSTS, [row.as_dict() for row in rows], [note, *told])
