"""What a model is told, frozen: one changed word changes published numbers."""

from __future__ import annotations

import json
from pathlib import Path

from docvlm.data.benchmarks import chartqa, docvqa, folder, infovqa

SNAPSHOT = Path(__file__).parents[1] / "snapshots" / "prompts.json"


def test_wording_metric_and_answer_length_are_lmms_eval_s() -> None:
    now = {
        module.BENCHMARK.name: {
            "instruction": module.BENCHMARK.instruction,
            "metric": module.BENCHMARK.metric,
            "max_new_tokens": module.BENCHMARK.max_new_tokens,
        }
        for module in (docvqa, chartqa, infovqa, folder)
    }
    assert now == json.loads(SNAPSHOT.read_text(encoding="utf-8"))
    assert all(module.BENCHMARK.instruction == module.INSTRUCTION for module in (docvqa, chartqa, infovqa, folder))
