"""Qwen3-VL: the published code's inputs, features of several blocks, answers that batching and sharing leave alone.

Packing, stored features and saved weights are tested where those of the other families are.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from qwen_vl_utils import process_vision_info
from safetensors.torch import load_file
from transformers import AutoProcessor, Qwen3VLForConditionalGeneration

from docvlm.config import TrainConfig
from docvlm.config.compose import load as config
from docvlm.errors import DocvlmError
from docvlm.files import read_json
from docvlm.vlms.base import VLM
from docvlm.vlms.codec import Budget
from docvlm.vlms.families import imported
from docvlm.vlms.prepare import apply
from docvlm.vlms.proof import prove
from docvlm.vlms.qwen2vl.last_layer import use_last_layer
from docvlm.vlms.qwen3vl import attention
from docvlm.vlms.qwen3vl.model import Qwen3VL
from docvlm.vlms.trainable import Lora
from tests.support.runs import train
from tests.support.tiny import Paper, checkpoint, example, load

MIXED = [
    example(0),
    example(1, pages=(Paper("wide", 560, 84),)),
    example(3, pages=(Paper("first"), Paper("second", 112, 196))),
]
LEVELS = 2  # of the tiny checkpoint, behind blocks 0 and 1 of three


@pytest.fixture(scope="module")
def vlm() -> VLM:
    return load("qwen3vl")


def stock(attn: str = "sdpa") -> Qwen3VLForConditionalGeneration:
    """The same weights in untouched Transformers classes."""
    return Qwen3VLForConditionalGeneration.from_pretrained(checkpoint("qwen3vl"), attn_implementation=attn)


def test_inputs_are_those_of_the_published_quick_start(tmp_path: Path) -> None:
    budget = Budget(min_pixels=32 * 32 * 8, max_pixels=32 * 32 * 40)
    codec = load("qwen3vl", budget).codec
    codec.save(tmp_path)
    item = example(3, pages=(Paper("large", 700, 300), Paper("small", 40, 30)))
    limits = {"min_pixels": budget.min_pixels, "max_pixels": budget.max_pixels}
    content: list[dict[str, object]] = [{"type": "image", "image": page.open(), **limits} for page in item.pages]
    messages = [{"role": "user", "content": [*content, {"type": "text", "text": item.question + item.instruction}]}]
    images, videos = process_vision_info(messages, image_patch_size=16)
    processor = AutoProcessor.from_pretrained(tmp_path)
    text = processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    published = processor(text=[text], images=images, videos=videos, do_resize=False, padding=True, return_tensors="pt")
    ours = codec.prompt_batch([item])
    assert set(published) == set(ours)
    for name, tensor in published.items():
        assert torch.equal(tensor, ours[name].to(tensor.dtype)), name
    tokens = ours["image_grid_thw"].prod(-1) // 4
    assert tokens.min() >= 8 and tokens.max() <= 40
    seen = [imported("docvlm.vlms.qwen3vl.codec:served")(page, budget).tobytes() for page in item.pages]
    assert seen == [image.tobytes() for image in images], "a server sees the same pixels"


@pytest.mark.parametrize("attn", ["sdpa", "eager"])
def test_losses_and_gradients_are_the_librarys_own(attn: str) -> None:
    """With everything learning, in float64: pages of one size and of several, one page a question and two."""
    plain, vlm = stock(attn).double(), load("qwen3vl", attn=attn)
    apply(vlm, 0, Lora(0))
    vlm.double()
    for examples in ([example(number) for number in range(3)], MIXED):
        batch = vlm.codec.train_batch(examples)
        batch["pixel_values"] = batch["pixel_values"].double()
        theirs = plain(**batch).loss
        loss, tokens = vlm.loss(batch)
        assert (loss / tokens).item() == pytest.approx(theirs.item(), rel=1e-12)
        for net, value in ((plain, theirs), (vlm, loss / tokens)):
            net.zero_grad()
            value.backward()
        ours = dict(vlm.bare.named_parameters())
        for name, parameter in plain.named_parameters():
            given, own = parameter.grad, ours[name].grad
            assert given is not None and own is not None
            assert (own - given).norm() <= 1e-12 * given.norm(), name


@pytest.mark.parametrize("attn", ["sdpa", "eager"])
def test_answers_from_shared_pages_are_those_of_plain_generate(attn: str) -> None:
    plain, vlm = stock(attn).eval(), load("qwen3vl", attn=attn)
    asked = [*MIXED, example(4, pages=MIXED[2].pages), example(5, pages=MIXED[2].pages)]
    expected = []
    for item in asked:
        batch = vlm.codec.prompt_batch([item])
        ids = plain.generate(**batch, generation_config=vlm.bare.generation_config, max_new_tokens=12)
        expected += vlm.codec.texts(ids[:, batch["input_ids"].shape[1] :])
    for batch in (vlm.codec.prompt_batch(asked), vlm.codec.eval_batch(asked).prompts):
        assert [answer.text for answer in vlm.generate(batch, 12)] == expected
    assert len(set(expected)) == len(asked), "the random model should answer differently"


def kept_bytes(vlm: VLM, batch: dict[str, torch.Tensor]) -> int:
    """What is held between forward and backward pass; the gradients stay on the model."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as seen:
        loss, _ = vlm.loss(batch)
    loss.backward(retain_graph=True)
    vlm.zero_grad()
    loss.backward()  # what was made again is made once more
    return sum(event.self_cpu_memory_usage for event in seen.key_averages())


