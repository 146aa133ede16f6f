"""Generated pages in other languages: every glyph there, letters joined, right to left, and English as it was."""

from __future__ import annotations

import hashlib
import importlib.metadata
import pickle
from functools import cache
from pathlib import Path
from typing import Any
from unicodedata import is_normalized

import numpy as np
import pytest
from PIL import features

from docvlm.data.benchmarks.docvqa import DocVQA
from docvlm.data.generated import DrawnPage, documents, page_of
from docvlm.data.generated.languages import fonts
from docvlm.data.generated.languages.content import Pair, Row, Text, Title
from docvlm.data.generated.languages.known import LANGUAGES
from docvlm.data.generated.languages.language import cells
from docvlm.data.generated.languages.values import LocalValues, letters
from docvlm.data.generated.tiny import translated as tiny
from docvlm.data.generated.values import SPLITS
from docvlm.errors import DocvlmError

KINDS = ["form", "table", "invoice", "letter", "receipt"]
EACH = pytest.mark.parametrize("code", list(LANGUAGES))
VERSIONS = {"pillow": "12.3.0", "faker": "40.54.0", "matplotlib": "3.11.2", "numpy": "2.4.6"}
ENGLISH = {"docvqa": "804e63544a145e75", "chartqa": "5fa9303746d276fa", "infovqa": "21d40ea26fb81f26"}
"""Digests of pages as they were drawn before there were other languages, with those versions."""
STYLE = tiny.Style("sans", 0.0, 1.0, 0.0, 0)


@cache
def missing(code: str) -> str:
    """Why the pages of a language cannot be drawn on this machine; "" where they can."""
    try:
        fonts.found(code)
    except DocvlmError as error:
        return str(error)
    return ""


@pytest.fixture
def drawn(code: str) -> str:
    if reason := missing(code):
        pytest.skip(reason)
    return code


def shown(page: DrawnPage) -> list[str]:
    """The words of a page, piece by piece."""
    words: list[str] = []
    for line in page.drawing().paint.args[0]:  # type: ignore[attr-defined]  # a partial of the painter
        if isinstance(line, Title | Text):
            words.append(line.words)
        elif isinstance(line, Pair):
            words += [line.label, line.value]
        elif isinstance(line, Row):
            words += [line.label, *line.cells]
    return words


@EACH
@pytest.mark.parametrize("preset", ["tiny", "full"])
def test_records_name_their_language_and_the_page_says_the_answer(drawn: str, preset: str) -> None:
    for split in SPLITS:
        pages = documents("docvqa", split, 60, preset, 0, [drawn])
        assert [page[0].document_type for page in pages[:5]] == KINDS
        for examples in pages:
            words = shown(examples[0].pages[0])  # type: ignore[arg-type]
            assert 2 <= len(examples) <= 8 and len({e.question for e in examples}) == len(examples)
            for e in examples:
                assert e.language == drawn and f"-{drawn}-seed0-" in e.document
                assert any(e.answers[0] in piece for piece in words), (e.question, e.answers, words)
                assert is_normalized("NFC", e.question + e.answers[0])
                assert page_of(e.question_id) == e.pages[0]


@EACH
def test_the_font_is_asked_for_every_character_that_a_page_shows(code: str) -> None:
    """Needs no font: what is checked for glyphs is all that can be written."""
    found = set()
    for preset in ("tiny", "full"):
        for split in SPLITS:
            for index in range(100):
                found |= set("".join(shown(DrawnPage("docvqa", split, index, preset, 1, language=code))))
    assert found <= letters(LANGUAGES[code]) | {" "}, found - letters(LANGUAGES[code])


@EACH
def test_names_belong_to_one_split(code: str) -> None:
    shares = [
        {LocalValues("docvqa", split, index, "tiny", 0, LANGUAGES[code]).person() for index in range(200)}
        for split in SPLITS
    ]
    assert not shares[0] & shares[1] and not shares[0] & shares[2] and not shares[1] & shares[2]


@EACH
def test_pages_are_drawn_at_their_size_and_differ(drawn: str) -> None:
    for preset, size, count in (("tiny", (280, 168), 20), ("full", (1204, 1596), 3)):
        pictures = [DrawnPage("docvqa", "val", index, preset, 0, language=drawn).open() for index in range(count)]
        assert {(picture.size, picture.mode) for picture in pictures} == {(size, "RGB")}
        assert len({picture.tobytes() for picture in pictures}) == count
    page = DrawnPage("docvqa", "val", 1, "tiny", 0, language=drawn)
    assert pickle.loads(pickle.dumps(page)).open().tobytes() == page.open().tobytes()


def _ink(words: str, code: str) -> np.ndarray:
    """Where a line that begins at its side has ink: a flag for each column of pixels."""
    picture = tiny.paint((Text(words),), code, STYLE).convert("L")
    columns: np.ndarray = (np.asarray(picture) < 128).any(axis=0)
    return columns


def test_arabic_begins_at_the_right_and_its_letters_join() -> None:
    if reason := missing("ar"):
        pytest.skip(reason)
    arabic, german = _ink("المجموع", "ar"), _ink("Summe", "de")
    assert arabic[140:].any() and not arabic[:140].any()
    assert german[:140].any() and not german[140:].any()
    font = fonts.found("ar")
    assert font.length("بيت", 40) < 0.8 * sum(font.length(letter, 40) for letter in "بيت")
    # the first letter in logical order stands rightmost: alif is one stroke, ba lies below the line with a dot
    line = tiny.line_ink("اب", "ar", "sans", 280)
    middle = line.shape[1] // 2
    assert line[4:14, middle:].sum() > 2 * line[4:14, :middle].sum(), "letters are in the wrong order"


