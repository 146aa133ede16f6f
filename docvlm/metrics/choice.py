"""The headlines of multilingual benchmarks: containment (MTVQA) and the first letter of a reply (K-DTCBench)."""

from __future__ import annotations

from collections.abc import Sequence

from docvlm.metrics.text import require_answers


def containment(prediction: str, answers: Sequence[str]) -> float:
    """1.0 if an accepted answer stands anywhere in the prediction, both lower-cased and without full stops, else 0.0.

    A long prediction has more chances than a short one, and an answer of full stops alone is in every prediction.

    Source: lmms-eval 0.7.3 `tasks/mtvqa/utils.py`. Raises `NoAnswersError` if `answers` is empty.
    """
    require_answers(answers)
    guess = _plain(prediction)
    return float(any(_plain(answer) in guess for answer in answers))


def first_letter(prediction: str, answers: Sequence[str]) -> float:
    """1.0 if prediction and an accepted answer begin with the same letter, whatever its case, else 0.0.

    An answer is the letter of a choice, of which lmms-eval takes all: nothing else differs.

    Source: lmms-eval 0.7.3 `tasks/dtcbench/utils.py`. Raises `NoAnswersError` if `answers` is empty.
    """
    require_answers(answers)
    guess = prediction.strip()[:1].lower()
    return float(any(guess == answer.strip()[:1].lower() for answer in answers))


def _plain(text: str) -> str:
    return text.strip().lower().replace(".", "")
