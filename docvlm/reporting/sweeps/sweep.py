"""The table at the end of a sweep: one row a cell, from the files the cells left; as text, CSV and JSON.

A freezing ablation (cells differ in `freeze`) shows the secondary metrics and validation loss against the frozen and
trainable share of the vision tower, by blocks and by parameters, since published ablations label the same runs either
way. Every other sweep shows score, trainable parameters, minutes and peak memory, one over `freeze_language` the frozen
share of the decoder before them. The CSV and JSON hold all columns.
Cells that differ only in their seed stand first, gathered (`seeds.py`), and the single runs below. Then come which
cells an earlier command had done, and which differ beyond chance (`comparisons.py`). Where an optimiser chose the cells
the best one comes first.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from docvlm.config import marks
from docvlm.config.job import CELLS
from docvlm.files import read_json, shown, write_csv, write_whole
from docvlm.metrics import METRICS
from docvlm.metrics.registry import goodness
from docvlm.reporting.naming import adapter, freeze_language
from docvlm.reporting.sweeps.comparisons import compare
from docvlm.reporting.sweeps.seeds import gather
from docvlm.runs.finished import ROOTS, Run, by_setting, finished
from docvlm.runs.folder import Action, RunFolder, done_in, follow
from docvlm.runs.identity import setting
from docvlm.runs.result import read as read_result
from docvlm.scoring.intervals import Interval
from docvlm.tables import Column, Table, to_text
from docvlm.vlms.families import published

Row = dict[str, Any]
RUNNING, STOPPED = "running", "stopped"  # the second: it has begun and not ended, and its process is gone
MISSING = "missing"
KILLED = "its process was killed; the same command continues it"
_SETTINGS = Column("settings", "cell", kind="text")
_SHARES = (
    Column("vision_frozen_blocks_percent", "vision frozen %\nblocks", 1),
    Column("vision_frozen_parameters_percent", "\nparams", 1),
    Column("vision_trainable_blocks_percent", "vision trainable %\nblocks", 1),
    Column("vision_trainable_parameters_percent", "\nparams", 1),
)
_LANGUAGE = Column("language_frozen_blocks_percent", "decoder frozen\n% of blocks", 1)
_SCORES = (
    Column("zero_shot", "val score\nepoch 0"),
    Column("selection", "\nbest"),
    Column("score", "test score\n[95 % interval]"),
)
_MINUTES = Column("minutes", "\nminutes", 1)
RANK = (
    *_SCORES,
    Column("trainable_millions", "trainable\nM"),
    Column("trainable_percent", "\n%", 2),
    _MINUTES,
    Column("peak_memory_mb", "peak\nMB", 0),
)


def freeze_columns() -> tuple[Column, ...]:
    """What a freezing ablation shows of a cell: every metric that stands in narrow tables."""
    narrow = [metric for metric in METRICS.values() if metric.narrow]
    heads = [Column(one.name, f"{'' if number else 'test'}\n{one.column}") for number, one in enumerate(narrow)]
    return (*_SHARES, *_SCORES, *heads, Column("val_loss", "val loss\nbest"), _MINUTES)


def summarise_sweep(folder: Path) -> int:
    """The end of a sweep: wait for cells that other commands train, then `summarise`."""
    for cell in _begun(folder):
        if done_in(cell) is Action.ELSEWHERE and (run := follow(cell)).held():
            print(f"waiting for the process that is training {shown(run.root)}", flush=True)
            run.wait()
    return summarise(folder)


def summarise(folder: Path) -> int:
    """Print the table of the sweep in `folder`; write `sweep.txt`, `.csv`, `.json`, `seeds.csv`, `comparisons.csv`.

    All of it comes from what the cells left in their folders, wherever they were trained. Returns how many of them are
    not finished.
    """
    roots = sorted({root.resolve() for root in (*ROOTS, folder.parent)})
    runs = finished(roots)
    rows = collect(folder, runs)
    if not rows:
        return 0
    seeds = gather(rows)
    done = [{**row, "settings": called(row)} for row in rows if row["status"] == "finished"]
    elsewhere = {} if seeds else seeded(runs)  # a sweep with seeds of its own asks no other run
    lines, comparisons = compare(done, command(folder), elsewhere)
    parts = [render(rows, seeds), _told(rows), "\n".join(lines)]
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
    return sum(row["status"] != "finished" for row in rows)


def _begun(folder: Path) -> list[Path]:
    """The folders of the cells that have one, in their order."""
    return sorted((path for path in folder.iterdir() if path.name.isdigit()), key=lambda path: int(path.name))


def _asked(folder: Path) -> list[list[str]]:
    """The overrides of every cell that the command asked for; none where an optimiser chose them."""
    return read_json(folder / CELLS)["cells"] if (folder / CELLS).exists() else []


def seeded(runs: Iterable[Run]) -> dict[str, list[Row]]:
    """Runs of settings with two seeds or more, as `comparisons.compare` takes them, by the folder of their first."""
    several = [part for part in by_setting(runs) if len(part) > 1]
    return {f"the {len(part)} seeds of {shown(part[0].folder.root)}": [_exam(run) for run in part] for part in several}


def _exam(run: Run) -> Row:
    result = run.result
    return {"run": str(run.folder.root), "family": run.model, "benchmark": result["benchmark"],
            "metric": result["headline"]["metric"]}  # fmt: skip


def command(folder: Path) -> str:
    """The command that began the sweep in `folder`, without several seeds and `-m`; "" where Hydra left no record."""
    kept = [word for word in _typed(folder) if not word.startswith("hydra.sweep.dir=")]
    kept = [word for word in kept if not word.startswith("seed=") or word[5:].isdigit()]  # `seeds=3` begins with one
    return shlex.join(["python", "-m", "docvlm.train", *kept]) if kept else ""


def the_same_command(folder: Path) -> str:
    """The command that began the sweep in `folder`, whole; "" where Hydra left no record."""
    words = _typed(folder)
    return shlex.join(["python", "-m", "docvlm.train", *words, "-m"]) if words else ""


def _typed(folder: Path) -> list[str]:
    """The overrides of a sweep's command; none where Hydra left no record."""
    from omegaconf import OmegaConf

    file = folder / "multirun.yaml"
    if not file.exists():
        return []
    given = OmegaConf.load(file).hydra.overrides
    words = [*given.task, *(word for word in given.hydra if not word.startswith("hydra.mode="))]
    return [str(word) for word in words]


