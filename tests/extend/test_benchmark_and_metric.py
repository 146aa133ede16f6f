"""`docs/extend/metric.md` and `benchmark.md`, applied to an empty folder and run: both come from outside the package.

The headline of the benchmark is its own metric in every file and on every page, and what no config names stays unknown.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset, Features, Image, Value

from docvlm import registry
from docvlm.config import EvaluateConfig
from docvlm.config.compose import load
from docvlm.config.data_groups import with_groups
from docvlm.data.benchmarks import BENCHMARKS
from docvlm.data.loading.datamodule import BenchmarkDataModule
from docvlm.errors import DocvlmError
from docvlm.evaluation import answer_files
from docvlm.metrics import METRICS, Metric
from docvlm.reporting.card import card
from docvlm.runs import finished
from docvlm.scoring.gains import gains
from docvlm.scoring.predictions import Prediction
from docvlm.scoring.score import score
from tests.support.pages import apply, one_s_own, run

EXTEND = Path(__file__).parents[2] / "docs" / "extend"
RECEIPTS = "extensions=[docvlm_ext.receipts]"


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Both pages' files in the working directory, which is on the path of modules; nothing registered yet."""
    for page in ("metric.md", "benchmark.md"):
        apply(EXTEND / page, tmp_path)
    monkeypatch.chdir(tmp_path)
    with one_s_own(tmp_path):
        yield tmp_path


def answered(path: Path, benchmark: str) -> Path:
    line = {"question_id": "1", "benchmark": benchmark, "question": "What was paid?", "document": "a"}
    path.write_text(json.dumps(line | {"prediction": "$1,250.00", "answers": ["1250"]}) + "\n")
    return path


def test_a_file_of_answers_is_scored_by_the_metric_of_its_benchmark(own: Path) -> None:
    file, said = answered(own / "said.jsonl", "receipts"), list[str]()
    (before,) = answer_files.score_file(file, None, say=said.append)
    assert (before.score.metric, "'receipts' is not registered: scored by anls" in said[-1]) == ("anls", True)
    registry.load(["docvlm_ext.receipts"])
    said.clear()
    (found,) = answer_files.score_file(file, None, say=said.append)
    assert (found.score.metric, found.score.headline, len(said)) == ("amount", 1.0, 1)
    assert found.variants == {"to the cent": 1.0, "to the dollar": 1.0}
    assert found.score.as_dict()["amount"] == 1.0


def test_only_modules_below_docvlm_ext_register_and_names_are_said(own: Path) -> None:
    with pytest.raises(DocvlmError, match="only modules below docvlm_ext"):
        registry.load(["os"])
    with pytest.raises(DocvlmError, match="benchmark=receipts: not known; choose one of docvqa"):
        BenchmarkDataModule("generated", name="receipts")
    registry.load(["docvlm_ext.receipts"])
    with pytest.raises(DocvlmError, match=r"data\.source=hub: data=receipts reads own pages"):
        BenchmarkDataModule("hub", name="receipts")


def test_its_rows_are_read_from_parquet_and_drawn_by_its_own_generator(own: Path) -> None:
    registry.load(["docvlm_ext.receipts"])
    drawn = BenchmarkDataModule("generated", name="receipts", limit_test=4)
    assert [e.question for e in drawn.test] == ["What was paid?", "How much was the tip?"] * 2
    assert (drawn.label, drawn.metrics) == ("receipts-generated", {"receipts-generated": "amount"})
    page = drawn.test[0].pages[0]
    features = Features({"id": Value("string"), "ask": Value("string"), "reply": Value("string"), "image": Image()})
    (own / "till").mkdir()
    row = {"id": "7", "ask": "What was paid?", "reply": "$5.00", "image": page.open()}
    Dataset.from_list([row], features=features).to_parquet(own / "till" / "test-00000.parquet")
    (example,) = BenchmarkDataModule(str(own / "till"), name="receipts").test
    assert (example.question_id, example.answers, example.benchmark) == ("7", ("$5.00",), "receipts-till")
    assert example.pages[0].open().tobytes() == page.open().tobytes()


def test_every_verb_that_has_data_sets_knows_its_yaml(own: Path) -> None:
    assert with_groups("evaluate", ["limit=4"]) == ["+data@data.receipts=receipts", "limit=4"]
    assert with_groups("train", ["data=receipts"]) == ["data=receipts"]
    found = load("evaluate", EvaluateConfig, [RECEIPTS, "benchmarks=[receipts]", "scale=tiny"]).data["receipts"]
    assert (found.name, found.source, found.parts) == ("receipts", "generated", None)


def wrong(prediction: str, answers: Any) -> float:
    return 0.0 if prediction in answers else 1.0


def test_of_an_error_less_is_better(own: Path) -> None:
    METRICS.register(Metric("wrong", "wrong", wrong, "this test", higher_is_better=False))
    every = [
        Prediction(str(n), f"d{n}", "b", "form" if n % 2 else "letter", (), "?", text, ("yes",))
        for n, text in enumerate(["yes"] * 30 + ["no"] * 30)
    ]
    better = [Prediction(*(getattr(one, name) for name in one.__slots__[:6]), "yes", one.answers) for one in every]
    assert (score(every, "wrong").headline, score(better, "wrong").headline) == (0.5, 0.0)
    found = gains(every, better, "wrong", "document")
    assert all(row.size == 0.5 and row.difference.mean == -0.5 and row.moves for row in found.rows)
    assert "cannot be told" in found.sentence and "higher" not in found.sentence
    worse = gains(better, every, "wrong", "document")
    assert "Beyond chance higher" in worse.sentence
    assert METRICS["wrong"].goodness(0.25) == 0.75


@pytest.mark.slow
def test_the_pages_as_they_stand(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for page in ("metric.md", "benchmark.md"):
        for command in apply(EXTEND / page, own):
            run(command)
    shown = capsys.readouterr()
    assert "amount" in shown.out and not shown.err.count("error:")
    sweep = next(path for path in (own / "multirun").iterdir() if (path / "sweep.json").exists())
    cells = json.loads((sweep / "sweep.json").read_text())
    assert [cell["status"] for cell in cells] == ["finished", "finished"]
    assert all(cell["metric"] == "amount" and cell["amount"] == cell["score"] for cell in cells)
    best = next(iter(finished.best(finished.finished([own / "multirun"])).values())).run
    head = best.result["headline"]
    assert best.result["selection"]["metric"] == head["metric"] == "amount"
    assert best.result["secondary"]["amount"] == head["value"]
    (row,) = json.loads(next(own.glob("outputs/*/table.json")).read_text())["rows"]
    assert row["ours"]["metric"] == "amount" and row["ours"]["amount"] == row["ours"]["headline"]
    formats = json.loads((best.folder.root / "export" / "export.json").read_text())["formats"]
    assert {one["format"]: one["scores"][0]["metric"] for one in formats} == {"run": "amount", "adapter": "amount"}
    report = own / "outputs" / "report"
    with (report / "tables" / "main-generated.csv").open(newline="") as file:
        assert {line["metric"] for line in csv.DictReader(file)} == {"amount right"}
    with (report / "tables" / "metrics-generated.csv").open(newline="") as file:
        assert all("amount" in line for line in csv.DictReader(file))
    text = next((report / "cards").glob("*/README.md")).read_text()
    assert "type: amount" in text and "receipts of shops" in text and card.TASK[1] in text
    assert "anls" not in text and BENCHMARKS["receipts"].title == "Receipts"
