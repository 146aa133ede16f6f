"""`docvlm.evaluate`: a run against its base, the best run of each family, zero-shot, files of answers, and mistakes."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from docvlm.config.compose import detect_scale
from docvlm.evaluate import main
from docvlm.scoring.predictions import read
from docvlm.scoring.score import compare, score
from tests.support.runs import train
from tests.support.tiny import checkpoint

SMALL = ("scale=tiny", "limit=6", "data.docvqa.max_new_tokens=2", "data.chartqa.max_new_tokens=2")
REAL = Path(__file__).parents[3] / "shared" / "data" / "predictions"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained") / "outputs" / "run"
    train(folder)
    return folder


@pytest.fixture
def run(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh copy of the run, with the working directory beside it."""
    shutil.copytree(trained, tmp_path / "outputs" / "run")
    monkeypatch.chdir(tmp_path)
    return Path("outputs") / "run"


def table(folder: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads((folder / "table.json").read_text())["rows"]
    return rows


def csv_rows(file: Path) -> list[dict[str, str]]:
    with file.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line of an evaluation that must fail."""
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    assert ended.value.code == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    return lines[0]


def test_a_run_against_its_base(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main([*SMALL, f"run={run}", "benchmarks=[docvqa,chartqa]"])
    docvqa, chartqa = table(run / "eval")
    assert (docvqa["benchmark"], chartqa["benchmark"]) == ("docvqa-generated", "chartqa-generated")
    assert (docvqa["ours"]["metric"], chartqa["ours"]["metric"]) == ("anls", "relaxed_accuracy")
    ours = read(Path(docvqa["ours"]["folder"]) / "predictions.jsonl")
    base = read(Path(docvqa["baseline"]["folder"]) / "predictions.jsonl")
    assert [p.prediction for p in ours] != [p.prediction for p in base]  # training moved the answers
    assert docvqa["ours"]["headline"] == score(ours).headline
    assert docvqa["difference"]["mean"] == compare(base, ours).mean
    assert "by_document_type" in docvqa["ours"]
    shown = capsys.readouterr().out
    for word in ("docvqa-generated", "chartqa-generated", "baseline", "ours", "Δ", "95 %"):
        assert word in shown
    for word in ("qwen2vl on docvqa-generated: ", "answers are not right (anls below 1)", "share right"):
        assert word in shown
    ours_wrong = [p for p in ours if score([p]).headline < 1]
    failed = csv_rows(run / "eval" / "failed.csv")
    found = [row for row in failed if (row["side"], row["benchmark"]) == ("ours", "docvqa-generated")]
    assert {row["question_id"] for row in found} == {p.question_id for p in ours_wrong}
    gains = [row for row in csv_rows(run / "eval" / "groups.csv") if row["by"] == "document"]
    assert {row["benchmark"] for row in gains} == {"docvqa-generated", "chartqa-generated"}
    by_type = docvqa["ours"]["by_document_type"]
    assert {row["type"]: float(row["ours"]) for row in gains if row["benchmark"] == "docvqa-generated"} == {
        name: group["mean"] for name, group in by_type.items()
    }
    assert float(csv_rows(run / "eval" / "table.csv")[0]["score"]) == docvqa["ours"]["headline"]
    assert [path.name for path in Path("outputs").iterdir() if path.name not in ("run", "zero-shot")] == []


def test_the_saved_run_answers_as_it_did_after_training(run: Path) -> None:
    main([*SMALL, f"run={run}", "baseline=false"])
    found = read(Path(table(run / "eval")[0]["ours"]["folder"]) / "predictions.jsonl")
    assert {p.key: p.prediction for p in found} == {p.key: p.prediction for p in read(run / "predictions.jsonl")}
    assert (
        table(run / "eval")[0]["ours"]["headline"] == json.loads((run / "result.json").read_text())["headline"]["value"]
    )


def test_what_is_answered_is_kept_and_what_is_missing_is_answered(run: Path) -> None:
    command = [*SMALL, f"run={run}", "baseline=false"]
    main(command)
    answers = Path(table(run / "eval")[0]["ours"]["folder"]) / "predictions.jsonl"
    whole = {p.key: p for p in read(answers)}
    lines = answers.read_bytes().splitlines(keepends=True)
    answers.write_bytes(b"".join(lines[:2]) + lines[2][:30])  # killed while it wrote the third answer
    kept = read(answers)
    main(command)
    again = {p.key: p for p in read(answers)}
    assert {key: p.prediction for key, p in again.items()} == {key: p.prediction for key, p in whole.items()}
    assert all(again[p.key].latency_s == p.latency_s for p in kept)
    main(command)
    assert {p.key: p for p in read(answers)} == again  # nothing was asked
    main([*command, "rerun=true"])
    assert any(p.latency_s != again[p.key].latency_s for p in read(answers))


def test_an_evaluation_says_how_it_came_about(run: Path) -> None:
    main([*SMALL, f"run={run}", "baseline=false", "split=val"])
    (found,) = (run / "eval").glob("docvqa-generated-val-*/evaluation.json")
    record = json.loads(found.read_text())
    for key in ("checkpoint", "budget", "dtype", "prompt", "instruction", "max_new_tokens", "split", "fingerprint"):
        assert record[key]
    assert record["trained_on"] == "docvqa-generated"
    assert record["versions"]["docvlm"]


def test_the_best_run_of_each_family(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The highest single score is that of a setting whose mean is lower."""
    cells = {"lucky": (8, 42, 0.95), "unlucky": (8, 43, 0.5), "good": (4, 42, 0.8), "better": (4, 43, 0.9)}
    for name, (rank, seed, value) in (cells | {"killed": (4, 44, 1.0)}).items():
        place = Path("multirun") / "sweep" / name
        shutil.copytree(run, place)
        result, manifest = (json.loads((place / file).read_text()) for file in ("result.json", "manifest.json"))
        result["selection"]["value"], result["status"] = value, "running" if name == "killed" else "finished"
        manifest["seed"] = manifest["config"]["seed"] = manifest["config"]["data"]["seed"] = seed
        manifest["config"]["lora"]["r"] = rank
        (place / "result.json").write_text(json.dumps(result))
        (place / "manifest.json").write_text(json.dumps(manifest))
    shutil.rmtree(run)
    main([*SMALL, "best=true", "output=tables", "baseline=false"])
    shown = capsys.readouterr().out
    line = "qwen2vl: lora.r=4 has the highest mean val score over 2 seeds (0.850 ± 0.071 on docvqa-generated)"
    assert f"{line}; its run multirun/sweep/better, the best of them, is used" in shown.splitlines()
    assert "florence2: no finished run; python -m docvlm.train model=florence2" in shown
    assert table(Path("tables"))[0]["ours"]["run"] == "multirun/sweep/better"


def test_without_a_run_the_train_command_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    line = refused(capsys, "best=true", "scale=tiny", "benchmarks=[docvqa,chartqa,infovqa]")
    assert "python -m docvlm.train model=qwen2vl" in line


def test_zero_shot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    main([*SMALL, "model=florence2", f"checkpoint={checkpoint('florence2')}", "output=here", "limit=2"])
    (row,) = table(Path("here"))
    assert row["ours"]["subject"] == "zero-shot"
    assert row["baseline"] is row["difference"] is None


def test_mistakes_about_runs_are_one_line(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no such file or folder" in refused(capsys, "run=absent", "scale=tiny")
    Path("empty").mkdir()
    assert "empty/manifest.json: no such file" in refused(capsys, "run=empty", "scale=tiny")
    shutil.copytree(run, "multirun/sweep/0")
    assert "a sweep of 1 runs; give one of them, such as run=multirun/sweep/0" in refused(
        capsys, "run=multirun/sweep", "scale=tiny"
    )
    manifest = json.loads((run / "manifest.json").read_text())
    (run / "manifest.json").write_text(json.dumps({**manifest, "scale": "full"}))
    if detect_scale() == "tiny":  # nobody said the scale, and the machine's own differs from the run's
        assert "trained at scale=full" in refused(capsys, f"run={run}")
    shutil.rmtree(run / "checkpoints" / "best")
    assert "no weights in" in refused(capsys, f"run={run}", "scale=tiny")


def test_scoring_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [
        {"question_id": 1, "image": "a.png", "prediction": "ab", "answers": ["ax"], "question_types": ["form"]},
        {"question_id": 2, "image": "a.png", "prediction": "yes", "answer": "Yes"},
        {"question_id": 3, "image": "b.png", "prediction": "105", "answer": "100", "benchmark": "chartqa"},
    ]
    Path("p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    main(["predictions=p.jsonl", "output=scores"])
    first, second = json.loads(Path("scores/score.json").read_text())["benchmarks"]
    assert (first["metric"], first["headline"], first["variants"]["paper"]) == ("anls", 0.75, 0.5)
    assert (second["metric"], second["headline"], second["benchmark"]) == ("relaxed_accuracy", 1.0, "chartqa")
    assert "form (1)" in capsys.readouterr().out
    main(["predictions=p.jsonl", "output=scores", "metric=accuracy"])
    assert json.loads(Path("scores/score.json").read_text())["benchmarks"][0]["headline"] == 0.5


def answered(file: Path, *said: str) -> None:
    """A file of answers to 2 questions on each of 30 pages, memos and forms in turn, all of which are "17"."""
    rows = [
        {
            "question_id": f"{page}-{number}", "image": f"{page}.png", "doc_type": ("memo", "form")[page % 2],
            "question": f"Total {number}?", "prediction": said[(2 * page + number) % len(said)], "answer": "17",
        }
        for page in range(30)
        for number in range(2)
    ]  # fmt: skip
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_a_file_against_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    answered(Path("base.jsonl"), "", "17", "17.", "17")
    answered(Path("ours.jsonl"), "17", "17", "17", "It is 17")
    main(["predictions=ours.jsonl", "against=base.jsonl", "output=scores"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "15 of 60 answers are not right (anls below 1)" in shown
    assert "30 fixed, 15 broken, 15 right and 0 not right in both" in shown
    assert "memo gains most: +0.500 [+0.500, +0.500], beyond form. Beyond chance lower: form -0.333" in shown
    assert "gain by question type" not in shown, "there is none"
    (over_long,) = [row for row in csv_rows(Path("scores/failures.csv")) if row["side"] == "ours"]
    assert (over_long["class"], over_long["count"], over_long["tags"]) == ("over-long", "15", "answer inside 15")
    assert (over_long["example_prediction"], float(over_long["lost"])) == ("It is 17", 0.25)
    crossed = {(row["side"], row["type"], row["class"]): row for row in csv_rows(Path("scores/failures_by_type.csv"))}
    assert {key: (row["count"], row["questions"]) for key, row in crossed.items()} == {
        ("ours", "form", "over-long"): ("15", "30"),
        ("baseline", "memo", "empty"): ("15", "30"),
        ("baseline", "form", "format only"): ("15", "30"),
    }
    assert [row["type"] for row in csv_rows(Path("scores/groups.csv"))] == ["memo", "form"]
    flipped = csv_rows(Path("scores/flips.csv"))
    assert [row["flip"] for row in flipped].count("fixed") == 30
    assert {(row["baseline"], row["ours"]) for row in flipped} == {("", "17"), ("17.", "17"), ("17", "It is 17")}
    main(["predictions=ours.jsonl", "output=scores"])
    assert not Path("scores/flips.csv").exists(), "left by another comparison"
    assert "against=base.jsonl: it is the baseline of predictions=FILE" in refused(capsys, "against=base.jsonl")
    Path("odd.jsonl").write_text(Path("base.jsonl").read_text().splitlines(keepends=True)[0])
    assert "59 questions are in only one" in refused(capsys, "predictions=ours.jsonl", "against=odd.jsonl")
    Path("odd.jsonl").write_text(Path("odd.jsonl").read_text().replace('"answer"', '"benchmark": "x", "answer"'))
    assert "benchmark '' is in only one" in refused(capsys, "predictions=ours.jsonl", "against=odd.jsonl")


def test_mistakes_in_files_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    good, bad = '{"question_id": 1, "prediction": "x", "answers": ["x"]}\n', '{"question_id": 2, "prediction": NaN}\n'
    Path("p.jsonl").write_text(good + bad)
    main(["predictions=p.jsonl"])
    assert "p.jsonl: rows: 2 read, 1 left out (1 no answers), none repeated" in capsys.readouterr().out
    Path("p.jsonl").write_text(good + bad * 2)
    assert "p.jsonl: 2 of 3 rows are bad; first: p.jsonl:2: no 'answers'" in refused(capsys, "predictions=p.jsonl")
    Path("q.jsonl").write_text('{"question_id": 1, "prediction": "x", "answers": []}\n')
    assert "q.jsonl:1: no 'answers' or 'answer'" in refused(capsys, "predictions=q.jsonl")
    assert "metric=bleu: choose from accuracy, anls" in refused(capsys, "predictions=q.jsonl", "metric=bleu")
    assert "absent.jsonl" in refused(capsys, "predictions=absent.jsonl")


@pytest.mark.skipif(not REAL.is_dir(), reason=f"{REAL} is not here")
def test_real_predictions_from_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    main([f"predictions={REAL / 'qwen2_vl_7b_instruct.jsonl'}"])
    shown = capsys.readouterr().out
    assert "0.8942" in shown  # lmms-eval and RRC; the paper's equation gives less
    assert "0.8902" in shown
    assert "177 of 1000 answers are not right" in shown
