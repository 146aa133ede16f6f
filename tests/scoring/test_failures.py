"""Failure classes: each by examples taken from real answers, their order, and what holds for any two strings."""

from __future__ import annotations

import re
import time
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from docvlm.scoring.failures import CLASSES, Failure, classify
from docvlm.scoring.flips import flips
from docvlm.scoring.formatting import content, same_but_dress
from docvlm.scoring.frequencies import Frequency, findings, frequencies
from docvlm.scoring.predictions import read
from docvlm.scoring.quantities import parse
from docvlm.scoring.score import score

REAL = Path(__file__).parents[3] / "shared" / "data" / "predictions"

EXAMPLES = [
    ("", "42", "", "empty", ()),
    ("  ", "42", "", "empty", ()),
    ("...", "42", "", "empty", ("only punctuation",)),
    ("Unknown.", "$5,052", "", "refusal", ()),
    ("The document does not mention a date.", "May 1", "", "refusal", ()),
    ("I cannot determine it", "7 %", "", "refusal", ()),
    ("not mentioned anywhere", "not mentioned", "", "over-long", ("answer inside",)),
    ('"HELVETIA"', "Helvetia", "", "format only", ("outer punctuation",)),
    ("CMRO.", "CMRO", "", "format only", ("outer punctuation",)),
    ("-2-", "2", "", "format only", ("outer punctuation",)),
    ("**1,234**", "1,234", "", "format only", ("markdown",)),
    ("1,234", "1234", "", "format only", ("thousands separators",)),
    ("5.0", "5", "", "format only", ("notation",)),
    ("ＡＢＣ", "ABC", "", "format only", ("unicode form",)),
    ("Bell’s", "Bell's", "", "format only", ("quotes or dashes",)),
    ("Cellular/Molecular", "Cellular /Molecular", "", "format only", ("spacing",)),
    ("$270.00", "270.00", "", "unit or scale", ("currency",)),
    ("29.9%", "29.9", "", "unit or scale", ("per cent",)),
    ("4", "4 calls", "", "unit or scale", ("unit",)),
    ("0.12", "12%", "", "unit or scale", ("factor 100",)),
    ("300,000", "300", "", "unit or scale", ("factor of thousands",)),
    ("5 million", "5,000,000", "", "unit or scale", ("scale word",)),
    ("-5", "5", "", "number wrong", ("sign",)),
    ("0.22", "0.28", "", "number wrong", ("one digit",)),
    ("1998", "1985", "", "number wrong", ("year",)),
    ("10", "11", "", "number wrong", ("one digit", "off by one", "within 20 %")),
    ("5,052", "5,110", "", "number wrong", ("within 20 %",)),
    ("Dana Conrad", "Darla Conrad", "", "near miss", ("letters",)),
    ("2/4/2010", "2/1/2010", "", "near miss", ("digits",)),
    ("l0sses", "losses", "", "near miss", ("confusable characters",)),
    ("Candyman Creme", "Candyman Crème", "", "near miss", ("accents",)),
    ("19:30 for 20:00", "19.30 for 20.00", "", "near miss", ("inner punctuation",)),
    ("The page number is 42.", "42", "", "over-long", ("answer inside",)),
    ("red red red red red red", "blue", "", "over-long", ("repetition",)),
    ("Kool", "KOOL 100", "", "partial span", ("too short",)),
    ("inter-office correspondence", "correspondence office", "", "other", ("some words right",)),
    ("an inter-office correspondence", "inter-office corresponde", "", "near miss", ("letters",)),
    ("Wills Lifestyle, John Players", "John Players, Wills Lifestyle", "", "list", ("order",)),
    ("red, blue", "red, green and blue", "", "list", ("items missing",)),
    ("red, green, blue, white", "red, blue & white", "", "list", ("items too many",)),
    ("No", "Yes", "Is it?", "choice flipped", ("yes or no",)),
    ("female", "male", "", "choice flipped", ("opposite",)),
    ("B", "C", "", "choice flipped", ("option letter",)),
    ("envelope", "postalcard", "an envelope or a postalcard?", "choice flipped", ("one of the question's",)),
    ("ITC", "Bingo!", "What is the brand of ITC's snack food?", "echo", ()),
    ("2", "4", "How many components are there?", "reasoning", ("count",)),
    ("Z", "N", "Which has the highest count?", "reasoning", ("count", "comparison")),
    ("Tibolone", "Wahab", "Who has done it?", "other", ("another text",)),
    ("11", "Wahab", "Who has done it?", "other", ("number for text",)),
    ("Wahab", "11", "What is written below?", "other", ("text for number",)),
    ("17", "830", "What is written below?", "other", ("another number",)),
]


@pytest.mark.parametrize(("prediction", "answer", "question", "kind", "tags"), EXAMPLES)
def test_each_class_by_example(prediction: str, answer: str, question: str, kind: str, tags: tuple[str, ...]) -> None:
    assert classify(prediction, [answer], question) == Failure(kind, tags)


