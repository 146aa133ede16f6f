"""Loaders under Lightning: shuffled by (seed, epoch), resumed in mid-epoch, evaluated exactly once on any ranks."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from PIL import Image
from torch import Tensor

from docvlm.data.benchmarks.chartqa import ChartQA
from docvlm.data.benchmarks.docvqa import DocVQA
from docvlm.data.benchmarks.folder import Folder
from docvlm.data.benchmarks.infovqa import InfoVQA
from docvlm.data.example import EvalBatch, Example
from docvlm.data.loading.datamodule import DocumentDataModule
from docvlm.data.loading.mix import Mix
from docvlm.data.reading import ALL_PAGES
from docvlm.errors import DocvlmError


class NumberCodec:
    """What loaders need of a `Codec`. Each example is its answer, a number; the page is opened, as a real one does."""

    def train_batch(self, examples: Sequence[Example]) -> dict[str, Tensor]:
        for example in examples:
            example.pages[0].open()
        return {"ids": torch.tensor([float(example.answers[0]) for example in examples])}

    packed_batch = train_batch
    reading = ALL_PAGES

    def eval_batch(self, examples: Sequence[Example], *, packed: bool = True) -> EvalBatch:
        return EvalBatch(tuple(examples), self.train_batch(examples), self.train_batch(examples))


class Killed(Exception):
    """What ends a run in these tests."""


class Recorder(pl.LightningModule):
    """Writes down what it was given; `kill_at` ends the run after that step."""

    def __init__(self, kill_at: int | None = None) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.seen: list[list[int]] = []
        self.evaluated: list[str] = []
        self.kill_at = kill_at

    def training_step(self, batch: dict[str, Tensor], _: int) -> Tensor:
        if self.kill_at is not None and self.global_step == self.kill_at:
            raise Killed
        self.seen.append([int(i) for i in batch["ids"].tolist()])
        return (self.weight * batch["ids"]).sum()

    def validation_step(self, batch: EvalBatch, _: int) -> None:
        assert isinstance(batch, EvalBatch) and set(batch.prompts) == set(batch.labelled) == {"ids"}
        self.evaluated += [example.question_id for example in batch.examples]

    test_step = validation_step

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def own_pages(folder: Path, count: int = 40) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        Image.new("L", (40 + number % 7, 30), number).save(folder / f"{number}.png")
    rows = (
        {"image": f"{n}.png", "question": "?" * (n + 1), "answers": [str(n)], "question_id": str(n)}
        for n in range(count)
    )
    (folder / "qa.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


def module(folder: Path, **more: Any) -> Folder:
    return Folder(str(folder), batch_size=4, eval_batch_size=3, seed=7, codec=NumberCodec(), **more)


def trainer(folder: Path, **more: Any) -> pl.Trainer:
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    return pl.Trainer(default_root_dir=folder, accelerator="cpu", max_epochs=3, **quiet, **more)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_interrupted_run_goes_on_with_the_batches_it_had_not_seen(tmp_path: Path, workers: int) -> None:
    pages = own_pages(tmp_path / "own")
    plain = Recorder()
    trainer(tmp_path, enable_checkpointing=False).fit(plain, module(pages))
    steps = len(plain.seen) // 3
    assert steps == 8 and len({tuple(map(tuple, plain.seen[e * steps : (e + 1) * steps])) for e in range(3)}) == 3
    for epoch in range(3):
        batches = plain.seen[epoch * steps : (epoch + 1) * steps]
        assert sorted(i for batch in batches for i in batch) == sorted({i for batch in plain.seen for i in batch})
    for kill_at in (3, 8, 13, 16, 23):
        saved = ModelCheckpoint(tmp_path / f"{workers}-{kill_at}", save_last=True, every_n_train_steps=1)
        first = Recorder(kill_at)
        with pytest.raises(Killed):
            trainer(tmp_path, callbacks=[saved]).fit(first, module(pages, num_workers=workers))
        second = Recorder()
        rest = module(pages, num_workers=workers)
        trainer(tmp_path, enable_checkpointing=False).fit(second, rest, ckpt_path=saved.last_model_path)
        assert first.seen + second.seen == plain.seen, f"interrupted at step {kill_at}"


def test_an_epoch_end_checkpoint_continues_with_the_next_epoch(tmp_path: Path) -> None:
    pages = own_pages(tmp_path / "own")
    plain = Recorder()
    trainer(tmp_path, enable_checkpointing=False).fit(plain, module(pages))
    saved = ModelCheckpoint(tmp_path / "end", save_last=True, every_n_epochs=1)
    first, second = Recorder(kill_at=10), Recorder()
    with pytest.raises(Killed):
        trainer(tmp_path, callbacks=[saved]).fit(first, module(pages))
    trainer(tmp_path, enable_checkpointing=False).fit(second, module(pages), ckpt_path=saved.last_model_path)
    assert second.seen == plain.seen[8:]


def test_evaluation_sees_each_example_once_and_tensors_move(tmp_path: Path) -> None:
    data, model = module(own_pages(tmp_path / "own"), val_fraction=0.5), Recorder()
    trainer(tmp_path).validate(model, data, verbose=False)
    assert Counter(model.evaluated) == Counter(e.question_id for e in data.val)
    model.evaluated.clear()
    trainer(tmp_path).test(model, data, verbose=False)
    assert Counter(model.evaluated) == Counter(e.question_id for e in data.test)
    moved = data.transfer_batch_to_device(next(iter(data.test_dataloader())), torch.device("meta"), 0)
    assert moved.prompts["ids"].device.type == moved.labelled["ids"].device.type == "meta" and moved.examples


class Reporter(Recorder):
    """Leaves what its rank was given in a file."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def on_fit_end(self) -> None:
        (self.folder / f"{self.trainer.global_rank}.json").write_text(json.dumps([self.seen, self.evaluated]))


@pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux only")
def test_two_processes_share_the_work_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With Lightning's own sampler injection left on, as it is by default."""
    monkeypatch.setenv("MASTER_PORT", "")  # the one that Lightning takes goes with the test
    monkeypatch.delenv("MASTER_PORT")
    pages = own_pages(tmp_path / "own", 37)
    shared = module(pages, val_fraction=0.5, test_fraction=0.0)
    shared.batch_size = 2
    ranks = {"devices": 2, "strategy": "ddp_fork", "num_sanity_val_steps": 0, "enable_checkpointing": False}
    trainer(tmp_path, **ranks).fit(Reporter(tmp_path), shared)
    (seen0, evaluated0), (seen1, evaluated1) = (json.loads((tmp_path / f"{r}.json").read_text()) for r in (0, 1))
    alone = Recorder()
    data = module(pages, val_fraction=0.5, test_fraction=0.0)
    trainer(tmp_path, enable_checkpointing=False).fit(alone, data)
    assert [a + b for a, b in zip(seen0, seen1, strict=True)] == alone.seen[: len(seen0)]
    assert Counter(evaluated0 + evaluated1) == Counter({e.question_id: 3 for e in data.val})  # three epochs


@pytest.mark.parametrize("benchmark", [DocVQA, ChartQA, InfoVQA])
def test_generated_pages_come_through_the_same_door(benchmark: type[DocumentDataModule]) -> None:
    pytest.importorskip("docvlm.data.generated")
    data = benchmark("generated", limit_train=30, limit_val=10, limit_test=12, codec=NumberCodec())
    assert 24 < len(data.train) <= 30 and 4 < len(data.val) <= 10 and 6 < len(data.test) <= 12
    assert {e.benchmark for e in data.train} == {data.label} == {f"{data.benchmark.name}-generated"}
    assert {e.instruction for e in data.train} == {data.benchmark.instruction}
    assert data.fingerprint() == benchmark("generated", limit_train=30, limit_val=10, limit_test=12).fingerprint()
    longer = benchmark("generated", limit_train=60)
    assert {e.question_id for e in data.train} <= {e.question_id for e in longer.train}
    assert data.train[0].pages[0].open().mode == "RGB"


def test_a_mixture_learns_by_weight_and_scores_by_benchmark(tmp_path: Path) -> None:
    parts = {name: module(own_pages(tmp_path / name, 20), test_fraction=0.25) for name in ("a", "b")}
    mix = Mix(parts=parts, weights={"a": 2.0, "b": 0.5}, batch_size=4, eval_batch_size=4, codec=NumberCodec())
    drawn = len(parts["a"].train) * 2 + round(len(parts["b"].train) * 0.5)
    assert sum(len(batch["ids"]) for batch in mix.train_dataloader()) == drawn
    assert mix.metrics == {"folder-a": "anls", "folder-b": "anls"}
    assert sum(len(batch.examples) for batch in mix.test_dataloader()) == len(parts["a"].test) + len(parts["b"].test)
    with pytest.raises(DocvlmError, match="no part called c"):
        Mix(parts=parts, weights={"c": 1.0})


@pytest.mark.parametrize("workers", [0, 1])
def test_a_page_that_breaks_in_a_worker_is_still_one_line(tmp_path: Path, workers: int) -> None:
    data = module(own_pages(tmp_path / "own"), num_workers=workers, val_fraction=0.0, test_fraction=1.0)
    (tmp_path / "own" / data.test[5].pages[0].name).write_bytes(b"gone bad after it was checked")
    with pytest.raises(DocvlmError, match=r"page .*\.png: not an image") as caught:
        list(data.test_dataloader())
    assert "\n" not in str(caught.value)


def test_a_limit_that_leaves_nothing_is_named(tmp_path: Path) -> None:
    data = module(own_pages(tmp_path / "own"), limit_val=0)
    with pytest.raises(DocvlmError, match=r"no val questions.*data\.limit_val"):
        data.val_dataloader()


def test_headline_and_longest_answer_are_the_command_s_where_it_gives_them() -> None:
    part = DocVQA("generated", metric="f1", max_new_tokens=9)
    assert (part.metrics, part.max_new_tokens) == ({"docvqa-generated": "f1"}, 9)
    parts = {"docvqa": part, "chartqa": ChartQA("generated")}
    assert Mix("generated", parts=parts, weights={}).max_new_tokens == 16, "the longest of the parts"
    assert Mix("generated", parts=parts, weights={}, max_new_tokens=5).max_new_tokens == 5
    with pytest.raises(DocvlmError, match=r"data\.metric=bleu: unknown; use accuracy or anls"):
        DocVQA("generated", metric="bleu")