@pytest.mark.parametrize("attn", ["eager", "sdpa"])
@pytest.mark.parametrize("packed", [True, False])
def test_queries_and_keys_are_kept_once(attn: str, packed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    vlm = load("qwen3vl", attn=attn)
    apply(vlm, 100, Lora(4))
    batch = vlm.codec.packed_batch(MIXED) if packed else vlm.codec.train_batch(MIXED)
    plain = kept_bytes(vlm, batch)
    grads = {name: p.grad.clone() for name, p in vlm.named_parameters() if p.grad is not None}
    vlm.zero_grad()
    monkeypatch.setattr(attention, "KEPT", 0)
    lean = kept_bytes(vlm, batch)
    text = vlm.bare.config.get_text_config()
    layers = text.num_hidden_layers - packed  # the last is at answers only
    queries = 4 * batch["input_ids"].numel() * text.num_attention_heads * text.head_dim
    assert plain - lean >= (0.9 * layers * queries if attn == "sdpa" else 0), "eager keeps copies; keys are repeated"
    assert grads
    for name, p in vlm.named_parameters():
        if name in grads:
            assert (p.grad - grads[name]).norm() <= 1e-5 * grads[name].norm(), name
    vlm.zero_grad()
    vlm.gradient_checkpointing()
    layer: Any = vlm.bare.get_submodule("model.language_model.layers.0")
    assert not layer.self_attn.lean, "checkpointed layers keep neither"
    kept_bytes(vlm, batch)
    for name, p in vlm.named_parameters():
        if name in grads:
            assert (p.grad - grads[name]).norm() <= 1e-5 * grads[name].norm(), name


def test_the_towers_blocks_hold_all_of_it_and_each_level_counts(vlm: VLM) -> None:
    assert isinstance(vlm, Qwen3VL)
    held = [name for block in vlm.vision_blocks() for name in block.parameters]
    tower = {name for name, _ in vlm.bare.named_parameters() if name.startswith("model.visual.")}
    assert len(held) == len(tower) and set(held) == tower
    batch = vlm.codec.packed_batch(MIXED)
    with torch.no_grad():
        features = vlm.page_features(batch)
        width = vlm.bare.config.get_text_config().hidden_size
        assert features.shape[1] == (1 + LEVELS) * width
        loss = vlm.loss(batch)[0]
        for part in range(1 + LEVELS):
            other = features.clone()
            other[:, part * width : (part + 1) * width] = 0
            assert not torch.allclose(vlm.loss(batch | {"features": other})[0], loss, rtol=1e-5)


@pytest.mark.parametrize("freeze", [0, 33, 66, 100])
def test_a_step_changes_what_learns_and_nothing_else(freeze: float) -> None:
    vlm = load("qwen3vl")
    apply(vlm, freeze, Lora(4))
    assert "step undone" in prove(vlm, vlm.codec.packed_batch(MIXED))


def test_as_many_levels_as_layers_is_no_error() -> None:
    vlm = load("qwen3vl")
    text = vlm.bare.model.language_model  # type: ignore[union-attr]
    text.layers, text.config.num_hidden_layers = text.layers[:LEVELS], LEVELS  # type: ignore[union-attr,index]
    use_last_layer(vlm.bare)
    with torch.no_grad():
        plain, packed = (vlm.loss(make(MIXED))[0] for make in (vlm.codec.train_batch, vlm.codec.packed_batch))
    assert packed.item() == pytest.approx(plain.item(), rel=1e-6)


def test_a_run_stores_blocks_and_learns_behind_them(tmp_path: Path) -> None:
    train(tmp_path / "run", "freeze=66", "features=on", f"features_folder={tmp_path / 'features'}", family="qwen3vl")
    record = read_json(tmp_path / "run" / "checkpoints" / "best" / "docvlm.json")
    assert (record["family"], record["freeze"], record["budget"]["min_pixels"]) == ("qwen3vl", 66, 1024)
    (shard, *_) = (tmp_path / "features").rglob("*.safetensors")
    page = next(iter(load_file(shard).values()))
    assert page.shape[-1] == LEVELS * 32, "of the two frozen blocks, both read by mergers that learn"


def test_no_checkpoint_comes_with_docvlm() -> None:
    with pytest.raises(DocvlmError, match=r"model.checkpoint='': a folder or a hub id"):
        config("train", TrainConfig, ["model=qwen3vl", "scale=tiny"]).check()
    full = config("train", TrainConfig, ["model=qwen3vl", "scale=full"])
    full.check()
    assert full.model.checkpoint == "Qwen/Qwen3-VL-2B-Instruct"
