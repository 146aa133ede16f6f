"""The report of runs and sweeps: which run is shown, what repeats it, its card, what was measured beside it."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil
from pathlib import Path
from statistics import mean
from typing import Any

import pytest
from huggingface_hub import ModelCard
from PIL import Image

from docvlm import build
from docvlm.config import GalleryConf, ReportConfig, TrainConfig
from docvlm.config.compose import load
from docvlm.metrics import METRICS
from docvlm.reporting.card import card
from docvlm.reporting.inputs.answers import Answers
from docvlm.reporting.inputs.gather import gather
from docvlm.reporting.inputs.scored import examine
from docvlm.reporting.page import commands
from docvlm.reporting.page.pictures import Pictures
from docvlm.reporting.tables.setup import audited
from docvlm.runs.finished import Run
from docvlm.runs.folder import RunFolder
from docvlm.scoring.predictions import Prediction, read
from tests.reporting.test_report import Text, reported
from tests.support.runs import finished, result


def cell(sweep: Path, number: int, rank: int, selection: float, seed: int | None = None) -> Path:
    """A cell of a rank sweep with the files of a real run, told apart by rank, selection score and seed."""
    folder = sweep / str(number)
    shutil.copytree(finished(), folder, ignore=shutil.ignore_patterns("checkpoints", "logs"))
    (folder / ".hydra").mkdir()
    word = "" if seed is None else f"- seed={seed}\n"
    (folder / ".hydra" / "overrides.yaml").write_text(f"- model=qwen2vl\n- lora.r={rank}\n- scale=tiny\n{word}")
    for name in ("result.json", "manifest.json"):
        record = json.loads((folder / name).read_text())
        record["trainable"] |= {"lora_r": rank}
        if name == "manifest.json":
            record["config"]["lora"] |= {"r": rank}
            record["seed"] = record["config"]["seed"] = record["config"]["data"]["seed"] = seed or 42
        if name == "result.json":
            record["selection"]["value"] = selection
            record["headline"] |= {} if seed is None else {"value": selection}
        (folder / name).write_text(json.dumps(record))
    return folder


@pytest.fixture
def swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    sweep = tmp_path / "multirun" / "2026-11-22"
    for number, (rank, selection) in enumerate([(4, 0.1), (8, 0.9), (16, 0.5)]):
        cell(sweep, number, rank, selection)
    monkeypatch.chdir(tmp_path)
    return sweep


def test_the_run_that_val_chose_is_shown_with_its_sweep(swept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = Text(reported(swept.parents[1], monkeypatch)).text
    assert "LoRA r=8 reaches" in seen and "LoRA r=16 reaches" not in seen
    assert "python -m docvlm.train model=qwen2vl lora.r=4,8,16 scale=tiny -m" in seen, "the command that made it"
    tables = swept.parents[1] / "outputs/report/tables"
    with next(tables.glob("lora-r-*.csv")).open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["settings"] for row in rows] == ["lora.r=4", "lora.r=8", "lora.r=16"]
    head = result(finished())["headline"]
    assert [float(rows[1][name]) for name in ("test", "test_low", "test_high")] == [
        head["value"], head["low"], head["high"]
    ]  # fmt: skip
    assert rows[1]["run"] == "multirun/2026-11-22/1"
    with next(tables.glob("epochs-*.csv")).open(newline="", encoding="utf-8") as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["0.0", "1.0", "2.0"] * 3


def test_a_sweep_with_seeds_shows_its_settings_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the tables, the claims and the figures; the luckiest run is not the one that is shown."""
    sweep = tmp_path / "multirun" / "2026-11-22"
    for number, (rank, selection) in enumerate([(4, 0.1), (4, 0.9), (8, 0.6), (8, 0.7)]):
        cell(sweep, number, rank, selection, seed=1 + number % 2)
    monkeypatch.chdir(tmp_path)
    seen = Text(reported(tmp_path, monkeypatch)).text
    assert "LoRA r=8 reaches" in seen and "LoRA r=4 reaches" not in seen
    page = (tmp_path / "outputs/report/report.md").read_text()
    order = [", over seeds\n", "No two settings differ", "![LoRA rank", "![Epoch progress", ", single runs\n"]
    assert [page.index(part) for part in order] == sorted(page.index(part) for part in order)
    alt = next(line for line in page.splitlines() if line.startswith("![LoRA rank"))
    assert "Mean test score over seeds by rank: r=4 0.500 [" in alt and "(single runs 0.600, 0.700)" in alt
    assert "Val ANLS, mean over seeds, by epoch" in page and "lora.r=4 from" in page
    with next((tmp_path / "outputs/report/tables").glob("seeds-*.csv")).open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["settings"], row["seeds"], float(row["test"])) for row in rows] == [
        ("lora.r=4", "2", 0.5), ("lora.r=8", "2", pytest.approx(0.65)),
    ]  # fmt: skip
    assert float(rows[0]["score_sd"]) == pytest.approx(0.8 / 2**0.5) and float(rows[0]["test_low"]) < 0.5
    html = (tmp_path / "outputs/report/index.html").read_text()
    assert html.index("<details", html.index(", over seeds")) < html.index(", single runs")


