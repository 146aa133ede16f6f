"""`model=chat` on checkpoints that docvlm does not know by name: what is learned, what is generated, what is saved.

One architecture after another; a model type that stops working in a newer Transformers fails under its own name.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForImageTextToText, AutoProcessor

from docvlm.data.example import Example
from docvlm.data.loading.batching import by_tokens, documents, page_groups
from docvlm.data.loading.packing import IGNORED
from docvlm.errors import DocvlmError
from docvlm.vlms import load_family, saved
from docvlm.vlms.base import VLM
from docvlm.vlms.codec import Budget, Stored
from docvlm.vlms.feature_store import FeatureStore
from docvlm.vlms.prepare import apply
from docvlm.vlms.proof import prove
from docvlm.vlms.trainable import Lora, Parts
from tests.support.architectures import ARCHITECTURES, Architecture, checkpoint
from tests.support.tiny import INSTRUCTION, Paper

PAGES = (Paper("invoice"), Paper("letter", 200, 260))
MORE = 6  # tokens of an answer


@pytest.fixture(scope="module", params=[name for name, one in ARCHITECTURES.items() if one.chat])
def architecture(request: pytest.FixtureRequest) -> Architecture:
    found = ARCHITECTURES[request.param]
    if found.missing:
        pytest.skip(found.missing)
    return found


@pytest.fixture(scope="module")
def folder(architecture: Architecture) -> Path:
    return checkpoint(architecture.model_type)


@pytest.fixture(scope="module")
def vlm(folder: Path) -> Iterator[VLM]:
    """As it is loaded: what changes it takes one of its own."""
    yield load(folder).eval()


def asked(count: int = 3) -> list[Example]:
    """Questions of different lengths about pages of different sizes."""
    return [
        Example(
            f"q{number}",
            f"What is the total{' there' * number}?",
            (f"{4 * number}.5", "none"),
            f"d{number % 2}",
            (PAGES[number % 2],),
            "docvqa",
            INSTRUCTION,
        )
        for number in range(count)
    ]


def plain_inputs(processor: Any, example: Example) -> Any:
    """What Transformers' own quick start makes of a question."""
    content = [{"type": "image", "image": page.open()} for page in example.pages]
    chat = [{"role": "user", "content": [*content, {"type": "text", "text": example.question + example.instruction}]}]
    thinking = {"enable_thinking": False} if "enable_thinking" in processor.chat_template else {}
    return processor.apply_chat_template(
        chat, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt", **thinking
    )


def answers(vlm: VLM, examples: list[Example]) -> list[str]:
    return [one.text for one in vlm.generate(vlm.codec.prompt_batch(examples), MORE)]


def plain_answers(net: Any, folder: Path, examples: list[Example], most: int = MORE) -> list[str]:
    """One by one, by `generate`; greedy."""
    processor = AutoProcessor.from_pretrained(folder)
    found = []
    for example in examples:
        inputs = plain_inputs(processor, example)
        with torch.inference_mode():
            ids = net.generate(**inputs, max_new_tokens=most, do_sample=False)
        new = ids[:, inputs["input_ids"].shape[1] :]
        found.append(processor.tokenizer.batch_decode(new, skip_special_tokens=True)[0].strip())
    return found


def test_it_answers_as_plain_transformers_does_together_and_alone(vlm: VLM, folder: Path) -> None:
    net = AutoModelForImageTextToText.from_pretrained(folder).eval()
    expected = plain_answers(net, folder, asked())
    assert answers(vlm, asked()) == expected
    assert [answers(vlm, [example])[0] for example in asked()] == expected
    sure = {one.confidence for one in vlm.generate(vlm.codec.prompt_batch(asked()), MORE)}
    assert len(sure) == len(expected)  # or nothing of this depended on page and question


