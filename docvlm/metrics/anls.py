"""ANLS, the headline metric of DocVQA and InfographicVQA.

The default is lmms-eval's form, so that scores compare with published ones; the RRC script differs only by
not stripping the prediction. Every other difference between the references is an option, and `registry.py` names the
sets of options. Distances come from rapidfuzz, with an equality short-cut and a cut-off at the distance where the score
becomes 0: about 2 microseconds a pair.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from rapidfuzz.distance import Levenshtein

from docvlm.metrics.text import UnicodeForm, normalise, require_answers

_distance = Levenshtein.distance


def anls(
    prediction: str,
    answers: Sequence[str],
    *,
    threshold: float = 0.5,
    strict_threshold: bool = False,
    denominator: Literal["raw", "normalized"] = "raw",
    strip: bool = True,
    collapse: bool = True,
    case_sensitive: bool = False,
    unicode_norm: UnicodeForm | None = None,
    strip_trailing_punct: bool = False,
    empty_scores_zero: bool = False,
    none_scores_zero: bool = False,
    unanswerable: str = "",
) -> float:
    """Average Normalised Levenshtein Similarity of one prediction, in [0, 1]: the best over the accepted answers.

    `1 - distance / length`, where the distance is between lower-cased strings with collapsed white space and the length
    is the longer of the two *raw* strings; a similarity below `threshold` counts 0. Two empty strings score 1.

    Options: `strict_threshold` drops a similarity equal to the threshold (the equation of Biten et al. 2019,
    arXiv 1907.00490); `denominator="normalized"` divides by the normalised lengths; `strip=False` keeps the
    prediction's outer white space in its raw length; `collapse=False` keeps inner white space, and outer unless
    `strip`; `empty_scores_zero` gives an empty prediction 0 whatever the answers, `none_scores_zero` the word "none".
    `unanswerable` are words that mean there is no answer: a text that holds them, in whatever case, counts as empty on
    both sides.

    Sources: RRC evaluation script (as in QwenLM/Qwen-VL `eval_mm/infographicsvqa_eval.py`), lmms-eval `api/metrics.py`.
    Raises `NoAnswersError` (a `DocvlmError` and `ValueError`) if `answers` is empty.
    """
    require_answers(answers)
    if prediction in answers and not (empty_scores_zero or none_scores_zero):
        return 1.0  # equal as written is equal under every option
    if unicode_norm is not None or strip_trailing_punct:
        prediction = normalise(prediction, unicode_norm, strip_trailing_punct)
        answers = [normalise(answer, unicode_norm, strip_trailing_punct) for answer in answers]
    if unanswerable:
        prediction, *answers = ("" if unanswerable in text.lower() else text for text in (prediction, *answers))
    if strip:
        prediction = prediction.strip()
    if empty_scores_zero and not prediction.strip():
        return 0.0
    guess = _comparable(prediction, strip, collapse, case_sensitive)
    if none_scores_zero and guess.lower() == "none":
        return 0.0
    raw = denominator == "raw"
    guess_length = _upper_length(prediction) if raw else len(guess)
    best = 1.0  # smallest normalised distance so far
    for answer in answers:
        truth = _comparable(answer, strip, collapse, case_sensitive)
        if truth == guess:
            return 1.0
        length = max(guess_length, _upper_length(answer) if raw else len(truth))
        # One above the largest distance that can still score, so that float rounding never decides the cut.
        cutoff = int((1.0 - threshold) * length) + 1
        distance = _distance(truth, guess, score_cutoff=cutoff)
        best = min(best, distance / length)
    similarity = 1.0 - best
    dropped = similarity <= threshold if strict_threshold else similarity < threshold
    return 0.0 if dropped else similarity


def _comparable(text: str, strip: bool, collapse: bool, case_sensitive: bool) -> str:
    """The form distances are taken on."""
    if not case_sensitive:
        text = text.lower()
    if collapse:
        return " ".join(text.split())
    return text.strip() if strip else text


def _upper_length(text: str) -> int:
    """Length after upper-casing, as the RRC script takes it: "ß" counts 2."""
    return len(text) if text.isascii() else len(text.upper())
