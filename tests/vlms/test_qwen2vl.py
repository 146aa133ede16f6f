"""Qwen2-VL: prompts and masks, the published code's pixels, losses and answers that batching leaves alone."""

from __future__ import annotations

import base64
import copy
import io
import pickle
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL.Image import Image, fromarray
from qwen_vl_utils import process_vision_info
from qwen_vl_utils.vision_process import fetch_image
from transformers import AutoProcessor, Qwen2_5_VLForConditionalGeneration, Qwen2VLForConditionalGeneration

from docvlm.errors import DocvlmError
from docvlm.vlms.base import VLM
from docvlm.vlms.codec import Budget
from docvlm.vlms.prepare import apply
from docvlm.vlms.proof import prove
from docvlm.vlms.qwen2vl import recompute
from docvlm.vlms.qwen2vl.attention import use_fast_paths
from docvlm.vlms.qwen2vl.codec import resized
from docvlm.vlms.trainable import Lora
from tests.support.tiny import Paper, checkpoint, example, load, qwen25

SNAPSHOT = Path(__file__).parents[1] / "snapshots" / "qwen2vl.txt"
MIXED = [
    example(0),
    example(1, pages=(Paper("wide", 560, 84),)),
    example(3, pages=(Paper("first"), Paper("second", 112, 196))),
]


@pytest.fixture(scope="module")
def vlm() -> VLM:
    return load("qwen2vl")


def test_prompt_and_supervised_span_are_the_snapshot(vlm: VLM) -> None:
    batch = vlm.codec.train_batch([example(1)])
    decode = vlm.codec.tokenizer.decode
    text = re.sub(r"(<\|image_pad\|>)+", lambda m: f"[{len(m[0]) // 13} image tokens]", decode(batch["input_ids"][0]))
    learned = decode(batch["labels"][0][batch["labels"][0] != -100])
    assert f"{text}\n--- learned ---\n{learned}\n" == SNAPSHOT.read_text()


def test_labels_cover_answer_and_end_only(vlm: VLM) -> None:
    batch = vlm.codec.train_batch(MIXED)
    for row, item in enumerate(MIXED):
        labels, ids = batch["labels"][row], batch["input_ids"][row]
        learned = labels != -100
        assert vlm.codec.tokenizer.decode(labels[learned]) == item.target + "<|im_end|>"
        assert torch.equal(ids[learned], labels[learned])
        assert learned.nonzero().max() == batch["attention_mask"][row].sum() - 1, "the answer ends the row"


def test_the_prompt_before_an_answer_is_the_prompt_of_generation(vlm: VLM) -> None:
    train, prompt = vlm.codec.train_batch(MIXED), vlm.codec.prompt_batch(MIXED)
    assert torch.equal(train["pixel_values"], prompt["pixel_values"])
    for row in range(len(MIXED)):
        before = train["input_ids"][row][(train["labels"][row] == -100) & train["attention_mask"][row].bool()]
        assert torch.equal(before, prompt["input_ids"][row][prompt["attention_mask"][row].bool()])
    assert prompt["attention_mask"][:, -1].all(), "padded on the left"


def test_inputs_are_those_of_the_published_quick_start(tmp_path: Path) -> None:
    budget = Budget(min_pixels=28 * 28 * 8, max_pixels=28 * 28 * 40)
    codec = load("qwen2vl", budget).codec
    codec.save(tmp_path)
    item = example(3, pages=(Paper("large", 700, 300), Paper("small", 40, 30)))
    limits = {"min_pixels": budget.min_pixels, "max_pixels": budget.max_pixels}
    content: list[dict[str, object]] = [{"type": "image", "image": page.open(), **limits} for page in item.pages]
    messages = [{"role": "user", "content": [*content, {"type": "text", "text": item.question + item.instruction}]}]
    images, videos = process_vision_info(messages)
    processor = AutoProcessor.from_pretrained(tmp_path)
    text = processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    published = processor(text=[text], images=images, videos=videos, padding=True, return_tensors="pt")
    ours = codec.prompt_batch([item])
    assert set(published) == set(ours)
    for name, tensor in published.items():
        assert torch.equal(tensor, ours[name].to(tensor.dtype)), name


def test_budget_bounds_pixels_and_is_saved_with_the_processor(tmp_path: Path) -> None:
    budget = Budget(min_pixels=28 * 28 * 8, max_pixels=28 * 28 * 20)
    codec = load("qwen2vl", budget).codec
    batch = codec.prompt_batch([example(1, pages=(Paper("large", 900, 700), Paper("small", 30, 30)))])
    tokens = batch["image_grid_thw"].prod(-1) // 4
    assert tokens.min() >= 8 and tokens.max() <= 20
    codec.save(tmp_path)
    saved = AutoProcessor.from_pretrained(tmp_path).image_processor.size
    assert (saved["shortest_edge"], saved["longest_edge"]) == (budget.min_pixels, budget.max_pixels)


