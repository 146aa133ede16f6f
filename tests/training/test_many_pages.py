"""Documents of several pages through the commands: what is shown, learned, answered and said of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from docvlm.data.reading import Reading
from docvlm.evaluate import main as evaluate
from docvlm.predict import main as predict
from docvlm.scoring import predictions as records
from docvlm.serving.reader import Reader
from docvlm.train import main
from docvlm.vlms import saved
from tests.support import runs
from tests.support.tiny import Paper

SPLITS = {"train": 3, "val": 2, "test": 2}
WORDS = ("data=folder", "data.source=documents", "data.eval_batch_size=3", "trainer.max_epochs=1")
AGAIN = ("scale=tiny", "benchmarks=[folder]", "data.folder.source=documents", "data.folder.max_new_tokens=2")


@pytest.fixture
def documents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of documents of two and three pages, two questions each; the answers stand on pages 1 and 2."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "documents"
    folder.mkdir()
    rows: list[dict[str, Any]] = []
    for split, count in SPLITS.items():
        for number in range(count):
            images = [f"{split}{number}-{page}.png" for page in range(2 + number % 2)]
            for image in images:
                Paper(image, 140, 84).open().save(folder / image)
            for page in (1, 2):
                row = {"image": images, "question": f"What is on page {page}?", "answers": [f"{number}{page}"]}
                name = f"{split}{number}-q{page}"
                rows.append(
                    {**row, "split": split, "question_id": name, "doc_id": f"{split}{number}", "answer_page": page}
                )
    write(folder, rows)
    yield folder


def write(folder: Path, rows: list[dict[str, Any]]) -> None:
    (folder / "qa.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def read(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "qa.jsonl").read_text().splitlines()]


def train(family: str, *more: str) -> Path:
    before = set(Path("outputs").glob("*")) if Path("outputs").exists() else set()
    main([*runs.overrides(family, *WORDS), *more])
    (made,) = set(Path("outputs").glob("*")) - before
    return made


@pytest.mark.parametrize("pages", ["first", "each", "best"])
def test_a_model_of_one_page_reads_documents_page_by_page(
    pages: str, documents: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train("florence2", f"data.pages={pages}")
    assert "documents of 2 to 3 pages" in capsys.readouterr().out
    found = records.read(run / "predictions.jsonl")
    assert len(found) == 4 and {one.n_pages for one in found} == {2, 3}
    assert {one.answer_pages for one in found} == {(1,), (2,)}
    read_from = {one.page for one in found}
    assert read_from == {1} if pages == "first" else None not in read_from
    assert Reading.of(saved.read(run / "checkpoints" / "best")["reading"]) == Reading(pages)


def test_the_most_confident_answer_of_the_pages_stands_and_evaluate_asks_as_the_run_was_trained(
    documents: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train("florence2", "data.pages=best")
    evaluate([*AGAIN, f"run={run}", "baseline=true"])
    ours = {one.question_id: one for one in records.read(run / "predictions.jsonl")}
    (again,) = run.glob("eval/*/predictions.jsonl")
    for one in records.read(again):
        assert one.prediction == ours[one.question_id].prediction
        assert one.confidence == pytest.approx(ours[one.question_id].confidence, abs=1e-3)
    row = read(documents)[-1]
    images = [str(documents / image) for image in row["image"]]
    capsys.readouterr()
    alone = []
    for image in images:
        predict(["--run", str(run), "--question", row["question"], "--format", "jsonl", "--max-new-tokens", "2", image])
        alone.append(json.loads(capsys.readouterr().out))
    best = max(alone, key=lambda one: one["confidence"])
    found = ours[row["question_id"]]
    assert found.prediction == best["prediction"] and found.page is not None
    assert found.confidence == pytest.approx(best["confidence"], abs=1e-3)
    assert alone[found.page - 1]["confidence"] == pytest.approx(best["confidence"], abs=1e-3)


def test_a_model_of_one_page_refuses_documents_before_training(
    documents: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        train("florence2")
    said = capsys.readouterr().err
    assert ended.value.code == 1 and "data.pages=first, each or best" in said
    assert len([line for line in said.splitlines() if line.startswith("error")]) == 1


def test_a_page_that_answers_must_be_known_to_learn_from_it_alone(
    documents: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = read(documents)
    write(documents, [{key: row[key] for key in row if key != "answer_page"} for row in rows])
    with pytest.raises(SystemExit):
        train("florence2", "data.pages=best")
    assert "answer_page" in capsys.readouterr().err
    write(documents, [row if row["question_id"] != "train0-q1" else {**row, "answer_page": None} for row in rows])
    train("florence2", "data.pages=best")
    assert "learned from: 5 of 6 train questions; 1 do not say answer_page" in capsys.readouterr().out


@pytest.mark.slow
def test_page_numbers_and_a_budget_of_documents_go_through_every_command(
    documents: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Reader._read_all
    run = train("qwen2vl", "data.page_numbers=true", "budget.document_pixels=8000", "lora.r=2")
    out = capsys.readouterr().out
    assert "tokens together" in out and "data.pages=all" in out
    record = saved.read(run / "checkpoints" / "best")
    assert Reading.of(record["reading"]) == Reading(page_numbers=True) and record["budget"]["document_pixels"] == 8000
    evaluate([*AGAIN, f"run={run}"])
    (again,) = run.glob("eval/*/predictions.jsonl")
    ours = {one.question_id: one.prediction for one in records.read(run / "predictions.jsonl")}
    assert {one.question_id: one.prediction for one in records.read(again)} == ours
    assert json.loads((again.parent / "evaluation.json").read_text())["reading"]["page_numbers"] is True
    evaluate([*AGAIN, f"run={run}", "data.folder.page_numbers=false"])
    assert len(list(run.glob("eval/*/predictions.jsonl"))) == 2, "another prompt is another result"
    asked: list[Reading] = []
    monkeypatch.setattr(Reader, "_read_all", lambda self, *rest: asked.append(self.reading) or real(self, *rest))
    for flags in ((), ("--best-page",)):
        predict(["--run", str(run), "--question", "Who?", *flags, *(f"documents/test0-{n}.png" for n in (0, 1))])
    assert [*dict.fromkeys(asked)] == [Reading(page_numbers=True), Reading("best", page_numbers=True)]


def test_predict_names_the_page_of_a_pdf(documents: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = [Image.open(documents / name).convert("RGB") for name in ("test1-0.png", "test1-1.png", "test1-2.png")]
    images[0].save("contract.pdf", save_all=True, append_images=images[1:])
    run = train("qwen2vl", "lora.r=2")
    capsys.readouterr()
    predict(["--run", str(run), "--question", "Who?", "--best-page", "contract.pdf"])
    told = capsys.readouterr()
    page = next(n for n in (1, 2, 3) if f"read from page {n} of 3: contract.pdf#page={n}" in told.err)
    predict(["--run", str(run), "--question", "Who?", "--best-page", "--format", "jsonl", "contract.pdf"])
    assert json.loads(capsys.readouterr().out)["page"] == page
    with pytest.raises(SystemExit) as ended:
        predict(["--run", str(run), "--question", "Who?", "--best-page", "--each-page", "contract.pdf"])
    assert ended.value.code == 2


def test_a_page_that_the_document_does_not_have_is_left_out_by_name(
    documents: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = read(documents)
    rows[0]["answer_page"] = 7
    write(documents, rows)
    run = train("qwen2vl", "lora.r=2")
    (line,) = [json.loads(line) for line in (run / "quarantine.jsonl").read_text().splitlines()]
    assert "answer_page is 7, and the row has 2 pages" in line["reason"] and line["where"] == "qa.jsonl line 1"


def test_page_numbers_that_a_prompt_cannot_say_are_refused(documents: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        train("florence2", "data.pages=best", "data.page_numbers=true")
    assert ended.value.code == 1 and "no place for a page's number" in capsys.readouterr().err
