"""The tiny checkpoints of model types that docvlm does not know by name are what the Auto classes load."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoModelForImageTextToText, AutoProcessor

from docvlm.vlms.checkpoint import fingerprint
from tests.support.architectures import ARCHITECTURES, Architecture, checkpoint
from tests.support.tiny import Paper

MEGABYTE = 1_000_000
MOST_TOKENS = 400  # of a page and a question


@pytest.fixture(params=ARCHITECTURES)
def architecture(request: pytest.FixtureRequest) -> Architecture:
    """One after another; skips what this environment cannot load."""
    found = ARCHITECTURES[request.param]
    if found.missing:
        pytest.skip(found.missing)
    return found


@pytest.fixture
def folder(architecture: Architecture) -> Path:
    """The checkpoint, written once for all tests."""
    return checkpoint(architecture.model_type)


def asked(processor: Any, architecture: Architecture, page: Paper, question: str = "What?") -> Any:
    """The processor's outputs for a page and a question, through the chat template where there is one."""
    if architecture.model_type == "got_ocr2":  # its processor writes the whole prompt, and there is no question in it
        return processor(images=page.open(), return_tensors="pt")
    if not architecture.chat:
        return processor(images=page.open(), text=f"<image>{question}", return_tensors="pt")
    content = [{"type": "image", "image": page.open()}, {"type": "text", "text": question}]
    chat = [{"role": "user", "content": content}]
    return processor.apply_chat_template(
        chat, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )


def test_the_auto_classes_load_it_and_it_answers(architecture: Architecture, folder: Path) -> None:
    processor = AutoProcessor.from_pretrained(folder, trust_remote_code=False)
    net, info = AutoModelForImageTextToText.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    assert (processor.chat_template is not None) == architecture.chat

    inputs = asked(processor, architecture, Paper("page"))
    assert inputs.keys() - {"input_ids", "attention_mask"} == architecture.inputs
    assert 20 < inputs["input_ids"].shape[1] < MOST_TOKENS
    answers = []
    for page, question in (("page", "What?"), ("letter of May", "What?"), ("page", "Who is it?")):
        inputs = asked(processor, architecture, Paper(page), question)
        with torch.inference_mode():
            answers.append(net(**inputs).logits[0, -1])
            assert net.generate(**inputs, max_new_tokens=3).shape[1] <= inputs["input_ids"].shape[1] + 3
    first, other_page, other_question = answers
    assert (other_page - first).std() > 0.03 * first.std()
    if architecture.model_type != "got_ocr2":
        assert (other_question - first).std() > 0.03 * first.std()


def test_its_parts_are_where_it_says(architecture: Architecture, folder: Path) -> None:
    net = AutoModelForImageTextToText.from_pretrained(folder)
    blocks = net.get_submodule(architecture.blocks)
    assert (
        isinstance(blocks, nn.ModuleList | nn.Sequential) and len(blocks) >= 3
    )  # so that freeze=66 is none of 0, 33 and 100
    assert architecture.blocks.startswith(architecture.tower)
    for side in (architecture.tower, architecture.projector, architecture.language):
        assert sum(parameter.numel() for parameter in net.get_submodule(side).parameters()) > 1000


def test_two_builds_are_one_checkpoint(architecture: Architecture, folder: Path, tmp_path: Path) -> None:
    torch.manual_seed(1)  # the weights do not depend on what was drawn before
    architecture.build(tmp_path)
    assert fingerprint(tmp_path) == fingerprint(folder)
    assert _digests(tmp_path) == _digests(folder)
    assert sum(file.stat().st_size for file in folder.iterdir()) < 3 * MEGABYTE


def _digests(folder: Path) -> dict[str, str]:
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.iterdir()}
