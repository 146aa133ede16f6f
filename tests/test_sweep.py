"""Sweeps: their tables, failed cells, and what the same command does the second time."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from docvlm.reporting.sweep import collect, render, summarise_sweep
from docvlm.train import main
from tests import runs


def cell(sweep: Path, number: int, override: str, **learned: Any) -> Path:
    """A finished cell as `docvlm.train` leaves it, with numbers of its own."""
    folder = sweep / str(number)
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra" / "overrides.yaml").write_text(f"- model=qwen2vl\n- {override}\n")
    trainable = {
        "parameters": 250_000, "percent": 12.5, "freeze": 100.0, "lora_r": 16, "vision_frozen_blocks_percent": 100.0,
        "vision_trainable_blocks_percent": 0.0, "vision_frozen_parameters_percent": 100.0,
        "vision_trainable_parameters_percent": 0.0,
    }  # fmt: skip
    result = {
        "status": "finished", "reason": None, "family": "qwen2vl", "benchmark": "docvqa-generated",
        "headline": {"metric": "anls", "value": 0.5, "low": 0.4, "high": 0.6, "questions": 240, "documents": 60},
        "secondary": {"accuracy": 0.41, "anls": 0.5, "relaxed": 0.43, "em": 0.42, "f1": 0.44},
        "selection": {"value": 0.55, "epoch": 2},
        "zero_shot": {"score": 0.1, "val_loss": 3.0}, "best": {"val_loss": 0.7},
        "trainable": {**trainable, **learned}, "cost": {"seconds": 90.0, "peak_memory_mb": 812.4},
    }  # fmt: skip
    (folder / "result.json").write_text(json.dumps(result))
    (folder / "manifest.json").write_text(json.dumps({"checkpoint": {"name": "embedded"}}))
    return folder


def test_a_rank_sweep_shows_score_interval_share_minutes_and_memory(tmp_path: Path) -> None:
    cell(tmp_path, 1, "lora.r=32", lora_r=32)
    cell(tmp_path, 0, "lora.r=16")
    text = render(collect(tmp_path))
    assert text.startswith("qwen2vl from embedded, docvqa-generated: anls, test split of 240 questions on 60 documents")
    first, second = (line.split() for line in text.splitlines() if line.startswith("lora"))
    assert first == ["lora.r=16", "0.100", "0.550", "0.500", "[0.400,", "0.600]", "0.250", "12.50", "1.5", "812"]
    assert second[0] == "lora.r=32"
    assert "frozen" not in text


def test_a_freezing_sweep_shows_both_shares_by_blocks_and_parameters(tmp_path: Path) -> None:
    cell(tmp_path, 0, "freeze=0", freeze=0.0, vision_frozen_blocks_percent=0.0, vision_trainable_blocks_percent=100.0)
    cell(tmp_path, 1, "freeze=33", freeze=33.0, vision_frozen_parameters_percent=8.3)
    text = render(collect(tmp_path))
    assert "vision frozen %" in text and "vision trainable %" in text
    row = next(line.split() for line in text.splitlines() if line.startswith("freeze=33"))
    assert row[:5] == ["freeze=33", "100.0", "8.3", "0.0", "0.0"]
    assert row[-6:] == ["0.410", "0.500", "0.420", "0.440", "0.700", "1.5"]


def test_cells_that_did_not_finish_say_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cell(tmp_path, 0, "lora.r=16")
    broken = cell(tmp_path, 1, "lora.r=-1") / "result.json"
    broken.write_text(json.dumps({"status": "failed", "reason": "lora.r=-1: a rank of 1 or more"}))
    (cell(tmp_path, 2, "lora.r=64") / "result.json").unlink()
    summarise_sweep(tmp_path)
    out = capsys.readouterr().out
    assert "lora.r=-1: failed: lora.r=-1: a rank of 1 or more" in out
    assert "lora.r=64: missing: it left no result" in out
    rows = json.loads((tmp_path / "sweep.json").read_text())
    assert [row["status"] for row in rows] == ["finished", "failed", "missing"]
    assert rows[1]["score"] is None
    with (tmp_path / "sweep.csv").open() as file:
        assert [row["settings"] for row in csv.DictReader(file)] == ["lora.r=16", "lora.r=-1", "lora.r=64"]
    assert (tmp_path / "sweep.txt").read_text().strip() in out


def test_a_sweep_goes_on_after_a_failure_and_does_only_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = [word for word in runs.overrides() if not word.startswith("lora.r=")]
    with pytest.raises(SystemExit) as ended:
        main([*words, "trainer.max_epochs=1", "lora.r=-1,2", "-m"])
    assert ended.value.code == 1
    out = capsys.readouterr().out
    assert "lora.r=-1: failed: lora.r=-1" in out
    assert [line for line in out.splitlines() if line.startswith("lora.r=2 ")]
    (first,) = (tmp_path / "multirun").iterdir()
    assert runs.result(first / "1")["status"] == "finished"

    main([*words, "trainer.max_epochs=1", "lora.r=2", "-m"])
    out = capsys.readouterr().out
    second = max((tmp_path / "multirun").iterdir())
    assert f"reused: {Path('multirun', first.name, '1')} is this very run" in out
    assert json.loads((second / "0" / "reused.json").read_text()) == {"run": f"../../{first.name}/1"}
    (row,) = json.loads((second / "sweep.json").read_text())
    assert row["reused"] and row["score"] == runs.result(first / "1")["headline"]["value"]
