"""The published Quick Start, as it stands in the pages, on an adapter a run left: no docvlm, docvlm's own answer."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from qwen_vl_utils import process_vision_info
from transformers import AutoProcessor

from docvlm.serving.pages import as_pages
from docvlm.serving.reader import Reader, load
from tests.support import asked
from tests.support.tiny import checkpoint

BASE = "Qwen/Qwen2-VL-2B-Instruct"
RUN = "outputs/<time>"


@pytest.fixture(scope="module")
def code(root: Path) -> str:
    blocks = re.findall(
        r"```python\n(.*?)```",
        (root / "docs" / "reference" / "run-folder.md").read_text(encoding="utf-8"),
        flags=re.DOTALL,
    )
    (found,) = [block for block in blocks if "process_vision_info" in block]
    return found


@pytest.fixture(scope="module")
def reader() -> Reader:
    return load(asked.run() / "checkpoints" / "best")


def test_it_is_the_published_code(code: str) -> None:
    for name in ("Qwen2VLForConditionalGeneration", "PeftModel", "AutoProcessor", "process_vision_info"):
        assert re.search(rf"^from \w+ import .*\b{name}\b", code, flags=re.MULTILINE), name
    assert code.count(BASE) == 1
    assert code.count(f"{RUN}/checkpoints/best") == 2
    assert "docvlm" not in code


def test_it_gives_the_answer_docvlm_gives(code: str, reader: Reader, tmp_path: Path) -> None:
    asked.image("total").save(tmp_path / "invoice.png")
    code = code.replace(BASE, str(checkpoint("qwen2vl"))).replace(RUN, str(asked.run()))
    code += '\nimport sys\nassert "docvlm" not in sys.modules\n'
    done = subprocess.run(
        [sys.executable, "-I", "-c", code],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
    )
    assert done.returncode == 0, done.stderr
    question = "What is the total?"
    assert question in code
    ours = reader.ask(tmp_path / "invoice.png", question).text
    assert done.stdout.strip() == ours != ""
    base = load(checkpoint("qwen2vl"), family="qwen2vl").ask(tmp_path / "invoice.png", question).text
    assert base != ours, "the adapter should have changed the answer"


def test_with_the_budget_in_the_message_large_pages_have_docvlms_pixels(reader: Reader, tmp_path: Path) -> None:
    """As the page says: without it the page is resized twice, by qwen-vl-utils and by the processor."""
    asked.image("large").resize((1500, 1100), Image.Resampling.BICUBIC).save(tmp_path / "large.png")
    processor = AutoProcessor.from_pretrained(asked.run() / "checkpoints" / "best")
    size = processor.image_processor.size
    budget = {"min_pixels": size["shortest_edge"], "max_pixels": size["longest_edge"]}
    examples = reader._examples(as_pages(tmp_path / "large.png"), ["What is the total?"])
    ours = reader.vlm.codec.prompt_batch(examples)["pixel_values"]

    def theirs(**limits: int) -> torch.Tensor:
        content: list[dict[str, Any]] = [{"type": "image", "image": str(tmp_path / "large.png"), **limits}]
        images, _ = process_vision_info([{"role": "user", "content": content}])
        return processor.image_processor(images=images, return_tensors="pt")["pixel_values"]

    assert torch.equal(theirs(**budget), ours)
    assert not torch.equal(theirs(), ours)
