"""One table in every form: terminal, pipe, CSV, LaTeX, Markdown; the same values in each, numbers whole."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from docvlm.scoring.intervals import Difference, Interval
from docvlm.tables import Column, Table, show, to_csv, to_latex, to_markdown

COLUMNS = (
    Column("model", "model", kind="text"),
    Column("size", "questions [documents]", filed=False),
    Column("questions"),
    Column("score", "score", ends=("low", "high")),
    Column("gain", "Δ"),
    Column("p", "p", kind="p"),
    Column("memory", "peak MB"),
)
ROWS = (
    {
        "model": "one [bold]with markup[/bold] | <b>&", "size": "1200 [72]", "questions": 1200, "memory": 12_345,
        "score": Interval(0.90837, 0.87412, 0.93931, 1200, 72), "gain": Difference(0.5, 0.4, 0.6, 0.0001, 1200, 72),
        "p": 0.0001,
    },
    {"model": "two", "size": "3 [1]", "questions": 3, "score": None, "gain": None, "p": None, "memory": None},
)  # fmt: skip
TABLE = Table("example", "A [title]", COLUMNS, ROWS, ["A note."], strong={0})
NUMBERS = ("0.908", "[0.874, 0.939]", "+0.500", "[+0.400, +0.600]", "<0.001", "12345")


def on_terminal(width: int, table: Table = TABLE) -> list[str]:
    """The lines on a terminal of this width, without colours."""
    file = io.StringIO()
    show(table, console=Console(file=file, force_terminal=True, width=width))
    return re.sub(r"\x1b\[[0-9;]*m", "", file.getvalue()).splitlines()


def test_a_pipe_gets_a_line_a_row_of_plain_text(capsys: pytest.CaptureFixture[str]) -> None:
    show(TABLE, "A sentence with [brackets] that is longer than a line: " + "word " * 40)
    title, heads, rule, first, second, note, empty, sentence = capsys.readouterr().out.splitlines()
    assert (title, note, empty) == ("A [title]", "A note.", "")
    assert set(rule) == {"-"} and heads.split()[:2] == ["model", "questions"]
    assert all(number in first for number in NUMBERS) and first.startswith("one [bold]with markup[/bold] | <b>&")
    assert second.split() == ["two", "3", "[1]", "–", "–", "–", "–"]
    assert sentence.startswith("A sentence with [brackets]") and sentence.count("word") == 40
    assert heads == heads.rstrip() and first == first.rstrip()


@pytest.mark.parametrize("width", [160, 100, 80, 40])
def test_no_width_cuts_a_number(width: int) -> None:
    text = "\n".join(on_terminal(width))
    assert all(number in text for number in NUMBERS) and "…" not in text


def test_a_narrow_terminal_has_intervals_on_two_lines() -> None:
    wide, narrow = on_terminal(160), on_terminal(80)
    assert any("0.908 [0.874, 0.939]" in line for line in wide)
    assert not any("0.908 [0.874, 0.939]" in line for line in narrow) and max(map(len, narrow)) <= 80


def test_the_best_row_is_bold() -> None:
    file = io.StringIO()
    show(TABLE, console=Console(file=file, force_terminal=True, width=160))
    (best,) = [line for line in file.getvalue().splitlines() if "12345" in line]
    (other,) = [line for line in file.getvalue().splitlines() if "two" in line]
    assert "\x1b[1m" in best and "\x1b[1m" not in other


def test_the_file_has_full_precision_and_the_columns_it_had(tmp_path: Path) -> None:
    to_csv(tmp_path / "example.csv", TABLE)
    with (tmp_path / "example.csv").open(newline="", encoding="utf-8") as file:
        first, second = csv.DictReader(file)
    names = ["model", "questions", "score", "low", "high", "gain", "gain_low", "gain_high", "p", "memory"]
    assert list(first) == names
    assert [first[name] for name in ("score", "low", "high", "gain_high")] == ["0.90837", "0.87412", "0.93931", "0.6"]
    assert second["score"] == second["low"] == second["gain_low"] == ""
    to_csv(tmp_path / "none.csv", Table("none", "", COLUMNS, [ROWS[1]]))
    header = (tmp_path / "none.csv").read_text(encoding="utf-8").splitlines()[0].split(",")
    assert header[2:5] == ["score", "low", "high"], "named ends stand in the file, interval or not"


def test_latex_and_markdown_escape_what_is_not_theirs() -> None:
    latex, markdown = to_latex(TABLE), to_markdown(TABLE)
    assert r"\toprule" in latex and r"\label{tab:example}" in latex and r"$\Delta$" in latex
    assert r"<b>\&" in latex.replace(r"\textless ", "<").replace(r"\textgreater ", ">")
    head, rule, first, _ = markdown.splitlines()
    assert rule == "|---|---:|---:|---:|---:|---:|" and head.count("|") == first.count("|") == 7
    assert "&#124; &lt;b&gt;&amp;" in first
