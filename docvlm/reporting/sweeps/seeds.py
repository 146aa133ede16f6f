"""Cells that differ only in `seed`, gathered: one row a setting with mean, spread and interval over its seeds.

The spread is the sample standard deviation (divisor n - 1), of single runs and not of their mean: how much a number
moves when only chance is repeated. The interval is over documents and seeds (`scoring.crossed`): where the mean would
be with other documents and other seeds. A setting with one seed borrows the spread of the others.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from statistics import mean, stdev
from typing import Any

from docvlm.metrics import METRICS
from docvlm.reporting.sweeps.answers import CellScores, read_scores, table
from docvlm.scoring.crossed import crossed_interval
from docvlm.scoring.intervals import Interval
from docvlm.scoring.significance import borrowed

Row = Mapping[str, Any]
_BEFORE, _AFTER = ("zero_shot", "selection", "score"), ("val_loss", "minutes", "peak_memory_mb")
_SEED = re.compile(r"(?:^|\s)seed=\S+")
_OF_ONE = ("cell", "run", "done", "status", "reason", "seed", "low", "high", "best_epoch", "zero_shot_val_loss")


def measured() -> tuple[str, ...]:
    """What may differ between seeds. Parameters and shares of the tower are the same in all of them."""
    return *_BEFORE, *METRICS, *_AFTER


def without_seed(settings: str) -> str:
    """What tells a cell from the others, less its seed."""
    return _SEED.sub("", settings).strip()


def gather(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """One row for each setting of the finished cells, in their order; [] where none has two seeds.

    Cells are of one setting where all that decides a run but the seed is the same (`runs.identity.setting`). A row has
    the columns of a cell that all seeds share, `seeds` (how many), `cells` (their numbers), for each measured number
    its mean under its own name, `<name>_sd`, `<name>_min` and `<name>_max`, and `low` and `high`, the ends of the
    interval of the mean score; None where there is no such number.
    """
    groups: dict[tuple[str, str], dict[int, Row]] = {}
    for row in rows:
        if row["status"] == "finished":
            groups.setdefault((without_seed(row["settings"]), row["setting"]), {}).setdefault(row["seed"], row)
    if all(len(seeds) == 1 for seeds in groups.values()):
        return []
    settings = {key: list(seeds.values()) for key, seeds in groups.items()}
    intervals = _intervals(settings)
    return [_gathered(key[0], cells, intervals.get(key)) for key, cells in settings.items()]


def _gathered(name: str, cells: Sequence[Row], interval: Interval | None) -> dict[str, Any]:
    shared = {key: value for key, value in cells[0].items() if all(cell[key] == value for cell in cells)}
    found: dict[str, Any] = {**dict.fromkeys(cells[0]), **shared, "settings": name, "seeds": len(cells)}
    for column in _OF_ONE:
        del found[column]
    found["cells"] = " ".join(str(cell["cell"]) for cell in cells)
    for column in measured():
        values = [cell[column] for cell in cells]
        numbers = None if None in values else values
        found[column] = numbers and mean(numbers)
        found[f"{column}_sd"] = stdev(numbers) if numbers and len(numbers) > 1 else None
        found |= {f"{column}_{word}": numbers and of(numbers) for word, of in (("min", min), ("max", max))}
    return found | {"low": interval and interval.low, "high": interval and interval.high}


def _intervals(settings: Mapping[tuple[str, str], Sequence[Row]]) -> dict[tuple[str, str], Interval]:
    """The interval of each setting whose cells all left answers to the same questions."""
    exams: dict[frozenset[Any], dict[tuple[str, str], list[CellScores]]] = {}
    for key, cells in settings.items():
        read = [scores for cell in cells if (scores := read_scores(cell)) is not None]
        exam = {frozenset(one.scores) for one in read}
        if len(read) == len(cells) and len(exam) == 1:
            exams.setdefault(exam.pop(), {})[key] = read
    found: dict[tuple[str, str], Interval] = {}
    for group in exams.values():
        first = next(iter(group.values()))[0]
        keys = list(first.scores)
        documents = [first.documents[key] for key in keys]
        runs = {key: table(cells, keys) for key, cells in group.items()}
        known = borrowed({" ".join(key): part for key, part in runs.items()}, documents)
        spread = None if known is None else known[0]
        for key, part in runs.items():
            if len(part) > 1 or spread is not None:
                found[key] = crossed_interval(part, documents, spread)
    return found