class Coloured(Paper):
    """Noise in every channel: JPEG keeps colour at half the resolution."""

    def open(self) -> Image:
        noise = np.random.default_rng(0).integers(0, 256, (self.height, self.width, 3), dtype=np.uint8)
        return fromarray(noise)


def test_jpeg_quality_shows_pages_as_lmms_eval_does() -> None:
    """Quality 85 and nothing else said, into a data URL, decoded and resized by qwen-vl-utils, in this order."""
    budget = Budget(min_pixels=28 * 28 * 8, max_pixels=28 * 28 * 40, jpeg_quality=85)
    page = Coloured("large", 700, 300)
    encoded = io.BytesIO()
    page.open().save(encoded, format="JPEG", quality=85)
    url = f"data:image/jpeg;base64,{base64.b64encode(encoded.getvalue()).decode()}"
    limits = {"min_pixels": budget.min_pixels, "max_pixels": budget.max_pixels}
    expected = fetch_image({"image": url, **limits})
    seen = resized(page, budget, 14)
    assert (seen.mode, seen.size, seen.tobytes()) == (expected.mode, expected.size, expected.tobytes())
    plain = resized(page, replace(budget, jpeg_quality=None), 14)
    assert plain.tobytes() == fetch_image({"image": page.open(), **limits}).tobytes() != seen.tobytes()

    codec = load("qwen2vl", budget).codec
    item = example(1, pages=(page,))
    pixels = codec.processor.image_processor(images=[expected], do_resize=False, return_tensors="pt")["pixel_values"]
    for batch in (codec.prompt_batch([item]), codec.train_batch([item]), codec.packed_batch([item])):
        assert torch.equal(batch["pixel_values"], pixels)


def test_a_page_that_jpeg_cannot_hold_is_one_line() -> None:
    budget = Budget(min_pixels=784, max_pixels=10**9, jpeg_quality=85)
    with pytest.raises(DocvlmError, match=r"page wide: 70000 x 400 pixels, but JPEG holds 65500 a side"):
        resized(Paper("wide", 70_000, 400), budget, 14)


@pytest.mark.parametrize(
    ("budget", "named"),
    [
        (Budget(height=224), "budget.height"),
        (Budget(min_pixels=9000, max_pixels=8000), "budget.min_pixels=9000"),
        (Budget(min_pixels=1, max_pixels=100), "budget.max_pixels=100"),
        (Budget(jpeg_quality=0), "budget.jpeg_quality=0"),
    ],
)
def test_an_impossible_budget_is_one_line(budget: Budget, named: str) -> None:
    with pytest.raises(DocvlmError, match=re.escape(named)):
        load("qwen2vl", budget)


@pytest.mark.parametrize("size", [(20_000, 10), (10, 20_000), (5600, 28)])
def test_a_strip_of_a_page_is_one_line(size: tuple[int, int]) -> None:
    codec = load("qwen2vl", Budget(max_pixels=28 * 28 * 4)).codec
    with pytest.raises(DocvlmError, match=rf"page strip: {size[0]} x {size[1]} pixels"):
        codec.prompt_batch([example(1, pages=(Paper("strip", *size),))])


def test_a_special_token_in_a_question_is_one_line(vlm: VLM) -> None:
    with pytest.raises(DocvlmError, match=r"question q2: .*<\|image_pad\|>"):
        vlm.codec.prompt_batch([replace(example(2), question="What is <|image_pad|>?")])