def collect(folder: Path, runs: Iterable[Run] = ()) -> list[Row]:
    """One row a cell, every column in each, None where a cell has no such number; `runs` are called as they are there.

    In the order of the cells; where an optimiser chose them, by its objective (the selection score), the best first.
    """
    cells = _begun(folder)
    names = {run.folder.root.resolve(): run.model for run in runs}
    rows = [_row(cell) for cell in cells]
    rows = [row | {"family": names.get(Path(row["run"]).resolve(), row["family"])} for row in rows]
    if any(_optimised(cell) for cell in cells):
        rows.sort(key=lambda row: -1.0 if row["selection"] is None else _good(row), reverse=True)
    begun = {row["cell"] for row in rows}
    asked = dict(enumerate(_asked(folder)))
    shared = set.intersection(*map(set, asked.values())) if len(asked) > 1 else set()
    apart = {number: " ".join(word for word in words if word not in shared) for number, words in asked.items()}
    if begun <= apart.keys():  # else an earlier command left more cells here, which only their own records know
        rows = [row | {"settings": apart[row["cell"]]} for row in rows]
    return rows + [
        {"cell": number, "settings": apart[number], "status": MISSING, "reason": "it did not begin", "done": ""}
        | {"run": str(folder / str(number)), **dict.fromkeys(_number_names())}
        for number in asked
        if number not in begun
    ]


def render(rows: Sequence[Row], seeds: Sequence[Row] = ()) -> str:
    """The table as text: what was measured on what, a row a finished cell, then why the others are not finished.

    `seeds`, what `gather` makes of the rows, come before the single cells.
    """
    done = [row for row in rows if row["status"] == "finished"]
    parts = ["\n".join(dict.fromkeys(_caption(row) for row in done))]
    if seeds:
        parts.append(to_text(over_seeds(seeds, _columns(rows))))
    if done:
        cells = [{**row, "settings": called(row), "score": Interval(*(row[key] for key in _INTERVAL))} for row in done]
        settings = replace(_SETTINGS, head="single runs") if seeds else _SETTINGS
        parts.append(to_text(Table("sweep", "", [settings, *_columns(rows)], cells)))
    parts += ["\n".join(f"{called(row)}: {row['status']}: {row['reason']}" for row in rows if row not in done)]
    return "\n\n".join(filter(None, parts))


_INTERVAL = ("score", "low", "high", "questions", "documents")


def over_seeds(seeds: Sequence[Row], columns: Sequence[Column]) -> Table:
    """Mean ± standard deviation over the seeds of each setting, in the columns of the sweep's table."""
    heads = [replace(_SETTINGS, head="over seeds:\nmean ± sd"), Column("seeds", "\nseeds")]
    test = "test score\n[95 %, documents and seeds]"
    heads += [replace(column, head=test) if column.key == "score" else column for column in columns]
    rows = [
        {**row, "settings": row["settings"] or "these settings"}
        | {column.key: _over(row, column) for column in columns}
        for row in seeds
    ]
    return Table("seeds", "", heads, rows)


