"""The table at the end of a sweep: one row a cell, from the files the cells left; as text, CSV and JSON.

A freezing ablation (cells differ in `freeze`) shows the secondary metrics and validation loss against the frozen and
trainable share of the vision tower, by blocks and by parameters, since published ablations label the same runs either
way. Every other sweep shows score, trainable parameters, minutes and peak memory. The CSV and JSON hold all columns.
Below the table stand the cells gathered over seeds (`seeds.py`), which cells an earlier command had done, and which
differ beyond chance (`comparisons.py`). Where an optimiser chose the cells the best one comes first.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from docvlm.files import read_json, write_csv, write_whole
from docvlm.metrics import METRICS
from docvlm.metrics.registry import goodness
from docvlm.reporting.naming import adapter
from docvlm.reporting.sweeps.comparisons import compare
from docvlm.reporting.sweeps.seeds import gather
from docvlm.runs.folder import Action, RunFolder, done_in, follow
from docvlm.runs.result import read as read_result

Row = dict[str, Any]
_FIRST = {
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
}
_LAST = {
    "val_loss": "val loss\nbest",
    "minutes": "\nminutes",
    "peak_memory_mb": "peak\nMB",
}
_SHARES = {name for name in _FIRST if name.startswith("vision_")}
_SIZES = {"trainable_millions", "trainable_percent", "peak_memory_mb"}
_DIGITS = {"minutes": 1, "peak_memory_mb": 0, "trainable_percent": 2, **dict.fromkeys(_SHARES, 1)}


def columns() -> dict[str, str]:
    """Every column a table of cells may have: key and heading of one or two lines."""
    narrow = [metric for metric in METRICS.values() if metric.narrow]
    heads = {metric.name: f"{'' if number else 'test'}\n{metric.column}" for number, metric in enumerate(narrow)}
    return _FIRST | heads | _LAST


def summarise_sweep(folder: Path) -> None:
    """Print the table of the sweep in `folder`; write `sweep.txt`, `.csv`, `.json`, `seeds.csv`, `comparisons.csv`."""
    rows = collect(folder)
    if not rows:
        return
    seeds = gather(rows)
    lines, comparisons = compare([{**row, "settings": _name(row)} for row in rows if row["status"] == "finished"])
    parts = [render(rows), render_seeds(seeds, _columns(rows)), _told(rows), "\n".join(lines)]
    text = "\n\n".join(filter(None, parts))
    also = {"seeds.csv": seeds, "comparisons.csv": comparisons}
    files = ["sweep.txt", "sweep.csv", "sweep.json", *(name for name, table in also.items() if table)]
    print(f"\n{text}\n\n{folder}: {', '.join(files)}", flush=True)
    write_whole(folder / "sweep.txt", lambda file: file.write(text + "\n"))
    write_whole(folder / "sweep.json", lambda file: json.dump(rows, file, indent=2, ensure_ascii=False))
    write_csv(folder / "sweep.csv", rows)
    for name, table in also.items():
        if table:
            write_csv(folder / name, table)
        else:
            (folder / name).unlink(missing_ok=True)  # of an earlier command in a folder that was named


def collect(folder: Path) -> list[Row]:
    """One row a cell, every column in each, None where a cell has no such number.

    In the order of the cells; where an optimiser chose them, by its objective (the selection score), the best first.
    """
    cells = sorted((path for path in folder.iterdir() if path.name.isdigit()), key=lambda path: int(path.name))
    rows = [_row(cell) for cell in cells]
    if any(_optimised(cell) for cell in cells):
        rows.sort(key=lambda row: -1.0 if row["selection"] is None else _good(row), reverse=True)
    return rows


def render(rows: Sequence[Row]) -> str:
    """The table as text: what was measured on what, a row a finished cell, then why the others are not finished."""
    done = [row for row in rows if row["status"] == "finished"]
    parts = ["\n".join(dict.fromkeys(_caption(row) for row in done))]
    if done:
        heads = _columns(rows)
        parts.append(_table(heads, [[_text(row, name) for name in heads] for row in done]))
    parts += ["\n".join(f"{_name(row)}: {row['status']}: {row['reason']}" for row in rows if row not in done)]
    return "\n\n".join(filter(None, parts))


def render_seeds(seeds: Sequence[Row], heads: dict[str, str]) -> str:
    """Mean ± standard deviation over the seeds of each group, in the columns of the sweep's table; "" without any."""
    if not seeds:
        return ""
    first, rest = {"settings": "over seeds:\nmean ± sd", "seeds": "\nseeds"}, {**heads, "score": "test\nscore"}
    heads = first | {name: head for name, head in rest.items() if name not in first}
    return _table(heads, [[_over(row, name) for name in heads] for row in seeds])


def _table(heads: dict[str, str], rows: Sequence[Sequence[str]]) -> str:
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE, pad_edge=False)
    for name, head in heads.items():
        table.add_column(Text(head), justify="left" if name == "settings" else "right")
    for row in rows:
        table.add_row(*map(Text, row))
    out = io.StringIO()
    Console(file=out, width=200, highlight=False).print(table)
    return "\n".join(line.removeprefix(" ").rstrip() for line in out.getvalue().splitlines()).strip("\n")


