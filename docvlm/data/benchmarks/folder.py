"""Own pages as a benchmark: `data=folder data.source=DIR` with `qa.jsonl` or `qa.csv` and images (records.py).

Splits are the folder's own where it has them (sub-folders train/val/test, or a `split` column). Otherwise documents
are dealt out with a fixed seed: `test_fraction` reports, `val_fraction` selects, the rest learns.
`data.val_fraction=0 data.test_fraction=1` makes the whole folder an evaluation set. Results are called `folder-<name
of the folder>`.
"""

from __future__ import annotations

from docvlm.data.benchmark import SINGLE_WORD_OR_PHRASE, Benchmark
from docvlm.data.benchmarks.lazy import data_module
from docvlm.data.sources import own_folder

BENCHMARK = Benchmark(
    name="folder",
    title="own pages",
    pages="pages of the publisher's own",
    metric="anls",
    instruction=SINGLE_WORD_OR_PHRASE,
    max_new_tokens=64,
    columns=own_folder.COLUMNS,
    example=own_folder.example,
    public={"train": "train", "val": "validation", "test": "test"},
)
__getattr__ = data_module(__name__, "Folder", BENCHMARK)
