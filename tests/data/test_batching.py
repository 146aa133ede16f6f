"""Batches by tokens: nothing lost, nothing over the budget, alike in every process; lengths without opening pages."""

from __future__ import annotations

import os
import signal
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from docvlm.data.example import Example
from docvlm.data.generated import documents as drawn
from docvlm.data.loading.batching import Lengths, by_tokens, cut_to, documents
from docvlm.data.loading.samplers import TrainBatches
from docvlm.data.pages import FilePage
from docvlm.errors import DocvlmError
from docvlm.files import read_json
from docvlm.training.module import AnswerModule
from docvlm.training.preflight import histogram
from docvlm.vlms.codec import Budget
from docvlm.vlms.qwen2vl.model import Qwen2VL
from tests.support.runs import result, rows, train
from tests.support.tiny import Paper, example, load

RANDOM = np.random.default_rng(0)
GROUPS = np.repeat(np.arange(300), RANDOM.integers(1, 6, 300))
PAGES, OWN = RANDOM.integers(60, 1280, 300)[GROUPS], RANDOM.integers(10, 60, len(GROUPS))


def batches(budget: int, *, shared: bool = True, epochs: int = 3, ranks: int = 1, rank: int = 0) -> TrainBatches:
    lengths = Lengths(PAGES, OWN, shared)
    parts, everyone = [(len(GROUPS), 1.0)], {"num_replicas": ranks, "rank": rank}
    return TrainBatches(
        GROUPS.tolist(),  # type: ignore[arg-type]
        None,
        7,
        parts=parts,
        groups=GROUPS.tolist(),
        batch_tokens=budget,
        lengths=lengths,
        epochs=epochs,
        **everyone,
    )


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("budget", [1000, 4096, 10**6])
def test_every_example_once_an_epoch_and_no_batch_over_the_budget(budget: int, shared: bool) -> None:
    sampler, lengths = batches(budget, shared=shared), Lengths(PAGES, OWN, shared)
    orders = []
    for epoch in range(3):
        sampler.set_epoch(epoch)
        found = list(sampler)
        assert len(found) == len(sampler), "a trainer counts the batches once for all epochs"
        assert Counter(index for batch in found for index in batch) == Counter(range(len(GROUPS)))
        for batch in found:
            whole = documents(np.array(batch), GROUPS)
            assert lengths.padded(whole) <= budget or len(whole) == 1
        orders.append(found)
    assert orders[0] != orders[1] != orders[2]
    again = batches(budget, shared=shared)
    again.resume(2, 3)
    assert list(again) == orders[2][3:]


def test_pages_apart_from_their_questions_are_counted_once() -> None:
    pages, answers = np.array([1000, 1000, 600]), np.array([3, 5, 9])
    own = np.array([30, 20, 10]) + answers
    batch = [np.array([0, 1]), np.array([2])]
    assert Lengths(pages, own, True, apart=True).padded(batch) == 2 * 1000 + 3 * 33
    assert Lengths(pages, own, True, apart=True, answers=answers).padded(batch) == 2 * 1000 + 3 * (30 + 9)
    assert Lengths(pages, own, True, apart=True, answers=answers).useful(batch) == 1600 + int(own.sum())
    assert Lengths(pages, own, False, answers=answers).padded(batch) == 3 * (1000 + 30 + 9)
    assert Lengths(pages, own, True).padded(batch) == 2 * (1000 + 58)


def test_like_lengths_are_put_together_and_the_budget_is_used() -> None:
    lengths = Lengths(PAGES, OWN, shared=True)
    found = [documents(np.array(batch), GROUPS) for batch in batches(8192)]
    padded = sum(lengths.padded(batch) for batch in found)
    assert sum(lengths.useful(batch) for batch in found) / padded > 0.85
    assert padded / len(found) > 0.8 * 8192
    shuffled = np.random.default_rng(0).permutation(300)
    unsorted = [[np.flatnonzero(g == GROUPS) for g in shuffled[i : i + 6]] for i in range(0, 300, 6)]
    assert sum(map(lengths.useful, unsorted)) / sum(map(lengths.padded, unsorted)) < 0.7, "what sorting is for"


def test_ranks_get_equally_many_batches_and_together_all_examples() -> None:
    shares = [list(batches(4096, ranks=3, rank=rank)) for rank in range(3)]
    assert len({len(share) for share in shares}) == 1
    assert {index for share in shares for batch in share for index in batch} == set(range(len(GROUPS)))
    assert all(batch for share in shares for batch in share)


def test_cutting_keeps_examples_and_stops_at_one_each() -> None:
    whole = by_tokens(np.arange(len(GROUPS)), GROUPS, Lengths(PAGES, OWN, True), 8192, np.random.default_rng(1))
    cut = cut_to(whole, len(whole) + 9)
    assert len(cut) == len(whole) + 9 and sorted(np.concatenate(cut)) == list(range(len(GROUPS)))
    assert len(cut_to([np.arange(3)], 9)) == 3