def of_seed(folder: Path, seed: int, wrong: int) -> None:
    """Make a cell the run of another seed, whose first `wrong` answers are wrong."""
    (folder / ".hydra" / "overrides.yaml").write_text(f"- model=qwen2vl\n- scale=tiny\n- seed={seed}\n")
    record = json.loads((folder / "manifest.json").read_text())
    record["seed"] = record["config"]["seed"] = seed
    (folder / "manifest.json").write_text(json.dumps(record))
    lines = [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]
    rows = [row | ({"prediction": "??"} if number < wrong else {}) for number, row in enumerate(lines)]
    (folder / "predictions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_the_seeds_of_a_setting_stand_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three runs that differ by their seed: sentences and main table are over all, the card's scores of its run."""
    sweep = tmp_path / "multirun" / "2026-11-29"
    for seed, (selection, wrong) in enumerate([(0.5, 0), (0.9, 2), (0.6, 4)]):
        of_seed(cell(sweep, seed, 8, selection), seed, wrong)
    monkeypatch.chdir(tmp_path)
    (answers,) = gather(load("report", ReportConfig)).answers
    exam = examine(answers)
    runs = [
        [METRICS["anls"](r.prediction, r.answers) for r in read(sweep / str(n) / "predictions.jsonl")] for n in range(3)
    ]
    assert exam.seeds == 3 and exam.setting is not None
    assert exam.setting.mean == pytest.approx(mean(map(mean, runs))) and exam.score.headline == pytest.approx(
        mean(runs[1])
    )
    seen = Text(reported(tmp_path, monkeypatch)).text
    assert ", 3 seeds)" in seen and "This run of" not in seen and "One seed (" not in seen
    with (tmp_path / "outputs/report/tables/main-generated.csv").open(newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert row["seeds"] == "3" and float(row["ours"]) == pytest.approx(exam.setting.mean)
    text = next((tmp_path / "outputs/report").glob("**/README.md")).read_text(encoding="utf-8")
    assert f"Over 3 seeds its settings reach {exam.setting} on docvqa-generated." in text
    assert f"{exam.score.interval}" in text and f"| {exam.setting} |" not in text


def test_one_seed_is_said_to_be_one(swept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = Text(reported(swept.parents[1], monkeypatch)).text
    manifest = json.loads((swept / "1" / "manifest.json").read_text(encoding="utf-8"))
    folder = Path(manifest["checkpoint"]["name"]).name
    assert f"This run of Qwen2-VL {folder} LoRA r=8 reaches" in seen, "not embedded: another checkpoint was given"
    assert f"One seed (Qwen2-VL {folder} LoRA r=8): this sentence is about the run." in seen


def test_a_run_that_is_not_finished_is_named_and_not_shown(swept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = json.loads((swept / "1" / "result.json").read_text())
    (swept / "1" / "result.json").write_text(json.dumps(record | {"status": "failed", "reason": "out of memory"}))
    seen = Text(reported(swept.parents[1], monkeypatch)).text
    assert "LoRA r=16 reaches" in seen and "multirun/2026-11-22/1: failed, out of memory" in seen


def test_a_card_is_one_the_hub_reads(swept: Path) -> None:
    inputs = gather(load("report", ReportConfig))
    (run,) = inputs.chosen
    file = card.write(swept / "card", run, [examine(answers) for answers in inputs.answers])
    found = ModelCard(file.read_text(encoding="utf-8"))
    (scored,) = found.data.eval_results
    assert scored.metric_value == round(result(finished())["headline"]["value"], 4)
    assert (scored.dataset_name, scored.metric_type) == ("docvqa-generated", "anls")
    assert found.data.library_name == "peft" and found.data.license == "apache-2.0" and not found.data.datasets
    assert "no scores of the public benchmarks" in found.text and "PeftModel" in found.text
    assert commands.of_folder("train", run.folder.root) in found.text


PAGES = {"train": 10, "val": 4, "test": 6}
NOTHING = {"documents": 0, "questions": 0}
FOUND = {"documents": 2, "questions": 7}


@pytest.mark.parametrize(
    "audit, said",
    [
        (None, "not audited"),
        ({"mode": "off"}, "not audited"),
        (
            {"mode": "stop", "overlaps": {"test": {"pixels": 0}}, "pages": PAGES, "dropped": NOTHING},
            "audited, no overlap among 20 pages",
        ),
        (
            {"mode": "drop", "overlaps": {"val": {"id": 1}, "test": {"id": 2}}, "pages": PAGES, "dropped": FOUND},
            "audited, 3 pairs; 2 documents (7 questions) left out of train",
        ),
    ],
)
def test_the_data_table_says_what_the_audit_found(audit: dict[str, Any] | None, said: str) -> None:
    about = json.loads((finished() / "manifest.json").read_text())["data"]
    about = {key: value for key, value in about.items() if key != "audit"}
    assert audited(about if audit is None else about | {"audit": audit}) == said


def interval(mean: float, **more: float) -> dict[str, Any]:
    return {"mean": mean, "low": mean - 0.1, "high": mean + 0.1, "n": 96, "clusters": 24} | more


def test_latency_costs_and_robustness_are_taken_from_their_files(swept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    timed = {
        "batch": 1, "n": 50, "p50_ms": 123.0, "p95_ms": 234.0, "first_token_p50_ms": 45.0, "tokens_per_s": 67.0,
        "pages_per_s": 8.0, "peak_memory_mb": 900.0,
    }  # fmt: skip
    price = {
        "kind": "machine", "name": "T4", "resolution": "65536", "latency_ms": 123.0, "usd_per_1000_pages": 0.012,
        "batch": None, "usd_per_hour": 0.35, "usd_per_1000_pages_batched": None, "date": "2026-11-01", "note": "",
        "source": "a price list",
    }  # fmt: skip
    point = {"resolution": "65536", "score": interval(0.5) | {"metric": "anls"}, "difference_to_first": None}
    served = point | {"resolution": "served", "runtime": True, "served": "tiny", "device": "NVIDIA H100 80GB"}
    record = {
        "family": "qwen2vl", "subject": "ours", "run": "r", "benchmark": "docvqa-generated", "device": "T4",
        "checkpoint": {"name": "embedded", "fingerprint": "c"},
        "points": [one | {"single": timed, "batched": None, "pareto": True} for one in (point, served)],
        "costs": [price],
    }  # fmt: skip
    answered = {"family": "qwen2vl", "subject": "ours", "run": "r", "benchmark": "docvqa-generated", "split": "test"}
    corrupted = {
        "level": 5, "score": interval(0.3), "delta": interval(-0.2, p=0.01), "p_holm": 0.02, "kept": None,
        "consistency": interval(0.6),
    }  # fmt: skip
    cells = [("noise", 1), ("noise", None), (None, 1), (None, None)]
    points = [{"corruption": name, "severity": severity, **corrupted} for name, severity in cells]
    noise = {"title": "scan noise", "unit": "% of white", "levels": [5], "definition": "Gaussian noise"}
    blank = {"score": interval(0.1), "looking_adds": interval(0.4, p=0.001), "same_answer": interval(0.2)}
    for name, whole in (
        ("benchmark.json", record),
        (
            "robustness.json",
            {
                "corruptions": {"noise": noise},
                "results": [answered | {"metric": "anls", "clean": interval(0.5), "points": points}],
            },
        ),
        (
            "controls.json",
            {"controls": {"blank": "white pages"}, "results": [answered | {"real": interval(0.5), "blank": blank}]},
        ),
    ):
        (swept / "1" / "eval").mkdir(exist_ok=True)
        (swept / "1" / "eval" / name).write_text(json.dumps(whole))
    seen = Text(reported(swept.parents[1], monkeypatch)).text
    tables = swept.parents[1] / "outputs/report/tables"
    assert "an answer takes 123 ms median of one page on T4" in seen
    for name, column, value in (
        ("latency", "p95_ms", "234.0"), ("costs", "usd_per_1000_pages", "0.012"), ("frontier", "score", "0.5"),
        ("robustness", "delta", "-0.2"), ("controls", "adds", "0.4"),
    ):  # fmt: skip
        with (tables / f"{name}.csv").open(newline="", encoding="utf-8") as file:
            row = next(csv.DictReader(file))
        assert row[column] == value and row["run"] == "multirun/2026-11-22/1/eval"
    with (tables / "latency.csv").open(newline="", encoding="utf-8") as file:
        assert [row["device"] for row in csv.DictReader(file)] == ["T4", "NVIDIA H100 80GB"], "a server has its own"
    assert (
        "served: tiny, on NVIDIA H100 80GB; times of requests" in seen
        and ",T4,65536," in (tables / "costs.csv").read_text()
    )
    assert "docvlm.benchmark run=" not in seen and "robustness=true" not in seen


def test_pages_of_a_run_come_from_the_data_it_was_trained_on(tmp_path: Path) -> None:
    (tmp_path / "qa.jsonl").write_text(
        "".join(
            json.dumps({"image": f"{i}.png", "question": f"{i}?", "answers": ["a"], "question_id": f"q{i}"}) + "\n"
            for i in range(20)
        )
    )
    for i in range(20):
        Image.new("RGB", (200 + i, 100), "white").save(tmp_path / f"{i}.png")
    words = ["scale=tiny", "data=folder", f"data.source={tmp_path}", "data.test_fraction=0.5"]
    data = dataclasses.asdict(load("train", TrainConfig, words).data)
    label = f"folder-{tmp_path.name}"
    manifest = {"config": {"data": data}, "data": {"benchmark": label}, "scale": "tiny", "family": "qwen2vl"}
    run = Run(RunFolder(tmp_path / "run"), manifest, {})
    examples = build.datamodule(load("train", TrainConfig, words).data).test
    assert len(examples) > 3
    pictures = Pictures(GalleryConf(failures=9, flips=9, width=400, megabytes=1.0), None)
    for example in examples:
        record = Prediction(example.question_id, example.document, label, "", (), "?", "b", ("a",))
        picture = pictures.of(Answers("m", "qwen2vl", label, "test", "anls", "run", [record], run), record)
        assert picture is not None and picture.width == 200 + int(example.question.rstrip("?"))
    assert pictures.notes == []
