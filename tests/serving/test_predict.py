"""`docvlm-predict`: files, folders, PDFs, lines and pipes in; text, JSON lines and CSV out; whole or not at all."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from docvlm.predict import main
from docvlm.scoring import predictions
from docvlm.serving import reader, sources
from tests.support import asked as files
from tests.support.tiny import checkpoint

AWKWARD = "What's {the} total=[sum], in $ or %? \\ 'x'"
ZERO_SHOT = ("--checkpoint", checkpoint("qwen2vl"), "--family", "qwen2vl")
SHORT = ("--max-new-tokens", 4)


@pytest.fixture(autouse=True)
def loaded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "load", files.load_once)


@pytest.fixture
def run() -> Path:
    return files.run()


@pytest.fixture
def page(tmp_path: Path) -> Path:
    path = tmp_path / "invoice no. 1.png"
    files.image("total").save(path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two images, a PDF of two pages, and what else lies in a folder."""
    place = tmp_path / "scans"
    (place / "older").mkdir(parents=True)
    for name in ("b", "a"):
        files.image(name).save(place / f"{name}.png")
    files.pdf(place / "c.PDF", "first", "second")
    (place / "notes.txt").write_text("x")
    (place / ".hidden").write_text("x")
    return place


def asked(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[str, str]:
    """What is on standard output, and what on standard error."""
    main([str(argument) for argument in arguments])
    return capsys.readouterr()


def refused(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 1, lines: int = 1) -> str:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    assert ended.value.code == code
    out, error = capsys.readouterr()
    assert out == ""
    assert code == 2 or error.count("\n") == lines
    return error


def lines(path: Path, *rows: dict[str, object]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def piped(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


def test_a_run_and_its_base_answer_differently(run: Path, page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ("--question", AWKWARD, *SHORT, page)
    ours, latency = asked(capsys, "--run", run, *flags)
    assert latency.startswith("latency ")
    assert float(latency.split()[1]) > 0
    assert asked(capsys, "--run", run, *flags)[0] == ours
    assert ours.count("\n") == 1
    assert "the answer was cut by --max-new-tokens" in asked(capsys, "--run", run, *flags[:2], page, SHORT[0], 1)[1]
    assert asked(capsys, *ZERO_SHOT, *flags)[0] != ours
    assert asked(capsys, "--run", run / "checkpoints" / "best", "--benchmark", "chartqa", *flags)[0] == ours


def test_several_pages_are_one_document(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ("--question", "x?", "--max-new-tokens", 2, "--format", "jsonl", page, page)
    (row,) = map(json.loads, asked(capsys, *ZERO_SHOT, *flags)[0].splitlines())
    assert row["image"] == [str(page)] * 2
    flags = ("--checkpoint", checkpoint("florence2"), "--family", "florence2", "--question", "x?", page, page)
    assert "this model reads 1" in refused(capsys, *flags)


def test_a_folder_is_a_document_a_file(run: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ("--run", run, "--question", "x?", "--question", "y z?", *SHORT, "--format", "jsonl", folder)
    out, note = asked(capsys, *flags)
    rows = [json.loads(line) for line in out.splitlines()]
    pdf = f"{folder / 'c.PDF'}#page="
    both = [f"{pdf}1", f"{pdf}2"]
    a, b = str(folder / "a.png"), str(folder / "b.png")
    assert [row["image"] for row in rows] == [a, a, b, b, both, both]
    assert [row["question"] for row in rows] == ["x?", "y z?"] * 3
    assert "passed over 2, neither image nor PDF: notes.txt, older" in note
    assert "a mean over 6 questions about 3 documents" in note
    apart = [json.loads(line) for line in asked(capsys, *flags, "--each-page")[0].splitlines()]
    assert [row["image"] for row in apart] == [a, a, b, b, both[0], both[0], both[1], both[1]]
    assert [row["prediction"] for row in apart[:4]] == [row["prediction"] for row in rows[:4]]


def test_pages_of_a_pdf_are_chosen(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pdf = files.pdf(tmp_path / "a.pdf", *"abcd")
    flags = ("--run", run, "--question", "x?", *SHORT, "--format", "jsonl", pdf)
    (row,) = map(json.loads, asked(capsys, *flags, "--pages", "4,1-2")[0].splitlines())
    assert row["image"] == [f"{pdf}#page={number}" for number in (4, 1, 2)]
    assert "a.pdf: has pages 1 to 4, so there is no page 5" in refused(capsys, *flags, "--pages", "5")
    for wrong in ("0", "2-1", "x", "1,,2", ""):
        assert "give page numbers from 1" in refused(capsys, *flags, "--pages", wrong, code=2)


def test_lines_are_answered_in_their_order(run: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also where questions about one page stand apart; paths are the file's, other columns are handed through."""
    asks = lines(
        folder / "questions.jsonl",
        {"image": "a.png", "question": "x?", "answers": ["1"], "question_id": "q1"},
        {"image": "b.png", "question": "x?", "answers": ["2"], "question_id": "q2"},
        {"image": "a.png", "question": "y z?", "answers": ["3"], "question_id": "q3"},
        {"image": ["c.PDF#page=2", "a.png"], "question": "y z?", "answers": ["4"], "question_id": "q4"},
    )
    output = folder / "predictions.jsonl"
    out, note = asked(capsys, "--run", run, *SHORT, "--output", output, asks)
    assert out == ""
    assert "4 questions about 3 documents" in note
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert [row["question_id"] for row in rows] == ["q1", "q2", "q3", "q4"]
    assert rows[3]["image"] == ["c.PDF#page=2", "a.png"]
    for row, name in zip(rows[:3], "aba", strict=True):
        alone, _ = asked(capsys, "--run", run, *SHORT, "--question", row["question"], folder / f"{name}.png")
        assert " ".join(row["prediction"].split()) == alone.removesuffix("\n")
    scored = predictions.read(output)
    assert [record.answers for record in scored] == [("1",), ("2",), ("3",), ("4",)]
    assert [record.prediction for record in scored] == [row["prediction"] for row in rows]


def test_the_formats_say_the_same(run: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asks = lines(folder / "q.jsonl", {"image": "a.png", "question": "x?"}, {"image": "a.png", "question": "y, z?"})
    asks.write_bytes(b"\xef\xbb\xbf" + asks.read_bytes())  # as Windows editors save it
    flags = ("--run", run, *SHORT, asks)
    rows = [json.loads(line) for line in asked(capsys, *flags, "--format", "jsonl")[0].splitlines()]
    assert list(rows[0]) == ["image", "question", "prediction", "confidence", "tokens", "truncated", "latency_s"]
    table = list(csv.DictReader(io.StringIO(asked(capsys, *flags, "--format", "csv")[0], newline="")))
    same = ("image", "question", "prediction")
    assert [[row[name] for name in same] for row in table] == [[row[name] for name in same] for row in rows]
    assert float(table[0]["confidence"]) == pytest.approx(rows[0]["confidence"], abs=1e-3)
    text = asked(capsys, *flags)[0].splitlines()
    said = [" ".join(row["prediction"].split()) for row in rows]
    assert text == [f"{folder / 'a.png'}\t{row['question']}\t{one}" for row, one in zip(rows, said, strict=True)]


def test_a_pipe_in_and_two_dashes(
    run: Path, page: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = ("--run", run, "--question", "x?", *SHORT)
    answer = asked(capsys, *ask, page)[0]
    piped(monkeypatch, page.read_bytes())
    assert asked(capsys, *ask, "--", "-")[0] == answer
    piped(monkeypatch, files.pdf(tmp_path / "a.pdf", "b", "c").read_bytes())
    (row,) = map(json.loads, asked(capsys, *ask, "--pages", 2, "--format", "jsonl", "-")[0].splitlines())
    assert row["image"] == "-#page=2"
    monkeypatch.chdir(tmp_path)
    page.rename("-odd.png")
    piped(monkeypatch, json.dumps({"image": "-odd.png", "question": "x?"}).encode())
    assert asked(capsys, "--run", run, *SHORT, "-")[0] == answer
    assert asked(capsys, *ask, "--", "-odd.png")[0] == answer
    piped(monkeypatch, b"")
    assert "-: empty (0 bytes)" in refused(capsys, *ask, "-")


def test_a_reader_that_goes_away_ends_it_quietly(
    run: Path, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, theirs = os.pipe()
    os.close(mine)
    with os.fdopen(theirs, "w") as out:
        monkeypatch.setattr(sys, "stdout", out)
        with pytest.raises(SystemExit) as ended:
            main(["--run", str(run), "--question", "x?", "--max-new-tokens", "1", str(folder)])
    assert ended.value.code == 141
    assert "Traceback" not in capsys.readouterr().err


def test_outputs_that_cannot_be(run: Path, page: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ("--run", run, "--question", "x?", page, "--output")
    assert "end it in .jsonl, .csv, .txt, or say --format" in refused(capsys, *flags, tmp_path / "out.parquet")
    assert "out.csv: there is no folder" in refused(capsys, *flags, tmp_path / "absent" / "out.csv")
    assert "/dev/null: not a file" in refused(capsys, *flags, "/dev/null", "--format", "csv")
    (tmp_path / "out.csv").mkdir()
    assert "out.csv: a folder" in refused(capsys, *flags, tmp_path / "out.csv")
    asks = lines(tmp_path / "q.jsonl", {"image": page.name, "question": "x?"})
    assert "that is the input" in refused(capsys, "--run", run, asks, "--output", asks)


def test_lines_that_are_wrong_are_named(page: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Before any weight loads: there is no such run."""
    good, path = json.dumps({"image": page.name, "question": "x?"}).encode(), tmp_path / "q.jsonl"
    cases = {
        b'{"image": "a.png", "question"': "not JSON",
        b"\xff": "not UTF-8 (byte 0xff at column 1)",
        b"[1]": "not a JSON object but a list",
        b'{"image": "a.png", "question": NaN}': "question is NaN",
        b'{"image": "a.png"}': "no question",
        b'{"question": "x?"}': "no image",
        b'{"image": 3, "question": "x?"}': "image '3' not found",
        b'{"image": "a.png", "question": " "}': "question is empty",
        b'{"image": "a.png", "question": "\\ud83d?"}': "question holds half a surrogate pair (\\ud83d at character 1)",
        b'{"image": "absent.png", "question": "x?"}': "image 'absent.png' not found in",
        b'{"image": "http://x.org/a", "question": "x?"}': "image 'http://x.org/a' is an address; download it first",
        b'{"image": [], "question": "x?"}': "image is [], not a file name",
    }
    for line, said in cases.items():
        path.write_bytes(good + b"\n\n" + line + b"\n" + good)
        error = refused(capsys, "--run", "absent", path, lines=2)
        assert f"left out: q.jsonl line 3: {said}" in error, error
    path.write_bytes(b"\n")
    assert "q.jsonl: no questions in it" in refused(capsys, "--run", "absent", path)
    path.write_bytes(good)
    assert "leave out --question" in refused(capsys, "--run", "absent", "--question", "x?", path)
    assert "absent.jsonl: cannot be read" in refused(capsys, "--run", "absent", tmp_path / "absent.jsonl")


def one_kind(file: Path) -> str:
    """Under which reason the one bad line of a file is counted."""
    quarantine = sources.read([str(file)], []).quarantine
    assert quarantine is not None
    (bad,) = quarantine.rejected
    return bad.kind


def test_bad_pages_and_questions(tmp_path: Path, page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Before any weight loads, too."""
    flags = ("--run", "absent", "--question", "x?")
    assert "absent.png' not found" in refused(capsys, *flags, tmp_path / "absent.png")
    (tmp_path / "none").mkdir()
    assert "no image and no PDF in it" in refused(capsys, *flags, tmp_path / "none")
    assert "give a folder, a .jsonl or .csv file or - alone" in refused(capsys, *flags, page, tmp_path / "none")
    (tmp_path / "empty.png").touch()
    assert "empty (0 bytes)" in refused(capsys, *flags, tmp_path / "empty.png")
    (tmp_path / "cut.png").write_bytes(page.read_bytes()[:200])
    assert "cut.png" in refused(capsys, *flags, tmp_path / "cut.png")
    (tmp_path / "secret.pdf").write_bytes(files.ENCRYPTED)
    assert "secret.pdf: encrypted" in refused(capsys, *flags, tmp_path / "secret.pdf")
    lines = [{"image": page.name, "question": "x?"}, {"image": "secret.pdf", "question": "x?"}]
    (tmp_path / "q.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert one_kind(tmp_path / "q.jsonl") == "image encrypted"
    Image.new("RGB", (20_000, 10)).save(tmp_path / "strip.png")
    assert "strip.png" in refused(capsys, *flags, tmp_path / "strip.png")
    assert "--question is empty" in refused(capsys, "--run", "absent", "--question", " ", page)
    assert "--question is missing" in refused(capsys, "--run", "absent", page)
    assert "--pages chooses pages of PDFs" in refused(capsys, *flags, "--pages", "1", page)


def test_bad_weights(tmp_path: Path, page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ask = ("--question", "x?", page)
    assert "no such folder" in refused(capsys, "--run", tmp_path / "absent", *ask)
    assert "manifest.json: no such file" in refused(capsys, "--run", tmp_path, *ask)
    other = ("--checkpoint", checkpoint("qwen2vl"), "--family", "florence2")
    assert "model_type is 'qwen2_vl'" in refused(capsys, *other, *ask)
    hub = ("--checkpoint", "nobody/nothing", "--family", "qwen2vl", "--offline")
    assert "nobody/nothing" in refused(capsys, *hub, *ask)


def test_flags_that_do_not_fit(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ask = ("--question", "x?", page)
    assert "--checkpoint needs --family" in refused(capsys, "--checkpoint", "embedded", *ask, code=2)
    assert "--base goes with --run" in refused(capsys, *ZERO_SHOT, "--base", "b", *ask, code=2)
    assert "--family goes with --checkpoint" in refused(capsys, "--run", "r", "--family", "qwen2vl", *ask, code=2)
    assert "give a number" in refused(capsys, "--run", "r", "--max-new-tokens", "0", *ask, code=2)
    assert "give page numbers from 1" in refused(capsys, "--run", "r", "--pages", "1-99999999999", *ask, code=2)
    assert "one of the arguments --run --checkpoint is required" in refused(capsys, *ask, code=2)


def test_help_needs_no_torch() -> None:
    code = (
        "import sys, docvlm.predict as p\ntry: p.main(['--help'])\nexcept SystemExit: sys.exit('torch' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert found.returncode == 0
    assert "--run DIR" in found.stdout
