"""Relaxed accuracy, the headline metric of ChartQA: numbers may be 5 % off, everything else must be equal.

The default is lmms-eval's form (pix2struct's function on a stripped prediction): numbers are what Python's `float`
accepts, so "1,234" and "$5" are text. Each leniency people add is an option, off by default, because every one of them
moves the score.
Costs about 3 microseconds a pair.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from typing import Literal

from docvlm.metrics.text import normalise, require_answers

TOLERANCE = 0.05
_THOUSANDS = re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d*)?%?")
_CURRENCY = "$€£¥₩₹"
_YEAR = re.compile(r"(1[89]\d\d|20\d\d)")


def relaxed_accuracy(
    prediction: str,
    answers: Sequence[str],
    *,
    tolerance: float = TOLERANCE,
    denominator: Literal["target", "prediction"] = "target",
    strip: bool = True,
    thousands: bool = False,
    currency: bool = False,
    percent_equiv: bool = False,
    exact_years: bool = False,
    strip_trailing_punct: bool = False,
    list_answers: bool = False,
) -> float:
    """1.0 if the prediction is right for any accepted answer, else 0.0.

    Both sides go through `float()`, a trailing "%" divides by 100, and `|p - t| / |t| <= tolerance` is right. A target
    of 0, or a side that is no number, needs case-insensitive equality. Float arithmetic decides the boundary: "105"
    against "100" is right, "1.05" against "1" is wrong. White space around the prediction does not count, as in
    lmms-eval, which strips every response before its function; around an answer that is no number it does.

    Options: `denominator="prediction"` swaps the two sides (Qwen-VL `eval_mm`, VLMEvalKit before 2025-09);
    `strip=False` leaves the prediction as it is (pix2struct's function by itself); `thousands` reads "1,234";
    `currency` drops one symbol of $€£¥₩₹ at either end; `percent_equiv` accepts "12" for "12%"; `exact_years` wants
    targets 1800-2099 exactly; `strip_trailing_punct` drops a final full stop and the like; `list_answers` reads the
    answer "[2016, 2017]" as two answers (VLMEvalKit).

    Sources: google-research/pix2struct `metrics.py`; lmms-eval 0.7.3 `tasks/chartqa/utils.py` and, for the stripping,
    `process_results` in `api/task.py`; the 5 % is section 5.1 of ChartQA (arXiv 2203.10244). Raises `NoAnswersError`
    (a `DocvlmError` and `ValueError`) if `answers` is empty.
    """
    require_answers(answers)
    if list_answers:
        answers = [item for answer in answers for item in _listed(answer)]
    if strip:
        prediction = prediction.strip()
    if strip_trailing_punct:
        prediction = normalise(prediction, None, True)
        answers = [normalise(answer, None, True) for answer in answers]
    for answer in answers:
        guess, target = _plain(prediction, thousands, currency), _plain(answer, thousands, currency)
        if exact_years and _YEAR.fullmatch(target):
            right = guess == target
        elif denominator == "target":
            right = _correct(guess, target, tolerance, percent_equiv)
        else:
            right = _correct(target, guess, tolerance, percent_equiv)
        if right:
            return 1.0
    return 0.0


def _correct(prediction: str, target: str, tolerance: float, percent_equiv: bool) -> bool:
    p, t = _to_float(prediction), _to_float(target)
    if p is None or not t:
        return prediction.lower() == target.lower()
    if abs(p - t) / abs(t) <= tolerance:
        return True
    if percent_equiv and prediction.endswith("%") != target.endswith("%"):
        p, t = (p * 100, t) if prediction.endswith("%") else (p, t * 100)
        return abs(p - t) / abs(t) <= tolerance
    return False


def _to_float(text: str) -> float | None:
    try:
        return float(text.rstrip("%")) / 100.0 if text.endswith("%") else float(text)
    except ValueError:  # not a number: the protocol compares it as text
        return None


def _plain(text: str, thousands: bool, currency: bool) -> str:
    """Text without the currency symbol and thousands separators, where the options ask for it."""
    if currency:
        sign, body = (text[0], text[1:]) if text[:1] in ("-", "+") else ("", text)
        body = body[1:] if body[:1] and body[0] in _CURRENCY else body
        text = sign + (body[:-1] if body[-1:] and body[-1] in _CURRENCY else body).strip()
    return text.replace(",", "") if thousands and _THOUSANDS.fullmatch(text) else text


def _listed(answer: str) -> list[str]:
    """The items of an answer that is a Python list written as text, else the answer itself."""
    if not (answer.startswith("[") and answer.endswith("]")):
        return [answer]
    try:
        items = ast.literal_eval(answer)
    except (ValueError, SyntaxError):  # "[sic]" is an answer in brackets, not a list
        return [answer]
    return [str(item) for item in items]
