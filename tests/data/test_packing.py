"""Shared pages: loss and gradients of one sequence a question, in fewer rows; nothing leaks between siblings."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from docvlm.data.generated import documents
from docvlm.data.loading.batching import page_groups
from docvlm.data.loading.packing import Branch, by_pages, pack, positions, questions, split_of
from docvlm.data.loading.samplers import TrainBatches, epoch_order
from docvlm.errors import DocvlmError
from docvlm.vlms import FAMILIES, load_family
from docvlm.vlms.base import VLM, Generated
from docvlm.vlms.codec import Budget
from docvlm.vlms.embedded import checkpoint
from docvlm.vlms.prepare import apply
from docvlm.vlms.qwen2vl.branches import branch_mask
from docvlm.vlms.trainable import Lora
from tests.support.tiny import Paper, example, load, qwen25, widen

WIDE = (Paper("wide", 560, 84),)
ONE = (Paper("one"),)
ASKED = [
    replace(example(0, pages=ONE), question="Which?"),
    replace(example(1, pages=WIDE), question="What is written at the very bottom?", answers=("12 Elm Street",)),
    replace(example(2, pages=ONE), question="How much is it?", answers=("$4.20",)),
    replace(example(3, pages=ONE), question="Who?", answers=("B",)),
    example(4, pages=WIDE),
]
DRAWN = [example for document in documents("docvqa", "test", 4, "tiny", 0) for example in document]
TWO_PAGES = [example(5 + i, pages=(Paper("first"), Paper("second", 112, 196))) for i in range(2)]


def gradients(vlm: VLM, batch: dict[str, Tensor]) -> tuple[float, dict[str, Tensor]]:
    vlm.zero_grad()
    loss, tokens = vlm.loss(batch)
    (loss / tokens).backward()
    return loss.item(), {name: p.grad.clone() for name, p in vlm.named_parameters() if p.grad is not None}


def prepared(family: str, freeze: float, lora: Lora, attn: str = "eager") -> VLM:
    """`family` may be "qwen2.5-vl" too, which loads as "qwen2vl"."""
    torch.manual_seed(1)
    vlm = load("qwen2vl", source=qwen25(), attn=attn) if family == "qwen2.5-vl" else load(family, attn=attn)
    apply(vlm, freeze, lora)
    for name, parameter in vlm.named_parameters():
        if "lora_B" in name:  # which starts at zero, and with it every gradient of lora_A
            torch.nn.init.normal_(parameter, std=0.05)
    return vlm


DORA = Lora(4, use_dora=True)
PACKED = [
    ("qwen2vl", 50, Lora(4)), ("qwen2vl", 100, Lora(0)), ("florence2", 50, Lora(0)),
    ("qwen2vl", 50, DORA), ("florence2", 100, DORA), ("qwen2.5-vl", 0, Lora(4)), ("qwen2.5-vl", 100, DORA),
    ("qwen3vl", 0, Lora(4)), ("qwen3vl", 66, Lora(0)), ("qwen3vl", 100, DORA),
]  # fmt: skip
NAMES = [f"{family}-{freeze}-{'dora' if lora.use_dora else f'r{lora.r}'}" for family, freeze, lora in PACKED]


@pytest.mark.parametrize("attn", ["eager", "sdpa"])
@pytest.mark.parametrize(("family", "freeze", "lora"), PACKED, ids=NAMES)
def test_packed_losses_and_gradients_are_those_of_plain_sequences(
    family: str, freeze: float, lora: Lora, attn: str
) -> None:
    vlm = prepared(family, freeze, lora, attn)
    asked = ASKED + TWO_PAGES * (family != "florence2")
    packed = vlm.codec.packed_batch(asked)
    plain_loss, plain = gradients(vlm, vlm.codec.train_batch(asked))
    packed_loss, shared = gradients(vlm, packed)
    assert packed_loss == pytest.approx(plain_loss, rel=2e-6)
    assert plain.keys() == shared.keys()
    largest = max(gradient.abs().max() for gradient in plain.values())
    for name, gradient in plain.items():
        assert torch.allclose(shared[name], gradient, rtol=1e-4, atol=float(largest) * 2e-6), name
    pages = len(by_pages(asked))
    assert questions(packed) == questions(vlm.codec.train_batch(asked)) == len(asked)
    assert len(packed["input_ids"] if family != "florence2" else packed["pixel_values"]) == pages < len(asked)


@pytest.mark.parametrize(
    ("family", "freeze", "lora"),
    [("qwen2vl", 100, Lora(4)), ("qwen2vl", 66, Lora(0)), ("florence2", 33, Lora(4)), ("qwen2vl", 100, DORA),
     ("qwen2.5-vl", 50, Lora(4)), ("qwen3vl", 33, Lora(4))],
    ids=["qwen2vl-r4", "qwen2vl-r0", "florence2-r4", "qwen2vl-dora", "qwen2.5-vl-r4", "qwen3vl-r4"],
)  # fmt: skip
def test_one_to_twelve_questions_a_page_with_checkpointing(family: str, freeze: float, lora: Lora) -> None:
    """Relative to the whole gradient, 1e-5: what is recomputed in the backward pass is what was computed."""
    vlm = prepared(family, freeze, lora)
    pages = [(Paper("one"),), (Paper("twelve", 252, 140),), (Paper("five", 140, 252),)]
    counts = zip(pages, (1, 12, 5), strict=True)
    asked = [replace(example(n, pages=page), question_id=f"{page[0].name}{n}") for page, k in counts for n in range(k)]
    plain_loss, plain = gradients(vlm, vlm.codec.train_batch(asked))
    vlm.gradient_checkpointing()
    packed_loss, packed = gradients(vlm, vlm.codec.packed_batch(asked))
    assert packed_loss == pytest.approx(plain_loss, rel=1e-5)
    away = sum((packed[name] - gradient).square().sum() for name, gradient in plain.items())
    assert away <= 1e-10 * sum(gradient.square().sum() for gradient in plain.values())


@pytest.mark.parametrize("attn", ["eager", "sdpa"])
@pytest.mark.parametrize("family", ["qwen2vl", "qwen2.5-vl", "qwen3vl"])
@pytest.mark.parametrize("answers", [("12 Elm Street", "", "B", ""), ("", "")], ids=["apart", "one position a row"])
def test_the_last_layer_is_of_answers_only(family: str, attn: str, answers: tuple[str, ...]) -> None:
    """And gives the gradients of all of it, also where a row has one answer token: the end of an empty answer."""
    vlm = prepared(family, 100, Lora(4), attn)
    asked = [replace(ASKED[n % 2], question_id=str(n), answers=(answer,)) for n, answer in enumerate(answers)]
    plain_loss, plain = gradients(vlm, vlm.codec.train_batch(asked))
    packed = vlm.codec.packed_batch(asked)
    seen: list[torch.Size] = []
    for layer in vlm.bare.get_submodule("model.language_model.layers"):  # type: ignore[union-attr]
        layer.mlp.register_forward_pre_hook(lambda _, args: seen.append(args[0].shape[:2]))
    packed_loss, shared = gradients(vlm, packed)
    *others, last = seen
    assert set(others) == {packed["input_ids"].shape}
    assert last == (2, (packed["labels"] != -100).sum(dim=1).max())
    assert packed_loss == pytest.approx(plain_loss, rel=2e-6)
    largest = float(max(gradient.abs().max() for gradient in plain.values()))
    for name, gradient in plain.items():
        assert torch.allclose(shared[name], gradient, rtol=1e-4, atol=largest * 2e-6), name


@pytest.mark.parametrize("family", ["qwen2vl", "qwen3vl", "florence2"])
def test_a_single_question_is_the_plain_sequence(family: str) -> None:
    vlm = load(family)
    with torch.no_grad():
        packed, plain = (vlm.loss(make(ASKED[:1]))[0] for make in (vlm.codec.packed_batch, vlm.codec.train_batch))
    assert packed.item() == pytest.approx(plain.item(), rel=1e-6)


@pytest.mark.parametrize("family", ["qwen2vl", "qwen3vl"])
def test_a_branch_does_not_see_its_siblings(family: str) -> None:
    """Other answers on the page change nothing for a branch; under a plain causal mask they would."""
    vlm = load(family)
    if family == "qwen2vl":
        widen(vlm.net)
    other = replace(ASKED[0], question="Something else entirely?", answers=("no",))

    def last_branch(first: object) -> Tensor:
        batch = vlm.codec.packed_batch([first, ASKED[2]])  # type: ignore[list-item]
        inputs = vlm._unpacked(batch) | vlm._embedded(batch)  # type: ignore[attr-defined,operator]
        hidden = vlm.bare.model.language_model(**inputs)  # type: ignore[operator]
        return hidden.last_hidden_state[batch["segments"] == 2]

    with torch.no_grad():
        assert torch.allclose(last_branch(ASKED[0]), last_branch(other), atol=1e-5)


ROWS = [([7, 7, 7], [Branch([1], [2, 3]), Branch([4, 5], [6])]), ([7], [Branch([1], [2])])]


def test_rows_and_positions() -> None:
    packed = pack(ROWS, pad=0)
    assert packed["input_ids"].tolist() == [[7, 7, 7, 1, 2, 3, 4, 5, 6], [0, 0, 7, 1, 2, 0, 0, 0, 0]]
    assert packed["labels"][0].tolist() == [-100] * 4 + [2, 3] + [-100] * 2 + [6]
    assert packed["segments"][1].tolist() == [-1, -1, 0, 1, 1] + [-1] * 4
    assert split_of(packed["segments"]) == 3
    prefix = torch.tensor([[[0, 1, 2], [1, 1, 0]], [[0, 1, 4], [1, 1, 0]], [[0, 1, 1], [1, 1, 0]]])
    placed = positions(prefix, packed["segments"], packed["offsets"])
    assert placed[:, 0, 3:].tolist() == [[5, 6, 7, 5, 6, 7]] * 3
    assert placed[1, 0, :3].tolist() == [0, 1, 4]
    assert placed[0, 1, :5].tolist() == [1, 1, 0, 1, 2]


@pytest.mark.parametrize("additive", [True, False])
def test_masks_of_the_two_calls(additive: bool) -> None:
    """Together they are the one mask: the pages and its own branch, up to itself."""
    segments = pack(ROWS, pad=0)["segments"]
    mask = branch_mask(segments, 3, additive=additive)
    assert mask.branches.shape == (2, 1, 6, 9)
    if additive:
        assert mask.pages is not None and mask.pages.shape == (2, 1, 3, 3) and mask.starts is None
        pages, branches = mask.pages[:, 0] == 0, mask.branches[:, 0] == 0
    else:
        assert mask.pages is None and mask.starts == (0, 2), "a plain causal call a row, from its own first column"
        places = torch.arange(3)
        begun = places >= torch.tensor(mask.starts)[:, None]
        pages, branches = (places <= places[:, None]) & begun[:, None], mask.branches[:, 0]
    for row in range(2):
        for here in (segments[row] >= 0).nonzero().flatten().tolist():
            allowed = {
                there
                for there in range(here + 1)
                if segments[row, there] == 0 or segments[row, there] == segments[row, here]
            }
            sees = pages[row, here] if here < 3 else branches[row, here - 3]
            assert set(sees.nonzero().flatten().tolist()) == allowed
    assert branches.any(-1).all() and (not additive or pages.any(-1).all()), "padding sees something, or it is NaN"


def test_equal_pages_are_one_call() -> None:
    mask = branch_mask(pack(ROWS[:1] * 2, pad=0)["segments"], 3, additive=False)
    assert mask.pages is None and mask.starts is None


class Largest(TorchDispatchMode):
    """Bytes of the largest storage that an operation gives, forward and backward."""

    bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        made = [tensor for tensor in tree_leaves(out) if isinstance(tensor, Tensor)]
        self.bytes = max([self.bytes, *(tensor.untyped_storage().nbytes() for tensor in made)])
        return out


@pytest.mark.slow
@pytest.mark.parametrize("beside", [0, 1], ids=["alone", "beside a page"])
@pytest.mark.parametrize("family", ["qwen2vl", "qwen3vl"])
def test_no_tensor_of_pages_times_pages_at_16_000_tokens(family: str, beside: int) -> None:
    """Features stored, two questions, a whole training step; a shorter document beside it makes a padded row."""
    vlm = prepared(family, 100, Lora(4), "sdpa")
    layers: Any = vlm.bare.get_submodule("model.language_model.layers")
    del layers[1:-1]  # for time's sake: one layer of every token, and the last
    vlm.bare.config.get_text_config().num_hidden_layers = 2
    paper = Paper("one", 560, 448)
    with torch.no_grad():
        page = vlm.page_features(vlm.codec.packed_batch([example(0, pages=(paper,))]))

    def largest(tokens: int) -> int:
        count = tokens // len(page)
        asked = [example(n, pages=(paper,) * count) for n in range(2)] + [example(2, pages=(paper,))] * beside
        batch = vlm.codec.packed_batch(asked)
        del batch["pixel_values"]
        batch["features"] = page.repeat(count + beside, 1)
        assert split_of(batch["segments"]) > 0.99 * tokens
        with Largest() as seen:
            loss, _ = vlm.loss(batch)
            loss.backward()
        vlm.zero_grad()
        return seen.bytes

    long = largest(16_000)
    assert long < 16_000**2 / 4, "a mask of a byte a pair of page tokens has four times as much"
    assert long < 2.2 * largest(8_000), "twice the pages, twice the memory"


def test_layers_of_sliding_windows_are_one_line() -> None:
    vlm = load("qwen2vl")
    vlm.bare.model.language_model.has_sliding_layers = True  # type: ignore[union-attr]
    vlm.bare.config.text_config.sliding_window = 8  # type: ignore[union-attr]
    with pytest.raises(DocvlmError, match=r"sliding windows.*packing=off"):
        vlm.loss(vlm.codec.packed_batch(ASKED))


def test_a_template_that_asks_before_the_page_is_refused() -> None:
    vlm = load("qwen2vl")
    template = vlm.codec.processor.chat_template
    vlm.codec.processor.chat_template = "Q: {{ messages[0]['content'][-1]['text'] }}" + template
    with pytest.raises(DocvlmError, match="packing=off"):
        vlm.codec.packed_batch([ASKED[0], ASKED[2]])


def test_questions_of_a_page_stay_together_and_every_question_comes_once() -> None:
    groups = [0, 1, 0, 2, 1, 1, 3, 2, 0, 4]
    orders = [epoch_order([(10, 1.0)], seed=3, epoch=epoch, groups=groups).tolist() for epoch in range(4)]
    for order in orders:
        assert sorted(order) == list(range(10))
        runs = [
            group
            for place, group in enumerate(groups[i] for i in order)
            if place == 0 or group != groups[order[place - 1]]
        ]
        assert sorted(runs) == [0, 1, 2, 3, 4]
    assert len({tuple(order) for order in orders}) == 4
    twice = epoch_order([(10, 1.5)], seed=3, epoch=0, groups=groups)
    assert len(twice) == 15 and np.bincount(twice, minlength=10).tolist().count(2) == 5
    sampler = TrainBatches(groups, 4, 3, parts=[(10, 1.0)], groups=groups)  # type: ignore[arg-type]
    assert [i for batch in sampler for i in batch] == orders[0]


def test_groups_are_pages() -> None:
    assert page_groups(ASKED) == [0, 1, 0, 0, 1]
    assert [[e.question_id for e in group] for group in by_pages(ASKED)] == [["q0", "q2", "q3"], ["q1", "q4"]]


def embedded(family: str, attn: str = "eager") -> VLM:
    """The embedded checkpoint: unlike most random ones it says something else to every question."""
    if FAMILIES[family].embedded is None:
        return load(family, attn=attn)
    return load_family(family).load(checkpoint(family), Budget(), attn=attn, offline=True)


def answers(vlm: VLM) -> tuple[list[Generated], list[Generated]]:
    """One by one, and with shared pages."""
    alone = [vlm.generate(vlm.codec.prompt_batch([example]), 14)[0] for example in DRAWN]
    return alone, vlm.generate(vlm.codec.eval_batch(DRAWN).prompts, 14)


@pytest.mark.parametrize("attn", ["eager", "sdpa"])
@pytest.mark.parametrize("family", ["qwen2vl", "qwen3vl", "florence2"])
def test_shared_pages_give_the_text_of_one_by_one(family: str, attn: str) -> None:
    alone, together = answers(embedded(family, attn))
    assert together == alone
    assert len({answer.text for answer in together}) > len(by_pages(DRAWN))


@pytest.mark.parametrize("family", ["qwen2vl", "qwen3vl", "florence2"])
def test_answers_that_end_apart_or_are_cut(family: str) -> None:
    vlm = embedded(family)
    first = vlm.generate(vlm.codec.prompt_batch(DRAWN[:1]), 14)[0].text
    early = vlm.codec.tokenizer(first, add_special_tokens=False)["input_ids"][-1]  # type: ignore[attr-defined]
    vlm.bare.generation_config.eos_token_id = early  # type: ignore[union-attr]
    alone, together = answers(vlm)
    assert together == alone
    assert {answer.truncated for answer in alone} == {True, False}
    assert len({answer.tokens for answer in alone}) > 1


@pytest.mark.parametrize("family", ["qwen2vl", "qwen3vl"])
def test_documents_of_several_pages_and_sizes_share_too(family: str) -> None:
    vlm = embedded(family)
    asked = [*ASKED, *TWO_PAGES]
    alone = [vlm.generate(vlm.codec.prompt_batch([example]), 8)[0] for example in asked]
    assert vlm.generate(vlm.codec.eval_batch(asked).prompts, 8) == alone
