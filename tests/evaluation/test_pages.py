"""What an evaluation shows and leaves of documents of several pages: groups, page accuracy, and where answers stood."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from docvlm.evaluate import main
from docvlm.evaluation.outcome import Outcome
from docvlm.evaluation.subjects import Subject
from docvlm.evaluation.tables import Row, by_type, scores, write
from docvlm.scoring.predictions import Prediction
from docvlm.scoring.score import score
from docvlm.tables import to_text
from docvlm.vlms.base import VLM


def csv_rows(file: Path) -> list[dict[str, str]]:
    with file.open(newline="", encoding="utf-8") as open_file:
        return list(csv.DictReader(open_file))


def predictions(read: int, pages: int = 4) -> list[Prediction]:
    """Forty questions on documents of one page and of several; all answers but the first were read from page `read`."""
    return [
        Prediction(
            str(i), f"d{i}", "ours", "", (), "Total?", "17" if i else "18", ("17",), n_pages=(1, pages)[i % 2],
            answer_pages=(1,), page=read if i else 1, language=("en", "ko")[i % 2 * (pages > 1)],
        )
        for i in range(40)
    ]  # fmt: skip


def outcome(title: str, records: list[Prediction]) -> Outcome:
    def load() -> VLM:
        raise AssertionError("nothing is loaded to show what is there")

    subject = Subject(title, "qwen2vl", load, lambda model: Path(), {"run": None})
    return Outcome(subject, "ours", "test", tuple(records), score(records), Path("answers"))


def test_page_accuracy_has_columns_where_it_is_known(tmp_path: Path) -> None:
    row = Row(outcome("ours", predictions(1)), outcome("zero-shot", predictions(2)))
    write(tmp_path, [row])
    (line,) = csv_rows(tmp_path / "table.csv")
    assert (float(line["page_accuracy"]), float(line["baseline_page_accuracy"])) == (1.0, 1 / 40)
    assert float(line["page_accuracy_low"]) < 1
    assert "page accuracy" in to_text(scores([row]))
    (whole,) = json.loads((tmp_path / "table.json").read_text())["rows"]
    assert whole["ours"]["page_accuracy"]["n"] == 40 and list(whole["ours"]["by_language"]) == ["en", "ko"]
    single = Row(outcome("ours", predictions(1, pages=1)), None)
    write(tmp_path / "single", [single])
    assert not any("page" in name for name in csv_rows(tmp_path / "single" / "table.csv")[0])
    assert "page" not in to_text(scores([single])) and by_type(single) == []


def test_without_a_baseline_scores_stand_by_pages_and_language() -> None:
    tables = {table.name: to_text(table) for table in by_type(Row(outcome("ours", predictions(1)), None))}
    assert list(tables) == ["by-pages", "by-answer-page", "by-language"]
    assert "3 to 5 pages" in tables["by-pages"] and "only page" in tables["by-answer-page"]


def test_a_file_of_answers_to_several_pages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, read in (("base", 2), ("ours", 1)):
        rows = [
            {"question_id": one.question_id, "document": one.document, "prediction": one.prediction, "answers": ["17"],
             "n_pages": one.n_pages, "answer_pages": [1], "page": one.page, "language": one.language}
            for one in predictions(read)
        ]  # fmt: skip
        Path(f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    main(["predictions=ours.jsonl", "against=base.jsonl", "output=scores"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "page accuracy (40 questions) 1.0000 [" in shown
    for name in ("number of pages", "place of the answer's page", "language"):
        assert f"by {name}" in shown and f"gain by {name} (anls)" in shown
    (line,) = csv_rows(Path("scores/score.csv"))
    assert float(line["page_accuracy"]) == 1.0
    by = [row["by"] for row in csv_rows(Path("scores/groups.csv"))]
    assert by == ["pages"] * 2 + ["place"] * 2 + ["language"] * 2
    failed = csv_rows(Path("scores/failed.csv"))
    assert [(row["n_pages"], row["answer_pages"], row["page"], row["language"]) for row in failed] == [
        ("1", "1", "1", "en")
    ] * 2