def test_hindi_vowel_signs_stand_where_they_belong() -> None:
    """The sign of short i is written after its consonant and drawn before it, which only shaping does."""
    if reason := missing("hi"):
        pytest.skip(reason)
    font = fonts.found("hi")
    image = font.at(40).getmask("कि", **font.options)
    plain = fonts._loaded(font.file, font.index, 40, False).getmask("कि")
    assert (image.size, bytes(image)) != (plain.size, bytes(plain))


def test_full_width_characters_keep_to_the_grid() -> None:
    assert [cells(words) for words in ("합계", "合计", "12", "ä€", "कि")] == [4, 4, 2, 2, 2]
    if reason := missing("ko"):
        pytest.skip(reason)
    assert tiny.line_ink("합계12", "ko", "sans", 280).shape == (28, 6 * 14)
    with pytest.raises(ValueError, match="does not fit"):
        tiny.line_ink("합계합계", "ko", "sans", 7 * 14)


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Fonts are looked for again."""
    monkeypatch.setattr(fonts, "found", cache(fonts.found.__wrapped__))
    return monkeypatch


def test_a_missing_font_is_one_line_that_says_what_to_install(fresh: pytest.MonkeyPatch) -> None:
    fresh.setattr(fonts, "_places", dict)
    with pytest.raises(DocvlmError, match=r"\[ko\].*Korean.*NotoSansKR.*fonts-noto-cjk.*docvlm\[languages\]") as caught:
        documents("docvqa", "train", 1, "tiny", 0, ["ko"])
    assert "\n" not in str(caught.value)
    with pytest.raises(DocvlmError, match=r"Hindi.*fonts-noto-core"):
        fonts.found("hi")


def test_a_font_without_some_glyphs_is_refused_not_drawn_as_boxes(fresh: pytest.MonkeyPatch) -> None:
    fresh.setitem(fonts.WANTED, "ko", fonts.Wanted(("DejaVuSans.ttf",), "fonts-noto-cjk"))
    with pytest.raises(DocvlmError, match=r"DejaVuSans.ttf lacks '.' and \d+ more"):
        fonts.found("ko")


def test_without_raqm_arabic_is_refused(fresh: pytest.MonkeyPatch) -> None:
    fresh.setattr(features, "check", lambda name: name != "raqm")
    with pytest.raises(DocvlmError, match=r"\[ar\].*Raqm.*pillow"):
        documents("docvqa", "train", 1, "tiny", 0, ["ar"])
    documents("docvqa", "train", 1, "tiny", 0, ["de"])


def test_a_font_in_a_folder_is_found_by_its_name(fresh: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "Mine.ttf").write_bytes(fonts.font_file("DejaVuSans.ttf").read_bytes())
    fresh.setattr(fonts, "FOLDERS", (str(tmp_path),))
    fresh.setattr(fonts, "_places", fonts._places.__wrapped__)
    fresh.setitem(fonts.WANTED, "de", fonts.Wanted(("Mine.ttf",)))
    assert fonts.found("de").file == tmp_path / "deep" / "Mine.ttf"


def test_languages_take_turns_after_a_document_of_every_kind() -> None:
    mixed = documents("docvqa", "test", 25, "tiny", 0, ["en", "de"])
    assert [page[0].language for page in mixed] == (["en"] * 5 + ["de"] * 5) * 2 + ["en"] * 5
    english = documents("docvqa", "test", 25, "tiny", 0)
    assert mixed[:5] == english[:5] and mixed[10:15] == english[10:15]


@pytest.mark.parametrize("benchmark", list(ENGLISH))
def test_english_pages_are_what_they_were_byte_for_byte(benchmark: str) -> None:
    have = {package: importlib.metadata.version(package) for package in VERSIONS}
    if have != VERSIONS:
        pytest.skip(f"pages depend on versions; the digests are of {VERSIONS}, here are {have}")
    found, counts = hashlib.sha256(), {"docvqa": (25, 5), "chartqa": (6, 3), "infovqa": (8, 4)}[benchmark]
    for preset, count in zip(("tiny", "full"), counts, strict=True):
        for index in range(count):
            for split in ("train", "test"):
                page = DrawnPage(benchmark, split, index, preset, 0)
                drawing = page.drawing()
                found.update(repr([(q.text, q.answers, q.types) for q in drawing.questions]).encode())
                found.update(page.name.encode() + drawing.paint().tobytes())
    assert found.hexdigest()[:16] == ENGLISH[benchmark]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("docvqa", ["xx"]), "unknown language 'xx'"),
        (("docvqa", ["de", "de"]), "each language once"),
        (("docvqa", []), "at least one"),
        (("chartqa", ["de"]), "in English only"),
    ],
)
def test_wrong_languages_are_one_line(arguments: tuple[str, list[str]], said: str) -> None:
    benchmark, languages = arguments
    with pytest.raises(DocvlmError, match=said) as caught:
        documents(benchmark, "train", 1, "tiny", 0, languages)
    assert "\n" not in str(caught.value)


def test_a_data_module_draws_them_and_refuses_pages_that_are_not_drawn() -> None:
    limits: dict[str, Any] = {"limit_train": 12, "limit_val": 4, "limit_test": 8}
    german, english = DocVQA("generated", languages=["de"], **limits), DocVQA("generated", **limits)
    assert {e.language for e in german.test} == {"de"} and {e.language for e in english.test} == {"en"}
    assert german.fingerprint() != english.fingerprint() and german.label == english.label == "docvqa-generated"
    with pytest.raises(DocvlmError, match=r"data\.languages=\[de\].*data\.source=hub"):
        DocVQA("hub", languages=["de"])
