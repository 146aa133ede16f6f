"""The torchmetrics class: equal to the mean of the functions at any batch size, after any cast, on two processes."""

from __future__ import annotations

import copy
import pickle
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import distributed, multiprocessing, nn
from torchmetrics import MetricCollection

from docvlm.errors import DocvlmError
from docvlm.metrics import anls, f1
from docvlm.metrics.torch import StringMetric

PREDICTIONS = ["ab", "abc", "x", "invoice", "12", "", "Total"]
ANSWERS = [["ax"], ["abd"], ["y"], ["invoices", "bill"], ["12"], [""], ["total", "sum"]]
EXPECTED = sum(anls(p, a) for p, a in zip(PREDICTIONS, ANSWERS, strict=True)) / len(PREDICTIONS)


@pytest.mark.parametrize("batch", [1, 2, 3, 7])
def test_value_does_not_depend_on_batch_size(batch: int) -> None:
    metric = StringMetric("anls")
    for start in range(0, len(PREDICTIONS), batch):
        metric.update(PREDICTIONS[start : start + batch], ANSWERS[start : start + batch])
    assert metric.compute().item() == pytest.approx(EXPECTED, abs=1e-12)


def test_options_and_the_other_metrics() -> None:
    for metric, expected in (
        (StringMetric("anls", "paper"), 0.0),
        (StringMetric("anls", strict_threshold=True), 0.0),
        (StringMetric("relaxed_accuracy"), 0.0),
        (StringMetric("accuracy"), 0.0),
        (StringMetric("exact_match"), 0.0),
        (StringMetric("f1", level="char"), f1("ab", ["ax"], level="char")),
    ):
        metric.update(["ab"], [["ax"]])
        assert metric.compute().item() == pytest.approx(expected)


def test_reset_and_empty() -> None:
    metric = StringMetric("accuracy")
    metric.update(["a"], [["a"]])
    metric.reset()
    with pytest.raises(DocvlmError, match="no example was scored"):
        metric.compute()
    with pytest.raises(ValueError, match="2 predictions but 1"):
        metric.update(["a", "b"], [["a"]])


class Parent(nn.Module):
    """A module that somebody casts, with metrics in it."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.metric = StringMetric("accuracy")
        self.more = nn.ModuleDict({"anls": StringMetric("anls")})

    def right(self, count: int, of: int) -> None:
        for metric in (self.metric, self.more["anls"]):
            metric.update(["yes"] * count + ["no"] * (of - count), [["yes"]] * of)

    def values(self) -> list[float]:
        return [self.metric.compute().item(), self.more["anls"].compute().item()]  # type: ignore[operator]


CASTS: dict[str, Callable[[nn.Module], object]] = {
    "to(bfloat16)": lambda module: module.to(torch.bfloat16),
    "to(dtype=float16)": lambda module: module.to(dtype=torch.float16),
    "to(cpu, float16)": lambda module: module.to("cpu", torch.float16),
    "to(tensor)": lambda module: module.to(torch.zeros(1, dtype=torch.bfloat16)),
    "half": lambda module: module.half(),
    "bfloat16": lambda module: module.bfloat16(),
    "float": lambda module: module.float(),
    "double": lambda module: module.double(),
    "type": lambda module: module.type(torch.float16),
    "set_dtype": lambda module: [m.set_dtype(torch.float16) for m in module.modules() if isinstance(m, StringMetric)],
}


@pytest.mark.parametrize("cast", CASTS.values(), ids=list(CASTS))
def test_a_cast_of_the_module_around_it_leaves_a_metric_alone(cast: Callable[[nn.Module], object]) -> None:
    module = Parent()
    cast(module)
    for _ in range(100):
        module.right(7, of=10)  # bfloat16 stays at 256 when 1 is added
    assert module.values() == [0.7, 0.7]
    cast(module)
    assert module.values() == [0.7, 0.7], "neither the counts nor the value kept from before"
    assert (module.metric.total.dtype, module.metric.count.dtype) == (torch.float64, torch.int64)
    module.metric.reset()
    module.right(1, of=3)
    assert module.metric.compute().item() == 1 / 3, "what it is reset to was not cast either"


def test_a_metric_follows_its_module_to_another_device() -> None:
    module = Parent()
    module.right(1, of=2)
    module.to("meta", torch.bfloat16)  # a device that is always there
    assert module.layer.weight.dtype == torch.bfloat16
    assert module.metric.device == module.metric.total.device == module.metric.count.device == torch.device("meta")
    assert (module.metric.total.dtype, module.metric.count.dtype) == (torch.float64, torch.int64)


def test_a_cast_metric_is_copied_pickled_saved_and_loaded_whole() -> None:
    module = Parent().to(torch.bfloat16)
    module.right(700, of=1000)
    for twin in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        twin.right(300, of=1000)
        assert twin.values() == [0.5, 0.5] and module.values() == [0.7, 0.7]
    module.metric.persistent(True)
    other = Parent().half()
    other.metric.persistent(True)
    other.load_state_dict(module.state_dict())
    other.metric.update(["yes"], [["yes"]])
    assert other.metric.compute().item() == 701 / 1001


def _half(rank: int, folder: str) -> None:
    distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    module = Parent().to(torch.bfloat16)
    metric = module.more["anls"]
    assert isinstance(metric, StringMetric)
    metric.update(PREDICTIONS[rank::2], ANSWERS[rank::2])  # four examples here, three there
    for _ in range(300):
        module.metric.update(["yes", "no"][rank:], [["yes"]] * (2 - rank))  # 300 of 600 here, none of 300 there
    torch.save([metric.compute(), module.metric.compute()], Path(folder) / f"{rank}.pt")
    distributed.destroy_process_group()


@pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux only")
def test_two_processes_agree_with_one(tmp_path: Path) -> None:
    """Forked: torchmetrics takes five seconds to import."""
    multiprocessing.start_processes(_half, args=(str(tmp_path),), nprocs=2, start_method="fork")
    for rank in range(2):
        similarity, accuracy = torch.load(tmp_path / f"{rank}.pt")
        assert similarity.item() == pytest.approx(EXPECTED, abs=1e-12)
        assert accuracy.item() == 300 / 900


def test_metrics_of_one_collection_count_for_themselves() -> None:
    """They agree on the first batch, after which torchmetrics would go on with one of them for all."""
    names = {"anls": "anls", "relaxed": "relaxed_accuracy", "same": "anls", "em": "exact_match"}
    both = MetricCollection({key: StringMetric(name) for key, name in names.items()})
    both.update(["17"], [["17"]])
    both.update(["total 100", "102"], [["total 10"], ["100"]])
    found = {name: round(float(value), 4) for name, value in both.compute().items()}
    assert found == {"anls": 0.8519, "relaxed": 0.6667, "same": 0.8519, "em": 0.3333}