def test_only_the_answer_is_learned_behind_the_prompt_that_is_generated_from(vlm: VLM) -> None:
    examples = asked()
    batch, prompts = vlm.codec.train_batch(examples), vlm.codec.prompt_batch(examples)
    tokenizer = vlm.codec.tokenizer
    columns = prompts["input_ids"].shape[1]
    assert torch.equal(batch["input_ids"][:, :columns], prompts["input_ids"])
    assert (batch["labels"][:, :columns] == IGNORED).all()
    for row, labels, example in zip(batch["input_ids"], batch["labels"], examples, strict=True):
        learned = labels[labels != IGNORED]
        assert torch.equal(learned, row[labels != IGNORED])
        assert tokenizer.decode(learned, skip_special_tokens=True).strip() == example.target
        stops = torch.as_tensor(vlm.bare.generation_config.eos_token_id)
        assert torch.isin(learned, stops).tolist() == [False] * (len(learned) - 1) + [True]


def test_the_loss_is_that_of_the_whole_chat_in_plain_transformers(vlm: VLM, folder: Path) -> None:
    """Prompt and answer as one sequence without padding, one question at a time, labels by the library."""
    net = AutoModelForImageTextToText.from_pretrained(folder).eval()
    examples = asked()
    with torch.inference_mode():
        total, tokens = vlm.loss(vlm.codec.train_batch(examples))
    expected, count = 0.0, 0
    for example in examples:
        batch = vlm.codec.train_batch([example])
        assert batch["attention_mask"].all()
        with torch.inference_mode():
            logits = net(**{name: tensor for name, tensor in batch.items() if name != "labels"}).logits
        labels = batch["labels"][:, 1:]
        each = torch.nn.functional.cross_entropy(
            logits[:, :-1].float().mT, labels, ignore_index=IGNORED, reduction="sum"
        )
        expected += float(each)
        count += int((labels != IGNORED).sum())
    assert tokens == count
    assert float(total) == pytest.approx(expected, rel=1e-5)


def test_lengths_are_known_without_a_page(vlm: VLM) -> None:
    sizes = [sized(Paper("slide", 320, 90)), *map(sized, PAGES)]
    examples = [replace(e, pages=tuple(sizes[: 1 + place % 3])) for place, e in enumerate(asked(5))]
    found = vlm.codec.lengths(examples)
    alone = [int(vlm.codec.train_batch([example])["attention_mask"].sum()) for example in examples]
    assert (found.pages + found.own).tolist() == alone
    assert vlm.codec.train_batch(examples)["attention_mask"].sum(1).tolist() == alone


class Sized(Paper):
    """A page whose size is known."""

    @property
    def size(self) -> tuple[int, int]:
        return self.width, self.height


def sized(page: Any) -> Sized:
    return Sized(page.name, page.width, page.height)


@pytest.mark.parametrize(("freeze", "r"), [(66, 4), (0, 0)])
def test_what_is_said_to_learn_learns_and_comes_back(
    architecture: Architecture, folder: Path, tmp_path: Path, freeze: float, r: int
) -> None:
    vlm = load(folder)
    trainable = apply(vlm, freeze, Lora(r))
    inside = f"{architecture.language}."
    assert all(inside in name or "lm_head" in name for name in trainable.language)
    assert trainable.vision and not any(inside in name for name in trainable.vision)
    batch = vlm.codec.train_batch(asked())
    assert "unchanged" in prove(vlm, batch)
    optimizer = torch.optim.SGD([p for group in trainable.groups.values() for p in group], lr=1e-2)
    for _ in range(2):
        loss, _ = vlm.loss(batch)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    vlm.eval()
    expected, loss = answers(vlm, asked()), vlm.loss(batch)[0].item()
    saved.save(vlm, tmp_path / "best")
    again = saved.load(tmp_path / "best", offline=True)
    assert again.loss(batch)[0].item() == loss
    assert answers(again, asked()) == expected

    base = folder if r else tmp_path / "best"
    net = AutoModelForImageTextToText.from_pretrained(base)
    if r:
        net = PeftModel.from_pretrained(net, tmp_path / "best")
    assert plain_answers(net.eval(), tmp_path / "best", asked()) == expected
    if r:
        assert plain_answers(net.merge_and_unload(), tmp_path / "best", asked()) == expected


