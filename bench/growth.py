"""Cost growth: an epoch over ten times the pages takes ten times the time and no more memory.

The epoch is the first of a run: the data module's own loader and order, shared pages, features stored as they are made.
On the embedded architecture and its small pages, so that hundreds of pages take seconds; what grows with their number
(records, order, digests, the store's index) is the same at any size. The store gathers up to 256 MB before it writes.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch

from bench import clock, models
from bench.peers import LEARNING_RATE
from bench.suite import Cell, Column, Row, Section, Suite, each
from docvlm.data.benchmarks.docvqa import DocVQA
from docvlm.vlms.codec import Budget, Stored
from docvlm.vlms.feature_store import FeatureStore

PER_PAGE = 4  # about as many questions as a drawn page has
TIMES = 10


def cells(suite: Suite) -> list[Cell]:
    """One cell: both sizes."""
    return each(both, suite, [(30 if suite.size == "mid" else 3,)])


def both(suite: Suite, pages: int) -> list[Row]:
    """An epoch over `pages` pages and over ten times as many; one before them warms up."""
    folder = suite.folder / "growth"
    models.checkpoint("qwen2vl", "tiny", [], folder / "model")
    found: list[Row] = []
    for run, count in enumerate((pages, pages, TIMES * pages)):
        epoch = Epoch(folder, f"features-{run}", count)
        peak = clock.peak_above(epoch.run)
        if run:
            found.append({"cell": f"{epoch.pages} pages", "variant": "1" if run == 1 else "10", **epoch.row(peak)})
    first = found[0]
    for row in found:
        for key, value in (("time_ratio", "seconds"), ("page_ratio", "pages"), ("memory_ratio", "peak_mb")):
            now, before = row[value], first[value]
            row[key] = now / before if isinstance(now, float) and isinstance(before, float) and before else None
    return found


class Epoch:
    """The first epoch of a run over so many drawn pages, with a fresh model and an empty store."""

    def __init__(self, folder: Path, features: str, pages: int) -> None:
        self.vlm = models.prepared("qwen2vl", folder / "model", Budget(min_pixels=784, max_pixels=65536))
        store = FeatureStore(folder / features, 2**33)
        self.vlm.codec.stored = Stored(store, torch.float32, torch.float32)
        self.store, self.seconds = store, 0.0
        self.data = DocVQA(
            "generated", limit_train=PER_PAGE * pages, limit_val=PER_PAGE, limit_test=PER_PAGE, codec=self.vlm.codec
        )
        self.pages = len({example.pages for example in self.data.train})

    def run(self) -> None:
        """Every batch of the epoch once."""
        learning = [parameter for parameter in self.vlm.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(learning, lr=LEARNING_RATE, fused=True)
        self.seconds = clock.seconds(lambda: self._learn(self.data.train_dataloader(), optimizer))

    def row(self, peak: float | None) -> Row:
        """What it cost."""
        asked = len(self.data.train)
        return {
            "pages": float(self.pages),
            "questions": float(asked),
            "seconds": self.seconds,
            "ms": 1000 * self.seconds / asked,
            "peak_mb": peak,
        }

    def _learn(self, batches: Iterable[dict[str, torch.Tensor]], optimizer: torch.optim.Optimizer) -> None:
        for batch in batches:
            loss, tokens = self.vlm.loss(batch)
            (loss / tokens).backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.store.flush()


SECTION = Section(
    name="growth",
    title="Cost growth",
    note=(
        "The first epoch of a run on the embedded architecture: shared pages, features stored on the way. × is against"
        " the smaller run: time should grow as pages do, memory should not."
    ),
    columns=(
        Column("cell", "pages"),
        Column("questions", "questions", ".0f"),
        Column("seconds", "epoch, s", ".1f"),
        Column("ms", "ms a question", ".1f"),
        Column("page_ratio", "pages ×", ".1f"),
        Column("time_ratio", "time ×", ".1f"),
        Column("peak_mb", "peak MB", ".0f"),
        Column("memory_ratio", "memory ×", ".2f"),
    ),
    cells=cells,
    computes="float32",
)
