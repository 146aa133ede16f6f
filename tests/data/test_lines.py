"""Lists in cells, names of pages, and what is written to be read again: every case was once read as something else."""

from __future__ import annotations

import csv
import io
import json
import warnings
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from docvlm.data.benchmarks.folder import Folder
from docvlm.data.lines import cell, lines, listed
from docvlm.data.sources.locate import named
from docvlm.data.sources.own_folder import question_files
from docvlm.errors import DocvlmError
from docvlm.scoring.predictions import given
from docvlm.serving import sources, writers
from docvlm.serving.answers import Answer


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("['$950.48']", ["$950.48"]),
        ("['a' 'b']", ["a", "b"]),
        ("['a'\n 'b']", ["a", "b"]),
        ("('a',)", ["a"]),
        ("('a', 'b')", ["a", "b"]),
        ("[u'a', r'\\n']", ["a", "\\n"]),
        ("[-1, +2.50, 1e5]", ["-1", "+2.50", "1e5"]),
        ("[1200.  950.5]", ["1200.", "950.5"]),
        ("['a', ]", ["a"]),
        ("[12.05.2020]", None),
        ("[2020-11-12]", None),
        ("[12-15]", None),
        ("[007]", None),
        ("[- 1]", None),
        ("[,1]", None),
        ("[sic]", None),
        ("('quoted')", None),
        ("('a') and 'b'", None),
        ("\ufeff", None),
    ],
)
def test_lists_are_read_as_they_are_written(text: str, values: list[str] | None) -> None:
    assert listed(text) == values


@pytest.mark.parametrize(
    "text",
    ["['it''s']", "['a', 'b' 'c']", "['a',, 'b']", "['a' ... 'b']", "['a'; 'b']", "['a', b]", "{'a', 'b'}", "[b'a']",
     "[f'{1}']", "['C:\\data']", "['a\0']", "['a", "['a')", "array(['a'], dtype=object)", "[np.str_('a')]",
     "{'text': ['a']}", '{"text": ["a"]}'],
)  # fmt: skip
def test_lists_that_cannot_be_read_are_said(text: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match=r"is a list that cannot be read|is an object"):
            listed(text)


def faults(path: Path, content: str) -> list[str]:
    path.write_bytes(content.encode("utf-8", "surrogatepass"))
    return [line.fault for line in lines(path)]


def test_what_is_wrong_with_a_line_is_one_short_line(tmp_path: Path) -> None:
    deep = '{"image": ' + "[" * 500 + "]" * 500 + "}"
    assert faults(tmp_path / "a.jsonl", deep) == ["not JSON that can be read: too many brackets inside each other"]
    key = "k" * 5000
    (fault,) = faults(tmp_path / "a.jsonl", f'{{"{key}": 1, "{key}": 2}}')
    assert fault.endswith("stands twice") and len(fault) < 120
    assert faults(tmp_path / "a.csv", 'a,b\n"x"y,1\n') == ["not CSV: ',' expected after '\"'"]
    swallowed = faults(tmp_path / "a.csv", 'a,b\n1,"What?\n2,"Who?"\n3,4\n')
    assert swallowed == ["not CSV: ',' expected after '\"' (it was read to line 3)", ""]


def test_columns_without_a_name_lose_nothing(tmp_path: Path) -> None:
    assert faults(tmp_path / "a.csv", ",a,,\n0,b,,\n,c,1,\n") == ["", ""]
    assert faults(tmp_path / "a.csv", ",a,,\n0,b,1,\n") == ["two cells are filled in columns without a name"]


@pytest.fixture
def pages(tmp_path: Path) -> Path:
    first, second = (Image.new("L", (40, height), 255) for height in (30, 20))
    for name in ("a.png", " b.png", "c#1?.png", "one.tif"):
        first.save(tmp_path / name)
    first.save(tmp_path / "two.tif", save_all=True, append_images=[second])
    first.save(tmp_path / "two.pdf", save_all=True, append_images=[second])
    return tmp_path


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("file://{}/two.pdf#page=2", "two.pdf#page=2"),
        ("file://{}/two.tif#page=2", "two.tif#page=2"),
        ("file://{}/c#1?.png", "c#1?.png"),
        ("file:{}/c%231%3f.png", "c#1?.png"),
        ("FILE://LOCALHOST{}/a.png", "a.png"),
        (" b.png", " b.png"),
        ("a.png ", "a.png"),
        ("one.tif#page=1", "one.tif"),
    ],
)
def test_a_name_means_the_page_it_names(pages: Path, name: str, found: str) -> None:
    assert [page.name for page in named(name.format(pages), pages, "here")] == [f"{pages}/{found}"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("one.tif#page=2", "has one page, so there is no page 2"),
        ("two.tif#page=3", "there is no page 3"),
        ("two.pdf#page=" + "9" * 5000, "not found"),
        ("file://[x", "lies on another machine"),
        ("file://\u2100/a.png", "lies on another machine"),
        ("data:,\ud83d", "not an image"),
        ("data:image/png;base64,\ud83d", "damaged"),
        ("a\n\u2028b.png", "not found"),
    ],
)
def test_a_name_that_means_nothing_is_one_line(pages: Path, name: str, said: str) -> None:
    with pytest.raises(DocvlmError, match=said) as refused:
        named(name, pages, "here")
    assert len(str(refused.value).splitlines()) == 1 and len(str(refused.value)) < 500


