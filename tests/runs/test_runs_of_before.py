"""A run folder made before the modules had rooms: found, reused, resumed, evaluated, exported and reported.

`before_rooms.zip` was made by the last commit with a digest of its sources in place of integers (3184581): a
checkpoint of two small blocks, twelve pages, a finished run, one that was killed in its second epoch, and what the same
command learned and answered undisturbed. It is not to be made anew: later versions have to find it as it is.
"""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from docvlm import evaluate, export, report, train
from docvlm.scoring.predictions import read
from tests.support import runs

ARCHIVE = Path(__file__).with_name("before_rooms.zip")
COMMAND = [
    "model=qwen2vl", "model.checkpoint=base", "model.size=own", "data=folder", "data.source=pages", "scale=tiny",
    "data.batch_size=2", "data.max_new_tokens=2", "data.val_fraction=0.25", "data.test_fraction=0.25",
    "trainer.max_epochs=2", "trainer.accumulate_grad_batches=1", "trainer.checkpoint_every_n_steps=1",
    "trainer.precision=32-true", "audit=off", "offline=true", "select=score",
]  # fmt: skip


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("before")
    with zipfile.ZipFile(ARCHIVE) as archive:
        archive.extractall(place)
    return place


@pytest.fixture
def here(unpacked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, as the current folder."""
    shutil.copytree(unpacked, tmp_path / "project")
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "project"


def test_a_sweep_reuses_the_finished_run_and_resumes_the_killed_one(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train.main([*COMMAND, "lora.r=2,4", "-m"])
    out = capsys.readouterr().out
    assert "reused: outputs/finished is this very run" in out
    assert "continue: outputs/interrupted" in out and "continuing after 1 epochs" in out
    assert "of 2 cells: 1 reused (lora.r=2), 1 continued (lora.r=4)" in out
    resumed = load_file(here / "outputs/interrupted/checkpoints/best/adapter_model.safetensors")
    uncut = load_file(here / "uncut" / "adapter_model.safetensors")
    assert resumed.keys() == uncut.keys()
    for name, weight in uncut.items():
        torch.testing.assert_close(resumed[name], weight, rtol=1e-4, atol=1e-5)
    assert runs.result(here / "outputs/interrupted")["code"] == "answering=1 data=1 data.generated=1 metrics=1 " + (
        "scoring=1 training=1 vlms=1 vlms.qwen2vl=1"
    )


def test_it_is_evaluated_exported_and_reported(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ["scale=tiny", "run=outputs/finished", "offline=true"]
    pages = {"source": "pages", "max_new_tokens": 2, "val_fraction": 0.25, "test_fraction": 0.25}
    words = [f"data.folder.{key}={value}" for key, value in pages.items()]
    evaluate.main([*small, "benchmarks=[folder]", *words, "baseline=false"])
    (answers,) = (here / "outputs" / "finished").glob("eval/*/predictions.jsonl")
    assert [p.prediction for p in read(answers)] == [
        p.prediction for p in read(here / "outputs" / "finished" / "predictions.jsonl")
    ]
    theta = "vision_config.rope_parameters.rope_theta"  # of its base, which other readers do not take
    export.main([*small, *words, "formats=[merged]", f"allow_fields=[{theta}]"])
    assert (here / "outputs/finished/export/merged/config.json").exists()
    report.main([])
    assert "outputs/finished" in (here / "outputs/report/report.md").read_text(encoding="utf-8")
    assert json.loads((here / "outputs/finished/result.json").read_text())["status"] == "finished"
    assert "error" not in capsys.readouterr().err
