"""The table at the end of a sweep: one row a cell, from the files the cells left; as text, CSV and JSON.

A freezing ablation (cells differ in `freeze`) shows the secondary metrics and validation loss against the frozen and
trainable share of the vision tower, by blocks and by parameters, since published ablations label the same runs either
way. Every other sweep shows score, trainable parameters, minutes and peak memory. The CSV and JSON hold all columns.
Below the table stands which cells differ beyond chance (`comparisons.py`).
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from docvlm.reporting.comparisons import compare
from docvlm.training.files import read_json, write_csv, write_whole
from docvlm.training.folder import RunFolder, follow

Row = dict[str, Any]
COLUMNS = {
    "settings": "",
    "vision_frozen_blocks_percent": "vision frozen %\nblocks",
    "vision_frozen_parameters_percent": "\nparams",
    "vision_trainable_blocks_percent": "vision trainable %\nblocks",
    "vision_trainable_parameters_percent": "\nparams",
    "zero_shot": "val score\nepoch 0",
    "selection": "\nbest",
    "score": "test score\n[95 % interval]",
    "trainable_millions": "trainable\nM",
    "trainable_percent": "\n%",
    "accuracy": "test\naccuracy",
    "anls": "\nANLS",
    "em": "\nEM",
    "f1": "\nF1",
    "val_loss": "val loss\nbest",
    "minutes": "\nminutes",
    "peak_memory_mb": "peak\nMB",
}
_SHARES = {name for name in COLUMNS if name.startswith("vision_")}
_SECONDARY = {"accuracy", "anls", "em", "f1", "val_loss"}
RANK = [name for name in COLUMNS if name not in _SHARES | _SECONDARY]
FREEZE = [name for name in COLUMNS if name not in {"trainable_millions", "trainable_percent", "peak_memory_mb"}]
_DIGITS = {"minutes": 1, "peak_memory_mb": 0, "trainable_percent": 2, **dict.fromkeys(_SHARES, 1)}


def summarise_sweep(folder: Path) -> None:
    """Print the table of the sweep in `folder`; write `sweep.txt`, `.csv`, `.json` and `comparisons.csv` there."""
    rows = collect(folder)
    if not rows:
        return
    lines, comparisons = compare([row for row in rows if row["status"] == "finished"])
    text = "\n\n".join(filter(None, [render(rows), "\n".join(lines)]))
    also = ", comparisons.csv" if comparisons else ""
    print(f"\n{text}\n\n{folder}: sweep.txt, sweep.csv, sweep.json{also}", flush=True)
    write_whole(folder / "sweep.txt", lambda file: file.write(text + "\n"))
    write_whole(folder / "sweep.json", lambda file: json.dump(rows, file, indent=2, ensure_ascii=False))
    write_csv(folder / "sweep.csv", rows)
    if comparisons:
        write_csv(folder / "comparisons.csv", comparisons)


def collect(folder: Path) -> list[Row]:
    """One row a cell, in the order of the cells; every row has every column, None where a cell has no such number."""
    cells = sorted((path for path in folder.iterdir() if path.name.isdigit()), key=lambda path: int(path.name))
    return [_row(cell) for cell in cells]


def render(rows: Sequence[Row]) -> str:
    """The table as text: what was measured on what, a row a finished cell, then why the others are not finished."""
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    done = [row for row in rows if row["status"] == "finished"]
    out = io.StringIO()
    console = Console(file=out, width=200, highlight=False)
    if done:
        console.print(*dict.fromkeys(_caption(row) for row in done), sep="\n")
        table = Table(box=SIMPLE, pad_edge=False)
        columns = FREEZE if len({row["freeze"] for row in done}) > 1 else RANK
        for name in columns:
            table.add_column(COLUMNS[name], justify="left" if name == "settings" else "right")
        for row in done:
            table.add_row(*(_text(row, name) for name in columns))
        console.print(table)
    for row in rows:
        if row["status"] != "finished":
            console.print(
                f"{row['settings'] or row['cell']}: {row['status']}: {row['reason']}", soft_wrap=True, markup=False
            )
    return "\n".join(line.removeprefix(" ").rstrip() for line in out.getvalue().splitlines()).strip("\n")


def _row(cell: Path) -> Row:
    run = follow(cell)
    result = read_json(run.result) if run.result.exists() else {"status": "missing", "reason": "it left no result"}
    row: Row = {
        "cell": int(cell.name),
        "settings": " ".join(_overrides(cell)),
        "status": result["status"],
        "reason": result["reason"],
        "reused": run.root.resolve() != cell.resolve(),
        "run": str(run.root),
    }
    return {**row, **(_numbers(run, result) if result["status"] == "finished" else dict.fromkeys(_NUMBERS))}


_NUMBERS = (
    "benchmark", "family", "metric", "score", "low", "high", "questions", "documents", "selection", "best_epoch",
    "zero_shot", "accuracy", "anls", "relaxed", "em", "f1", "val_loss", "zero_shot_val_loss", "freeze", "lora_r",
    "trainable_millions", "trainable_percent", *sorted(_SHARES), "minutes", "peak_memory_mb", "base",
)  # fmt: skip


def _numbers(run: RunFolder, result: Row) -> Row:
    head, learned = result["headline"], result["trainable"]
    numbers = {
        "benchmark": result["benchmark"],
        "family": result["family"],
        "metric": head["metric"],
        "score": head["value"],
        "low": head["low"],
        "high": head["high"],
        "questions": head["questions"],
        "documents": head["documents"],
        "selection": result["selection"]["value"],
        "best_epoch": result["selection"]["epoch"],
        "zero_shot": result["zero_shot"]["score"],
        **result["secondary"],
        "val_loss": result["best"]["val_loss"],
        "zero_shot_val_loss": result["zero_shot"]["val_loss"],
        "freeze": learned["freeze"],
        "lora_r": learned["lora_r"],
        "trainable_millions": learned["parameters"] / 1e6,
        "trainable_percent": learned["percent"],
        **{name: learned[name] for name in _SHARES},
        "minutes": result["cost"]["seconds"] / 60,
        "peak_memory_mb": result["cost"]["peak_memory_mb"],
        "base": read_json(run.manifest)["checkpoint"]["name"],
    }
    return {name: numbers[name] for name in _NUMBERS}


def _overrides(cell: Path) -> list[str]:
    """What tells this cell from the others: its overrides less those that all cells of the sweep share."""
    from omegaconf import OmegaConf

    def of(folder: Path) -> list[str]:
        file = folder / ".hydra" / "overrides.yaml"
        return [str(item) for item in OmegaConf.load(file)] if file.exists() else []

    others = [of(path) for path in cell.parent.iterdir() if path.name.isdigit() and path != cell]
    return [item for item in of(cell) if not others or not all(item in other for other in others)]


def _caption(row: Row) -> str:
    return (
        f"{row['family']} from {row['base']}, {row['benchmark']}: {row['metric']},"
        f" test split of {row['questions']} questions on {row['documents']} documents"
    )


def _text(row: Row, name: str) -> str:
    value = row[name]
    if name == "settings":
        return f"{value}{' (reused)' if row['reused'] else ''}"
    if name == "score":
        return f"{value:.3f} [{row['low']:.3f}, {row['high']:.3f}]".replace("[", r"\[")
    return "-" if value is None else f"{value:.{_DIGITS[name] if name in _DIGITS else 3}f}"