def test_a_page_that_decoders_stumble_over_is_one_line(tmp_path: Path) -> None:
    """Pillow has its own exceptions, and lets a TypeError or a KeyError through for some damaged TIFFs."""
    page = Image.new("P", (9, 9))
    page.putpalette([0, 0, 0, 255, 255, 255])
    page.save(tmp_path / "p.tif", save_all=True, append_images=[page])
    whole = (tmp_path / "p.tif").read_bytes()
    for length in range(0, len(whole) - 16, 3):  # the last bytes are padding
        (tmp_path / "p.tif").write_bytes(whole[:length])
        with pytest.raises(DocvlmError, match=r"p\.tif"):
            [one.open() for one in named("p.tif", tmp_path, "here")]


@pytest.mark.parametrize("name", ["~.png", "~nobody.png", "~"])
def test_a_page_may_be_called_as_a_home_is(tmp_path: Path, name: str) -> None:
    Image.new("L", (40, 30)).save(tmp_path / name, "PNG")
    assert [page.name for page in named(name, tmp_path, "here")] == [str(tmp_path / name)]


def test_a_folder_whose_name_breaks_lines_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "a\nb").mkdir()
    with pytest.raises(DocvlmError, match=r"a\\nb.*nothing readable") as refused:
        Folder(str(tmp_path / "a\nb")).setup()
    assert len(str(refused.value).splitlines()) == 1


def rows(path: Path, *written: Any) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in written), encoding="utf-8")
    return path


GOOD = {"image": "../a.png", "question": "Total?", "answers": ["1"]}


def test_the_same_line_of_two_splits_is_two_rows(pages: Path) -> None:
    for split in ("train", "test"):
        rows(
            pages / split / "qa.jsonl",
            *({**GOOD, "question_id": number} for number in range(3)),
            {**GOOD, "answers": 1e300 * 1e300},
        )
    data = Folder(str(pages))
    data.setup()
    assert [entry.where for entry in data.quarantine.rejected] == ["train/qa.jsonl line 4", "test/qa.jsonl line 4"]
    assert data.quarantine.read == 8


def test_question_files_that_are_not_read_are_said(pages: Path) -> None:
    rows(pages / "val" / "qa.jsonl", GOOD)
    other = rows(pages / "val" / "other.jsonl", GOOD)
    assert question_files(pages).unread == [other]
    rows(pages / "train.jsonl", GOOD)
    assert question_files(pages).unread == [other, pages / "val" / "qa.jsonl"]
    (said,) = Folder(str(pages)).unread()
    assert said.startswith("not read: val/other.jsonl, val/qa.jsonl (") and said.endswith(" means train.jsonl)")


def test_the_column_that_has_the_answers_is_read(pages: Path) -> None:
    """Tables that were put together have both columns, and each row fills one."""
    file = rows(
        pages / "qa.jsonl",
        {**GOOD, "image": "a.png", "answers": None, "answer": "7", "prediction": "8", "question_id": 0},
    )
    data = Folder(str(file), val_fraction=0, test_fraction=1)
    assert [example.answers for example in data.test] == [one.answers for one in given(file)[0]] == [("7",)]


@pytest.mark.parametrize(
    "changed",
    [{"answers": [""]}, {"answers": " "}, {"question_id": []}, {"type": {"a": 1}}, {"doc_id": ["a"]}, {"doc_type": {}}],
)  # fmt: skip
def test_predict_refuses_what_could_not_be_scored(pages: Path, changed: dict[str, Any]) -> None:
    good = [{**GOOD, "image": "a.png", "question_id": number, "prediction": "1"} for number in range(2)]
    file = rows(pages / "qa.jsonl", *good, {**good[0], "question_id": 2, **changed})
    source = sources.read([str(file)], [])
    assert len(source.tasks) == 2 and source.quarantine is not None
    assert [entry.where for entry in source.quarantine.rejected] == ["qa.jsonl line 3"]
    assert len(given(file)[1].rejected) == 1


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_what_predict_writes_is_what_was_given(pages: Path, form: str) -> None:
    pairs = [
        ("[1]", 950.5), ("nan", True), ("['a']", None), (["[1]", "b"], {"a": 1}), ("a\rb", "c\rd"), (True, "[x]"),
        ([0.10, "x"], -0.0),
    ]  # fmt: skip
    more = [{"answers": accepted, "note": note} for accepted, note in pairs]
    given_rows = [
        {**GOOD, "image": "a.png", "question_id": number, "type": ["x", "y"], **one} for number, one in enumerate(more)
    ]
    tasks = sources.read([str(rows(pages / "q.jsonl", *given_rows))], []).tasks
    stream = io.StringIO(newline="")
    said = ["nan", "x\ry", "", "[1]", "['a']", "\u2028", '"']
    answers = [(task, Answer(text, "", (), 0.5, 1, False, 0.1)) for task, text in zip(tasks, said, strict=True)]
    writers.write(iter(answers), tasks, form, stream)
    file = pages / f"p.{form}"
    file.write_text(stream.getvalue(), encoding="utf-8", newline="")
    records, quarantine = given(file)
    assert [one.prediction for one in records] == said and not quarantine.rejected
    assert [one.answers for one in records] == [
        ("[1]",), ("nan",), ("['a']",), ("[1]", "b"), ("a\rb",), ("true",), ("0.1", "x"),
    ]  # fmt: skip
    assert {one.question_types for one in records} == {("x", "y")}
    if form == "jsonl":
        back = [json.loads(line) for line in stream.getvalue().split("\n")[:-1]]
        assert all({**new, **old} == new for old, new in zip(given_rows, back, strict=True))


def test_a_cell_is_what_is_read_there() -> None:
    table = io.StringIO("answers\n" + "".join(f'"{cell("answers", text)}"\n' for text in ("a", "7", "x]")))
    assert [row["answers"] for row in csv.DictReader(table)] == ["a", "7", "x]"]
