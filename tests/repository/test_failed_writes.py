"""Text that no encoding stops, on the terminal and in files; and which errors a full disk is behind."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from docvlm import files, writing
from docvlm.audit import main as audit
from docvlm.data.rows import Row
from docvlm.data.sources.quarantine import Quarantine
from docvlm.errors import DocvlmError, Unwritable
from docvlm.predict import main as predict
from docvlm.scoring import predictions
from docvlm.serving import writers
from docvlm.serving.answers import Answer
from docvlm.serving.sources import Task
from docvlm.vlms import load_family
from docvlm.vlms.codec import Budget
from tests.repository.test_full_disk import full_at
from tests.support import own
from tests.support.tiny import Paper, checkpoint

ODD = os.fsdecode(b"p\xff\xe9.png")  # what Python makes of a file name that is not UTF-8


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    own.pages()
    return tmp_path


def odd_name(split: str) -> str:
    """Give the page of a row such a name; skips where the file system knows UTF-8 only."""
    try:
        Path(f"pages/{split}0.png").rename(f"pages/{split}{ODD}")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    own.change(f"{split}0", image=f"{split}{ODD}", question="총액은 얼마입니까?", answers=["합계 원"])
    return f"{split}{ODD}"


def terminal(encoding: str, monkeypatch: pytest.MonkeyPatch) -> Callable[[], str]:
    """A terminal of an encoding from here on; call it for what it was sent, both streams together."""
    raw = io.BytesIO()
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, io.TextIOWrapper(raw, encoding=encoding, write_through=True))
    return lambda: raw.getvalue().decode(encoding)


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "utf-8"])
def test_answers_and_questions_that_a_terminal_lacks(
    encoding: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = terminal(encoding, monkeypatch)
    name = odd_name("test")
    flags = ("--checkpoint", str(checkpoint("qwen2vl")), "--family", "qwen2vl", "--max-new-tokens", "2")
    questions = ("--question", "총액?", "--question", "x?")
    predict([*flags, *questions, f"pages/{name}"])
    written = "총액?" if encoding == "utf-8" else ascii("총액?")[1:-1]
    assert f"pages/testp\\udcff\\udce9.png\t{written}\t" in shown()
    for suffix in ("jsonl", "csv", "txt"):
        predict([*flags, *questions, "--output", f"out.{suffix}", f"pages/{name}"])
    assert [json.loads(line)["image"] for line in Path("out.jsonl").read_text().splitlines()] == [f"pages/{name}"] * 2
    assert next(csv.DictReader(Path("out.csv").read_text().splitlines()))["image"] == r"pages/testp\udcff\udce9.png"
    assert Path("out.txt").read_text().startswith(r"pages/testp\udcff\udce9.png" + "\t총액?\t")
    with pytest.raises(SystemExit):
        predict([*flags, "--question", os.fsdecode(b"Who\xff?"), f"pages/{name}"])
    assert r"error: question 'Who\udcff?': holds bytes that are no UTF-8; type it again" in shown()


def test_tables_and_reports_too(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An audit prints tables, and names pages in HTML and JSON."""
    shown = terminal("ascii", monkeypatch)
    train, test, val = odd_name("train"), odd_name("test"), Path("pages") / odd_name("val")
    whole = val.read_bytes()
    val.write_bytes(whole[:100] + bytes(50) + whole[150:])
    Path(f"pages/{train}").write_bytes(Path(f"pages/{test}").read_bytes())
    with pytest.raises(SystemExit) as ended:
        audit(["scale=tiny", "data=folder", "data.source=pages"])
    assert ended.value.code == 1  # a page of train is evaluated
    assert r"unreadable (val, 1 questions): page pages/valp\udcff\udce9.png" in shown()
    assert "pixels" in shown() and "Traceback" not in shown() and "Logging error" not in shown()
    (listed,) = Path().glob("outputs/*/audit.json")
    assert json.loads(listed.read_text())["pairs"][0]["train_page"].endswith(train)
    assert r"trainp\udcff\udce9.png" in listed.with_suffix(".html").read_text()