def test_the_parts_are_found(vlm: VLM, architecture: Architecture) -> None:
    assert vlm.language == architecture.language
    blocks = vlm.vision_blocks()
    depth = len(vlm.bare.get_submodule(architecture.blocks))  # type: ignore[arg-type]  # a ModuleList
    assert [f"{architecture.blocks}.{index}" in block.modules for index, block in enumerate(blocks)] == [True] * depth
    names = [name for block in blocks for name in block.parameters]
    assert len(names) == len(set(names))
    outside = {n for n, _ in vlm.bare.named_parameters() if not n.startswith((f"{architecture.language}.", "lm_head"))}
    assert set(names) == outside


def test_a_page_that_the_processor_refuses_is_one_line(vlm: VLM, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*given: Any, **more: Any) -> Any:
        raise ValueError("too thin a page")

    examples = asked(1)
    monkeypatch.setattr(type(vlm.codec.processor.image_processor), "preprocess", refuse)
    with pytest.raises(DocvlmError, match=r"page invoice of 280 x 168 pixels: .* refuses it: too thin a page; cut"):
        vlm.codec.prompt_batch(examples)


PLAIN = {
    "qwen2_vl": "loss",  # positions of their own for pages; these two and qwen3_vl have families that know them
    "qwen2_5_vl": "loss",
    "qwen3_vl": "deepstack_features",
    "granite_docling": "deepstack_features",
    "qwen3_5": "loss",
    "glm_ocr": "loss",
    "paddleocr_vl": "loss",
}
ALONE = {"gemma3": "an answer", "lfm2_vl": "batch_select_indices"}
"""Architectures whose questions do not share a page, or share it in training alone, and a word of the reason."""


def test_pages_are_shared_where_that_is_exact(architecture: Architecture, folder: Path) -> None:
    vlm, examples = load(folder), asked(5)
    trainable = apply(vlm, 100, Lora(4))
    line, name = vlm.settle(examples), architecture.model_type
    assert PLAIN.get(name, "") in line and ALONE.get(name, "") in line
    assert (vlm.codec.shares, vlm.codec.continues) == (name not in PLAIN, name not in {*PLAIN, *ALONE})
    assert vlm.training and bool(line) == (name in {*PLAIN, *ALONE})

    gradients = []
    for batch in (vlm.codec.train_batch(examples), vlm.codec.packed_batch(examples)):
        loss, _ = vlm.loss(batch)
        loss.backward()
        gradients.append([loss.detach(), *(p.grad for p in trainable.language.values())])
        vlm.zero_grad()
    assert ("parts" in batch, "question_ids" in batch) == (vlm.codec.shares, vlm.codec.continues)
    for one, other in zip(*gradients, strict=True):
        assert (one - other).abs().max() <= 1e-3 * one.abs().max()
    batch = vlm.codec.packed_prompt_batch(examples)
    assert ("question_ids" in batch) == vlm.codec.continues
    assert [one.text for one in vlm.generate(batch, MORE)] == answers(vlm, examples)


