"""Splits, limits and orders: whole documents, seeded, and every example where it belongs exactly once."""

from __future__ import annotations

from collections import Counter

import pytest
from torch.utils.data import Dataset

from docvlm.data import splits
from docvlm.data.example import Example
from docvlm.data.loading.samplers import EvalBatches, TrainBatches, epoch_order
from docvlm.data.page_ids import grouped
from docvlm.data.pages import FilePage
from docvlm.errors import DocvlmError


class Numbered(Dataset[int]):
    def __init__(self, size: int) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size


def made(*sizes: int) -> list[Example]:
    """Documents d0, d1, … with so many questions each."""
    return [
        Example(f"d{d}-q{q}", "?", ("a",), f"d{d}", (FilePage(f"d{d}.png"),), "docvqa")
        for d, size in enumerate(sizes)
        for q in range(size)
    ]


def names(examples: list[Example]) -> set[str]:
    return {example.document for example in examples}


def test_a_holdout_cuts_no_document_and_loses_no_question() -> None:
    examples = made(*[1 + d % 6 for d in range(100)])
    rest, held = splits.holdout(examples, 0.2, seed=0)
    assert not names(rest) & names(held)
    assert sorted(e.question_id for e in rest + held) == sorted(e.question_id for e in examples)
    assert 0.2 * len(examples) <= len(held) <= 0.2 * len(examples) + 6


def test_a_holdout_depends_on_the_seed_and_not_on_the_other_documents() -> None:
    examples = made(*[4] * 60)
    assert names(splits.holdout(examples, 0.3, 0)[1]) != names(splits.holdout(examples, 0.3, 1)[1])
    fewer = [e for e in examples if e.document not in ("d3", "d17")]
    before, after = (splits.shuffled(group, 0) for group in (examples, fewer))
    assert [g[0].document for g in before if g[0].document not in ("d3", "d17")] == [g[0].document for g in after]


@pytest.mark.parametrize(("fraction", "held"), [(0.0, 0), (0.001, 1), (0.999, 2), (1.0, 3)])
def test_the_ends_of_a_holdout(fraction: float, held: int) -> None:
    assert len(names(splits.holdout(made(2, 2, 2), fraction, 0)[1])) == held


def test_an_impossible_fraction_is_named() -> None:
    with pytest.raises(DocvlmError, match=r"1\.5"):
        splits.holdout(made(1), 1.5, 0)


def test_a_limit_counts_questions_and_takes_whole_documents() -> None:
    examples = made(*[1 + d % 6 for d in range(50)])
    sizes = Counter(e.document for e in examples)
    for count in (1, 7, 20, 100):
        taken = splits.limit(examples, count, seed=0)
        assert len(taken) <= max(count, 6)
        assert count - 6 < len(taken)
        assert all(number == sizes[document] for document, number in Counter(e.document for e in taken).items())
    assert splits.limit(examples, None, 0) == examples == splits.limit(examples, 10_000, 0)
    assert splits.limit(examples, 0, 0) == []
    assert len(splits.limit(made(4, 4), 1, 0)) == 4  # never less than one document
    with pytest.raises(DocvlmError, match="-1"):
        splits.limit(examples, -1, 0)


def test_documents_with_one_page_in_common_are_one() -> None:
    pages = {name: FilePage(f"{name}.png", digest=name) for name in ("x", "y", "z")}
    examples = [
        Example("1", "?", ("a",), "A", (pages["x"],), "f"),
        Example("2", "?", ("a",), "B", (pages["y"],), "f"),
        Example("3", "?", ("a",), "C", (pages["y"], pages["x"]), "f"),
        Example("4", "?", ("a",), "D", (pages["z"],), "f"),
    ]
    joined, where = grouped(examples)
    assert len(names(joined)) == 2
    assert joined[0].document == joined[1].document == joined[2].document
    assert set(where) <= {"A", "B", "C"}


def test_the_order_of_an_epoch_is_a_pure_function_of_seed_and_epoch() -> None:
    orders = {(s, e): epoch_order([(50, 1.0)], s, e).tolist() for s in (0, 1) for e in (0, 1)}
    assert len({tuple(order) for order in orders.values()}) == 4
    assert all(sorted(order) == list(range(50)) for order in orders.values())
    assert epoch_order([(50, 1.0)], 1, 1).tolist() == orders[1, 1]


def test_passes_over_a_part_are_counted_and_fresh_each_epoch() -> None:
    parts = [(10, 2.0), (10, 0.5), (10, 1.5)]
    first, second = (Counter(epoch_order(parts, 0, epoch).tolist()) for epoch in (0, 1))
    assert [sum(first[i] for i in range(a, a + 10)) for a in (0, 10, 20)] == [20, 5, 15]
    assert all(first[i] == 2 for i in range(10)) and all(first[i] in (1, 2) for i in range(20, 30))
    assert {i for i in range(10, 20) if first[i]} != {i for i in range(10, 20) if second[i]}


@pytest.mark.parametrize(("size", "ranks"), [(24, 2), (25, 2), (23, 4), (3, 4), (1, 3)])
def test_ranks_together_make_the_batch_of_one_process(size: int, ranks: int) -> None:
    one = list(TrainBatches(Numbered(size), 4 * ranks, 7, parts=[(size, 1.0)]))
    shares = [
        list(TrainBatches(Numbered(size), 4, 7, parts=[(size, 1.0)], num_replicas=ranks, rank=r)) for r in range(ranks)
    ]
    assert {len(share) for share in shares} == {len(one)}
    for step, batch in enumerate(one):
        together = [index for share in shares for index in share[step]]
        assert all(share[step] for share in shares)
        assert set(together) >= set(batch) and (together == batch or len(batch) < ranks)


def test_an_epoch_can_start_in_the_middle() -> None:
    sampler = TrainBatches(Numbered(30), 4, 0, parts=[(30, 1.0)])
    sampler.set_epoch(3)
    whole = list(sampler)
    sampler.resume(3, 5)
    sampler.set_epoch(3)  # Lightning says the epoch again after it has restored the loader
    assert list(sampler) == whole[5:]
    sampler.set_epoch(4)
    assert len(list(sampler)) == len(whole) == len(sampler)


@pytest.mark.parametrize("size", [0, 1, 5, 16, 17, 100])
@pytest.mark.parametrize("ranks", [1, 2, 3, 8])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_every_example_is_evaluated_exactly_once(size: int, ranks: int, batch_size: int) -> None:
    lengths = [((i * 7) % 11,) for i in range(size)]
    shares = [
        list(EvalBatches(Numbered(size), batch_size, lengths=lengths, num_replicas=ranks, rank=r)) for r in range(ranks)
    ]
    seen = Counter(index for share in shares for batch in share for index in batch)
    assert seen == Counter(range(size))
    assert all(0 < len(batch) <= batch_size for share in shares for batch in share)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_evaluation_goes_from_long_to_short() -> None:
    lengths = [(i % 10,) for i in range(40)]
    batches = list(EvalBatches(Numbered(40), 8, lengths=lengths))
    ordered = [lengths[index] for batch in batches for index in batch]
    assert ordered == sorted(ordered, reverse=True)