def test_every_class_is_reached() -> None:
    reached = {kind for _, _, _, kind, _ in EXAMPLES}
    assert CLASSES.keys() - reached == {"elsewhere on the page", "not on the page"}  # these need the page


def test_the_page_tells_elsewhere_from_nowhere() -> None:
    page = "TOTAL  17\nTax 3"
    assert classify("Tax 3", ["Wahab"], page=page).kind == "elsewhere on the page"
    assert classify("Tax 4", ["Wahab"], page=page).kind == "not on the page"
    assert classify("7", ["Wahab"], "How many?", page=page) == Failure("not on the page", ("count",))


def test_the_first_class_of_any_answer_wins() -> None:
    assert classify("5,052", ["5,110", "$5,052"]).kind == "unit or scale"
    assert classify("the total", ["total", "The total!"]).kind == "format only"
    assert classify("many calls", ["14", "calls"]) == Failure("over-long", ("answer inside",))
    assert classify("something", ["else"], truncated=True) == Failure("over-long", ("cut off",))
    assert classify("-", ["—/"]).kind != "empty"  # an answer may be punctuation itself
    assert classify("4", ["14 calls if any"]).kind == "other"  # 4 does not stand in 14


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=40), st.lists(st.text(max_size=40), min_size=1, max_size=3), st.text(max_size=40))
def test_every_answer_has_one_class_and_the_same_one(prediction: str, answers: list[str], question: str) -> None:
    found = classify(prediction, answers, question)
    assert found.kind in CLASSES
    assert found == classify(prediction, answers, question)


@settings(deadline=None)
@given(
    st.from_regex(r"[A-Za-z0-9][A-Za-z0-9 ,.$%/é-]{0,20}[A-Za-z0-9]", fullmatch=True),
    st.sampled_from(['"{}"', "{}.", " {}, ", "**{}**", "“{}”", "{}!", "({})", "‘{}’."]),
)
def test_dress_is_format_only(text: str, dress: str) -> None:
    assert same_but_dress(dress.format(text), text) is not None
    assert classify(dress.format(text), [text]).kind == "format only"
    assert content(content(text)) == content(text)


@settings(deadline=None)
@given(st.integers(-(10**9), 10**9), st.integers(0, 4))
def test_numbers_are_read_as_written(whole: int, places: int) -> None:
    value = Decimal(whole).scaleb(-places)
    for text in (f"{value:f}", f"{value:,f}", f"${value:f}", f"{value:f} %", f"{value:f} kg"):
        found = parse(text)
        assert found is not None and found.value == value, text


@pytest.mark.parametrize("text", ["12/03/1998", "12:15", "5-6", "3 and 4", "1,2,3", "B12", "", "12 kg 5 g 3", "1" * 99])
def test_no_single_number(text: str) -> None:
    assert parse(text) is None


def test_long_answers_stay_cheap() -> None:
    began = time.process_time()
    for text in ("." * 20000 + "x", "1" * 20000, '"' * 20000, "-" * 20000, "(" * 9999 + "a", "* " * 9999, "ab " * 7000):
        classify(text, ["5 %"])
    assert time.process_time() - began < 2


def test_the_document_defines_the_classes(root: Path) -> None:
    text = (root / "docs" / "reference" / "failures.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \d+ \| ([^|]+) \| ([^|]+) \|", text, re.MULTILINE)
    assert rows == list(CLASSES.items())


@pytest.mark.skipif(not REAL.is_dir(), reason=f"{REAL} is not here: real predictions are not part of the repository")
def test_the_documented_table_is_what_real_predictions_give(root: Path) -> None:
    text = (root / "docs" / "reference" / "failures.md").read_text(encoding="utf-8")
    names = ("qwen2_vl_7b_instruct", "qwen2_vl_2b_instruct", "llama_scout", "qwen2_vl_2b")
    records = {name: read(REAL / f"{name}.jsonl") for name in names}
    found = {name: findings(part) for name, part in records.items()}
    rows = {name: {row.kind: row for row in frequencies(records[name], found[name])} for name in names}
    for kind in CLASSES:
        if not kind.endswith("page"):
            cells = [_cell(rows[name][kind]) if kind in rows[name] else "0" for name in names]
            assert f"| {kind} | {' | '.join(cells)} |" in text
    for name in names:
        assert sum(row.count for row in rows[name].values()) == len(found[name])
        assert sum(row.lost for row in rows[name].values()) == pytest.approx(1 - score(records[name]).headline)
    assert flips(records["qwen2_vl_2b_instruct"], records["qwen2_vl_7b_instruct"]).sentence in text


def _cell(row: Frequency) -> str:
    return f"{row.count} [{1000 * row.share.low:.0f}, {1000 * row.share.high:.0f}]"
