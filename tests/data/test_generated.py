"""Generated pages: the same everywhere, disjoint between splits, in the benchmarks' schema, and readable."""

from __future__ import annotations

import hashlib
import os
import pickle
import re
import subprocess
import sys
import time

import pytest
from PIL import Image

from docvlm.data.benchmarks import BENCHMARKS
from docvlm.data.generated import DrawnPage, documents, page_of
from docvlm.data.generated.canvas import GridCanvas
from docvlm.data.generated.page import kinds
from docvlm.data.generated.values import FEWEST, SPLITS, Values, split_of_number, words
from docvlm.errors import DocvlmError

DOCVQA_TYPES = {
    "table/list",
    "form",
    "free_text",
    "layout",
    "handwritten",
    "figure/diagram",
    "Yes/No",
    "Image/Photo",
    "others",
}
TYPES = {
    "docvqa": DOCVQA_TYPES,
    "chartqa": {"human", "augmented"},
    "infovqa": {"Image-Span", "Question-Span", "Multi-Span", "None span"},
    "mpdocvqa": {"form", "table/list", "layout", "handwritten", "free_text"},
}
KINDS = {
    "docvqa": ["form", "table", "invoice", "letter", "receipt"],
    "chartqa": ["bar", "line", "pie"],
    "infovqa": ["facts", "timeline", "versus", "ranking"],
    "mpdocvqa": ["invoice", "contract", "report"],
}
PAGES = {"tiny": {2, 3, 4}, "full": {3, 4, 5, 6, 7, 8}}  # of documents of mpdocvqa
COUNTED = re.compile(r"How many \w+ (are|is) (there|shown|ranked)|^Is |above|larger than|highest slice")
EACH = pytest.mark.parametrize("benchmark", list(KINDS))
EACH_PRESET = pytest.mark.parametrize("preset", ["tiny", "full"])


def digests() -> list[str]:
    """One hash a benchmark over questions, answers and pixels of some pages of both presets."""
    result = []
    for benchmark in KINDS:
        found = hashlib.sha256()
        for preset, count in (("tiny", 12), ("full", 4)):
            for index in range(count):
                drawing = DrawnPage(benchmark, "train", index, preset, 3).drawing()
                found.update(repr(drawing.questions).encode())
                for number in range(1, len(drawing.pages[:2]) + 1):
                    found.update(DrawnPage(benchmark, "train", index, preset, 3, number).open().tobytes())
        result.append(found.hexdigest())
    return result


@EACH
@EACH_PRESET
def test_records_follow_the_schema_of_the_benchmark(benchmark: str, preset: str) -> None:
    pages = documents(benchmark, "val", 60, preset, seed=0)
    examples = [example for page in pages for example in page]
    instruction = BENCHMARKS[benchmark].instruction
    assert all(2 <= len(page) <= 8 for page in pages)
    assert len({e.question_id for e in examples}) == len(examples)
    assert len({e.document for e in examples}) == len(pages)
    for page in pages:
        assert len({(e.document, e.pages) for e in page}) == 1
        assert len({e.question for e in page}) == len(page), "a page asks the same question twice"
    for e in examples:
        assert e.benchmark == f"{benchmark}-generated" and e.instruction == instruction
        assert e.question and e.answers and all(a and a == a.strip() for a in e.answers)
        assert e.question_types and set(e.question_types) <= TYPES[benchmark]
        assert (e.question + "".join(e.answers)).isascii()
    assert [page[0].document_type for page in pages[: len(KINDS[benchmark])]] == KINDS[benchmark]


@EACH
def test_every_answer_type_of_the_benchmark_is_asked_for(benchmark: str) -> None:
    for preset in ("tiny", "full"):
        asked = {t for page in documents(benchmark, "train", 200, preset, 0) for e in page for t in e.question_types}
        prose = {"free_text"} if (benchmark, preset) == ("mpdocvqa", "tiny") else set()  # six rows have no room for it
        assert asked >= TYPES[benchmark] - {"figure/diagram", "Image/Photo"} - prose


def test_chart_questions_are_half_human_half_augmented() -> None:
    types = [e.question_types[0] for page in documents("chartqa", "test", 50, "tiny", 0) for e in page]
    assert types.count("human") == types.count("augmented") == 100


