"""predictions.jsonl: resuming, torn lines, and every kind of damage as one line with file and line number."""

from __future__ import annotations

from pathlib import Path

import pytest

from docvlm.errors import DocvlmError
from docvlm.evaluation.records import Prediction, PredictionLog, append, document_of, read

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
        ('["x"]', r":2: holds list"),
        (GOOD, r":2: question_id '1' is also at .*:1;"),
        ('{"question_id": 2, "prediction": NaN, "answers": ["x"]}', r":2: holds NaN"),
        ('{"question_id": 2, "prediction": null, "answers": ["x"]}', r":2: 'prediction' is None, expected text"),
        ('{"question_id": 2, "prediction": 3, "answers": ["x"]}', r":2: 'prediction' is 3, expected text"),
        ('{"question_id": 2, "pred": "x", "answers": ["x"]}', r":2: no column 'prediction'; it has 'question_id'"),
        ('{"question_id": 2, "prediction": "x"}', r":2: no column 'answers' or 'answer'"),
        ('{"question_id": 2, "prediction": "x", "answers": []}', r":2: 'answers' is empty"),
        ('{"question_id": 2, "prediction": "x", "answers": [1]}', r":2: 'answers' is \[1\]"),
        ('{"prediction": "x", "answers": ["x"]}', r":2: no 'question_id'"),
        ('{"question_id": 2.5, "prediction": "x", "answers": ["x"]}', r":2: 'question_id' is 2.5"),
        ('{"question_id": 2, "prediction": "x", "answers": ["x"], "latency_s": "1"}', r":2: 'latency_s' is '1'"),
        ('{"question_id": 2, "prediction": "x", "answers": ["x"], "scores": 1}', r":2: 'scores' is 1"),
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
    with pytest.raises(DocvlmError, match=r":2: not UTF-8 at byte"):
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
