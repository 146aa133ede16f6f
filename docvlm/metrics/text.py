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
Punctuation = Literal["ascii", "unicode"]

TRAILING_PUNCTUATION = ".,;:!?。、，；：！？"
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_DELETE_PUNCTUATION = str.maketrans("", "", string.punctuation)
_FOLD_WIDTH = str.maketrans("０１２３４５６７８９\u3000", "0123456789 ")


class NoAnswersError(DocvlmError, ValueError):
    """A question without accepted answers cannot be scored; also a `ValueError` for callers outside docvlm."""


def require_answers(answers: Sequence[str]) -> None:
    """Refuse an empty list (no protocol defines its score) and a bare string (it would be read letter by letter)."""
    if isinstance(answers, str):
        raise TypeError(f"answers must be a sequence of strings, found the string {answers!r}: write [{answers!r}]")
    if not answers:
        raise NoAnswersError("answers is empty: a question needs at least one accepted answer; remove the question")


def normalise(
    text: str, unicode_norm: UnicodeForm | None = None, strip_trailing_punct: bool = False, *, fold_width: bool = False
) -> str:
    """The optional steps that the official protocols leave out: a Unicode form, width, then trailing punctuation.

    NFC (Unicode Standard Annex 15) matters for Korean: the same syllable may be stored as one code point or as two or
    three. `fold_width` makes full-width digits ASCII ones, and an ideographic space (U+3000) a space; other full-width
    letters stay.
    """
    if unicode_norm is not None:
        text = unicodedata.normalize(unicode_norm, text)
    if fold_width:
        text = text.translate(_FOLD_WIDTH)
    if strip_trailing_punct:
        text = text.strip().rstrip(TRAILING_PUNCTUATION)
    return text


def squad_normalise(text: str, punctuation: Punctuation = "ascii") -> str:
    """Lower-case, delete punctuation, drop English articles, collapse white space.

    Source: `normalize_answer` of the SQuAD v2 evaluation script. Note that "3.5" becomes "35". `punctuation="unicode"`
    deletes every character of the Unicode categories P besides, as MLQA's script does (arXiv 1910.07475); vowel signs
    of Thai and Hindi are marks (M) and stay.
    """
    text = text.lower().translate(_DELETE_PUNCTUATION)
    if punctuation == "unicode":
        text = "".join(letter for letter in text if not unicodedata.category(letter).startswith("P"))
    return " ".join(_ARTICLES.sub(" ", text).split())
