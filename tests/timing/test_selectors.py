"""`docvlm.benchmark selectors=[…]`: all pages of a document against those that a selector hands on."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from docvlm.benchmark import main
from docvlm.report import main as report
from docvlm.scoring import predictions as records
from docvlm.timing import record as benchmark
from docvlm.train import main as train
from docvlm.vlms.qwen2vl.model import Qwen2VL
from tests.support import pdfs, runs
from tests.support.tiny import checkpoint

SMALL = (
    "scale=tiny",
    "split=val",
    "limit=21",
    "pages=5",
    "warmup=1",
    "batch=1",
    "benchmark=mpdocvqa",
    "selectors=[none,text]",
)
WAYS = [("none", None), ("none", 1), ("text", 1), ("none", 2), ("text", 2)]


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which an untrained checkpoint was measured on drawn documents."""
    folder = tmp_path_factory.mktemp("measured")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        main([*command(), "output=here"])
    return folder


def command(*more: str) -> list[str]:
    few = [f"checkpoint={checkpoint('qwen2vl')}", "data.mpdocvqa.max_new_tokens=2", "selector_pages=[1,2]"]
    return [*SMALL, *few, *more]


def found(folder: Path) -> dict[str, Any]:
    (file,) = benchmark.files([folder])
    return benchmark.read(file)


def whole(record: dict[str, Any]) -> list[dict[str, Any]]:
    return [row for row in record["selectors"]["rows"] if row["documents"] is None]


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line of a benchmark that must fail."""
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    assert ended.value.code == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    return line


def test_all_pages_a_smaller_budget_and_the_pages_handed_on_answer_the_same_questions(measured: Path) -> None:
    record = found(measured)
    rows = whole(record)
    assert [(row["selector"], row["k"]) for row in rows] == WAYS
    everything, small, one, *_, two = rows
    assert small["read"] == f"all pages, document_pixels={small['budget']['document_pixels']}"
    assert everything["budget"] == one["budget"] and everything["budget"]["document_pixels"] is None
    assert {row["score"]["n"] for row in rows} == {rows[0]["score"]["n"]}
    assert everything["prompt_tokens"] > two["prompt_tokens"] > one["prompt_tokens"]
    for k, row in ((1, small), (2, rows[3])):
        (selected,) = [other for other in rows if (other["selector"], other["k"]) == ("text", k)]
        assert 0.8 * selected["prompt_tokens"] < row["prompt_tokens"] <= 1.05 * selected["prompt_tokens"]
    for row in rows:
        chosen = row["selector"] == "text"
        assert (row["recall"] is not None) == chosen == (row["same_tokens"] is not None)
        assert row["seconds"] > (row["selector_seconds"] or 0) and row["timed"] == 5 and row["peak_memory_mb"] > 0
        assert (row["selector_seconds"] is not None) == chosen
    assert everything["difference"] is None and one["difference"]["n"] == one["score"]["n"]
    assert [point["resolution"] for point in record["points"]] == ["65536"], "one size, where pages are chosen"


def test_recall_is_of_the_pages_that_were_shown(measured: Path) -> None:
    shown = []
    for file in measured.rglob("predictions.jsonl"):
        answers = records.read(file)
        if any(one.shown for one in answers):
            shown.append(sum(bool({*one.shown} & {*one.answer_pages} or not one.shown) for one in answers))
    rows = [row for row in whole(found(measured)) if row["selector"] == "text"]
    assert sorted(shown) == sorted(round(row["recall"]["mean"] * row["recall"]["n"]) for row in rows)
    assert rows[1]["recall"]["mean"] > 0.8, "the text is that of the drawn pages"


def test_rows_by_number_of_pages_add_up(measured: Path) -> None:
    rows = found(measured)["selectors"]["rows"]
    groups = {row["documents"] for row in rows} - {None}
    assert groups == {"2 pages", "3 to 5 pages"}
    for selector, k in WAYS:
        mine = [row for row in rows if (row["selector"], row["k"]) == (selector, k)]
        total, *parts = sorted(mine, key=lambda row: row["documents"] is not None)
        assert sum(row["score"]["n"] for row in parts) == total["score"]["n"]
        assert sum(row["timed"] for row in parts) == total["timed"]
        assert max(row["peak_memory_mb"] or 0 for row in parts) == total["peak_memory_mb"]
    (short,) = [r for r in rows if (r["selector"], r["k"], r["documents"]) == ("text", 2, "2 pages")]
    assert short["recall"] is None and short["difference"]["mean"] == 0, "two pages of two are all of them"


def test_files_and_what_is_said(measured: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.chdir(measured)
    before = {file: file.stat().st_mtime_ns for file in measured.rglob("predictions.jsonl")}
    main([*command(), "output=here"])
    assert {file: file.stat().st_mtime_ns for file in measured.rglob("predictions.jsonl")} == before, "kept answers"
    out = capsys.readouterr().out
    assert "selector: text hands on 1 of a document's pages, which hold the answer of" in out
    assert "no selector is trained\n" in out
    assert "the text that was drawn" in out and "DEBUG" not in out
    rows = found(measured)["selectors"]["rows"]
    (folder,) = {file.parent for file in benchmark.files([measured])}
    for name, all_of in (("selectors", True), ("selectors_by_pages", False)):
        with (folder / f"{name}.csv").open(newline="") as file:
            lines = list(csv.DictReader(file))
        kept = [row for row in rows if (row["documents"] is None) == all_of]
        assert [float(line["score"]) for line in lines] == [row["score"]["mean"] for row in kept]
    report(["roots=[here]", "output=page"])
    page = (measured / "page" / "index.html").read_text(encoding="utf-8")
    assert "All pages of a document, and those that a selector hands on, by number of pages" in page
    assert (measured / "page" / "tables" / "selectors-by-pages.tex").exists()


def pages(folder: Path, counts: dict[str, int], text: str = "page {} of {}") -> None:
    """Own documents: a PDF for each name, with so many pages and a question about the last."""
    folder.mkdir()
    lines = []
    for name, count in counts.items():
        texts = [text.format(f"number{number}", name) if text else "" for number in range(1, count + 1)]
        (folder / f"{name}.pdf").write_bytes(pdfs.with_text(texts))
        row = {"image": f"{name}.pdf", "question": f"What is on page number{count}?", "answers": ["x"], "doc_id": name}
        lines.append({**row, "answer_page": count, "split": name.split("-")[0], "question_id": name})
    (folder / "qa.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.mark.slow
def test_a_document_too_long_for_one_row_is_in_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run that learned with a selector reads documents that have no room as a whole."""
    monkeypatch.chdir(tmp_path)
    pages(tmp_path / "own", {"train-a": 3, "train-b": 2, "val-a": 3, "test-a": 3, "test-b": 4, "test-c": 60})
    words = ["data=folder", "data.source=own", "trainer.max_epochs=1", "lora.r=2", "audit=off", "selector=text"]
    train(runs.overrides("qwen2vl", *words))
    (run,) = Path("outputs").iterdir()
    capsys.readouterr()
    few = ["scale=tiny", "pages=2", "warmup=1", "batch=1", "data.folder.source=own", "data.folder.max_new_tokens=2"]
    main([*few, f"run={run}", "selectors=[none,text]"])
    out = capsys.readouterr().out
    assert "selectors: 1 of 3 questions are left out of every row: test-c: 60 pages and a question are up to" in out
    assert "no selector is trained; the model was trained with data.pages=all selector=text: other rows" in out
    record = found(run)
    assert record["points"][0]["score"]["n"] == 3, "as it was trained it reads all three"
    assert {row["score"]["n"] for row in whole(record)} == {2} and record["selectors"]["left_out"] == 1
    (text,) = [row for row in whole(record) if row["selector"] == "text"]
    assert text["recall"]["mean"] == 1.0


