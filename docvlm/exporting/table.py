"""Exports as a table for a terminal, as `export.json` and as `export.csv`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docvlm.exporting.records import FILE, RUN
from docvlm.files import write_json
from docvlm.machine import git_commit, versions
from docvlm.scoring.intervals import Difference, Interval
from docvlm.tables import Column, Table, to_csv
from docvlm.version import __version__

if TYPE_CHECKING:
    from docvlm.config import ExportConfig
    from docvlm.exporting.making import Made
    from docvlm.exporting.source import Source

CAPTION = (
    "score: mean over questions, 95 % interval over documents; Δ paired with the run on the same questions;"
    " MB: files; + base: what an adapter needs; ms: median of a page, alone; peak: of the process, while it answered;"
    " canary: equal answers [largest difference of a logit; other runtimes show none]"
)
_COLUMNS = (
    Column("format", "format", kind="text"),
    Column("exported"),
    Column("benchmark", "benchmark", kind="text"),
    *map(Column, ("split", "metric", "questions", "documents")),
    Column("score", "score", ends=("low", "high")),
    Column("difference", "Δ to the run", ends=("difference_low", "difference_high")),
    Column("size_mb", "MB", 1),
    Column("base_mb", "+ base", 1),
    Column("p50_ms", "ms", 0),
    Column("p95_ms"),
    Column("peak_memory_mb", "peak MB", 0),
    Column("held_memory_mb"),
    *map(Column, ("canary_equal", "canary_questions", "canary_logits", "device", "folder", "reasons")),
    Column("canary", "canary", filed=False),
    Column("verdict", " ", kind="text", filed=False),
)


def table(source: Source, made: Made) -> Table:
    """A row for each format and benchmark."""
    device = made.rows[0]["device"]
    title = f"{source.run.model}, {source.run.folder.root} as artefacts, {source.record['dtype']} on {device}"
    rows = [_values(row, score) for row in made.rows for score in row["scores"]]
    return Table("export", title, _COLUMNS, rows, [CAPTION])


def write(output: Path, cfg: ExportConfig, source: Source, made: Made) -> list[Path]:
    """`export.json` with everything and `export.csv` with a line for each format and benchmark, in `output`."""
    files = [output / FILE, output / "export.csv"]
    write_json(
        files[0],
        {
            "docvlm": __version__,
            "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "family": source.run.model,
            "run": str(source.run.folder.root),
            "dtype": source.record["dtype"],
            "tolerance": {word: asdict(tolerance) for word, tolerance in cfg.tolerance.items()},
            "formats": made.rows,
            "left_out": made.left_out,
            "git_commit": git_commit(),
            "versions": versions(),
        },
    )
    to_csv(files[1], table(source, made))
    return files


def _canary(seen: Mapping[str, Any]) -> str:
    logits = "" if seen["logits"] is None else f" [{seen['logits']:.2g}]"
    return f"{seen['equal']} of {seen['questions']}{logits}"


def _values(row: Mapping[str, Any], score: Mapping[str, Any]) -> dict[str, Any]:
    difference, seen, timed = score["difference"], row["canary"], row["latency"]
    return {
        "format": row["format"],
        "exported": None if row["format"] == RUN else not row["reasons"],
        "verdict": "the run" if row["format"] == RUN else "failed" if row["reasons"] else "passed",
        "benchmark": score["benchmark"],
        "split": score["split"],
        "metric": score["metric"],
        "questions": score["n"],
        "documents": score["clusters"],
        "score": Interval.of(score),
        "difference": Difference.of(difference),
        "size_mb": row["size_mb"],
        "base_mb": row["base_mb"],
        **{key: timed[key] for key in ("p50_ms", "p95_ms", "peak_memory_mb", "held_memory_mb")},
        "canary_equal": None if seen is None else seen["equal"],
        "canary_questions": None if seen is None else seen["questions"],
        "canary_logits": None if seen is None else seen["logits"],
        "canary": None if seen is None else _canary(seen),
        "device": row["device"],
        "folder": row["folder"],
        "reasons": "; ".join(row["reasons"]),
    }
