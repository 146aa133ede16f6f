"""Files of versions that had two names for a metric are read, and show one."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from docvlm.metrics import METRICS
from docvlm.metrics.registry import current_name
from docvlm.reporting.inputs import gather, published
from docvlm.runs import result
from docvlm.runs.finished import Run
from docvlm.runs.folder import RunFolder
from docvlm.training.epochs import EpochTable

FORMER = {"accuracy": 0.1, "anls": 0.2, "relaxed": 0.3, "em": 0.4, "f1": 0.5}
TODAY = {"accuracy": 0.1, "anls": 0.2, "relaxed_accuracy": 0.3, "exact_match": 0.4, "f1": 0.5}


def test_no_metric_has_the_former_name_of_another() -> None:
    assert {name: current_name(name) for name in FORMER} == dict(zip(FORMER, TODAY, strict=True))
    assert all(current_name(name) == name for name in METRICS)


def test_a_result_of_an_older_version(tmp_path: Path) -> None:
    row = {"metric": "anls", "val_loss": 1.0, "em": 0.4, "relaxed_accuracy": 0.3}
    old = {
        "status": "finished", "secondary": FORMER, "zero_shot": row, "best": row,
        "benchmarks": {"docvqa": {"metric": "anls", **FORMER}},
    }  # fmt: skip
    (tmp_path / "result.json").write_text(json.dumps(old))
    found = result.read(tmp_path / "result.json")
    assert found["secondary"] == TODAY and found["benchmarks"]["docvqa"] == {"metric": "anls", **TODAY}
    assert found["best"] == found["zero_shot"] == {
        "metric": "anls", "val_loss": 1.0, "exact_match": 0.4, "relaxed_accuracy": 0.3,
    }  # fmt: skip


def test_epochs_of_an_older_version_are_drawn_and_continued(tmp_path: Path) -> None:
    row = {"epoch": 0, "metric": "anls", "score": 0.2, "anls": 0.2, "relaxed_accuracy": 0.3, "em": 0.4, "f1": 0.5}
    with (tmp_path / "epochs.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, list(row))
        table.writeheader()
        table.writerow(row)
    (read,) = gather.epochs(Run(RunFolder(tmp_path), {}, {}))
    assert read["exact_match"] == 0.4 and read["accuracy"] is None and "em" not in read
    epochs = EpochTable(tmp_path / "epochs.csv")
    state = {"questions": 0, "training": 0.0, "loss": 0.0, "steps": 0}
    epochs.load_state_dict({"rows": [row], "seconds": 1.0, "open": state})
    assert epochs.rows[0]["exact_match"] == 0.4 and set(METRICS) <= set(epochs.rows[0])


@pytest.mark.parametrize("name", ["em", "exact_match"])
def test_published_numbers_under_either_name(tmp_path: Path, name: str) -> None:
    score = f"benchmark: docvqa, split: test, metric: {name}, score: 0.5"
    entry = f"{{model: M, size: null, {score}, source: s, note: ''}}"
    path = tmp_path / "published.yaml"
    path.write_text(f"sources:\n  s: {{title: A paper, url: null}}\nscores:\n  - {entry}\n")
    (one,) = published.read(path)
    assert one.metric == "exact_match"