def test_another_process_draws_the_same_pages() -> None:
    code = "from tests.data.test_generated import digests; print(*digests())"
    environment = {**os.environ, "PYTHONHASHSEED": "77", "MATPLOTLIBRC": os.devnull}
    answer = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert answer.stdout.split() == digests()


def test_the_stream_of_values_is_fixed_for_all_machines() -> None:
    values = Values("docvqa", "train", 0, "tiny", 0)
    assert [values.count(0, 999) for _ in range(4)] == [555, 233, 704, 267]
    assert [split_of_number(n) for n in range(1000, 1016)].count("train") == 14


def test_a_page_does_not_depend_on_how_many_are_asked_for_and_survives_pickling() -> None:
    few, many = documents("docvqa", "train", 3, "tiny", 0), documents("docvqa", "train", 30, "tiny", 0)
    assert many[:3] == few
    page = pickle.loads(pickle.dumps(few[2][0].pages[0]))
    assert page == few[2][0].pages[0] and page.open().tobytes() == few[2][0].pages[0].open().tobytes()


@EACH
def test_splits_seeds_and_indices_give_different_pages(benchmark: str) -> None:
    origins = [(split, seed, index) for split in SPLITS for seed in (0, 1) for index in range(60)]
    pages = {DrawnPage(benchmark, split, index, "tiny", seed).open().tobytes() for split, seed, index in origins}
    assert len(pages) == len(origins)


@EACH_PRESET
def test_rare_answers_of_a_split_are_never_seen_in_another(preset: str) -> None:
    """Names and numbers of three and more digits belong to one split; sums, heights and weights do not."""

    def rare(split: str) -> set[str]:
        pages = documents("docvqa", split, 400, preset, 0)
        asked = (
            "Who signed",
            "Which company is billed",
            "Which organisation",
            "What is the outstanding balance",
            "To whom",
        )
        examples = [example for page in pages for example in page]
        long_number = re.compile(r"^(?!.* (cm|kg)$).*(\d{3}|\$)")
        forms = {e.answers[0] for e in examples if e.document_type == "form" and long_number.match(e.answers[0])}
        return forms | {e.answers[0] for e in examples if e.question.startswith(asked)}

    shares = [rare(split) for split in SPLITS]
    assert min(map(len, shares)) > 100
    assert not shares[0] & shares[1] and not shares[0] & shares[2] and not shares[1] & shares[2]


def test_pools_and_numbers_are_shared_out_between_the_splits() -> None:
    for pool in ("first", "last", "place", "street", "job", "word"):
        shares = [set(words(pool, split, 99)) for split in SPLITS]
        assert all(shares) and sum(map(len, shares)) == len(set.union(*shares))
        assert len(shares[0]) > 3 * len(shares[1])
    drawn = {split: {Values("docvqa", split, i, "tiny", 0).number(100, 999) for i in range(300)} for split in SPLITS}
    assert not drawn["train"] & drawn["test"] and not drawn["train"] & drawn["val"]
    with pytest.raises(ValueError, match="too few"):
        Values("docvqa", "val", 0, "tiny", 0).number(0, FEWEST - 1)


@EACH
def test_answers_stand_on_the_small_page(benchmark: str) -> None:
    checked = 0
    for examples in documents(benchmark, "train", 300, "tiny", 0):
        for e in examples:
            page = e.pages[e.answer_pages[0] - 1 if e.answer_pages else 0]
            assert isinstance(page, DrawnPage)
            text = page.text()
            if "None span" in e.question_types or "Yes/No" in e.question_types or COUNTED.search(e.question):
                continue
            assert all(part in text for part in e.answers[0].split(", ")), (e.question, e.answers, text)
            checked += 1
    assert checked > 900


@EACH_PRESET
def test_documents_of_several_pages_are_asked_about_each_page(preset: str) -> None:
    pages = documents("mpdocvqa", "train", 90, preset, 0)
    assert {len(examples[0].pages) for examples in pages} == PAGES[preset]
    for examples in pages:
        count = len(examples[0].pages)
        assert [page.name for page in examples[0].pages[1:]] == [
            f"{examples[0].document}-p{number}" for number in range(2, count + 1)
        ]
        assert {number for e in examples for number in e.answer_pages} == set(range(1, count + 1))
        assert all(len(e.answer_pages) == 1 for e in examples)
        for e in examples:
            found = page_of(e.question_id)
            assert found == e.pages[e.answer_pages[0] - 1], "the picture beside an answer is of another page"
    assert not any(e.answer_pages for examples in documents("docvqa", "train", 5, preset, 0) for e in examples)


