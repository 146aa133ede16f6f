"""The torchmetrics classes: equal to the mean of the functions at any batch size and on two processes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from torch import distributed, multiprocessing

from docvlm.errors import DocvlmError
from docvlm.metrics import anls, f1
from docvlm.metrics.torch import ANLS, F1, Accuracy, ExactMatch, RelaxedAccuracy

PREDICTIONS = ["ab", "abc", "x", "invoice", "12", "", "Total"]
ANSWERS = [["ax"], ["abd"], ["y"], ["invoices", "bill"], ["12"], [""], ["total", "sum"]]
EXPECTED = sum(anls(p, a) for p, a in zip(PREDICTIONS, ANSWERS, strict=True)) / len(PREDICTIONS)


@pytest.mark.parametrize("batch", [1, 2, 3, 7])
def test_value_does_not_depend_on_batch_size(batch: int) -> None:
    metric = ANLS()
    for start in range(0, len(PREDICTIONS), batch):
        metric.update(PREDICTIONS[start : start + batch], ANSWERS[start : start + batch])
    assert metric.compute().item() == pytest.approx(EXPECTED, abs=1e-12)


def test_options_and_the_other_classes() -> None:
    for metric, expected in (
        (ANLS("paper"), 0.0),
        (ANLS(strict_threshold=True), 0.0),
        (RelaxedAccuracy(), 0.0),
        (Accuracy(), 0.0),
        (ExactMatch(), 0.0),
        (F1(level="char"), f1("ab", ["ax"], level="char")),
    ):
        metric.update(["ab"], [["ax"]])
        assert metric.compute().item() == pytest.approx(expected)


def test_reset_and_empty() -> None:
    metric = Accuracy()
    metric.update(["a"], [["a"]])
    metric.reset()
    with pytest.raises(DocvlmError, match="no example was scored"):
        metric.compute()
    with pytest.raises(ValueError, match="2 predictions but 1"):
        metric.update(["a", "b"], [["a"]])


def _half(rank: int, folder: str) -> None:
    distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    metric = ANLS()
    metric.update(PREDICTIONS[rank::2], ANSWERS[rank::2])  # four examples here, three there
    torch.save(metric.compute(), Path(folder) / f"{rank}.pt")
    distributed.destroy_process_group()


def test_two_processes_agree_with_one(tmp_path: Path) -> None:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    multiprocessing.spawn(_half, args=(str(tmp_path),), nprocs=2)
    for rank in range(2):
        assert torch.load(tmp_path / f"{rank}.pt").item() == pytest.approx(EXPECTED, abs=1e-12)