def test_an_evaluation_batch_opens_each_page_once(vlm: VLM, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    draw = Paper.open
    monkeypatch.setattr(Paper, "open", lambda page: opened.append(page.name) or draw(page))
    shared = [replace(item, pages=MIXED[0].pages) for item in (example(1), example(2))]
    batch = vlm.codec.eval_batch([MIXED[2], *shared], packed=False)
    assert sorted(opened) == ["first", "page 0", "second"]
    for ours, alone in ((batch.prompts, vlm.codec.prompt_batch), (batch.labelled, vlm.codec.train_batch)):
        for name, tensor in alone(batch.examples).items():
            assert torch.equal(ours[name], tensor), name


def test_codec_goes_to_a_worker(vlm: VLM) -> None:
    again = pickle.loads(pickle.dumps(vlm.codec))
    for name, tensor in vlm.codec.train_batch(MIXED).items():
        assert torch.equal(tensor, again.train_batch(MIXED)[name])


def test_padded_batch_has_the_loss_of_its_rows(vlm: VLM) -> None:
    with torch.no_grad():
        together, tokens = vlm.loss(vlm.codec.train_batch(MIXED))
        alone = [vlm.loss(vlm.codec.train_batch([item])) for item in MIXED]
    assert tokens == sum(count for _, count in alone)
    assert together.item() == pytest.approx(sum(loss.item() for loss, _ in alone), rel=1e-5)


def test_loss_is_the_librarys_own(vlm: VLM) -> None:
    batch = vlm.codec.train_batch(MIXED)
    with torch.no_grad():
        loss, tokens = vlm.loss(batch)
        theirs = vlm.net(**batch).loss
    assert (loss / tokens).item() == pytest.approx(theirs.item(), rel=1e-6)


def test_answers_do_not_depend_on_the_batch(vlm: VLM) -> None:
    batch = vlm.generate(vlm.codec.prompt_batch(MIXED), 12)
    assert batch == [vlm.generate(vlm.codec.prompt_batch([item]), 12)[0] for item in MIXED]
    assert len({answer.text for answer in batch}) > 1, "the random model should answer differently"


def test_an_answer_ends_at_its_end_token_or_is_truncated(vlm: VLM) -> None:
    pad, end = vlm.codec.tokenizer.pad_token_id, vlm.codec.end
    letter = vlm.codec.tokenizer("7", add_special_tokens=False)["input_ids"][0]
    probabilities = torch.tensor([[0.5, 0.75, 0.25, 0.25], [1.0, 0.5, 0.5, 0.5]])
    ended, cut = vlm._answers(torch.tensor([[letter, end, pad, pad], [letter] * 4]), probabilities)
    assert (ended.text, ended.tokens, ended.truncated) == ("7", 2, False)
    assert (cut.text, cut.tokens, cut.truncated) == ("7777", 4, True)
    assert (ended.confidence, cut.confidence) == (0.625, 0.625), "what follows the end does not count"


@pytest.mark.parametrize("attn", ["sdpa", "eager"])
def test_fast_paths_equal_the_stock_tower(attn: str) -> None:
    stock = Qwen2VLForConditionalGeneration.from_pretrained(checkpoint("qwen2vl"), attn_implementation=attn)
    fast = copy.deepcopy(stock)
    use_fast_paths(fast)
    assert type(fast.model.visual.blocks[0].attn) is not type(stock.model.visual.blocks[0].attn)
    codec = load("qwen2vl").codec
    for examples in ([example(number) for number in range(3)], MIXED):
        batch = codec.train_batch(examples)
        losses = [net(**batch).loss for net in (stock, fast)]
        for net, loss in zip((stock, fast), losses, strict=True):
            net.zero_grad()
            loss.backward()
        assert losses[0].item() == pytest.approx(losses[1].item(), rel=1e-6)
        for (name, a), (_, b) in zip(stock.named_parameters(), fast.named_parameters(), strict=True):
            assert torch.allclose(a.grad, b.grad, rtol=1e-3, atol=1e-5 * a.grad.abs().max().item() + 1e-9), name


def kept_bytes(vlm: VLM, batch: dict[str, torch.Tensor]) -> int:
    """What one forward pass keeps for the backward pass, weights aside; the gradients stay on the model."""
    weights = {parameter.untyped_storage().data_ptr() for parameter in vlm.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss, _ = vlm.loss(batch)
    loss.backward()
    return sum(kept.values())


@pytest.mark.parametrize("lora", [Lora(4), Lora(0), Lora(4, use_dora=True)], ids=["lora", "full", "dora"])
def test_what_is_cheap_is_computed_again_and_not_kept(lora: Lora) -> None:
    vlm = load("qwen2vl")
    apply(vlm, 100, lora)
    batch = vlm.codec.packed_batch([example(number) for number in range(3)])
    lean = kept_bytes(vlm, batch)
    grads = {name: p.grad.clone() for name, p in vlm.named_parameters() if p.grad is not None}
    vlm.zero_grad()
    for module in vlm.net.modules():
        if isinstance(module, recompute._Norm | recompute._GatedMLP):
            module.__class__ = type(module).__bases__[1]
    plain = kept_bytes(vlm, batch)
    assert lean < 0.95 * plain  # the last layer, at answers alone, has little to save
    assert grads
    for name, parameter in vlm.named_parameters():
        if name in grads:
            assert torch.allclose(parameter.grad, grads[name], rtol=1e-4, atol=1e-6 * float(grads[name].abs().max())), (
                name
            )


def test_qwen25vl_checkpoints_load_learn_and_answer() -> None:
    vlm = load("qwen2vl", source=qwen25())
    assert isinstance(vlm.net, Qwen2_5_VLForConditionalGeneration)
    assert vlm.generate(vlm.codec.prompt_batch(MIXED), 6)[1:] == vlm.generate(vlm.codec.prompt_batch(MIXED[1:]), 6)
    trainable = apply(vlm, 50, Lora(r=4))
    assert (trainable.frozen_blocks, len(trainable.blocks)) == (1, 2)
    assert "step undone" in prove(vlm, vlm.codec.train_batch(MIXED))