def test_what_a_frozen_tower_makes_of_pages_is_stored(
    architecture: Architecture, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if architecture.model_type in PLAIN:
        pytest.skip("its questions do not share a page")
    vlm, examples = load(folder), asked(5)
    apply(vlm, 100, Lora(4))
    vlm.settle(examples)
    assert not vlm.unstored
    expected = vlm.loss(vlm.codec.packed_batch(examples))[0].item()
    vlm.codec.stored = Stored(FeatureStore(tmp_path, 1 << 30), torch.float32, torch.float32)
    assert vlm.loss(vlm.codec.packed_batch(examples))[0].item() == expected  # and keeps them
    vlm.codec.stored.store.flush()
    monkeypatch.setattr(type(vlm.codec.processor.image_processor), "preprocess", None)  # no page is processed again
    again = vlm.codec.packed_batch(examples)
    assert again["features"].shape[0] == (again["parts"][:, 0] == vlm.codec.image).sum()
    assert vlm.loss(again)[0].item() == pytest.approx(expected, rel=1e-6)
    other = load(folder)
    apply(other, 66, Lora(4))
    assert "freeze=66" in other.unstored


def test_a_learning_tower_hears_of_all_questions_of_a_page() -> None:
    """Through the page's cache, and without one where layers are computed anew in the backward pass."""
    gradients = []
    for recomputed, packed in ((False, False), (False, True), (True, True)):
        vlm, examples = load(checkpoint("smolvlm")), asked(5)
        torch.manual_seed(0)  # for the adapter
        trainable = apply(vlm, 66, Lora(4))
        if recomputed:
            vlm.gradient_checkpointing()
        assert not vlm.settle(examples)
        batch = vlm.codec.packed_batch(examples) if packed else vlm.codec.train_batch(examples)
        assert ("question_ids" in batch) == (packed and not recomputed)
        loss, _ = vlm.loss(batch)
        loss.backward()
        learning = (*trainable.language.values(), *trainable.vision.values())
        gradients.append([loss.detach(), *(p.grad for p in learning)])
    for others in gradients[1:]:
        for one, other in zip(gradients[0], others, strict=True):
            # keys have biases, whose gradient is nothing but rounding: a softmax does not feel them
            assert (one - other).abs().max() <= 1e-3 * one.abs().max() + 1e-5


def test_a_larger_budget_after_a_smaller_one_is_larger() -> None:
    vlm, seen = load(checkpoint("llava_onevision")), []  # its processor chooses from a list of sizes
    for budget in (vlm.codec.budget, Budget(max_tiles=1), vlm.codec.budget):
        vlm.set_budget(budget)
        assert vlm.codec.budget == budget
        seen.append(int(vlm.codec.prompt_batch(asked(1))["attention_mask"].sum()))
    assert seen[0] == seen[2] > seen[1]


@pytest.mark.parametrize(("name", "shared"), [("idefics3", True), ("qwen2_vl", False)])
def test_batches_are_as_large_as_what_is_really_in_them(name: str, shared: bool) -> None:
    """Eight pages with one to four questions each: as many as a budget of tokens holds, pages counted as they share."""
    vlm, random = load(checkpoint(name)), np.random.default_rng(0)
    papers = [sized(Paper(f"page {number}", 280 - 9 * number, 168)) for number in range(8)]
    examples = [
        replace(
            one, question_id=f"{paper.name}-{k}", document=paper.name, pages=(paper,), answers=("9" * (13 - 4 * k),)
        )
        for number, paper in enumerate(papers)
        for k, one in enumerate(asked(1 + number % 4))
    ]
    assert bool(vlm.settle(examples)) is not shared
    lengths, groups = vlm.codec.lengths(examples), np.array(page_groups(examples))
    assert lengths.shared is shared
    budget = 10 * int(lengths.pages.max())
    order = np.arange(len(examples))
    batches = by_tokens(order, groups, lengths, budget, random)
    assert sorted(np.concatenate(batches)) == order.tolist()
    for batch in batches:
        made = vlm.codec.packed_batch([examples[index] for index in batch])
        tokens = made["input_ids"].numel() + (made["question_ids"].numel() if shared else 0)
        assert tokens == lengths.padded(documents(batch, groups))
        assert tokens <= budget or len(documents(batch, groups)) == 1
    apart = by_tokens(order, groups, replace(lengths, shared=False), budget, random)
    assert (len(batches) < len(apart)) is shared


def test_a_long_template_is_part_of_a_prompt(tmp_path: Path) -> None:
    """Positions for all but one of its tokens are too few, however short the question."""
    folder = copy(tmp_path)
    template = folder / "chat_template.jinja"
    template.write_text("A rule of this house. " * 200 + template.read_text())
    codec, example = load(folder).codec, replace(asked(1)[0], pages=(sized(PAGES[0]),))
    needed = int(codec.train_batch([example])["attention_mask"].sum()) + MORE
    codec.longest = needed
    assert codec.refusal(example, MORE) is None
    codec.longest = needed - 1
    refused = codec.refusal(example, MORE)
    assert refused is not None and f"up to {needed} tokens, but this model has positions for {needed - 1}" in str(
        refused
    )


def test_the_guide_shows_what_is_said_first(root: Path) -> None:
    lines = load(checkpoint("idefics3")).codec.account()
    assert "\n".join(lines) in (root / "docs" / "guide" / "chat.md").read_text(encoding="utf-8")


def test_another_budget_does_not_make_pages_shared() -> None:
    vlm = load(checkpoint("qwen2_vl"))
    assert vlm.settle(asked())
    vlm.set_budget(replace(vlm.codec.budget, max_pixels=48 * 28 * 28))
    assert not vlm.codec.shares and not vlm.codec.continues


# What does not depend on the architecture

NAME = "qwen3_vl"


def copy(tmp_path: Path, name: str = NAME) -> Path:
    return Path(shutil.copytree(checkpoint(name), tmp_path / "checkpoint"))


def load(folder: Path, budget: Budget | None = None, parts: Parts | None = None) -> VLM:
    return load_family("chat").load(folder, budget or Budget(), offline=True, parts=parts or Parts())


THOUGHT = "<think>\n\n</think>\n\n"
HEAD = "{% if add_generation_prompt %}<|im_start|>assistant\n"
TURN = "{{ message['role'] }}\n"
TEMPLATES = [
    (
        TURN,
        TURN + "{% if message['role'] == 'assistant' %}SURE {% endif %}",
        "'12.50' would be learned as 'SURE 12.50'",
    ),
    (TURN, TURN + "{% if message['role'] == 'assistant' %}<b>{% endif %}", "would be learned as '<b>12.50'"),
    ("<|im_start|>{{ message['role'] }}", "<|im_start|>{{ message['role'] | upper }}", "asks for an answer with 'assi"),
    ("'text' in part", "'text' in part and message['role'] == 'user'", "leaves the answer '12.50' out"),
    ("'text' in part", "'text' in part and message['role'] != 'user'", "leaves the question out"),
    ("{{ part['text'] }}", "{{ part['text'] | upper }}", "leaves the question out, or changes it"),
    ("{% for message in messages %}", "{{ raise_exception('no images') }}{% for message in messages %}", "no images"),
    ("{% for message in messages %}", "{% for message in messages %", "cannot be filled in"),
]


@pytest.mark.parametrize(("part", "instead", "refused"), TEMPLATES)
def test_templates(tmp_path: Path, part: str, instead: str, refused: str) -> None:
    folder = copy(tmp_path)
    file = folder / "chat_template.jinja"
    written = file.read_text()
    assert part in written
    file.write_text(written.replace(part, instead, 1))
    with pytest.raises(DocvlmError, match=rf"chat_template.jinja: .*{refused}.*model=chat cannot train"):
        load(folder)


def test_an_empty_thought_before_every_answer_is_no_part_of_it(tmp_path: Path) -> None:
    folder = copy(tmp_path)
    file = folder / "chat_template.jinja"
    answered = "{{ message['role'] }}\n{% if message['role'] == 'assistant' %}" + THOUGHT + "{% endif %}"
    switch = HEAD + "{% if enable_thinking is defined and not enable_thinking %}" + THOUGHT + "{% endif %}"
    file.write_text(file.read_text().replace("{{ message['role'] }}\n", answered, 1).replace(HEAD, switch, 1))
    vlm = load(folder)
    batch = vlm.codec.train_batch(asked(1))
    learned = vlm.codec.tokenizer.decode(batch["labels"][batch["labels"] != IGNORED])
    assert learned == "0.5<|im_end|>"
    assert THOUGHT in vlm.codec.tokenizer.decode(batch["input_ids"][0])


def test_without_a_template_there_is_no_prompt(tmp_path: Path) -> None:
    folder = copy(tmp_path)
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(DocvlmError, match=r"chat_template\.jinja: the checkpoint has none"):
        load(folder)


def test_only_the_stop_tokens_of_the_generation_config_are_taken(tmp_path: Path) -> None:
    folder = copy(tmp_path)
    file = folder / "generation_config.json"
    written = json.loads(file.read_text())
    file.write_text(
        json.dumps(written | {"repetition_penalty": 3.0, "do_sample": True, "num_beams": 3, "min_length": 9})
    )
    assert answers(load(folder), asked()) == answers(load(checkpoint(NAME)), asked())
    del written["eos_token_id"]
    file.write_text(json.dumps(written))
    with pytest.raises(DocvlmError, match="has no eos_token_id"):
        load(folder)


def test_code_of_a_checkpoint_never_runs(tmp_path: Path) -> None:
    folder = copy(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    code = "raise SystemExit('it ran')"
    (folder / "modeling_x.py").write_text(code)
    own = {"auto_map": {"AutoConfig": "modeling_x.C", "AutoModelForImageTextToText": "modeling_x.M"}}
    (folder / "config.json").write_text(json.dumps(config | own))
    assert answers(load(folder), asked()) == answers(load(checkpoint(NAME)), asked())
    (folder / "config.json").write_text(json.dumps(config | own | {"model_type": "of_tomorrow"}))
    with pytest.raises(DocvlmError, match=r"model_type is 'of_tomorrow', for which transformers .* code .* never runs"):
        load(folder)


BUDGETS = [
    ("qwen3_vl", {"max_pixels": 32768}, {"longest_edge": 100}),
    ("idefics3", {"longest_edge": 64}, {"max_pixels": 32768}),
    ("gemma3", {}, {"max_tiles": 2}),
]


@pytest.mark.parametrize(("name", "known", "other"), BUDGETS)
def test_the_budget_is_in_the_terms_of_the_processor(
    tmp_path: Path, name: str, known: dict[str, int], other: dict[str, int]
) -> None:
    full, small = load(checkpoint(name)), load(checkpoint(name), Budget(**known))
    before, after = (len(one.codec.prompt_batch(asked(1))["input_ids"][0]) for one in (full, small))
    assert after < before if known else after == before
    key = next(iter(other))
    with pytest.raises(DocvlmError, match=rf"budget.{key}={other[key]}: \w+ has no such limit; it"):
        load(checkpoint(name), Budget(**other))
    apply(small, 100, Lora(2))
    saved.save(small, tmp_path / "best")
    assert saved.load(tmp_path / "best", offline=True).codec.budget == small.codec.budget
    inputs = plain_inputs(AutoProcessor.from_pretrained(tmp_path / "best"), asked(1)[0])
    assert inputs["input_ids"].shape[1] == after


def test_parts_can_be_named(tmp_path: Path) -> None:
    tower = "model.visual"
    vlm = load(checkpoint(NAME), parts=Parts(tower, f"{tower}.deepstack_merger_list"))
    trainable = apply(vlm, 50, Lora(2))
    assert len(trainable.blocks) == len(vlm.bare.get_submodule(f"{tower}.deepstack_merger_list"))  # type: ignore[arg-type]
    saved.save(vlm, tmp_path / "best")
    again = saved.load(tmp_path / "best", offline=True)
    assert again.trainable is not None and again.trainable.blocks == trainable.blocks
    for parts, key in ((Parts("model.vision"), "model.tower"), (Parts(None, "model.visual.layers"), "model.blocks")):
        with pytest.raises(DocvlmError, match=key):
            load(checkpoint(NAME), parts=parts).vision_blocks()
