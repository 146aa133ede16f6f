"""Exports as a table for a terminal, as `export.json` and as `export.csv`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from docvlm.exporting.records import FILE, RUN
from docvlm.files import write_csv, write_json
from docvlm.machine import git_commit, versions
from docvlm.scoring.intervals import Difference, Interval
from docvlm.version import __version__

if TYPE_CHECKING:
    from docvlm.config import ExportConfig
    from docvlm.exporting.making import Made
    from docvlm.exporting.source import Source

CAPTION = (
    "score: mean over questions, 95 % interval over documents; Δ paired with the run on the same questions;"
    " MB: files, + the base an adapter needs; ms: median of a page, alone; peak: of the process, while it answered;"
    " canary: equal answers, largest difference of a logit"
)
_HEADS = ("format", "score", "Δ to the run", "MB", "ms", "peak MB", "canary", "")


def shown(source: Source, made: Made) -> Table:
    """One line a format and benchmark."""
    device = made.rows[0]["device"]
    title = f"{source.run.family}, {source.run.folder.root} as artefacts, {source.record['dtype']} on {device}"
    table = Table(title=title, caption=CAPTION, box=SIMPLE_HEAD, pad_edge=False)
    table.title_justify = table.caption_justify = "left"
    for head in _HEADS:
        left = head in ("format", "")
        table.add_column(head, justify="left" if left else "right", no_wrap=True)
    for row in made.rows:
        for number, score in enumerate(row["scores"]):
            table.add_row(*_cells(row, score, first=number == 0))
    return table


def _cells(row: Mapping[str, Any], score: Mapping[str, Any], *, first: bool) -> list[str]:
    interval = Interval(*(score[key] for key in ("mean", "low", "high", "n", "clusters")))
    difference = "-" if score["difference"] is None else _two_lines(Difference(**score["difference"]))
    if not first:
        return [f"\n{score['benchmark']}", _two_lines(interval), difference, *[""] * (len(_HEADS) - 3)]
    seen, timed = row["canary"], row["latency"]
    size = _megabytes(row["size_mb"])
    return [
        f"{row['format']}\n{score['benchmark']}",
        _two_lines(interval),
        difference,
        size if row["base_mb"] is None else f"{size}\n+ {_megabytes(row['base_mb'])}",
        f"{timed['p50_ms']:.0f}",
        f"{timed['peak_memory_mb']:.0f}",
        "-" if seen is None else f"{seen['equal']} of {seen['questions']}\n{seen['logits']:.2g}",
        "" if row["format"] == RUN else "failed" if row["reasons"] else "passed",
    ]


def _megabytes(size: float) -> str:
    return f"{size:.1f}" if size < 100 else f"{size:.0f}"


def _two_lines(interval: Interval | Difference) -> str:
    return str(interval).replace(" ", "\n", 1).replace("[", r"\[")


def write(output: Path, cfg: ExportConfig, source: Source, made: Made) -> list[Path]:
    """`export.json` with everything and `export.csv` with a line for each format and benchmark, in `output`."""
    files = [output / FILE, output / "export.csv"]
    write_json(
        files[0],
        {
            "docvlm": __version__,
            "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "family": source.run.family,
            "run": str(source.run.folder.root),
            "dtype": source.record["dtype"],
            "tolerance": {word: asdict(tolerance) for word, tolerance in cfg.tolerance.items()},
            "formats": made.rows,
            "left_out": made.left_out,
            "git_commit": git_commit(),
            "versions": versions(),
        },
    )
    write_csv(files[1], [_flat(row, score) for row in made.rows for score in row["scores"]])
    return files


def _flat(row: Mapping[str, Any], score: Mapping[str, Any]) -> dict[str, Any]:
    difference, seen, timed = score["difference"], row["canary"], row["latency"]
    return {
        "format": row["format"],
        "exported": None if row["format"] == RUN else not row["reasons"],
        "benchmark": score["benchmark"],
        "split": score["split"],
        "metric": score["metric"],
        "questions": score["n"],
        "documents": score["clusters"],
        "score": score["mean"],
        "low": score["low"],
        "high": score["high"],
        "difference": None if difference is None else difference["mean"],
        "difference_low": None if difference is None else difference["low"],
        "difference_high": None if difference is None else difference["high"],
        "size_mb": row["size_mb"],
        "base_mb": row["base_mb"],
        "p50_ms": timed["p50_ms"],
        "p95_ms": timed["p95_ms"],
        "peak_memory_mb": timed["peak_memory_mb"],
        "held_memory_mb": timed["held_memory_mb"],
        "canary_equal": None if seen is None else seen["equal"],
        "canary_questions": None if seen is None else seen["questions"],
        "canary_logits": None if seen is None else seen["logits"],
        "device": row["device"],
        "folder": row["folder"],
        "reasons": "; ".join(row["reasons"]),
    }
