"""What vLLM ends with, in its own words, where it cannot take an adapter."""

from __future__ import annotations

import pytest

from tests.support.vllm import refusal
from tests.vllm.conftest import Made, serve

NAME = "invoices=outputs/r16/checkpoints/best"


@pytest.mark.parametrize(
    ("run", "flags", "line"),
    [
        ("freeze66", True, 'vLLM only supports modules_to_save being either None or ["classifier", "score"]'),
        ("dora", True, "vLLM does not yet support DoRA"),
        ("r64", False, "LoRA rank 64 is greater than max_lora_rank 16"),
    ],
)
def test_an_adapter_that_it_cannot_take(here: Made, page: str, run: str, flags: bool, line: str) -> None:
    words = [word.replace(NAME, f"invoices=outputs/{run}/checkpoints/best") for word in serve(page, lora=True)]
    if not flags:
        place = words.index("--max-lora-rank")
        del words[place : place + 2]
    said = refusal(words, here.folder)
    assert line in said
    assert f"`{line}" in page