def _columns(rows: Sequence[Row]) -> tuple[Column, ...]:
    """The columns of these cells' table: see the module's first lines."""
    done = [row for row in rows if row["status"] == "finished"]
    columns = freeze_columns() if len({row["freeze"] for row in done}) > 1 else RANK
    return (_LANGUAGE, *columns) if len({row["freeze_language"] for row in done}) > 1 else columns


def _good(row: Row) -> float:
    return goodness(row["metric"], row["selection"])


def _told(rows: Sequence[Row]) -> str:
    """Which finished cells this command did not begin, "" where it began all of them."""
    by: dict[str, list[str]] = {}
    for row in rows:
        if row["status"] == "finished":
            by.setdefault(row["done"], []).append(called(row))
    trained = len(by.pop("trained", []))
    said = [f"{len(names)} {word} ({'; '.join(names)})" for word, names in by.items()]
    return f"of {len(rows)} cells: {', '.join([*said, *([f'{trained} trained'] if trained else [])])}" if said else ""


def _row(cell: Path) -> Row:
    run = follow(cell)
    result = read_result(run.result) if run.result.exists() else _without_result(cell)
    if result["status"] == RUNNING and run.result.exists():
        result |= {"reason": "it is being trained"} if run.held() else {"status": STOPPED, "reason": KILLED}
    row: Row = {
        "cell": int(cell.name),
        "settings": " ".join(_overrides(cell)),
        "status": result["status"],
        "reason": result["reason"],
        "done": _DONE[done_in(cell)],
        "run": str(run.root),
    }
    return {**row, **(_numbers(run, result) if result["status"] == "finished" else dict.fromkeys(_number_names()))}


def _without_result(cell: Path) -> Row:
    """What is known of a cell before there is a result: a run has one once its data are read."""
    by = marks.who(cell)
    if not by:
        return {"status": MISSING, "reason": "it left no result"}
    if marks.alive(cell):
        return {"status": RUNNING, "reason": "it is being trained"}
    return {"status": STOPPED, "reason": f"{by} ended before there was a result; the same command trains it"}


_DONE = {Action.START: "trained", Action.CONTINUE: "continued", Action.REUSE: "reused", Action.EXAMINE: "examined anew",
         Action.ELSEWHERE: "left to another command"}  # fmt: skip


def _number_names() -> tuple[str, ...]:
    """The columns of `sweep.csv` beside those that every cell has, finished or not."""
    return (
        "seed", "setting", "benchmark", "family", "metric", "score", "low", "high", "questions", "documents",
        "selection", "best_epoch", "zero_shot", *METRICS, "val_loss", "zero_shot_val_loss", "freeze", "freeze_language",
        "lora_r", "adapter", "trainable_millions", "trainable_percent",
        *sorted(column.key for column in (*_SHARES, _LANGUAGE)), "minutes", "peak_memory_mb", "base",
    )  # fmt: skip


def _numbers(run: RunFolder, result: Row) -> Row:
    head, learned = result["headline"], result["trainable"]
    manifest = read_json(run.manifest)
    numbers = {
        "seed": manifest["seed"],
        "setting": setting(manifest, result.get("code")),
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
        "freeze_language": freeze_language(learned),
        "lora_r": learned["lora_r"],
        "adapter": adapter(learned) if learned["lora_r"] else None,
        "trainable_millions": learned["parameters"] / 1e6,
        "trainable_percent": learned["percent"],
        **{column.key: learned[column.key] for column in _SHARES},
        _LANGUAGE.key: learned.get(_LANGUAGE.key, 0.0),  # runs of before there was the key
        "minutes": result["cost"]["seconds"] / 60,
        "peak_memory_mb": result["cost"]["peak_memory_mb"],
        "base": published(manifest["checkpoint"]["name"])[0],
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


def called(row: Row) -> str:
    """A cell in words, long decimals that an optimiser chose cut to four digits."""
    settings = re.sub(r"\d+\.\d{5,}(?:e-?\d+)?", lambda found: f"{float(found[0]):.4g}", str(row["settings"]))
    return settings or str(row["cell"])


def _over(row: Row, column: Column) -> Any:
    """A mean with its standard deviation and interval; where chance is not what moves a number, the mean alone."""
    value, deviation = row[column.key], row.get(f"{column.key}_sd")
    if value is None or column.key in {"zero_shot", "minutes", "peak_memory_mb"}:
        return value
    spread = "" if deviation is None else f" ± {deviation:.3f}"
    ends = f" [{row['low']:.3f}, {row['high']:.3f}]" if column.key == "score" and row["low"] is not None else ""
    return f"{value:.3f}{spread}{ends}" if spread or ends else value


def _optimised(cell: Path) -> bool:
    """Whether a sweeper that asks for an objective chose this cell, by Hydra's own record."""
    from omegaconf import OmegaConf

    file = cell / ".hydra" / "hydra.yaml"
    return file.exists() and not str(OmegaConf.load(file).hydra.sweeper._target_).endswith(".BasicSweeper")
