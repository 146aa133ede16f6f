"""The score of every test question of a sweep's cell, from the answers it left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from docvlm.runs.folder import RunFolder
from docvlm.runs.result import read as read_result
from docvlm.scoring.predictions import Key, read
from docvlm.scoring.protocol import scorer


@dataclass(frozen=True)
class CellScores:
    """The headline's score of every question, and the document each question is on."""

    scores: Mapping[Key, float]
    documents: Mapping[Key, tuple[str, str]]


def read_scores(row: Mapping[str, Any]) -> CellScores | None:
    """Scores of a finished cell, each benchmark of a mixture by its own metric; None where its answers are gone."""
    run = RunFolder(Path(row["run"]))
    if not run.predictions.exists():
        return None
    judged = read_result(run.result)["benchmarks"]
    scorers = {label: scorer(part["metric"]) for label, part in judged.items()}
    records = read(run.predictions)
    return CellScores(
        {record.key: scorers[record.benchmark](record) for record in records},
        {record.key: (record.benchmark, record.document) for record in records},
    )


def table(cells: Sequence[CellScores], keys: Sequence[Key]) -> NDArray[np.float64]:
    """Scores of shape (cells, questions), the questions in the order of `keys`."""
    return np.array([[cell.scores[key] for key in keys] for cell in cells])