def test_a_label_stands_on_several_pages_and_the_question_says_which() -> None:
    repeated = 0
    for examples in documents("mpdocvqa", "train", 60, "tiny", 0):
        texts = [page.text() for page in examples[0].pages if isinstance(page, DrawnPage)]
        for e in examples:
            if annex := re.search(r"(Fee|Start|Contact) in Annex (\w)", e.question):
                (number,) = e.answer_pages
                assert f"ANNEX {annex[2]}" in texts[number - 1]
                repeated += sum(annex[1] in text for text in texts) > 1
    assert repeated > 10


def test_a_page_is_drawn_without_the_others_of_its_document() -> None:
    examples = documents("mpdocvqa", "val", 3, "tiny", 0)[1]
    last = len(examples[0].pages)
    alone = pickle.loads(pickle.dumps(DrawnPage("mpdocvqa", "val", 1, "tiny", 0, last)))
    assert alone == examples[0].pages[-1] and alone.open().tobytes() == examples[0].pages[-1].open().tobytes()
    assert len({page.open().tobytes() for page in examples[0].pages}) == last  # type: ignore[attr-defined]


def test_the_highest_bar_of_a_small_chart_is_the_highest(monkeypatch: pytest.MonkeyPatch) -> None:
    marks: list[tuple[int, int, str]] = []
    monkeypatch.setattr(GridCanvas, "text", lambda self, row, column, words, *more: marks.append((row, column, words)))
    seen = 0
    for examples in documents("chartqa", "train", 300, "tiny", 0):
        asked = [e for e in examples if e.question.endswith("has the highest bar?")]
        if not asked:
            continue
        marks.clear()
        examples[0].pages[0].open()
        _, column, _ = max((m for m in marks if m[2].isdigit() and 0 < m[0] < 5), key=lambda mark: int(mark[2]))
        label = min((m for m in marks if m[0] == 5), key=lambda mark: abs(mark[1] - column))
        assert asked[0].answers == (label[2],)
        seen += 1
    assert seen > 5


@EACH
def test_pages_are_rgb_and_a_whole_number_of_vision_tokens(benchmark: str) -> None:
    for preset, largest in (("tiny", (280, 168)), ("full", (1204, 1596))):
        for index in range(len(kinds(benchmark, preset))):
            picture = DrawnPage(benchmark, "test", index, preset, 0).open()
            assert isinstance(picture, Image.Image) and picture.mode == "RGB"
            assert picture.width % 28 == 0 and picture.height % 28 == 0
            assert picture.width == largest[0] and picture.height <= largest[1]
            assert len(picture.convert("L").getcolors() or []) != 1, "an empty page"


def test_deciding_and_drawing_small_pages_is_quick() -> None:
    documents("docvqa", "train", 20, "tiny", 0)[0][0].pages[0].open()  # fonts and word pools are loaded once
    start = time.process_time()
    pages = documents("docvqa", "train", 2000, "tiny", 0)
    decided = time.process_time() - start
    start = time.process_time()
    for examples in pages[:200]:
        examples[0].pages[0].open()
    drawn = (time.process_time() - start) / 200
    assert decided < 3 and drawn < 0.02, f"2 000 documents in {decided:.2f} s, {1 / drawn:.0f} pages a second"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("receipts", "train", 3, "tiny", 0), "receipts"),
        (("docvqa", "dev", 3, "tiny", 0), "dev"),
        (("docvqa", "train", 3, "huge", 0), "huge"),
        (("docvqa", "train", -1, "tiny", 0), "-1"),
    ],
)
def test_wrong_arguments_are_one_line(arguments: tuple[str, str, int, str, int], said: str) -> None:
    with pytest.raises(DocvlmError, match=said) as caught:
        documents(*arguments)
    assert "\n" not in str(caught.value)
