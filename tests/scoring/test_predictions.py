"""predictions.jsonl: resuming, torn lines, and every kind of damage as one line with file and line number."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from docvlm.errors import DocvlmError
from docvlm.scoring.predictions import Prediction, PredictionLog, append, document_of, given, read

GOOD = '{"question_id": 1, "question": "q", "image": "a.png", "prediction": "x", "answers": ["x"]}'


def prediction(number: int, text: str = "x") -> Prediction:
    return Prediction(str(number), f"doc{number // 2}", "docvqa", "form", ("layout",), "what?", text, ("x", "ÿ 한"))


def write(path: Path, *lines: str, end: str = "\n") -> Path:
    path.write_text("\n".join(lines) + end, encoding="utf-8")
    return path


def test_round_trip_keeps_everything(tmp_path: Path) -> None:
    path = tmp_path / "predictions.jsonl"
    full = Prediction(
        "7", "d", "docvqa", "form", ("a", "b"), "q?", "한 \n\u2028", ("x", "y"), {"anls": 0.5}, 0.25, True
    )
    assert append(path, [full, prediction(1)]) == 2
    assert read(path) == [full, prediction(1)]
    assert len(path.read_bytes().splitlines()) >= 2


def test_a_question_is_written_once(tmp_path: Path) -> None:
    path = tmp_path / "predictions.jsonl"
    assert append(path, [prediction(1), prediction(1), prediction(2)]) == 2
    assert append(path, [prediction(2, "other"), prediction(3)]) == 1
    assert [record.prediction for record in read(path)] == ["x", "x", "x"]
    with PredictionLog(path) as log:
        assert ("docvqa", "3") in log
        assert ("chartqa", "3") not in log  # ids of two benchmarks may collide


@pytest.mark.parametrize("cut", [1, 10, -2])
def test_a_torn_last_line_is_skipped_then_cut_off(tmp_path: Path, cut: int, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "predictions.jsonl"
    append(path, [prediction(1), prediction(2)])
    whole = path.read_bytes()
    append(path, [prediction(3)])
    line = path.read_bytes()[len(whole) :]
    path.write_bytes(whole + line[: cut if cut > 0 else len(line) + cut])
    assert len(read(path)) == 2
    assert "torn" in caplog.text
    append(path, [prediction(3)])
    assert path.read_bytes() == whole + line


def test_a_missing_last_line_break_is_no_damage(tmp_path: Path) -> None:
    path = write(tmp_path / "p.jsonl", GOOD, end="")
    append(path, [prediction(2)])
    assert [record.question_id for record in read(path)] == ["1", "2"]


def test_torn_in_the_middle_of_a_letter(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_bytes(GOOD.encode() + b'\n{"prediction": "\xed\x95')
    assert len(read(path)) == 1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"question_id": 1, "prediction": "x", "answers"', r":2: not JSON"),
        ('["x"]', r":2: not a JSON object but a list"),
        (GOOD, r":2: question_id '1' is also at .*:1;"),
        ('{"question_id": 2, "prediction": NaN, "answers": ["x"]}', r":2: 'prediction' is null"),
        ('{"question_id": 2, "prediction": null, "answers": ["x"]}', r":2: 'prediction' is null"),
        ('{"question_id": 2, "prediction": ["x"], "answers": ["x"]}', r":2: prediction is a list, not text"),
        ('{"question_id": 2, "pred": "x", "answers": ["x"]}', r":2: 'prediction' is no column; it has 'question_id'"),
        ('{"question_id": 2, "prediction": "x"}', r":2: no 'answers' or 'answer'"),
        ('{"question_id": 2, "prediction": "x", "answers": []}', r":2: no 'answers' or 'answer'"),
        ('{"question_id": 2, "prediction": "x", "answers": [null]}', r":2: answers is null"),
        ('{"prediction": "x", "answers": ["x"]}', r":2: no 'question_id'"),
        ('{"question_id": [2], "prediction": "x", "answers": ["x"]}', r":2: question_id is a list"),
        ('{"question_id": 2, "prediction": "x", "answers": ["x"], "latency_s": "soon"}', r":2: latency_s is 'soon'"),
        (
            '{"question_id": 2, "prediction": "x", "answers": ["x"], "page": 0}',
            r":2: page is '0', expected .* from 1 on",
        ),
        ('{"question_id": 2, "prediction": "x", "answers": ["x"], "n_pages": 1.5}', r":2: n_pages is '1.5', expected"),
        ('{"question_id": 2, "prediction": "x", "answers": ["x"], "scores": 1}', r":2: scores is '1'"),
        (
            '{"question_id": 2, "prediction": "\\ud83d", "answers": ["x"]}',
            r":2: prediction holds half a surrogate pair",
        ),
        (
            '{"question_id": 2, "prediction": "x", "prediction": "y", "answers": ["x"]}',
            r":2: the key 'prediction' stands",
        ),
    ],
)
def test_damage_names_file_line_and_column(tmp_path: Path, line: str, message: str) -> None:
    path = write(tmp_path / "p.jsonl", GOOD, line)
    with pytest.raises(DocvlmError, match=message) as caught:
        read(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_other_encodings_are_refused_with_the_line(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_bytes(GOOD.encode() + b"\n" + GOOD.replace("q", "\xe9").encode("latin-1") + b"\n")
    with pytest.raises(DocvlmError, match=r":2: not UTF-8 \(byte 0xe9"):
        read(path)


def test_missing_and_empty_files(tmp_path: Path) -> None:
    with pytest.raises(DocvlmError, match="cannot be read"):
        read(tmp_path / "absent.jsonl")
    (tmp_path / "empty.jsonl").write_bytes(b"")
    with pytest.raises(DocvlmError, match="holds no predictions"):
        read(tmp_path / "empty.jsonl")
    with pytest.raises(DocvlmError, match="cannot be read"):
        read(tmp_path)


def test_published_shapes_are_understood(tmp_path: Path) -> None:
    chart = '{"image": "test/png/c.png", "question": "How many?", "question_id": -1, "answer": "47", "prediction": "4"}'
    windows = r'{"image": "data\\pages\\p_81.png", "question": "q", "prediction": "", "answer": ["a", "b"]}'
    first, again, second = read(write(tmp_path / "p.jsonl", "\ufeff" + chart, "", chart, windows))
    assert (first.question_id, first.document, first.answers) == ("c.png: How many?", "c.png", ("47",))
    assert again.question_id == "c.png: How many? #2"  # asked twice of one page: two questions
    assert (second.document, second.answers) == ("p_81.png", ("a", "b"))
    assert document_of("a/b\\c.png") == "c.png"


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    path = tmp_path / "predictions.jsonl"
    path.mkdir()
    with pytest.raises(DocvlmError, match=r"predictions\.jsonl: cannot be"):
        append(path, [prediction(1)])


def line(**changed: object) -> str:
    row = {"image": "a.png", "question": "Total?", "answers": ["950.50"], "prediction": "950.5"}
    return json.dumps({key: value for key, value in (row | changed).items() if value != "drop"}, ensure_ascii=True)


def test_a_line_that_stands_there_again_counts_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = write(tmp_path / "p.jsonl", line(), line(image="b.png"), line(), line(question_id=7), line(answers=["1"]))
    records, quarantine = given(file)
    assert [(one.document, one.answers) for one in records] == [
        ("a.png", ("950.50",)), ("b.png", ("950.50",)), ("a.png", ("1",)),
    ]  # fmt: skip
    assert str(quarantine) == "rows: 5 read, none left out, 2 merged as repeats"
    assert "p.jsonl:3 repeats" in caplog.text


def test_what_a_publisher_numbered_apart_stays_apart(tmp_path: Path) -> None:
    """ChartQA's test split asks ten questions twice, and every published score counts them twice."""
    rows = [line(benchmark="chartqa", question_id=-1)] * 2 + [line(benchmark="folder-x", question_id=n) for n in (0, 1)]
    records, quarantine = given(write(tmp_path / "p.jsonl", *rows))
    assert [one.benchmark for one in records] == ["chartqa", "chartqa", "folder-x"] and quarantine.merged == 1


