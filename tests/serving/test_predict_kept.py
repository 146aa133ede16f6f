"""`docvlm-predict --output`: an answer that was given is on disk, and the same command asks only what is missing."""

from __future__ import annotations

import csv
import errno
import fcntl
import json
from pathlib import Path
from typing import Any

import pytest

from docvlm.files import GrowingFile
from docvlm.predict import main
from docvlm.serving import reader
from docvlm.serving.reader import Reader
from tests.support import asked as files
from tests.support.runs import on_call

QUESTIONS = [("a", "x?"), ("b", "x?"), ("c", "x?"), ("a", "y z?"), ("d", "x?")]  # of four pages, one asked twice


@pytest.fixture(autouse=True)
def loaded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "load", files.load_once)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with four pages and five questions about them."""
    monkeypatch.chdir(tmp_path)
    for name in "abcd":
        files.image(name).save(f"{name}.png")
    ask(QUESTIONS)
    return tmp_path


def ask(questions: list[tuple[str, str]]) -> None:
    rows = [{"image": f"{name}.png", "question": text, "n": i} for i, (name, text) in enumerate(questions)]
    Path("q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def predict(output: str, *more: str) -> None:
    main(["--run", str(files.run()), "--max-new-tokens", "4", "--output", output, *more, "q.jsonl"])


def broken_off(output: str, *more: str) -> int | str | None:
    with pytest.raises(SystemExit) as ended:
        predict(output, *more)
    return ended.value.code


def counted(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The questions that are asked from here on, a list a reading."""
    asked: list[list[str]] = []
    inner = Reader.ask

    def ask(self: Reader, page: Any, question: Any, **more: Any) -> Any:
        asked.append(list(question))
        return inner(self, page, question, **more)

    monkeypatch.setattr(Reader, "ask", ask)
    return asked


def rows(path: str) -> list[dict[str, Any]]:
    """The rows of an output without their latency."""
    text = Path(path).read_text()
    found: list[dict[str, Any]] = (
        list(csv.DictReader(text.splitlines())) if path.endswith(".csv") else [json.loads(x) for x in text.splitlines()]
    )
    return [{name: value for name, value in row.items() if name != "latency_s"} for row in found]


