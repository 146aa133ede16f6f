"""Florence-2: prompts and masks, one page at a fixed size, losses and answers that batching leaves alone."""

from __future__ import annotations

import json
import pickle
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoProcessor

from docvlm.errors import DocvlmError
from docvlm.vlms.base import VLM
from docvlm.vlms.codec import Budget
from docvlm.vlms.florence2.model import Florence2
from tests.support.tiny import Paper, checkpoint, example, load

SNAPSHOT = Path(__file__).parents[1] / "snapshots" / "florence2.txt"
MIXED = [example(0), example(1, pages=(Paper("wide", 560, 84),)), example(3)]


@pytest.fixture(scope="module")
def vlm() -> VLM:
    return load("florence2")


def test_prompt_and_supervised_span_are_the_snapshot(vlm: VLM) -> None:
    batch = vlm.codec.train_batch([example(1)])
    decode = vlm.codec.tokenizer.decode
    text = re.sub(r"(<image>)+", lambda m: f"[{len(m[0]) // 7} image tokens]", decode(batch["input_ids"][0]))
    learned = decode(batch["labels"][0][batch["labels"][0] != -100])
    assert f"{text}\n--- learned ---\n{learned}\n" == SNAPSHOT.read_text()


def test_labels_cover_answer_and_end_only(vlm: VLM) -> None:
    batch = vlm.codec.train_batch(MIXED)
    for row, item in enumerate(MIXED):
        labels = batch["labels"][row]
        learned = labels != -100
        assert vlm.codec.tokenizer.decode(labels[learned]) == item.target + "</s>"
        assert torch.equal(batch["decoder_input_ids"][row][1:][learned[1:]], labels[:-1][learned[1:]])


def test_inputs_are_those_of_the_librarys_processor(tmp_path: Path) -> None:
    codec = load("florence2", Budget(height=112, width=196)).codec
    codec.save(tmp_path)
    item = example(3, pages=(Paper("large", 700, 300),))
    processor = AutoProcessor.from_pretrained(tmp_path)
    theirs = processor(text=f"<DocVQA>{item.question}", images=item.pages[0].open(), return_tensors="pt")
    ours = codec.prompt_batch([item])
    for name in ("pixel_values", "input_ids", "attention_mask"):
        assert torch.equal(theirs[name], ours[name]), name
    assert ours["pixel_values"].shape[-2:] == (112, 196)


def test_the_benchmarks_instruction_is_left_out(vlm: VLM) -> None:
    plain, told = (vlm.codec.prompt_batch([replace(example(1), instruction=i)]) for i in ("", "\nBe brief."))
    assert torch.equal(plain["input_ids"], told["input_ids"])


@pytest.mark.parametrize(
    ("budget", "named"),
    [
        (Budget(max_pixels=10_000), "budget.max_pixels"),
        (Budget(height=5000, width=280), "budget.height=5000"),
        (Budget(height=168, width=4), "budget.width=4"),
        (Budget(jpeg_quality=85), "budget.jpeg_quality=85"),
    ],
)
def test_an_impossible_budget_is_one_line(budget: Budget, named: str) -> None:
    with pytest.raises(DocvlmError, match=re.escape(named)):
        load("florence2", budget)


@pytest.mark.parametrize("size", [(20_000, 10), (10, 20_000)])
def test_a_strip_of_a_page_is_one_line(vlm: VLM, size: tuple[int, int]) -> None:
    with pytest.raises(DocvlmError, match=rf"page strip: {size[0]} x {size[1]} pixels"):
        vlm.codec.prompt_batch([example(1, pages=(Paper("strip", *size),))])


def test_several_pages_are_one_line(vlm: VLM) -> None:
    with pytest.raises(DocvlmError, match="question q1: 2 pages, but this model reads 1"):
        vlm.codec.prompt_batch([example(1, pages=(Paper("a"), Paper("b")))])


def test_too_long_a_question_is_one_line(vlm: VLM) -> None:
    with pytest.raises(DocvlmError, match=r"question q1: page and question are \d+ tokens"):
        vlm.codec.prompt_batch([replace(example(1), question="x" * 1000)])


def test_a_special_token_in_a_question_is_one_line(vlm: VLM) -> None:
    with pytest.raises(DocvlmError, match=r"question q2: .*<image>"):
        vlm.codec.prompt_batch([replace(example(2), question="What is <image>?")])


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
    loss, tokens = vlm.loss(batch)
    given = batch.pop("decoder_input_ids")
    theirs = vlm.net(**batch).loss  # it shifts the labels itself
    assert given.shape == batch["labels"].shape
    assert (loss / tokens).item() == pytest.approx(theirs.item(), rel=1e-6)


def test_answers_do_not_depend_on_the_batch(vlm: VLM) -> None:
    batch = vlm.generate(vlm.codec.prompt_batch(MIXED), 12)
    assert batch == [vlm.generate(vlm.codec.prompt_batch([item]), 12)[0] for item in MIXED]
    assert len({answer.text for answer in batch}) > 1, "the random model should answer differently"


def test_a_forced_first_token_is_given_and_not_learned(tmp_path: Path, vlm: VLM) -> None:
    """Hub checkpoints decode `</s><s>answer</s>`: training shows them the same start, generation forces it."""
    folder = tmp_path / "forced"
    shutil.copytree(checkpoint("florence2"), folder)
    settings = json.loads((folder / "generation_config.json").read_text())
    settings |= {"forced_bos_token_id": 0, "num_beams": 3, "no_repeat_ngram_size": 3, "early_stopping": True}
    (folder / "generation_config.json").write_text(json.dumps(settings))
    forced = Florence2.load(folder, Budget(), offline=True)
    batch, plain = forced.codec.train_batch(MIXED), vlm.codec.train_batch(MIXED)
    assert batch["decoder_input_ids"][:, :2].tolist() == [[2, 0]] * 3
    assert torch.equal(batch["labels"][:, 1:], plain["labels"]) and (batch["labels"][:, 0] == -100).all()
    answers = forced.generate(forced.codec.prompt_batch(MIXED), 5)
    assert [a.tokens for a in answers if a.truncated] == [5] * sum(a.truncated for a in answers)
    assert forced.bare.generation_config.num_beams == 1
    # what generation continues is what training showed: the first answer token follows </s><s>
    with torch.no_grad():
        inputs = forced.codec.prompt_batch(MIXED)
        hidden = forced.bare.model(**inputs, decoder_input_ids=torch.tensor([[2, 0]] * 3)).last_hidden_state
        first = forced.bare.lm_head(hidden[:, -1]).argmax(-1)
        ids = forced.bare.generate(**inputs, max_new_tokens=2)
    assert torch.equal(ids[:, 2], first)
