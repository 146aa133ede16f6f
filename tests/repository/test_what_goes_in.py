"""What goes in is what was given, or is named: rows and cells drawn at random (pages: test_what_goes_in_pages.py).

Each is read through the doors people use (a data module, predict's questions, `predictions=FILE`), and what comes out
is compared with an oracle that knows what was drawn. Nothing but a one-line `DocvlmError` may be raised; every row
comes out with its own characters, or is named with file and line; none is lost.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import assume, given
from hypothesis import strategies as st

from docvlm.data.example import Example
from docvlm.errors import DocvlmError
from docvlm.scoring import predictions
from docvlm.serving import sources, writers
from docvlm.serving.answers import Answer
from tests.support.goes_in import (
    COUNTS,
    Value,
    Written,
    drawn,
    examples,
    files,
    good,
    home,
    numbers,
    one_line,
    plain,
    put,
    read,
    spelled,
    words,
)  # fmt: skip


def test_how_many_are_drawn() -> None:
    assert sum(COUNTS.values()) >= 2000


def same(example: Example, row: Written, number: int, page: str) -> None:
    """Every column of a row came out with its own characters."""
    stem = page.removesuffix(".png")
    assert example.question == row.single("question") and example.answers == row.answers
    assert example.question_id == (row.single("question_id") or f"{stem}-{number}")
    assert example.document == (row.single("doc_id") or page)
    assert example.question_types == row.texts("type")
    assert example.document_type == ", ".join(row.texts("doc_type") or ())
    assert [Path(one.name) for one in example.pages] == [home() / page]


def once(written: Sequence[Written]) -> list[Written | None]:
    """The rows whose id nobody before them had; None for the others, and for bad ones."""
    seen: set[str] = set()
    kept: list[Written | None] = []
    for number, row in enumerate(written):
        own = row.single("question_id") or f"{Path(row.columns['image'].text or '').stem}-{number}"
        kept.append(row if row.good and own not in seen else None)
        seen |= {own} if row.good else set()
    return kept


@drawn("json")
@given(files(), st.sampled_from(["\n", "\r\n", "\n\n", " \n"]), st.booleans(), st.booleans())
def test_rows_of_json(written: list[Written], end: str, mark: bool, last: bool) -> None:
    content = ("\ufeff" if mark else "") + end.join(row.line for row in written) + (end if last else "")
    file = put("qa.jsonl", content)
    places = [f"qa.jsonl line {1 + number * (2 if end == chr(10) * 2 else 1)}" for number in range(len(written))]

    data = read(home())
    found, kept = examples(data), once(written)
    assert set(found) == {place for place, row in zip(places, kept, strict=True) if row}
    assert {one.where for one in data.quarantine.rejected} == set(places) - set(found)
    assert data.quarantine.read == len(written) and not data.quarantine.merged
    documents = [row.single("doc_id") for row in kept if row]
    for number, (place, row) in enumerate(zip(places, kept, strict=True)):
        if row is not None:
            same(found[place][1], row, number, str(row.columns["image"].text))
    assert len({e.document for _, e in found.values()}) == len({d or n for n, d in enumerate(documents)})

    source = one_line(lambda: sources.read([str(file)], []))
    assert not isinstance(source, DocvlmError) and source.quarantine is not None
    askable = {place: row for place, row in zip(places, written, strict=True) if row.askable}
    assert {task.where: task.question for task in source.tasks} == {
        p: row.single("question") for p, row in askable.items()
    }
    assert {one.where for one in source.quarantine.rejected} == set(places) - set(askable)


SPLITS = {
    "train": "train", " TRAIN ": "train", "val": "val", "dev": "val", "Validation": "val", "valid": "val",
    "test": "test", "Test": "test",
}  # fmt: skip
NO_SPLITS = [
    Value("null", missing=True), Value("NaN", missing=True), Value("1", "1"), Value("true", "true"),
    Value("[]", items=()), Value('"training"', "training"), Value('""', ""),
]  # fmt: skip
said = st.sampled_from([*(spelled(word, False) for word in SPLITS), *NO_SPLITS])


@drawn("splits")
@given(st.lists(said | st.none(), min_size=1, max_size=6), st.booleans())
def test_a_row_is_of_the_split_it_says(words: list[Value | None], table: bool) -> None:
    pads = [(split, good(6 + number, split=split)) for number, split in enumerate(("train", "val", "test") * 2)]
    more = [{} if word is None else {"split": word} for word in words]
    rows = [Written({**good(number).columns, **split}) for number, split in enumerate(more)]
    everything = [row for _, row in pads] + rows
    told = [*(split for split, _ in pads), *(SPLITS.get(word.text or "") if word else None for word in words)]
    if table and all(word is None or word.text is not None for word in words):
        columns = ["image", "question", "question_id", "answers", "split"]
        cells = [
            [row.columns[name].text or "x" if name in row.columns else "" for name in columns] for row in everything
        ]
        put("qa.csv", "\n".join(",".join(f'"{cell}"' for cell in record) for record in [columns, *cells]))
        places = [f"qa.csv line {number + 2}" for number in range(len(everything))]
    else:
        put("qa.jsonl", "\n".join(row.line for row in everything))
        places = [f"qa.jsonl line {number + 1}" for number in range(len(everything))]
    assume(told.count(None) <= len(told) / 2)
    data = read(home())
    expected = {place: split for place, split in zip(places, told, strict=True) if split}
    assert {place: role for place, (role, _) in examples(data).items()} == expected
    assert {one.where for one in data.quarantine.rejected} == set(places) - set(expected)
    assert data.quarantine.read == len(everything)


# CSV


@dataclass(frozen=True)
class Cell:
    """A cell, and the texts it stands for: of a list, several; None where it must be refused."""

    content: str
    texts: tuple[str, ...] | None = field(default=None)


def numpy_like(items: Sequence[str]) -> str:
    return "[" + " ".join(map(repr, items)) + "]"


TORN = [
    "['a'", "['it''s']", "['a' ... 'b']", "[b'a']", "{'a', 'b'}", "{'text': ['a']}", '{"text": ["a"]}',
    "array(['a'], dtype=object)", "['a', b]", "[null]", "[nan]", "[[1]]", "['\\ud83d']", "[]", "['']", "", " ", "nan",
]  # fmt: skip
KEPT = [
    "[sic]", "[12.05.2020]", "[2020-11-12]", "[a, b]", "('quoted') text", "(1)", "{1}", "[007]", "]", "a]", "1,5",
    "950.50", "-0", "\ufeff",
]  # fmt: skip
items = st.lists(plain.filter(lambda text: text.strip() != ""), min_size=1, max_size=3)
answers = (
    items.map(lambda v: Cell(json.dumps(v), tuple(v)))
    | items.map(lambda v: Cell(json.dumps(v, ensure_ascii=False), tuple(v)))
    | items.map(lambda v: Cell(repr(v), tuple(v)))
    | items.map(lambda v: Cell(repr(tuple(v)), tuple(v)))
    | items.map(lambda v: Cell(numpy_like(v), tuple(v)))
    | st.lists(numbers, min_size=1, max_size=3).map(lambda v: Cell(f"[{', '.join(v)}]", tuple(v)))
    | st.sampled_from(TORN).map(Cell)
    | st.sampled_from(KEPT).map(lambda text: Cell(text, (text,)))
    | plain.filter(lambda text: text.strip()[:1] not in {"", "[", "(", "{"} and text.strip().lower() != "nan").map(
        lambda text: Cell(text, (text,))
    )
    | words.map(lambda text: Cell(text * 40_000, (text * 40_000,)))
)


def csv_cell(text: str, always: bool) -> str:
    quoted = always or any(letter in text for letter in ',"\r\n') or text != text.strip() or not text
    return '"' + text.replace('"', '""') + '"' if quoted else text


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[dict[str, Cell]], bytes, list[int]]:
    """Records, the file, and the line on which each begins."""
    count = draw(st.integers(1, 3))
    always, end = draw(st.booleans()), draw(st.sampled_from(["\n", "\r\n"]))
    columns = draw(st.permutations(["image", "question", "answers", "question_id", "note", "prediction"]))
    content, starts, found = ("\ufeff" if draw(st.booleans()) else "") + ",".join(columns) + end, [], []
    for number in range(2 * count):
        bad = number < count
        record = {
            "image": Cell(f"{number}.png"),
            "question": Cell(draw(plain if bad else words)),
            "answers": draw(answers) if bad else Cell(str(number), (str(number),)),
            "question_id": Cell(draw(st.sampled_from(["", " ", "nan", f"é{number}", f"0{number}", f"{number}.0"]))),
            "note": Cell(draw(plain)),
            "prediction": Cell(draw(plain)),
        }
        lines = content.replace("\r\n", "\n").replace("\r", "\n").count("\n")
        starts.append(lines + 1)
        found.append(record)
        content += ",".join(csv_cell(record[name].content, always) for name in columns) + end
    return found, content.encode("utf-8"), starts


def cell_text(text: str) -> str:
    """What a cell of one text stands for; "" where it stands for nothing."""
    return "" if text.strip().lower() == "nan" else text.strip()


def accepted(cell: Cell) -> tuple[str, ...] | None:
    if cell.texts is None or not all(text.strip() for text in cell.texts):
        return None
    return tuple(text.strip() for text in cell.texts)


@drawn("csv")
@given(tables())
def test_cells_of_csv(table: tuple[list[dict[str, Cell]], bytes, list[int]]) -> None:
    found, content, starts = table
    file = put("qa.csv", content)
    data = read(home())
    expected = {
        f"qa.csv line {start}": (cell_text(row["question"].content), accepted(row["answers"]), number)
        for number, (row, start) in enumerate(zip(found, starts, strict=True))
        if cell_text(row["question"].content) and accepted(row["answers"])
    }
    by_place = examples(data)
    assert {place: (e.question, e.answers) for place, (_, e) in by_place.items()} == {
        place: (question, texts) for place, (question, texts, _) in expected.items()
    }
    assert {one.where for one in data.quarantine.rejected} == {f"qa.csv line {start}" for start in starts} - set(
        expected
    )
    assert data.quarantine.read == len(found)
    for place, (_, _, number) in expected.items():
        own = cell_text(found[number]["question_id"].content)
        assert by_place[place][1].question_id == (own or f"{number}-{number}")

    source = one_line(lambda: sources.read([str(file)], []))
    assert not isinstance(source, DocvlmError)
    unanswered = {  # which is no fault where nothing is scored
        f"qa.csv line {start}": cell_text(row["question"].content)
        for row, start in zip(found, starts, strict=True)
        if row["answers"].content == "nan" and cell_text(row["question"].content)
    }
    asked = {place: question for place, (question, _, _) in expected.items()} | unanswered
    assert {task.where: task.question for task in source.tasks} == asked
    scored = predictions.given(file)
    told = {one.question: (one.answers, one.prediction) for one in scored[0]}
    for place, (question, texts, number) in expected.items():
        if sum(question == other for other, _, _ in expected.values()) == 1:
            ((answered, prediction),) = [said for asked, said in told.items() if asked.strip() == question]
            assert tuple(text.strip() for text in answered) == texts, place
            assert prediction == found[number]["prediction"].content


# What predict writes is read again


@drawn("again")
@given(files(), st.lists(plain, min_size=6, max_size=6), st.sampled_from(["jsonl", "csv"]))
def test_what_predict_writes_is_scored(written: list[Written], predicted: list[str], form: str) -> None:
    file = put("q.jsonl", "\n".join(row.line for row in written))
    source = sources.read([str(file)], [])
    stream = io.StringIO(newline="")
    pairs = [
        (task, Answer(text, "", (), 0.5, 1, False, 0.1)) for task, text in zip(source.tasks, predicted, strict=False)
    ]
    writers.write(iter(pairs), source.tasks, form, stream)
    output = home() / f"p.{form}"
    output.write_text(stream.getvalue(), encoding="utf-8", errors="backslashreplace", newline="")
    asked = [row for row in written if row.askable]
    ids = [row.single("question_id") for row in asked]
    assume(all(ids) and len(set(ids)) == len(ids) and "-1" not in ids and any(row.good for row in asked))
    assume(sum(row.good for row in asked) * 2 >= len(asked))
    if form == "jsonl":
        for line, row in zip(stream.getvalue().split("\n"), asked, strict=False):
            assert all(f"{json.dumps(name)}: " in line for name in row.columns)
            back = json.loads(line, parse_float=str, parse_int=str)
            for name, value in row.columns.items():
                given_there = json.loads(value.spelled, parse_float=str, parse_int=str)
                assert repr(back[name]) == repr(given_there)
    scored, quarantine = predictions.given(output)
    expected = {row.single("question_id"): (row, text) for row, text in zip(asked, predicted, strict=False) if row.good}
    assert {one.question_id.strip() for one in scored} == set(expected)
    assert len(quarantine.rejected) == len(asked) - len(expected)
    for one in scored:
        row, text = expected[one.question_id.strip()]
        assert one.prediction == text and one.question.strip() == row.single("question")
        assert tuple(answer.strip() for answer in one.answers) == row.answers
        assert tuple(filter(None, (kind.strip() for kind in one.question_types))) == row.texts("type")