def mixed(tmp_path: Path) -> list[Example]:
    """Questions on pages of several sizes and on several pages, in files whose size the loader has noted."""
    found = []
    for number, (width, height) in enumerate([(280, 168), (300, 500), (90, 700)]):
        path = tmp_path / f"{number}.png"
        Paper(f"page {number}", width, height).open().save(path)
        page = FilePage(str(path), (width, height))
        found += [replace(example(number), question_id=f"{number}-{k}", pages=(page,) * (k + 1)) for k in range(2)]
    return found


def test_lengths_are_those_of_the_batch(tmp_path: Path) -> None:
    codec = load("qwen2vl", Budget(min_pixels=784, max_pixels=65536)).codec
    examples = mixed(tmp_path)
    lengths = codec.lengths(examples)
    for place, one in enumerate(examples):
        packed = codec.packed_batch([one])
        assert int((packed["segments"] == 0).sum()) == lengths.pages[place]
        assert int((packed["segments"] > 0).sum()) == lengths.own[place]
    batch = [examples[0], replace(examples[0], question="Who?"), examples[4]]
    whole = [np.array([0, 1]), np.array([2])]
    assert codec.lengths(batch).padded(whole) <= codec.packed_batch(batch)["input_ids"].numel()
    assert codec.lengths(batch).useful(whole) == int((codec.packed_batch(batch)["segments"] >= 0).sum())
    florence, single = load("florence2").codec, [one for one in examples if len(one.pages) == 1]
    found = florence.lengths(single)
    for place, one in enumerate(single):
        inputs = florence.packed_batch([one])
        assert found.useful([np.array([place])]) == inputs["input_ids"].numel() + inputs["labels"].numel()


def test_a_page_of_unknown_size_counts_as_the_largest() -> None:
    codec = load("qwen2vl", Budget(min_pixels=784, max_pixels=78400)).codec
    small, unknown = codec.lengths([drawn("docvqa", "train", 1, "tiny", 0)[0][0], example(1)]).pages
    assert unknown - small == 100 - 60


def test_a_run_by_tokens_trains_and_says_what_its_batches_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    keys = ("data.batch_size=null", "data.batch_tokens=500", "trainer.accumulate_grad_batches=1")
    train(tmp_path / "outputs" / "one", *keys)
    assert "tokens: rows of " in capsys.readouterr().out
    found = read_json(tmp_path / "outputs" / "one" / "manifest.json")["preflight"]
    assert 0 < found["largest"] <= 500 and found["halved"] is False and found["measured_mb"] > 0
    assert [int(row["step"]) for row in rows(tmp_path / "outputs" / "one")] == [n * found["batches"] for n in range(3)]


def test_the_preflight_leaves_the_model_as_it_found_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An evaluation in training mode would drop weights and paths from its loss."""
    monkeypatch.chdir(tmp_path)
    modes, inner = [], AnswerModule.validation_step

    def watched(self: AnswerModule, *arguments: Any) -> None:
        modes.append(any(part.training for part in self.vlm.modules()))
        inner(self, *arguments)

    monkeypatch.setattr(AnswerModule, "validation_step", watched)
    train(tmp_path / "outputs" / "watched", "trainer.max_epochs=1")
    assert len(modes) >= 2 and not any(modes)


def test_out_of_memory_halves_the_token_budget_once_and_a_resumed_run_knows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    most, inner, calls = 2, Qwen2VL.loss, []  # documents that the device holds

    def small_device(self: Qwen2VL, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, int]:
        calls.append(len(batch["input_ids"]))
        if calls[-1] > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB")
        return inner(self, batch)

    keys = ("data.batch_size=null", "data.batch_tokens=1100", "trainer.max_epochs=1")
    monkeypatch.setattr(Qwen2VL, "loss", small_device)
    folder = tmp_path / "outputs" / "small"
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(AnswerModule, "training_step", lambda *_: os.kill(os.getpid(), signal.SIGINT))
        train(folder, *keys)
    said = capsys.readouterr().out
    assert "did not fit" in said and "batch_tokens halved to 550, with trainer.accumulate_grad_batches=4" in said
    assert read_json(folder / "manifest.json")["preflight"]["halved"] is True
    train(tmp_path / "outputs" / "again", *keys)
    said = capsys.readouterr().out
    assert "batch_tokens halved to 550" in said and "did not fit" not in said, "decided once"
    assert result(folder)["status"] == "finished" and calls.count(3) == 1
    most = 1
    monkeypatch.setattr("docvlm.training.fit.PROOF_EXAMPLES", 1)
    with pytest.raises(
        DocvlmError, match=r"out of memory: the largest batch has 3\d\d tokens; lower data.batch_tokens"
    ):
        train(tmp_path / "outputs" / "twice", *keys, "seed=2")
    most = 0
    with pytest.raises(DocvlmError, match=r"out of memory: CUDA out of memory; lower data.batch_tokens"):
        train(tmp_path / "outputs" / "hopeless", *keys, "seed=3")


def test_a_histogram_is_as_wide_as_its_bars() -> None:
    assert histogram([5, 5, 5]) == "█"
    assert histogram([1, 2, 2, 4], bars=4) == "▅█▁▅"
