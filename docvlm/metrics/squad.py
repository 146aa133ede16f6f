"""The secondary metrics: accuracy (plain equality), SQuAD exact match, and SQuAD v2 token F1.

None is the headline of a benchmark here. Exact match deletes punctuation, so it calls "3.5" and "35" equal: never
quote it alone for numbers. F1 costs about 20 microseconds a pair, the others about 2.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal

from docvlm.metrics.text import require_answers, squad_normalise


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


def exact_match(prediction: str, answers: Sequence[str]) -> float:
    """1.0 if the prediction equals any accepted answer after SQuAD normalisation, else 0.0.

    Source: the SQuAD v2 evaluation script. Raises `NoAnswersError` if `answers` is empty.
    """
    require_answers(answers)
    guess = squad_normalise(prediction)
    return float(any(guess == squad_normalise(answer) for answer in answers))


def f1(prediction: str, answers: Sequence[str], *, level: Literal["word", "char"] = "word") -> float:
    """Overlap of tokens as a bag, in [0, 1]: the best over the accepted answers; two empties score 1.

    `level="char"` takes every character but white space as a token, for Korean, Chinese and Japanese, where words are
    not separated as in English (KorQuAD does the same).

    Source: the SQuAD v2 evaluation script. Raises `NoAnswersError` if `answers` is empty.
    """
    require_answers(answers)
    guess = _tokens(prediction, level)
    return max(_overlap(guess, _tokens(answer, level)) for answer in answers)


def _tokens(text: str, level: Literal["word", "char"]) -> list[str]:
    normal = squad_normalise(text)
    return normal.split() if level == "word" else [letter for letter in normal if not letter.isspace()]


def _overlap(guess: list[str], truth: list[str]) -> float:
    if not guess or not truth:
        return float(guess == truth)
    common = sum((Counter(guess) & Counter(truth)).values())
    if common == 0:
        return 0.0
    precision, recall = common / len(guess), common / len(truth)
    return 2 * precision * recall / (precision + recall)
