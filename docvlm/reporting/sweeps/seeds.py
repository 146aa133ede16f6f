"""Cells that differ only in `seed`, gathered: the mean of every number over the seeds, and how far they spread.

The spread is the sample standard deviation (divisor n - 1), of single runs and not of their mean. It says how much a
number moves when only chance is repeated; the interval of a cell says how much it would move on other documents. Both
matter, and neither contains the other.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from statistics import mean, stdev
from typing import Any

from docvlm.metrics import METRICS

Row = Mapping[str, Any]
_BEFORE, _AFTER = ("zero_shot", "selection", "score"), ("val_loss", "minutes", "peak_memory_mb")
_SEED = re.compile(r"(?:^|\s)seed=\S+")


def measured() -> tuple[str, ...]:
    """What may differ between seeds. Parameters and shares of the tower are the same in all of them."""
    return *_BEFORE, *METRICS, *_AFTER


def without_seed(settings: str) -> str:
    """What tells a cell from the others, less its seed."""
    return _SEED.sub("", settings).strip()


def gather(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """One row for each two or more finished cells that differ only in their seed, in the order of the cells.

    A row has the columns of a cell that all seeds share, `seeds` (how many), and for each measured number its mean
    under its own name, `<name>_sd`, `<name>_min` and `<name>_max`; None where a cell has no such number.
    """
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        if row["status"] == "finished":
            exam = row["family"], row["benchmark"], row["metric"], row["questions"]
            groups.setdefault((without_seed(row["settings"]), *exam), []).append(row)
    return [_gathered(key[0], cells) for key, cells in groups.items() if len(cells) > 1]


def _gathered(name: str, cells: Sequence[Row]) -> dict[str, Any]:
    shared = {key: value for key, value in cells[0].items() if all(cell[key] == value for cell in cells)}
    found: dict[str, Any] = {**dict.fromkeys(cells[0]), **shared, "settings": name, "seeds": len(cells)}
    for column in ("cell", "run", "done", "status", "reason", "low", "high", "best_epoch", "zero_shot_val_loss"):
        del found[column]  # of one cell, or an interval of one
    for column in measured():
        values = [cell[column] for cell in cells]
        numbers = None if None in values else values
        found[column] = numbers and mean(numbers)
        found |= {
            f"{column}_{word}": numbers and of(numbers) for word, of in (("sd", stdev), ("min", min), ("max", max))
        }
    return found