def test_a_run_on_such_pages(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = terminal("latin-1", monkeypatch)
    name = odd_name("test")
    own.train("features=off")
    assert "test: anls" in shown() and "Traceback" not in shown()
    (folder,) = Path("outputs").iterdir()
    kept = [one.question for one in predictions.read(folder / "predictions.jsonl")]
    assert "총액은 얼마입니까?" in kept and Path(f"pages/{name}").exists()


def test_every_writer_of_text(tmp_path: Path) -> None:
    files.write_json(tmp_path / "a.json", {"name": ODD, "한": "é"})
    assert files.read_json(tmp_path / "a.json") == {"name": ODD, "한": "é"}
    files.write_csv(tmp_path / "a.csv", [{"name": ODD}])
    assert (tmp_path / "a.csv").read_text() == "name\np\\udcff\\udce9.png\n"
    record = predictions.Prediction(ODD, ODD, "b", "", (), "q", "한", ("a",))
    predictions.append(tmp_path / "predictions.jsonl", [record])
    assert predictions.read(tmp_path / "predictions.jsonl") == [record]
    quarantine = Quarantine(tmp_path / "quarantine.jsonl")
    rows = [Row(ODD, 0, "train", {"question_id": ODD}, fault=f"{ODD}: broken")]
    with pytest.raises(DocvlmError):
        quarantine.examples(rows, lambda row: pytest.fail("a row with a fault is not read"), "pages")
    assert json.loads((tmp_path / "quarantine.jsonl").read_text())["question_id"] == ODD


def test_what_libraries_make_of_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """safetensors, torch and tokenizers raise errors of their own, the last a bare `Exception`."""
    tensors = {"weight": torch.zeros(4096)}
    vlm = load_family("qwen2vl").load(checkpoint("qwen2vl"), Budget(), offline=True)
    writers: dict[str, Callable[[Path], object]] = {
        "safetensors": lambda path: save_file(tensors, path),
        "torch": lambda path: torch.save(tensors, path),
        "tokenizers": lambda path: vlm.codec.tokenizer.backend_tokenizer.save(str(path)),
        "plain": lambda path: path.write_text("x" * 4096),
    }
    for name, write in writers.items():
        holder = type("Writer", (), {"write": staticmethod(write)})
        path = tmp_path / name
        message = rf"{name}: cannot be written \((File too large|no space left on the disk)\); free space"
        with (
            monkeypatch.context() as patch,
            full_at(holder, "write", 1, "", patch),
            pytest.raises(Unwritable, match=message),
            writing.written(path),
        ):
            holder.write(path)


def test_other_errors_are_left_alone(tmp_path: Path) -> None:
    assert writing.explained(ValueError("a bug"), tmp_path) is None
    assert writing.explained(OSError(errno.ENOENT, "No such file"), tmp_path) is None
    with pytest.raises(ValueError, match="a bug"), writing.written(tmp_path):
        raise ValueError("a bug")
    with pytest.raises(Unwritable, match="check its permissions"), writing.written(tmp_path):
        raise OSError(errno.EACCES, "Permission denied")
    for number in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT):
        said = writing.explained(OSError(number, os.strerror(number), "a.pdf"), tmp_path)
        assert said is not None and said.startswith(f"a.pdf: cannot be written ({os.strerror(number)}); free space")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_json_lines_are_json_whatever_a_stream_can_say(encoding: str) -> None:
    said = "총액 \U0001f600 é \udcff"
    task = Task((Paper("a.png"),), said)
    answer = Answer(said, said, ("a.png",), 1.0, 1, False, 0.1)
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="backslashreplace")
    writers.write([(task, answer)], [task], "jsonl", stream)
    (line,) = stream.buffer.getvalue().decode(encoding).splitlines()  # type: ignore[attr-defined]  # a BytesIO
    assert json.loads(line)["prediction"] == json.loads(line)["question"] == said
