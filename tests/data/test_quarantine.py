"""Bad rows are named, counted and written down; a bad file is one line that says what to do. Nothing is silent."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from docvlm.data.benchmarks.folder import Folder
from docvlm.errors import DocvlmError


def record(number: int, **changed: Any) -> dict[str, Any]:
    row = {
        "image": f"{number}.png",
        "question": f"How much is {number}?",
        "answers": [str(number)],
        "question_id": f"q{number}",
    }
    return {key: value for key, value in {**row, **changed}.items() if value != "drop"}


def written(folder: Path, rows: list[dict[str, Any] | bytes]) -> Path:
    folder.mkdir(exist_ok=True)
    for number in range(len(rows)):
        Image.new("L", (40, 30 + number), 255).save(folder / f"{number}.png")
    lines = (row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows)
    (folder / "qa.jsonl").write_bytes(b"\n".join(lines))
    return folder


def good(count: int) -> list[dict[str, Any] | bytes]:
    return [record(number) for number in range(count)]


def everything(data: Folder) -> list[str]:
    return sorted(e.question_id for e in data.train + data.val + data.test)


BAD: dict[str, tuple[dict[str, Any] | bytes, str]] = {
    "empty question": (record(5, question="  "), "question is empty"),
    "no question": (record(5, question="drop"), "no question"),
    "question null": (record(5, question=None), "question is null"),
    "question NaN": (record(5, question=float("nan")), "question is NaN"),
    "question is a list": (record(5, question=["a"]), "question is a list"),
    "no answers": (record(5, answers=[]), "answers is an empty list"),
    "answers null": (record(5, answers=None), "no answers"),
    "an empty answer": (record(5, answers=["a", ""]), "answers holds an empty answer"),
    "an answer NaN": (record(5, answers=[float("nan")]), "answers holds NaN"),
    "duplicate id": (record(5, question_id="q1"), "question id 'q1' was used before, in qa.jsonl line 2"),
    "missing image": (record(5, image="gone.png"), "image 'gone.png' not found"),
    "image null": (record(5, image=None), "image is None"),
    "no images": (record(5, image=[]), "image is an empty list"),
    "one of two images missing": (record(5, image=["1.png", "gone.png"]), "image 'gone.png' not found"),
    "broken image": (record(5, image="broken.png"), "broken.png: not an image"),
    "empty image": (record(5, image="zero.png"), "zero.png: empty"),
    "long thin image": (record(5, image="thin.png"), "20000 x 10 px"),
    "not UTF-8": (b'{"image": "5.png", "question": "Gr\xfc\xdfe?"}', "not UTF-8 (byte 0xfc at column 35)"),
    "not JSON": (b'{"image": "5.png"', "not JSON"),
    "not an object": (b"[1, 2]", "not a JSON object"),
}


@pytest.mark.parametrize(("row", "reason"), BAD.values(), ids=BAD)
def test_a_bad_row_is_reported_and_the_others_are_kept(
    row: dict[str, Any] | bytes, reason: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = written(tmp_path / "own", [*good(5), row])
    (folder / "broken.png").write_bytes(b"no pixels")
    (folder / "zero.png").touch()
    Image.new("L", (20_000, 10)).save(folder / "thin.png")
    report = tmp_path / "run" / "quarantine.jsonl"
    data = Folder(str(folder), quarantine_report=report)
    with caplog.at_level(logging.WARNING):
        data.setup()
    assert everything(data) == [f"q{number}" for number in range(5)]
    (entry,) = [json.loads(line) for line in report.read_text(encoding="utf-8").splitlines()]
    assert entry["where"] == "qa.jsonl line 6" and reason in entry["reason"]
    assert "quarantined 1 of 6 rows" in caplog.text and str(report) in caplog.text
    assert list(report.parent.iterdir()) == [report]


def test_without_a_report_file_the_count_is_still_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Folder(str(written(tmp_path / "own", [*good(4), record(4, answers=[])]))).setup()
    assert "quarantined 1 of 5 rows" in caplog.text and "answers is an empty list" in caplog.text


def test_a_clean_folder_leaves_no_report(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Folder(str(written(tmp_path / "own", good(4))), quarantine_report=tmp_path / "q.jsonl").setup()
    assert not (tmp_path / "q.jsonl").exists() and not caplog.text


def test_more_bad_rows_than_good_ones_stop_the_run(tmp_path: Path) -> None:
    rows = [*good(2), *(record(n, question="") for n in range(2, 5))]
    with pytest.raises(DocvlmError, match=r"3 of 5 rows are bad; first: qa\.jsonl line 3: question is empty"):
        Folder(str(written(tmp_path / "own", rows))).setup()


def test_a_report_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DocvlmError, match=r"cannot write the quarantine report .*file"):
        Folder(
            str(written(tmp_path / "own", [*good(3), record(3, answers=[])])), quarantine_report=tmp_path / "file" / "q"
        ).setup()


def columns_renamed(folder: Path) -> None:
    text = (folder / "qa.jsonl").read_text().replace('"answers"', '"response"')
    (folder / "qa.jsonl").write_text(text)


def emptied(folder: Path) -> None:
    (folder / "qa.jsonl").write_text("\n\n")


def second_file(folder: Path) -> None:
    (folder / "qa.jsonl").rename(folder / "one.jsonl")
    (folder / "two.jsonl").write_text("{}")


def utf16(folder: Path) -> None:
    (folder / "qa.jsonl").write_text((folder / "qa.jsonl").read_text(), encoding="utf-16")


def latin_csv(folder: Path) -> None:
    (folder / "qa.jsonl").unlink()
    (folder / "qa.csv").write_bytes("image,question,answers\n0.png,Größe?,1\n".encode("latin-1"))


def odd_split(folder: Path) -> None:
    (folder / "qa.jsonl").write_text(json.dumps(record(0, split="holdout")))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            columns_renamed,
            r"qa\.jsonl: no column 'answers' or 'answer'; columns found: image, question, question_id, response",
        ),
        (emptied, r"qa\.jsonl: empty"),
        (second_file, r"several question files \(one\.jsonl, two\.jsonl\); name the one to use in data\.source"),
        (utf16, r"rows are bad; first: qa\.jsonl line 1: not UTF-8"),
        (latin_csv, r"qa\.csv line 2: not UTF-8 \(byte 0xf6\); save it as UTF-8"),
        (odd_split, r"qa\.jsonl line 1: split='holdout'; use train, val or test"),
    ],
)
def test_a_bad_file_is_one_line(spoil: Callable[[Path], None], message: str, tmp_path: Path) -> None:
    folder = written(tmp_path / "own", good(4))
    spoil(folder)
    with pytest.raises(DocvlmError, match=message) as caught:
        Folder(str(folder)).setup()
    assert "\n" not in str(caught.value)


def test_an_unreadable_question_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = written(tmp_path / "own", good(2))

    def refused(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refused)  # root may read anything, so the mode bits cannot be used here
    with pytest.raises(DocvlmError, match=r"qa\.jsonl: cannot be read \(Permission denied\)"):
        Folder(str(folder)).setup()
