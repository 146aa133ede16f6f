"""Own pages as a benchmark: `data=folder data.source=DIR` with `qa.jsonl` or `qa.csv` and images (records.py).

Splits are the folder's own where it has them (sub-folders train/val/test, or a `split` column). Otherwise documents
are dealt out with a fixed seed: `test_fraction` reports, `val_fraction` selects, the rest learns.
`data.val_fraction=0 data.test_fraction=1` makes the whole folder an evaluation set. Results are called `folder-<name
of the folder>`.
"""

from __future__ import annotations

from typing import Any

from docvlm.data.benchmark import SINGLE_WORD_OR_PHRASE, Benchmark
from docvlm.data.loading.datamodule import DocumentDataModule
from docvlm.data.sources import own_folder
from docvlm.errors import DocvlmError

INSTRUCTION = SINGLE_WORD_OR_PHRASE
METRIC = "anls"
METRICS = ("anls", "relaxed_accuracy")

BENCHMARK = Benchmark(
    name="folder",
    metric=METRIC,
    instruction=INSTRUCTION,
    max_new_tokens=64,
    columns=own_folder.COLUMNS,
    example=own_folder.example,
    public={"train": "train", "val": "validation", "test": "test"},
    hub={},
)


class Folder(DocumentDataModule):
    """Splits and loaders of a folder of own pages. `metric` is `anls`, or `relaxed_accuracy` for charts."""

    benchmark = BENCHMARK

    def __init__(self, source: str | None = None, *, metric: str = METRIC, **shared: Any) -> None:
        if source in ("generated", "hub"):
            raise DocvlmError(f"data.source={source}: data=folder reads own pages; give data.source=DIR with qa.jsonl")
        if metric not in METRICS:
            raise DocvlmError(f"data.metric={metric}: unknown; use {' or '.join(METRICS)}")
        super().__init__(source, **shared)
        self._metric = metric

    @property
    def metric(self) -> str:
        return self._metric
