"""The string metrics against the official formulas: boundaries by hand, the RRC rule step by step, properties."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from docvlm.errors import DocvlmError
from docvlm.metrics import METRICS, accuracy, anls, exact_match, f1, metric_function, relaxed_accuracy
from tests.support.rrc import rrc

TEXT = st.text(max_size=12)
ANSWERS = st.lists(TEXT, min_size=1, max_size=4)


@pytest.mark.parametrize(
    ("prediction", "answers", "expected"),
    [
        ("0.28", ["0.28"], 1.0),
        ("ITC limited", ["itc limited", "ITC Limited"], 1.0),
        ("ITC Limited.", ["itc limited"], 11 / 12),
        ("ab", ["ax"], 0.5),  # exactly one half is kept
        ("abc", ["axx"], 0.0),  # one third is not
        ("", [""], 1.0),
        ("", ["a"], 0.0),
        ("a", ["", "a"], 1.0),
        ("  a   b ", ["A B"], 1.0),  # white space is collapsed before anything is compared
        ("a", ["a" * 3], 0.0),
        ("\u1112\u1161\u11ab", ["\ud55c"], 0.0),  # one Korean syllable, decomposed against composed
    ],
)
def test_anls_by_hand(prediction: str, answers: list[str], expected: float) -> None:
    assert anls(prediction, answers) == pytest.approx(expected, abs=1e-12)


def test_anls_options_by_hand() -> None:
    assert anls("ab", ["ax"], strict_threshold=True) == 0.0
    assert anls("   ", ["a"], strip=False) == pytest.approx(2 / 3)  # the RRC script's raw length
    assert anls("   ", ["a"]) == 0.0  # lmms-eval strips first
    assert anls("a  c", ["a b"], denominator="raw") == pytest.approx(1 - 1 / 4)
    assert anls("a  c", ["a b"], denominator="normalized") == pytest.approx(1 - 1 / 3)
    assert anls("\u1112\u1161\u11ab", ["\ud55c"], unicode_norm="NFC") == 1.0
    assert anls("Yes.", ["yes"]) == 0.75
    assert anls("Yes.", ["yes"], strip_trailing_punct=True) == 1.0
    assert anls("abcd", ["abxx"], threshold=0.6) == 0.0
    assert anls("abcd", ["axxx"], threshold=0.0) == 0.25
    assert anls("", [""], empty_scores_zero=True) == 0.0


@pytest.mark.parametrize(
    ("variant", "half", "blanks", "empty"),
    [
        ("lmms-eval", 0.5, 0.0, 1.0),
        ("rrc", 0.5, 2 / 3, 1.0),
        ("vlmevalkit", 0.5, 2 / 3, 1.0),
        ("anls-star", 0.5, 0.0, 1.0),
        ("anls-package", 0.0, 0.0, 1.0),
        ("paper", 0.0, 0.0, 1.0),
        ("pix2struct", 0.0, 0.0, 1.0),
        ("mp-docvqa", 0.5, 0.0, 0.0),
        ("dude", 0.5, 2 / 3, 1.0),
        ("slidevqa", 0.0, 0.0, 0.0),
    ],
)
def test_anls_variants_differ_where_their_references_do(variant: str, half: float, blanks: float, empty: float) -> None:
    score = metric_function("anls", variant)
    assert score("ab", ["ax"]) == half
    assert score("   ", ["a"]) == pytest.approx(blanks)
    assert score("", [""]) == empty


@settings(max_examples=400, deadline=None)
@given(TEXT, ANSWERS, st.sampled_from([0.0, 0.3, 0.5, 0.8]))
def test_anls_rrc_variant_equals_the_rrc_rule(prediction: str, answers: list[str], threshold: float) -> None:
    ours = metric_function("anls", "rrc", threshold=threshold)(prediction, answers)
    assert ours == pytest.approx(max(0.0, rrc(prediction, answers, threshold)), abs=1e-12)


@settings(max_examples=200, deadline=None)
@given(TEXT, ANSWERS)
def test_anls_default_is_rrc_on_the_stripped_prediction(prediction: str, answers: list[str]) -> None:
    assert anls(prediction, answers) == pytest.approx(max(0.0, rrc(prediction.strip(), answers)), abs=1e-12)


@settings(max_examples=200, deadline=None)
@given(TEXT, ANSWERS, st.sampled_from(sorted(METRICS)))
def test_every_metric_is_in_range_and_more_answers_never_hurt(p: str, answers: list[str], name: str) -> None:
    score = METRICS[name]
    value = score(p, answers)
    assert 0.0 <= value <= 1.0
    assert value == max(score(p, [answer]) for answer in answers)


@settings(max_examples=200, deadline=None)
@given(TEXT)
def test_a_text_equals_itself(text: str) -> None:
    assert anls(text, [text]) == accuracy(text, [text]) == exact_match(text, [text]) == f1(text, [text]) == 1.0


@pytest.mark.parametrize(
    ("prediction", "answer", "expected"),
    [
        ("105", "100", 1.0),  # exactly 5 % in float arithmetic
        ("1.05", "1", 0.0),  # 0.050000000000000044 in float arithmetic
        ("95", "100", 1.0),
        ("94.9", "100", 0.0),
        ("-100", "100", 0.0),
        ("12%", "0.12", 1.0),
        ("12", "12%", 0.0),
        ("12%", "12.5%", 1.0),
        ("0", "0", 1.0),
        ("0.0", "0", 0.0),  # target 0 needs equality
        ("1", "0", 0.0),
        ("1,234", "1234", 0.0),
        ("$5", "5", 0.0),
        ("2008", "2010", 1.0),
        ("YES", "yes", 1.0),
        ("Yes.", "Yes", 0.0),
        (" yes\n", "Yes", 1.0),  # lmms-eval strips every response before its function sees it
        ("\u3000Yes\u00a0", "Yes", 1.0),  # as Python strips
        (" 12 %", "12%", 1.0),  # float() takes what is left
        ("yes", "yes ", 0.0),  # it strips no answer
        ("5", " 5 ", 1.0),  # but float() does
        ("no  data", "no data", 0.0),  # and nothing collapses white space within
        ("nan", "nan", 0.0),
        ("[2016, 2017]", "[2016, 2017]", 1.0),
        ("2016", "[2016, 2017]", 0.0),
        ("", "", 1.0),
    ],
)
def test_relaxed_accuracy_by_hand(prediction: str, answer: str, expected: float) -> None:
    assert relaxed_accuracy(prediction, [answer]) == expected


@pytest.mark.parametrize(
    ("prediction", "answer", "options"),
    [
        ("1,234", "1234", {"thousands": True}),
        ("1234.5", "1,234.5", {"thousands": True}),
        ("$5", "5", {"currency": True}),
        ("-€5", "-5", {"currency": True}),
        ("$1,234", "1234", {"currency": True, "thousands": True}),
        ("5 €", "5", {"currency": True}),
        ("12", "12%", {"percent_equiv": True}),
        ("12%", "12", {"percent_equiv": True}),
        ("Yes.", "Yes", {"strip_trailing_punct": True}),
        ("2017", "[2016, 2017]", {"list_answers": True}),
        ("[sic]", "[sic]", {"list_answers": True}),
        ("100", "105.2", {"denominator": "target"}),
    ],
)
def test_relaxed_options_accept(prediction: str, answer: str, options: dict[str, object]) -> None:
    assert relaxed_accuracy(prediction, [answer], **options) == 1.0  # type: ignore[arg-type]  # options vary by case


@pytest.mark.parametrize("variant", sorted(METRICS["relaxed_accuracy"].variants))
def test_relaxed_variants_strip_where_their_references_do(variant: str) -> None:
    score = metric_function("relaxed_accuracy", variant)
    assert score(" Yes", ["Yes"]) == (0.0 if variant == "pix2struct" else 1.0)
    assert score("Yes", [" Yes"]) == 0.0, "no reference strips an answer that is text"
    assert score(" 5 %", ["5%"]) == score("5 ", [" 5"]) == 1.0, "and float() reads numbers through white space"


def test_relaxed_denominator_and_years() -> None:
    assert relaxed_accuracy("95.1", ["100"]) == 1.0  # 4.9 / 100
    assert relaxed_accuracy("95.1", ["100"], denominator="prediction") == 0.0  # 4.9 / 95.1
    assert relaxed_accuracy("105.2", ["100"]) == 0.0
    assert relaxed_accuracy("105.2", ["100"], denominator="prediction") == 1.0
    assert relaxed_accuracy("2008", ["2010"], exact_years=True) == 0.0
    assert relaxed_accuracy("2010", ["2010"], exact_years=True) == 1.0
    assert relaxed_accuracy("5010", ["5000"], exact_years=True) == 1.0  # no year
    assert relaxed_accuracy("1,2", ["12"], thousands=True) == 0.0  # no thousands separator


def test_secondary_metrics_by_hand() -> None:
    assert accuracy(" Paul ", ["x", "paul"]) == 1.0
    assert accuracy("Paul.", ["paul"]) == 0.0
    assert exact_match("The Paul.", ["paul"]) == 1.0
    assert exact_match("3.5", ["35"]) == 1.0  # why it is never the headline for numbers
    assert f1("the quick fox", ["quick brown fox"]) == pytest.approx(2 * 1 * (2 / 3) / (1 + 2 / 3))
    assert f1("a a b", ["a b b"]) == pytest.approx(f1("b", ["b b"]))  # "a" is an article
    assert f1("x x y", ["x y y"]) == pytest.approx(2 / 3)  # a bag of tokens, not a set
    assert f1("", [""]) == f1("the", ["."]) == 1.0
    assert f1("", ["x"]) == 0.0
    assert f1("서울특별시", ["서울시"]) == 0.0
    assert f1("서울특별시", ["서울시"], level="char") == pytest.approx(2 * (3 / 5) / (3 / 5 + 1))


@pytest.mark.parametrize("name", sorted(METRICS))
def test_no_answers_is_an_error_users_and_libraries_can_catch(name: str) -> None:
    with pytest.raises(DocvlmError, match="answers is empty"):
        METRICS[name]("x", [])
    with pytest.raises(ValueError, match="at least one accepted answer"):
        METRICS[name]("x", ())
    with pytest.raises(TypeError, match="sequence of strings"):
        METRICS[name]("x", "x")


def test_unknown_names_say_what_there_is() -> None:
    with pytest.raises(DocvlmError, match=r"metric=bleu: not known; choose one of accuracy, anls"):
        metric_function("bleu")
    with pytest.raises(DocvlmError, match=r"variant=x: unknown for anls; choose one of lmms-eval"):
        metric_function("anls", "x")
    with pytest.raises(DocvlmError, match="choose one of none"):
        metric_function("containment", "rrc")


def test_width_and_unicode_form_are_options_of_every_metric() -> None:
    wide, plain = "１２　３", "12 3"  # full-width on purpose
    assert metric_function("accuracy")(wide, [plain]) == 0.0
    for name in METRICS:
        assert metric_function(name, fold_width=True)(wide, [plain]) == 1.0
    assert metric_function("anls", "nfc-width")(wide, [plain]) == 1.0 > metric_function("anls", "nfc")(wide, [plain])


def test_punctuation_of_every_script_is_deleted_and_vowel_signs_are_not() -> None:
    """U+0E48 (Thai) and U+094D (Hindi) are marks, U+0964 and U+3002 are stops."""
    for text, bare in (("ไก่ย่าง。", "ไก่ย่าง"), ("हिन्दी।", "हिन्दी"), ("「合計」", "合計")):
        assert exact_match(text, [bare]) == 0.0 and exact_match(text, [bare], punctuation="unicode") == 1.0
    assert exact_match("ไก", ["ไก่"], punctuation="unicode") == 0.0


def test_every_variant_runs() -> None:
    for metric, table in ((record.name, record.variants) for record in METRICS.values()):
        for variant in table:
            assert metric_function(metric, variant)("a", ["a"]) == 1.0


def test_metrics_import_without_torch() -> None:
    code = "import sys, docvlm.metrics; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_anls_takes_a_tenth_of_the_time_of_plain_python() -> None:
    """A ratio within one process, which a busy machine leaves alone; the reference is the RRC rule in plain Python."""
    pairs = [(f"{i} Sixteenth St., N.W.", [f"{i + 7} SIXTEENTH ST., N. W."]) for i in range(500)]
    pairs += [(f"no {i}", ["a quite different answer"]) for i in range(500)]

    def seconds(metric: Callable[[str, list[str]], float]) -> float:
        runs = []
        for _ in range(3):
            start = time.process_time()
            for prediction, answers in pairs:
                metric(prediction, answers)
            runs.append(time.process_time() - start)
        return min(runs)

    assert seconds(anls) < 0.1 * seconds(rrc)
