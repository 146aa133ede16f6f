"""The page's commands without a dtype, which on a processor is bf16: nearly all answers are those of float32."""

from __future__ import annotations

import pytest

from tests.support.vllm import serving
from tests.vllm.conftest import QUESTIONS, Made, differences, serve


@pytest.mark.parametrize("lora", [False, True], ids=["merged", "adapter"])
def test_nearly_all_answers_are_those_of_float32(here: Made, page: str, lora: bool) -> None:
    ours = here.local("r16")
    with serving(serve(page, lora=lora), here.folder) as server:
        assert "Downcasting torch.float32 to torch.bfloat16" in server.said
        found = differences(
            "adapter of r16, bf16" if lora else "merged, bf16", ours, here.served(server.url, "invoices")
        )
    assert len(found) <= 0.03 * QUESTIONS, "\n".join(found)