def test_page_by_page_there_is_no_smaller_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    few = ["pages=1", "limit=4", "model=florence2", f"checkpoint={checkpoint('florence2')}"]
    main([*SMALL, *few, "data.mpdocvqa.pages=best", "data.mpdocvqa.max_new_tokens=2", "budgets=[168x280]"])
    every, one = whole(found(tmp_path))
    assert (every["read"], one["read"]) == ("all pages, one by one", "best k by text, one by one")
    assert every["prompt_tokens"] > 1.9 * one["prompt_tokens"], "each page is a prompt of its own"
    assert "only models that read all pages together have one" in capsys.readouterr().out


def test_what_no_selector_can_read_is_refused_before_weights_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Qwen2VL, "load", None)
    pages(tmp_path / "own", {"train-a": 2, "test-a": 3}, text="")
    few = ["scale=tiny", f"checkpoint={checkpoint('qwen2vl')}", "selectors=[none,text]"]
    line = refused(capsys, *few, "benchmark=folder", "data.folder.source=own")
    assert "selector=text: no page of test-a has text" in line and "selector=colmodernvbert" in line
    line = refused(capsys, *few, "benchmark=docvqa", "limit=4")
    assert "selectors=[none,text]: no document of docvqa-generated has several pages" in line
    assert not Path("outputs").exists() or not list(Path("outputs").iterdir()), "nothing is left"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["selectors=[words]"], "selectors=words: choose from none, text, colmodernvbert"),
        (["selectors=[]"], "selectors=[]: name one or more"),
        (["selectors=[text,text]"], "name each only once"),
        (["selectors=[text]", "selector_pages=[0]"], "selector_pages=0: 1 or more"),
        (["selectors=[text]", "selector_pages=[]"], "selector_pages=[]: name one or more"),
        (["selectors=[colmodernvbert]"], "selector_checkpoint=None: a folder or a hub id"),
        (["selectors=[text]", "selector_checkpoint=x"], "selector_checkpoint=x"),
    ],
)
def test_mistakes_are_one_line(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in refused(capsys, "scale=tiny", *words)
