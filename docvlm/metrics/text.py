"""String normalisation shared by the metrics, and the two input errors every metric checks for.

Each metric names its normalisation in its own docstring; the bricks live here so that "strip", "collapse" and
"trailing punctuation" mean one thing. All are pure and cost well under a microsecond on answers of usual length.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Sequence
from typing import Literal

from docvlm.errors import DocvlmError

UnicodeForm = Literal["NFC", "NFD", "NFKC", "NFKD"]

TRAILING_PUNCTUATION = ".,;:!?。、，；：！？"
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_DELETE_PUNCTUATION = str.maketrans("", "", string.punctuation)


class NoAnswersError(DocvlmError, ValueError):
    """A question without accepted answers cannot be scored; also a `ValueError` for callers outside docvlm."""


def require_answers(answers: Sequence[str]) -> None:
    """Refuse an empty list (no protocol defines its score) and a bare string (it would be read letter by letter)."""
    if isinstance(answers, str):
        raise TypeError(f"answers must be a sequence of strings, found the string {answers!r}: write [{answers!r}]")
    if not answers:
        raise NoAnswersError("answers is empty: a question needs at least one accepted answer; remove the question")


def normalise(text: str, unicode_norm: UnicodeForm | None, strip_trailing_punct: bool) -> str:
    """The optional steps that the official protocols leave out: a Unicode form, then trailing punctuation.

    NFC matters for Korean: the same syllable may be stored as one code point or as two or three.
    """
    if unicode_norm is not None:
        text = unicodedata.normalize(unicode_norm, text)
    if strip_trailing_punct:
        text = text.strip().rstrip(TRAILING_PUNCTUATION)
    return text


def squad_normalise(text: str) -> str:
    """Lower-case, delete ASCII punctuation, drop English articles, collapse white space.

    Source: `normalize_answer` of the SQuAD v2 evaluation script. Note that "3.5" becomes "35".
    """
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_DELETE_PUNCTUATION)).split())
