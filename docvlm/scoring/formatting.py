"""The formatting of an answer: what differs between two texts that say the same.

Steps are applied one after the other to both sides; the step at which they become equal names the difference. Pure
functions on strings, a few microseconds each.
"""

from __future__ import annotations

import re
import unicodedata

_QUOTES = str.maketrans({**dict.fromkeys("‘’‚‛′`´", "'"), **dict.fromkeys("“”„‟″«»", '"')})
_DASHES = str.maketrans(dict.fromkeys("‐‑‒–—―−", "-"))
_MARKDOWN = re.compile(r"\*\*|__|(?:^|(?<=\s))[*_](?=\S)|(?<=\S)[*_](?=\s|$)|^\s*(?:[-*•]|#+)\s+(?!\d)|\\boxed|[{}]")
_BEFORE, _AFTER, _QUOTED = "\"'[(< ", "\"'])> .,:;!?。、，：；！？", "\"' "
_BETWEEN_DASHES = re.compile(r"-\s*(.+?)\s*-")  # how page numbers are written: "-2-"
_THOUSANDS = re.compile(r"(?<=\d)[, ](?=\d{3}(?!\d))")


def folded(text: str) -> str:
    """Lower case, white space collapsed."""
    return " ".join(text.casefold().split())


def _compatible(text: str) -> str:
    return folded(unicodedata.normalize("NFKC", text))


def _unquoted(text: str) -> str:
    return text.translate(_QUOTES).translate(_DASHES)


def _unmarked(text: str) -> str:
    return folded(_MARKDOWN.sub("", text))


def _bare(text: str) -> str:
    """Without quotes, brackets and punctuation around it; a bracket that has its partner inside stays."""
    if between := _BETWEEN_DASHES.fullmatch(text):
        text = between[1]
    previous = None
    while text != previous:
        previous = text
        bare = text.lstrip(_BEFORE).rstrip(_AFTER)
        paired = bare.count("(") == bare.count(")") and bare.count("[") == bare.count("]")
        text = bare if paired else text.strip(_QUOTED).rstrip(".,:;!?。、，：；！？ ")
    return text


def _ungrouped(text: str) -> str:
    return _THOUSANDS.sub("", text)


def _unspaced(text: str) -> str:
    return "".join(text.split())


_STEPS = (
    ("case or spacing", folded),
    ("unicode form", _compatible),
    ("quotes or dashes", _unquoted),
    ("markdown", _unmarked),
    ("outer punctuation", _bare),
    ("thousands separators", _ungrouped),
    ("spacing", _unspaced),
)


def same_but_dress(a: str, b: str) -> str | None:
    """The step that makes two texts equal, such as "outer punctuation"; None where none does."""
    for name, step in _STEPS:
        a, b = step(a), step(b)
        if a == b and a:
            return name
    return None


def content(text: str) -> str:
    """A text without its dress, words still apart and numbers as they are written."""
    return _bare(_unmarked(_unquoted(_compatible(text))))


def accent_free(text: str) -> str:
    """Without accents: "crème" and "creme" are equal."""
    return "".join(letter for letter in unicodedata.normalize("NFD", text) if not unicodedata.combining(letter))
