"""`lora.use_dora=true`: one run from its first line to its place in the tables."""

from __future__ import annotations

import csv
import json
import re
import shutil
from contextlib import redirect_stdout
from pathlib import Path

import pytest
import torch

from docvlm.config import ReportConfig
from docvlm.config.compose import load as config
from docvlm.evaluate import main as evaluate
from docvlm.reporting.inputs.gather import gather
from docvlm.reporting.naming import name
from docvlm.reporting.sweeps.sweep import summarise_sweep
from docvlm.reporting.tables.setup import training
from docvlm.reporting.tables.sweeps import title
from docvlm.runs.finished import read
from docvlm.scoring import predictions
from tests.support import runs
from tests.support.tiny import load

COUNTS = re.compile(r"proof: one step moved language (\d+) tensors, (\d+) of them DoRA magnitudes")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dora") / "outputs" / "run"
    with (folder.parents[1] / "shown").open("w") as shown, redirect_stdout(shown):
        runs.train(folder, "lora.use_dora=true", "features=on", f"features_folder={folder.parent / 'features'}")
    return folder


def test_its_magnitudes_learn_and_are_saved(trained: Path) -> None:
    weights = runs.weights(trained)
    magnitudes = {key: value for key, value in weights.items() if "lora_magnitude_vector" in key}
    assert len(magnitudes) == len(weights) / 3
    base = load("qwen2vl").bare
    for key, magnitude in magnitudes.items():
        module = key.removeprefix("base_model.model.").partition(".lora_")[0]
        before = base.get_submodule(module).weight.norm(dim=1)
        assert not torch.equal(magnitude, before) and torch.allclose(magnitude, before, rtol=0.5), module
    assert runs.result(trained)["trainable"]["parameters"] == sum(tensor.numel() for tensor in weights.values())


def test_an_evaluation_gives_the_number_of_the_run(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights from disk, another process's way: the public verb on the run's folder."""
    monkeypatch.chdir(trained.parents[1])
    evaluate(["scale=tiny", f"run={trained}", "limit=6", "data.docvqa.max_new_tokens=2"])
    (row,) = json.loads((trained / "eval" / "table.json").read_text())["rows"]
    assert row["ours"]["headline"] == runs.result(trained)["headline"]["value"]
    ours, base, before = (
        {one.question_id: one.prediction for one in predictions.read(folder / "predictions.jsonl")}
        for folder in (Path(row["ours"]["folder"]), Path(row["baseline"]["folder"]), trained)
    )
    assert ours == before != base, "training should have moved the answers"


def test_its_first_lines_name_it_and_count_magnitudes(trained: Path) -> None:
    shown = (trained.parents[1] / "shown").read_text()
    found = COUNTS.search(shown)
    assert found is not None and int(found[1]) == 3 * int(found[2]) > 0
    assert "language DoRA r=4 alpha=8; vision 0 of 6 blocks" in shown


def test_tables_and_report_call_it_dora(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = read(trained)
    assert name("qwen2vl", run).endswith("DoRA r=4")
    setup = training([run])
    assert setup is not None
    assert {row["key"]: row["run0"] for row in setup.rows}["adapter"] == "DoRA, rank 4, alpha 8"
    for number, rank in enumerate((4, 8)):
        cell = tmp_path / "multirun" / "sweep" / str(number)
        shutil.copytree(trained, cell, ignore=shutil.ignore_patterns("checkpoints", "logs"))
        (cell / ".hydra").mkdir()
        (cell / ".hydra" / "overrides.yaml").write_text(f"- lora.use_dora=true\n- lora.r={rank}\n")
        record = json.loads((cell / "result.json").read_text())
        record["trainable"]["lora_r"] = rank
        (cell / "result.json").write_text(json.dumps(record))
    monkeypatch.chdir(tmp_path)
    (sweep,) = gather(config("report", ReportConfig)).sweeps
    assert title(sweep) == "DoRA rank: Qwen2-VL on docvqa-generated"
    summarise_sweep(sweep.folder)
    assert (sweep.folder / "sweep.txt").read_text().startswith("qwen2vl with DoRA from ")
    with (sweep.folder / "sweep.csv").open(newline="", encoding="utf-8") as file:
        assert [(row["lora_r"], row["adapter"]) for row in csv.DictReader(file)] == [("4", "DoRA"), ("8", "DoRA")]