def _columns(rows: Sequence[Row]) -> dict[str, str]:
    """The columns of these cells' table: see the module's first lines."""
    froze = len({row["freeze"] for row in rows if row["status"] == "finished"}) > 1
    left_out = _SIZES if froze else _SHARES | {*METRICS, "val_loss"}
    return {name: head for name, head in columns().items() if name not in left_out}


def _good(row: Row) -> float:
    return goodness(row["metric"], row["selection"])


def _told(rows: Sequence[Row]) -> str:
    """Which finished cells this command did not begin, "" where it began all of them."""
    by: dict[str, list[str]] = {}
    for row in rows:
        if row["status"] == "finished":
            by.setdefault(row["done"], []).append(_name(row))
    trained = len(by.pop("trained", []))
    said = [f"{len(names)} {word} ({'; '.join(names)})" for word, names in by.items()]
    return f"of {len(rows)} cells: {', '.join([*said, *([f'{trained} trained'] if trained else [])])}" if said else ""


def _row(cell: Path) -> Row:
    run = follow(cell)
    result = read_result(run.result) if run.result.exists() else {"status": "missing", "reason": "it left no result"}
    row: Row = {
        "cell": int(cell.name),
        "settings": " ".join(_overrides(cell)),
        "status": result["status"],
        "reason": result["reason"],
        "done": _DONE[done_in(cell)],
        "run": str(run.root),
    }
    return {**row, **(_numbers(run, result) if result["status"] == "finished" else dict.fromkeys(_number_names()))}


_DONE = {Action.START: "trained", Action.CONTINUE: "continued", Action.REUSE: "reused", Action.EXAMINE: "examined anew"}


def _number_names() -> tuple[str, ...]:
    """The columns of `sweep.csv` beside those that every cell has, finished or not."""
    return (
        "benchmark", "family", "metric", "score", "low", "high", "questions", "documents", "selection", "best_epoch",
        "zero_shot", *METRICS, "val_loss", "zero_shot_val_loss", "freeze", "lora_r", "adapter", "trainable_millions",
        "trainable_percent", *sorted(_SHARES), "minutes", "peak_memory_mb", "base",
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
        **dict.fromkeys(METRICS),  # a run of before a metric was registered has none of it
        **result["secondary"],
        "val_loss": result["best"]["val_loss"],
        "zero_shot_val_loss": result["zero_shot"]["val_loss"],
        "freeze": learned["freeze"],
        "lora_r": learned["lora_r"],
        "adapter": adapter(learned) if learned["lora_r"] else None,
        "trainable_millions": learned["parameters"] / 1e6,
        "trainable_percent": learned["percent"],
        **{name: learned[name] for name in _SHARES},
        "minutes": result["cost"]["seconds"] / 60,
        "peak_memory_mb": result["cost"]["peak_memory_mb"],
        "base": read_json(run.manifest)["checkpoint"]["name"],
    }
    return {name: numbers[name] for name in _number_names()}


def _overrides(cell: Path) -> list[str]:
    """What tells this cell from the others: its overrides less those that all cells of the sweep share."""
    from omegaconf import OmegaConf

    def of(folder: Path) -> list[str]:
        file = folder / ".hydra" / "overrides.yaml"
        return [str(item) for item in OmegaConf.load(file)] if file.exists() else []

    others = [of(path) for path in cell.parent.iterdir() if path.name.isdigit() and path != cell]
    return [item for item in of(cell) if not others or not all(item in other for other in others)]


def _caption(row: Row) -> str:
    other = f" with {row['adapter']}" if row["adapter"] not in (None, "LoRA") else ""
    return (
        f"{row['family']}{other} from {row['base']}, {row['benchmark']}: {row['metric']},"
        f" test split of {row['questions']} questions on {row['documents']} documents"
    )


def _name(row: Row) -> str:
    """A cell in words, long decimals that an optimiser chose cut to four digits."""
    settings = re.sub(r"\d+\.\d{5,}(?:e-?\d+)?", lambda found: f"{float(found[0]):.4g}", str(row["settings"]))
    return settings or str(row["cell"])


def _text(row: Row, name: str) -> str:
    value = row[name]
    if name == "settings":
        return _name(row)
    if name == "score":
        return f"{value:.3f} [{row['low']:.3f}, {row['high']:.3f}]"
    return _number(name, value)


def _over(row: Row, name: str) -> str:
    value = row[name]
    if name == "settings":
        return value or "these settings"
    if name == "seeds":
        return str(value)
    spread = f"{name}_sd"
    if value is None or spread not in row or name in {"minutes", "peak_memory_mb"}:
        return _number(name, value)
    return f"{value:.3f} ± {row[spread]:.3f}"


def _number(name: str, value: float | None) -> str:
    return "-" if value is None else f"{value:.{_DIGITS[name] if name in _DIGITS else 3}f}"


def _optimised(cell: Path) -> bool:
    """Whether a sweeper that asks for an objective chose this cell, by Hydra's own record."""
    from omegaconf import OmegaConf

    file = cell / ".hydra" / "hydra.yaml"
    return file.exists() and not str(OmegaConf.load(file).hydra.sweeper._target_).endswith(".BasicSweeper")
