"""What a model is told, frozen: one changed word changes published numbers."""

from __future__ import annotations

import json
from pathlib import Path

from docvlm.data.benchmarks import BENCHMARKS

SNAPSHOT = Path(__file__).parents[1] / "snapshots" / "prompts.json"


def test_wording_metric_and_answer_length_are_lmms_eval_s() -> None:
    now = {
        name: {"instruction": one.instruction, "metric": one.metric, "max_new_tokens": one.max_new_tokens}
        for name, one in BENCHMARKS.items()
    }
    assert now == json.loads(SNAPSHOT.read_text(encoding="utf-8"))