def damage(name: str) -> bytes:
    whole = Path(name).read_bytes()
    Path(name).write_bytes(whole[:100] + bytes(50) + whole[150:])
    return whole


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "txt"])
def test_a_page_that_is_damaged_costs_no_answer(
    suffix: str, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    predict(f"whole.{suffix}")
    whole, output = damage("c.png"), f"out.{suffix}"
    capsys.readouterr()
    assert broken_off(output) == 1
    error = capsys.readouterr().err
    assert error.startswith("rows: 5 read, none left out, none repeated\nerror: page c.png") and error.count("\n") == 2
    assert f"3 of 5 answers are kept in {output}.part, and the same command goes on from there" in error
    assert not Path(output).exists()
    kept = [json.loads(line) for line in Path(f"{output}.part").read_text().splitlines()]
    assert [(row["image"], row["question"], row["n"]) for row in kept] == [
        ("a.png", "x?", 0), ("a.png", "y z?", 3), ("b.png", "x?", 1),
    ]  # fmt: skip
    Path("c.png").write_bytes(whole)
    asked = counted(monkeypatch)
    predict(output)
    assert asked == [["x?"], ["x?"]]
    out, note = capsys.readouterr()
    assert out == "" and f"3 of 5 answers are there already, in {output}.part" in note
    assert "a mean over 2 questions about 2 documents" in note
    assert not list(place.glob("*.part"))
    if suffix == "txt":
        assert Path(output).read_text() == Path("whole.txt").read_text()
    else:
        assert rows(output) == rows(f"whole.{suffix}")


def test_ctrl_c_and_kill(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A kill leaves no word and half a line, which is cut off; an output of before stays till the new one is whole."""
    predict("whole.csv")
    Path("out.csv").write_text("of before")

    def stop() -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Reader, "ask", on_call(2, stop, Reader.ask))
        assert broken_off("out.csv") == 130
    error = capsys.readouterr().err
    assert "out.csv: is there already; it is replaced once all answers are there" in error
    assert "2 of 5 answers are kept in out.csv.part" in error and error.endswith("interrupted\n")
    part = Path("out.csv.part")
    lines = part.read_bytes().splitlines(keepends=True)
    assert len(lines) == 2 and Path("out.csv").read_text() == "of before"
    part.write_bytes(b"".join(lines) + lines[0][:40])
    with monkeypatch.context() as patch:
        patch.setattr(Reader, "ask", on_call(2, stop, Reader.ask))
        broken_off("out.csv")
    assert part.read_bytes().startswith(b"".join(lines)) and part.read_bytes().count(b"\n") == 3
    part.write_bytes(part.read_bytes()[:-1])  # killed between a line and its end
    asked = counted(monkeypatch)
    predict("out.csv")
    assert asked == [["x?"], ["x?"]] and rows("out.csv") == rows("whole.csv")


def test_answers_of_another_command_are_neither_taken_nor_lost(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    damage("d.png")
    broken_off("out.csv")
    part = Path("out.csv.part").read_bytes()
    capsys.readouterr()
    for more in (["--benchmark", "docvqa"], ["--max-new-tokens", "3"]):
        assert broken_off("out.csv", *more) == 1
        assert "out.csv.part: 4 answers of another model, of a command that did not end" in capsys.readouterr().err
    ask([("a", "other?"), ("c", "others?")])
    assert broken_off("out.csv") == 1
    assert "out.csv.part: 4 answers to other questions or about other pages" in capsys.readouterr().err
    assert Path("out.csv.part").read_bytes() == part and not Path("out.csv").exists()
    (place / "out.csv.part").write_text("totals\n")
    assert broken_off("out.csv") == 1
    assert "out.csv.part:1: not JSON" in capsys.readouterr().err
    (place / "out.csv.part").unlink()
    with Path("out.csv.part").open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert broken_off("out.csv") == 1
    assert "out.csv.part: another process is answering into it" in capsys.readouterr().err
    assert Path("out.csv.part").exists()


def test_a_page_or_question_that_changed_is_asked_again(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = damage("d.png")
    broken_off("out.jsonl")
    Path("d.png").write_bytes(whole)
    files.image("other").save("b.png")
    ask([*QUESTIONS[:3], ("a", "now?"), QUESTIONS[4]])
    predict("whole.jsonl")
    asked = counted(monkeypatch)
    predict("out.jsonl")
    assert asked == [["x?", "now?"], ["x?"], ["x?"]]  # a's questions are read together, c is as it was
    assert rows("out.jsonl") == rows("whole.jsonl")


def test_a_full_disk_leaves_whole_lines(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Full:
        """A file that takes half of its second write and then no more."""

        def __init__(self, file: Any) -> None:
            self.file, self.writes = file, 0

        def write(self, data: memoryview) -> int:
            self.writes += 1
            if self.writes == 3:
                raise OSError(errno.ENOSPC, "No space left on device")
            return int(self.file.write(data[: len(data) // self.writes]))

        def __getattr__(self, name: str) -> Any:
            return getattr(self.file, name)

    inner = GrowingFile.__init__

    def init(self: GrowingFile, path: Path) -> None:
        inner(self, path)
        self._file = Full(self._file)  # type: ignore[assignment]

    with monkeypatch.context() as patch:
        patch.setattr(GrowingFile, "__init__", init)
        assert broken_off("out.jsonl") == 1
    error = capsys.readouterr().err
    assert "\nerror: out.jsonl.part: cannot be written (No space left on device); free space" in error
    assert "2 of 5 answers are kept" in error and error.count("\n") == 2
    kept = Path("out.jsonl.part").read_bytes()
    assert kept.count(b"\n") == 2 and kept.endswith(b"\n")  # the half line went
    predict("out.jsonl")
    predict("whole.jsonl")
    assert rows("out.jsonl") == rows("whole.jsonl")
