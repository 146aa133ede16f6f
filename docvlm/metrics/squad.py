"""The secondary metrics: accuracy (plain equality), SQuAD exact match, and SQuAD v2 token F1.

None is the headline of a benchmark here. Exact match deletes punctuation, so it calls "3.5" and "35" equal: never
quote it alone for numbers. F1 costs about 20 microseconds a pair, the others about 2.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal

from docvlm.metrics.text import Punctuation, require_answers, squad_normalise


def accuracy(prediction: str, answers: Sequence[str], *, none_scores_zero: bool = False) -> float:
    """1.0 if the stripped, lower-cased prediction equals any accepted answer, else 0.0.

    With `none_scores_zero` the word "none" is never right (MP-DocVQA's evaluator). Raises `NoAnswersError` (a
    `DocvlmError` and `ValueError`) if `answers` is empty.
    """
    require_answers(answers)
    guess = prediction.strip().lower()
    if none_scores_zero and guess == "none":
        return 0.0
    return float(any(guess == answer.strip().lower() for answer in answers))


def exact_match(
    prediction: str, answers: Sequence[str], *, punctuation: Punctuation = "ascii", lower_only: bool = False
) -> float:
    """1.0 if the prediction equals any accepted answer after SQuAD normalisation, else 0.0.

    `punctuation="unicode"` deletes that of every script, `lower_only` takes lower case and outer white space alone.

    Source: the SQuAD v2 evaluation script. Raises `NoAnswersError` if `answers` is empty.
    """
    require_answers(answers)
    guess = _normal(prediction, punctuation, lower_only)
    return float(any(guess == _normal(answer, punctuation, lower_only) for answer in answers))


def f1(
    prediction: str,
    answers: Sequence[str],
    *,
    level: Literal["word", "char"] = "word",
    punctuation: Punctuation = "ascii",
    lower_only: bool = False,
) -> float:
    """Overlap of tokens as a bag, in [0, 1]: the best over the accepted answers; two empties score 1.

    `level="char"` takes every character but white space as a token: for languages without spaces between words, and for
    Korean, whose words carry particles (KorQuAD, arXiv 1909.07005). `punctuation="unicode"` deletes that of every
    script, `lower_only` takes lower case alone.

    Source: the SQuAD v2 evaluation script. Raises `NoAnswersError` if `answers` is empty.
    """
    require_answers(answers)
    guess = _tokens(_normal(prediction, punctuation, lower_only), level)
    return max(_overlap(guess, _tokens(_normal(answer, punctuation, lower_only), level)) for answer in answers)


def _normal(text: str, punctuation: Punctuation, lower_only: bool) -> str:
    return text.lower().strip() if lower_only else squad_normalise(text, punctuation)


def _tokens(normal: str, level: Literal["word", "char"]) -> list[str]:
    return normal.split() if level == "word" else [letter for letter in normal if not letter.isspace()]


def _overlap(guess: list[str], truth: list[str]) -> float:
    if not guess or not truth:
        return float(guess == truth)
    common = sum((Counter(guess) & Counter(truth)).values())
    if common == 0:
        return 0.0
    precision, recall = common / len(guess), common / len(truth)
    return 2 * precision * recall / (precision + recall)