def test_one_question_with_two_predictions_is_nobodys_guess(tmp_path: Path) -> None:
    for second in (line(prediction="x"), line(question_id="0", answers=["1"], prediction="x")):
        file = write(tmp_path / "p.jsonl", line(question_id="0"), second)
        with pytest.raises(DocvlmError, match=r"p\.jsonl:2: the question of .*p\.jsonl:1 again"):
            given(file)


def test_bad_lines_of_others_are_named_and_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [line(question_id=0), line(question_id=False, image="b", prediction=True), line(question_id="é", image="c")]
    bad = [line(question_id=1, prediction=None), line(question_id=2, answers=["\ud83d"]), '{"question_id": 3']
    records, quarantine = given(write(tmp_path / "p.jsonl", *rows, line(question_id=4, image="d", prediction=""), *bad))
    assert [(one.question_id, one.prediction) for one in records] == [
        ("0", "950.5"), ("false", "true"), ("é", "950.5"), ("4", ""),
    ]  # fmt: skip
    assert [entry.where.rpartition(":")[2] for entry in quarantine.rejected] == ["5", "6", "7"]
    assert "3 left out" in str(quarantine) and "quarantined 3 of 7" in caplog.text
    with pytest.raises(DocvlmError, match="3 of 4 rows are bad"):
        given(write(tmp_path / "p.jsonl", line(), *bad))


def test_numbers_keep_their_characters_also_in_csv(tmp_path: Path) -> None:
    text = "image,question,answers,prediction,latency_s\na.png,Total?,\"[950.50, 'x']\",1200.00,0.5\nb.png,Total?,7,,\n"
    (tmp_path / "p.csv").write_text(text, encoding="utf-8")
    first, second = given(tmp_path / "p.csv")[0]
    assert (first.answers, first.prediction, first.latency_s) == (("950.50", "x"), "1200.00", 0.5)
    assert (second.answers, second.prediction, second.latency_s) == (("7",), "", None)
    (one,) = given(write(tmp_path / "p.jsonl", '{"question_id": 1, "answers": [950.50, 1E2], "prediction": 0.10}'))[0]
    assert (one.answers, one.prediction) == (("950.50", "1E2"), "0.10")


def test_pages_and_language_are_read_as_they_are_written(tmp_path: Path) -> None:
    """A CSV has them as text; without a number of pages it is that of the images."""
    rows = '"[""a.png"", ""b.png""]",Total?,7,7,"[1, 2]",2,ko\na.png,Total?,7,7,2,,\n'
    (tmp_path / "p.csv").write_text(f"image,question,answers,prediction,answer_pages,page,language\n{rows}")
    first, second = given(tmp_path / "p.csv")[0]
    assert (first.n_pages, first.answer_pages, first.page, first.language) == (2, (1, 2), 2, "ko")
    assert (second.n_pages, second.answer_pages, second.page, second.language) == (1, (2,), None, "")
    append(tmp_path / "p.jsonl", [first, second])
    assert read(tmp_path / "p.jsonl") == [first, second]
