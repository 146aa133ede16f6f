"""`docvlm.benchmark`: a run and a checkpoint measured end to end, what is left behind, and mistakes."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from docvlm.benchmark import main
from docvlm.reporting.figures import measured as figures
from docvlm.reporting.inputs.measured import Measured
from docvlm.timing import frontier as frontier_of_a_model
from docvlm.timing import latency
from docvlm.timing import record as benchmark
from tests.support.runs import after, copied
from tests.support.tiny import checkpoint

SMALL = ("scale=tiny", "limit=8", "pages=2", "warmup=1", "max_batch=2", "data.docvqa.max_new_tokens=3")


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small run, measured by the command at two budgets; the folder the command was given in."""
    return after(main, tmp_path_factory.mktemp("measured"), *SMALL, "run=outputs/run", "budgets=[47040,11760]")


@pytest.fixture
def here(measured: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, and the working directory."""
    return copied(measured, tmp_path, monkeypatch)


def record(folder: Path) -> dict[str, Any]:
    (file,) = benchmark.files([folder])
    return benchmark.read(file)


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line of a benchmark that must fail."""
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    assert ended.value.code == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    return line


def test_a_run_is_measured_at_every_budget(here: Path) -> None:
    found = record(Path("outputs/run"))
    large, small = found["points"]
    assert (large["resolution"], small["resolution"]) == ("47040", "11760")
    assert (
        large["budget"]["max_pixels"] == 47040 and small["single"]["prompt_tokens"] < large["single"]["prompt_tokens"]
    )
    for point in found["points"]:
        single, batched = point["single"], point["batched"]
        assert (single["batch"], single["n"], single["p95_ms"]) == (1, 2, None), "two timings have no 95th percentile"
        assert 0 < single["prepare_p50_ms"] < single["first_token_p50_ms"] < single["p50_ms"]
        assert 1 <= single["new_tokens"] <= 3 and single["peak_memory_mb"] >= single["held_memory_mb"] > 0
        assert (batched["batch"], batched["n"]) == (2, 5)
        assert point["largest"]["batch"] == 2 and point["largest"]["bound"] == "max_batch=2"
        assert point["score"]["n"] <= 8 and 0 <= point["score"]["low"] <= point["score"]["high"] <= 1
        answers = (Path(point["answers"]) / "predictions.jsonl").read_text().splitlines()
        assert len(answers) == point["score"]["n"]
    assert large["answers"] != small["answers"]
    assert large["difference_to_first"] is None and small["difference_to_first"]["n"] == small["score"]["n"]
    assert any(point["pareto"] for point in found["points"])
    assert (found["benchmark"], found["split"], found["run"]) == ("docvqa-generated", "test", "outputs/run")
    assert found["settings"]["max_batch"] == 2 and found["versions"]["docvlm"] and found["hardware"]["cores"]


def exported(found: dict[str, Any], word: str, **other: Any) -> dict[str, Any]:
    """A row of `export.json` for what a benchmark found: twice as fast."""
    first = found["points"][0]
    score = first["score"] | {"benchmark": found["benchmark"], "split": found["split"]}
    away = found["points"][1]["difference_to_first"] | {"mean": -0.01}
    scores = [score | {"difference": away} | other.pop("score", {})]
    fast = first["single"] | {
        "p50_ms": first["single"]["p50_ms"] / 2,
        "pages_per_s": 2 * first["single"]["pages_per_s"],
    }
    row = {"format": word, "reasons": [], "device": found["device"], "scores": scores, "latency": fast, "folder": word}
    return row | other


def test_exports_are_points_beside_the_page_sizes(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where they answered the same questions on this device; others are named, with why."""
    found = record(Path("outputs/run"))
    rows = [
        exported(found, "run"),
        exported(found, "merged"),
        exported(found, "openvino_int4", reasons=["answers differ"]),
        exported(found, "openvino"),
        exported(found, "int8", device="cpu: another processor, 2 cores"),
        exported(found, "int4", score={"n": 3}),
        exported(found, "gguf", score={"benchmark": "chartqa"}),
    ]
    Path("outputs/run/export").mkdir()
    Path("outputs/run/export/export.json").write_text(json.dumps({"formats": rows}))
    main([*SMALL, "run=outputs/run", "budgets=[65536]"])

    said = capsys.readouterr().out
    assert "int8 is no point here: it was measured on cpu: another processor, 2 cores" in said
    assert "int4 is no point here: it was asked 3 questions, here they are" in said
    assert "gguf is no point here: it was not asked about docvqa-generated, test split" in said
    assert said.count("CPU: processors have no common price") == 1, "two rows of this machine, one note"
    assert "merged is no point" not in said and "openvino_int4 is no point" not in said

    points = {point["resolution"]: point for point in record(Path("outputs/run"))["points"]}
    assert list(points) == ["65536", "openvino"] and points["openvino"]["pareto"]
    assert points["openvino"]["difference_to_first"]["mean"] == -0.01
    (folder,) = Path("outputs/run/benchmark/docvqa-generated").iterdir()
    with (folder / "costs.csv").open(newline="") as file:
        costs = {row["resolution"]: row for row in csv.DictReader(file) if row["measured_in"]}
    whole, other = (float(costs[name]["latency_ms"]) for name in ("65536", "openvino"))
    assert other == pytest.approx(rows[3]["latency"]["p50_ms"]) and whole > 0
    assert "openvino" in (folder / "frontier.svg").read_text()

    main([*SMALL, "run=outputs/run", "budgets=[11760,65536]"])
    assert "openvino is no point here: it reads pages at 65536, which is not the first of bu" in capsys.readouterr().out
    assert [point["resolution"] for point in record(Path("outputs/run"))["points"]] == ["11760", "65536"]


def test_what_it_leaves(here: Path) -> None:
    (folder,) = Path("outputs/run/benchmark/docvqa-generated").iterdir()
    names = {path.name for path in folder.iterdir()}
    assert names == {"benchmark.json", "latency.csv", "frontier.csv", "costs.csv", "frontier.pdf", "frontier.svg"}
    found = record(folder)
    with (folder / "latency.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["resolution"], row["batch"]) for row in rows] == [
        ("47040", "1"), ("47040", "2"), ("11760", "1"), ("11760", "2"),
    ]  # fmt: skip
    assert float(rows[0]["p50_ms"]) == found["points"][0]["single"]["p50_ms"]
    with (folder / "frontier.csv").open(newline="") as file:
        assert [float(row["score"]) for row in csv.DictReader(file)] == [p["score"]["mean"] for p in found["points"]]
    assert [path.name for path in Path("outputs").iterdir()] == ["run"], "Hydra's empty folder is gone"


def test_the_figure_names_resolutions_and_is_the_same_every_time(here: Path) -> None:
    found = record(Path("outputs/run"))
    (old,) = Path("outputs/run/benchmark/docvqa-generated").iterdir()
    figures.frontier(Path("again"), Measured((("run", found),), {}))
    for file in Path("again").iterdir():
        assert file.read_bytes() == (old / file.name).read_bytes()
    text = Path("again/frontier.svg").read_text()
    for word in ("47040", "11760", "docvqa-generated", "median latency of one page, ms"):
        assert word in text
    drawn = [shape(found, number) for number in (0, 1)]
    assert drawn[0] != drawn[1], "a beaten point is drawn as one"


def shape(found: dict[str, Any], kept: int) -> str:
    """The figure's SVG where only point `kept` is on the frontier."""
    points = [{**point, "pareto": number == kept} for number, point in enumerate(found["points"])]
    folder = Path(f"kept-{kept}")
    figures.frontier(folder, Measured((("run", {**found, "points": points}),), {}))
    return (folder / "frontier.svg").read_text()


def test_the_users_prices_count_and_another_machines_file_too(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder,) = Path("outputs/run/benchmark/docvqa-generated").iterdir()
    there = json.loads((folder / "benchmark.json").read_text())
    there["device"] = "NVIDIA A100-SXM4-80GB"
    there["points"][0]["single"]["pages_per_s"], there["points"][0]["batched"] = 10.0, None
    Path("there.json").write_text(json.dumps(there))
    Path("prices.yaml").write_text(
        "machines:\n"
        "- {name: laptop, device: '^cpu', usd_per_hour: 0.36, source: bill, date: '2026', note: ''}\n"
        "- {name: A100, device: A100, usd_per_hour: 3.6, source: s, date: d, note: ''}\n"
        "- {name: T4, device: T4, usd_per_hour: 0.5, source: s, date: d, note: ''}\n"
    )
    before = {path: path.read_bytes() for path in Path("outputs/run/eval").rglob("predictions.jsonl")}
    main([*SMALL, "run=outputs/run", "budgets=[47040]", "batch=1", "prices=prices.yaml", "measured=[there.json]"])
    assert [path.name for path in folder.parent.iterdir()] == [folder.name], "a named file is read where it lies"
    found = record(folder)
    rows = {row["name"]: row for row in found["costs"]}
    single = found["points"][0]["single"]
    assert rows["laptop"]["usd_per_1000_pages"] == pytest.approx(0.36 / 3600 / single["pages_per_s"] * 1000)
    assert rows["laptop"]["measured_in"] == str(folder / "benchmark.json")
    assert rows["A100"]["usd_per_1000_pages"] == pytest.approx(0.1) and rows["A100"]["measured_in"] == "there.json"
    assert rows["T4"]["usd_per_1000_pages"] is None and rows["T4"]["latency_ms"] is None
    assert found["points"][0]["batched"] is None and found["points"][0]["largest"] is None
    assert {path: path.read_bytes() for path in before} == before, "answers that are there are not asked again"
    out = capsys.readouterr().out
    assert "cost of 1 000 pages" in out and "fontTools" not in out, "a figure's font is cut down without a word"
    monkeypatch.setattr(frontier_of_a_model, "measure", None)  # what is wrong with the file shows before any measuring
    there["checkpoint"]["fingerprint"] = "another"
    Path("there.json").write_text(json.dumps(there))
    line = refused(capsys, *SMALL, "run=outputs/run", "budgets=[47040]", "batch=1", "measured=[there.json]")
    assert "there.json: its checkpoint is another" in line
    Path("there.json").write_text("{}")
    line = refused(capsys, *SMALL, "run=outputs/run", "budgets=[47040]", "batch=1", "measured=[there.json]")
    assert "there.json: no family" in line


def test_memory_ends_the_search_and_is_named(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [*SMALL, "run=outputs/run", "budgets=[11760]", "max_batch=8"]
    main([*command, "memory_limit_gb=0.001"])
    assert "11760: largest batch 1, ended by memory limit: 2 took" in capsys.readouterr().out
    answer = latency.timed

    def full(vlm: Any, examples: Any, *rest: Any) -> Any:
        if len(examples) > 2:
            raise torch.OutOfMemoryError
        return answer(vlm, examples, *rest)

    monkeypatch.setattr(latency, "timed", full)
    main(command)
    assert "11760: largest batch 2, ended by out of memory at 4" in capsys.readouterr().out
    (point,) = record(Path("outputs/run"))["points"]
    assert point["batched"]["batch"] == 2 and list(point["largest"]["tried"]) == ["1", "2"]
    assert "batch=4: 4 pages do not fit" in refused(capsys, *command, "batch=4")


def test_the_embedded_checkpoint_without_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    main(["scale=tiny", "limit=6", "pages=1", "warmup=1", "batch=1", "budgets=[65536]", "output=here"])
    found = record(Path("here"))
    assert (found["subject"], found["run"], found["points"][0]["single"]["n"]) == ("zero-shot", None, 1)
    shown = " ".join(capsys.readouterr().out.split())
    assert "qwen2vl zero-shot (float32) on cpu: " in shown and "GPT-4o API" in shown


def test_florence_is_shown_height_by_width(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    main([*SMALL, "model=florence2", f"checkpoint={checkpoint('florence2')}", "batch=2", "limit=4"])
    found = record(Path("outputs/benchmark"))
    assert [point["resolution"] for point in found["points"]] == ["168x280", "119x198", "84x140"]
    tokens = [point["single"]["prompt_tokens"] for point in found["points"]]
    assert tokens == sorted(tokens, reverse=True) and len(set(tokens)) == 3


@pytest.mark.parametrize(
    "words, message",
    [
        (["budgets=[big]"], "budgets=big: give pixels as in budgets=[1003520,501760]"),
        (["budgets=[]"], "budgets=[]: name one or more"),
        (["budgets=[400,400]"], "name each only once"),
        (["batch=some"], "batch=some: a number of questions of 1 or more, or auto"),
        (["pages=0"], "pages=0: 1 or more"),
        (["max_batch=0"], "max_batch=0: 1 or more"),
        (["memory_limit_gb=0"], "memory_limit_gb=0.0: above 0"),
        (
            ["benchmark=nlvr"],
            "benchmark=nlvr: one of docvqa, chartqa, infovqa, mpdocvqa, dude, slidevqa, mtvqa, kdtcbench, folder",
        ),
        (["benchmark=folder"], "data.folder.source=None: give your own folder"),
        (["run=absent"], "run=absent: there is no such file or folder"),
        (["best=true", "checkpoint=x"], "give one of checkpoint and best, not both"),
        (["best=true"], "no finished run at scale=tiny on docvqa, chartqa, infovqa, mpdocvqa, dude, slidevqa, mtvqa"),
        (["budgets=[168x280]"], "budgets=168x280: this model takes a number of pixels"),
        (["budget=5"], "budget"),
        (["pages_=3"], "pages_: there is no such key (did you mean pages?)"),
        (["prices=conf"], "prices=conf: "),
    ],
)
def test_mistakes_are_one_line(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "conf").mkdir()
    assert message in refused(capsys, "scale=tiny", *words)
    assert not Path("outputs").exists() or not list(Path("outputs").iterdir()), "nothing is left"
