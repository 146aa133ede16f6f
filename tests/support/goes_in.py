"""What the tests of what goes in share: rows drawn at random, each knowing what a correct reader makes of it.

The oracle knows how each value was spelled, and none of docvlm's parsing.
"""

from __future__ import annotations

import atexit
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from PIL import Image

from docvlm.data.benchmarks.folder import Folder
from docvlm.data.example import Example
from docvlm.errors import DocvlmError

T = TypeVar("T")
COUNTS = {
    "json": 500,
    "csv": 350,
    "again": 250,
    "bytes": 300,
    "names": 250,
    "pages": 220,
    "splits": 150,
    "folders": 120,
    "gate": 120,
}
PAGES = 12


def drawn(kind: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A third of as many examples as `COUNTS` says, all where `DOCVLM_THOROUGH` is set; the same ones every time."""
    count = COUNTS[kind] if os.environ.get("DOCVLM_THOROUGH") else COUNTS[kind] // 3
    quiet = (HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large)
    return settings(max_examples=count, derandomize=True, deadline=None, database=None, suppress_health_check=quiet)


@lru_cache
def home() -> Path:
    """A folder with pages of their own content; tests put question files beside them."""
    folder = Path(tempfile.mkdtemp(prefix="docvlm-goes-in-"))
    atexit.register(shutil.rmtree, folder)
    for number in range(PAGES):
        Image.new("L", (40 + number, 30), 255).save(folder / f"{number}.png")
    return folder


def one_line(act: Callable[[], T]) -> T | DocvlmError:
    """What `act` returns, or the error it ends in, which is one line and no book."""
    try:
        return act()
    except DocvlmError as error:
        assert len(str(error).splitlines()) == 1 and len(str(error)) < 2000, str(error)
        return error


def read(source: Path) -> Folder:
    data = Folder(str(source))
    data.setup()
    for entry in data.quarantine.rejected:
        assert entry.where and entry.reason and len(entry.reason.splitlines()) == 1 and len(entry.reason) < 1000
    return data


def examples(data: Folder) -> dict[str, tuple[str, Example]]:
    """{file and line: (split, example)}"""
    return {e.where: (role, e) for role in ("train", "val", "test") for e in data._split(role)}  # type: ignore[arg-type]


def put(name: str, content: str | bytes) -> Path:
    """A question file beside the pages, alone there."""
    for old in (*home().glob("*.jsonl"), *home().glob("*.csv")):
        old.unlink()
    (home() / name).write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return home() / name


# Values, each with the characters it stands for


@dataclass(frozen=True)
class Value:
    """A JSON value as it is spelled. `text`: its characters; `items`: of a list; neither: no text. `missing`: null."""

    spelled: str
    text: str | None = None
    items: tuple[Value, ...] | None = None
    missing: bool = False


def whole(text: str) -> str:
    """Halves of surrogate pairs that stand together are one character, as JSON has it."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


def has_half(text: str) -> bool:
    return any(0xD800 <= ord(letter) <= 0xDFFF for letter in text)


def usable(value: Value) -> str | None:
    """The stripped text of a value; None where it has none."""
    if value.text is None or has_half(value.text):
        return None
    return value.text.strip()


ODD = [
    "0", "", " ", "\t", "-1", "nan", "NaN", "null", "None", "true", "[]", "[sic]", "['a']", '["a"]', "('a',)", "é",
    "e\u0301", "\u212b", "\ufeff", "a\ufeffb", "\u202eabc", "שלום", "a\u2028b", "\x00", "a\x1bb", "\x85", "\ud83d",
    "\ude00", "\ud83d\ude00", "😀", "\uffff", "<|image_pad|>", "<|im_end|>", "</s>", "<loc_7>", "a\\b", 'say "x"',
    "a,b;c\td", "a\r\nb", "a\rb", "=1+1", "950.50", "x" * 5000,
]  # fmt: skip
letters = st.characters(exclude_categories=()) | st.sampled_from("0123456789[](){}'\",;\\ \t\n\r\u2028\x00éü")
texts = st.sampled_from(ODD) | st.text(letters, max_size=12)
plain = texts.filter(lambda text: not has_half(text))
words = st.text("abcdefg éß한0123", min_size=1, max_size=8).filter(lambda text: text.strip() != "")


def spelled(text: str, escaped: bool) -> Value:
    return Value(json.dumps(text, ensure_ascii=escaped or has_half(text)), whole(text))


strings = st.builds(spelled, texts, st.booleans())
SPELLINGS = [
    "0", "-0", "0.0", "-0.0", "1200.00", "950.50", "1e2", "1E+02", "1e400", "-1e-400", "1" * 400,
    "0.1000000000000000055", "12345678901234567890",
]  # fmt: skip
NUMBER = r"-?(0|[1-9][0-9]{0,20})(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,4})?"
numbers = st.sampled_from(SPELLINGS) | st.from_regex(NUMBER, fullmatch=True)
scalars = (
    strings
    | numbers.map(lambda n: Value(n, n))
    | st.sampled_from([Value("true", "true"), Value("false", "false"), Value("null", missing=True)])
    | st.sampled_from(
        [Value("NaN", missing=True), Value("Infinity"), Value("-Infinity"), Value("{}"), Value('{"a": ["b"]}')]
    )
)
lists = st.lists(scalars, max_size=3).map(lambda v: Value(f"[{', '.join(each.spelled for each in v)}]", items=tuple(v)))
nested = st.integers(2, 400).map(lambda depth: Value("[" * depth + "1" + "]" * depth, items=(Value("[]"),)))
values = scalars | lists | nested


@dataclass(frozen=True)
class Written:
    """A row as it was drawn: its columns, whether a key stands twice, and what a correct reader makes of it."""

    columns: dict[str, Value]
    twice: str = ""

    @property
    def line(self) -> str:
        pairs = [f"{json.dumps(name)}: {value.spelled}" for name, value in self.columns.items()]
        return "{" + ", ".join([*pairs, *(f"{json.dumps(name)}: 1" for name in [self.twice] if name)]) + "}"

    @property
    def deep(self) -> bool:
        return any(value.spelled.startswith("[" * 100) for value in self.columns.values())

    def has(self, name: str) -> bool:
        return name in self.columns and not self.columns[name].missing

    def texts(self, name: str) -> tuple[str, ...] | None:
        """A column's texts without blanks and nulls, as types are read; None where one is none."""
        if not self.has(name):
            return ()
        value = self.columns[name]
        found = [usable(each) for each in (value.items if value.items is not None else (value,)) if not each.missing]
        return None if None in found else tuple(one for one in found if one)

    @property
    def answers(self) -> tuple[str, ...] | None:
        """The accepted answers; None where there are none, or one is no text."""
        if not self.has("answers"):
            return None
        value = self.columns["answers"]
        found = [usable(each) for each in (value.items if value.items is not None else (value,))]
        return tuple(str(one) for one in found) if found and all(found) else None

    def single(self, name: str) -> str | None:
        """A column's text; "" where there is none, None where it is wrong."""
        if not self.has(name):
            return ""
        found = usable(self.columns[name])
        return found or None

    @property
    def judged(self) -> bool:
        """Whether everything but the answers is as it must be."""
        good = not self.twice and not self.deep and self.has("question")
        singles = [self.single(name) for name in ("question", "question_id", "doc_id")]
        return good and None not in singles and None not in (self.texts("type"), self.texts("doc_type"))

    @property
    def good(self) -> bool:
        return self.judged and self.answers is not None

    @property
    def askable(self) -> bool:
        """Whether it can be asked: as `good`, but it may have no answers."""
        return self.judged and (self.answers is not None or not self.has("answers"))


@st.composite
def rows(draw: st.DrawFn, number: int) -> Written:
    """A row about page `number`, wrong in a column or two, or in none."""
    columns = {
        "image": spelled(f"{number}.png", False),
        "question": draw(words.map(lambda text: spelled(text, False))),
        "answers": draw(st.lists(words, min_size=1, max_size=2).map(_list_of)),
        "question_id": Value(str(number), str(number)),
    }
    for name in draw(
        st.lists(
            st.sampled_from(["question", "answers", "question_id", "doc_id", "type", "doc_type", "note"]), max_size=3
        )
    ):
        columns[name] = draw(values)
    for name in draw(st.lists(st.sampled_from(["question", "answers", "question_id"]), max_size=1)):
        if draw(st.booleans()):
            columns.pop(name, None)
    twice = draw(st.sampled_from(["", "", "", "", "", "", "", *columns]))
    return Written(dict(draw(st.permutations(list(columns.items())))), twice)


def _list_of(items: Sequence[str]) -> Value:
    return Value(json.dumps(list(items)), items=tuple(spelled(item, True) for item in items))


def good(number: int, **more: str) -> Written:
    """A row nothing is wrong with."""
    columns = {"image": f"{number}.png", "question": f"How much is {number}?", "question_id": f"good {number}", **more}
    answered = {name: spelled(text, False) for name, text in columns.items()} | {"answers": _list_of([str(number)])}
    return Written(answered)


@st.composite
def files(draw: st.DrawFn) -> list[Written]:
    """Up to three drawn rows, and as many good ones, so that a majority is good."""
    count = draw(st.integers(1, 3))
    mixed = [draw(rows(number)) for number in range(count)] + [good(number) for number in range(count, 2 * count)]
    return draw(st.permutations(mixed))
