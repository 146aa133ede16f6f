"""The scores of four benchmarks beside lmms-eval's own functions, where that is installed: 500 pairs a language."""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

import pytest

from docvlm.data.benchmarks import BENCHMARKS
from docvlm.metrics import metric_function

pytest.importorskip("lmms_eval", reason="lmms-eval is not installed")
PAIRS = 500
ALPHABETS = {
    "en": "abcdefg ABC 0123456789.,$%-",
    "ko": "가나다라마바사서울특별시합계원 0123.,",
    "zh": "公司名称总计金额日期０１２３。，　年月日",
    "ja": "合計請求書のはをカタカナ円。、　0123",
    "th": "กขคงจฉชญ่้๊๋ะาิีึืุู 0123.",
    "hi": "कखगघचजटडतदनपमयरलवसह़ािीुूेैोौं् ।0123",
    "ar": "ابتثجحخدذرزسشصضطظعغفقكلمنهويًٌٍَُِّْ 0123.",
    "de": "abcßäöüÄÖÜ €0123.,",
    "ru": "абвгдеёжзийклмнопрстуфхцчшщъыьэюя 0123.",
    "vi": "aăâbcdđeêghiôơưáàảãạấầẩẫậ 0123.",
}
REPLIES = ("", " ", "none", "None", "not answerable", "A", "b)", "C.", "정답: D")


def pairs(language: str) -> Iterator[tuple[str, str]]:
    """A prediction and its answer: equal, edited, cut, contained, in another Unicode form, or of nothing in common.

    Both are stripped, as answers are when they are read, and as lmms-eval strips every response before it scores.
    """
    chance = random.Random(language)
    letters = ALPHABETS[language]

    def word(most: int) -> str:
        return "".join(chance.choices(letters, k=chance.randint(1, most))).strip() or "x"

    for _ in range(PAIRS):
        answer = chance.choice((word(4), word(12), word(30), chance.choice("ABCD"), "none", "not answerable"))
        edited = list(answer)
        for _ in range(chance.randint(1, 4)):
            edited.insert(chance.randrange(len(edited) + 1), chance.choice(letters))
            edited.pop(chance.randrange(len(edited)))
        prediction = chance.choice(
            (
                answer,
                answer.upper(),
                "".join(edited),
                answer[: len(answer) // 2],
                f"{word(6)} {answer}{chance.choice(('.', '。', '', ' '))}",
                answer.replace(" ", "  "),
                unicodedata.normalize("NFD", answer),
                word(12),
                chance.choice(REPLIES),
            )
        )
        yield prediction.strip(), answer


def own(benchmark: str, metric: str) -> Callable[[str, str], float]:
    """docvlm's metric in the benchmark's variant, without what language decides: lmms-eval does nothing by language."""
    variants = BENCHMARKS[benchmark].variants
    function = metric_function(metric, variants[metric] if metric in variants else None)
    return lambda prediction, answer: function(prediction, [answer])


def theirs(task: str) -> Any:
    return import_module(f"lmms_eval.tasks.{task}.utils")


def mpdocvqa(metric: str) -> Callable[[str, str], float]:
    evaluator = theirs("multidocvqa").Evaluator()
    return lambda prediction, answer: float(evaluator.get_metrics([[answer]], [prediction])[metric][0])


def slidevqa(metric: str) -> Callable[[str, str], float]:
    score = theirs("slidevqa").slidevqa_process_results
    return lambda prediction, answer: float(score({"answer": answer}, [prediction])[metric])


def mtvqa(prediction: str, answer: str) -> float:
    return float(
        theirs("mtvqa").mtvqa_process_results({"answer": answer, "category": ""}, [prediction])["mtvqa_score"]["score"]
    )


def kdtcbench(prediction: str, answer: str) -> float:
    found = theirs("dtcbench").dtcbench_process_result({"answer": answer, "index": "1"}, [prediction])["dtcbench_acc"]
    return float(theirs("dtcbench").dtcbench_aggregation_result([found]))


@pytest.mark.parametrize("language", ALPHABETS)
def test_scores_are_lmms_eval_s(language: str) -> None:
    checks = {
        ("mpdocvqa", "anls"): mpdocvqa("anls"),
        ("mpdocvqa", "accuracy"): mpdocvqa("accuracy"),
        ("slidevqa", "anls"): slidevqa("anls"),
        ("slidevqa", "exact_match"): slidevqa("em"),
        ("mtvqa", "containment"): mtvqa,
    }
    made = list(pairs(language))
    for (benchmark, metric), their in checks.items():
        our = own(benchmark, metric)
        odd = [(p, a, our(p, a), their(p, a)) for p, a in made if our(p, a) != pytest.approx(their(p, a), abs=1e-12)]
        assert not odd, f"{benchmark} {metric}: {len(odd)} of {len(made)} differ, first {odd[0]}"


@pytest.mark.parametrize("language", ALPHABETS)
def test_the_first_letter_is_lmms_eval_s(language: str) -> None:
    letters = random.Random(language)
    made = [(prediction, letters.choice("ABCD")) for prediction, _ in pairs(language)]
    our = own("kdtcbench", "first_letter")
    assert [our(*pair) for pair in made] == [kdtcbench(*pair) for pair in made]


@pytest.mark.parametrize("language", ALPHABETS)
def test_f1_of_slidevqa_is_lmms_eval_s_where_no_word_repeats(language: str) -> None:
    """It counts a repeated word each time, so that its F1 can be 1.5; docvlm's is of a bag of words."""
    our, their = own("slidevqa", "f1"), slidevqa("f1")
    made = [(p, a) for p, a in pairs(language) if p and len(set(p.lower().split())) == len(p.split())]
    assert len(made) > PAIRS / 2
    for prediction, answer in made:
        assert our(prediction, answer) == pytest.approx(their(prediction, answer), abs=1e-12), (prediction, answer)
    assert slidevqa("f1")("a a a", "a") == 1.5 and our("a a a", "a") == 0.5
