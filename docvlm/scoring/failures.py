"""Why an answer is not right: one class for every prediction that lost credit, the first that fits.

Classes go from what is certain (nothing was said, the same text in other dress) to what is only likely (a question
that asks for reasoning), so that a class never hides a more certain one; the order is part of the definition. They are
rules on strings and need no model. What needs the page's text is told apart only where that text is given; a wrong
colour, a misread layout or an annotation error need an image or a person and are not claimed here.

Definitions and the rates of real models: `docs/reference/failures.md`. About 0.2 ms an answer.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rapidfuzz.distance import Levenshtein

from docvlm.scoring import quantities
from docvlm.scoring.formatting import accent_free, content, folded, same_but_dress

CLASSES = {
    "empty": "no letter, digit or symbol",
    "refusal": "says that it cannot answer, where no accepted answer says so",
    "format only": "equal after NFKC, quotes, dashes, markdown, outer punctuation, thousands separators, spacing",
    "unit or scale": "the same value up to a per cent sign, currency, unit, a factor 100 or a power of 1 000",
    "number wrong": "a number near the right one: sign, one digit, off by one, within 20 %, another year",
    "near miss": "at least 75 % similar, or at most 2 edits in 4 characters or more, as misreading leaves it",
    "over-long": "an answer inside at least 1.5 times as much text, a repetition, or cut off at `max_new_tokens`",
    "partial span": "a part of an answer, or an answer with a little too much",
    "list": "the items of a list in another order, or some missing, or some too many",
    "choice flipped": "yes for no, or the other of two choices",
    "echo": "the words of the question",
    "elsewhere on the page": "stands on the page, and is not what was asked for (needs the page's text)",
    "not on the page": "does not stand on the page (needs the page's text)",
    "reasoning": "the question asks to count, compute or compare",
    "other": "none of these",
}
"""Every class with its definition, in the order in which they are tried."""

SIMILAR, EDITS, EDITABLE, LONG = 0.75, 2, 4, 1.5

_REFUSAL = re.compile(
    r"\b(?:sorry|unanswerable|no (?:such )?(?:answer|information|mention)|(?:un|not )able to|unknown"
    r"|(?:can ?not|can't|could not|couldn't) (?:be )?(?:answer|determine|read|see|find|provide|identif|tell)\w*"
    r"|(?:not|n't) (?:explicitly |specifically |clearly |directly )?"
    r"(?:mention|specif|provid|stat|giv|contain|includ|availab|visib|show|known|legib|indicat|possible to)\w*)\b"
)
_CUES = {
    "count": re.compile(r"\bhow many\b|\bnumber of\b|\bcount\b"),
    "arithmetic": re.compile(
        r"\b(?:total|sum|differences?|ratio|average|mean|median|percentage|combined|add(?:ing)?)\b"
    ),
    "comparison": re.compile(
        r"\b(?:highest|lowest|largest|smallest|biggest|greatest|least|most|fewest|maximum|minimum|longest|shortest"
        r"|oldest|youngest|latest|earliest|rank\w*|(?:more|less|fewer|greater|higher|lower|larger|smaller) than)\b"
    ),
}
_OPPOSITES = (
    ("yes", "no"), ("true", "false"), ("increase", "decrease"), ("increased", "decreased"),
    ("increasing", "decreasing"), ("higher", "lower"), ("more", "less"), ("male", "female"), ("men", "women"),
    ("left", "right"), ("top", "bottom"), ("above", "below"), ("before", "after"), ("up", "down"),
)  # fmt: skip
_OTHER_SIDE = {a: b for pair in _OPPOSITES for a, b in (pair, pair[::-1])}
_OPTION = re.compile(r"\(?([a-h])\)?")
_SEPARATORS = re.compile(r"\s*(?:[,;/&\n•|]|\band\b)\s*")
_REPEATED = re.compile(r"(\S.{0,39}?)\1{3,}")
_CONFUSABLE = (("0", "o"), ("1", "l"), ("i", "l"), ("5", "s"), ("8", "b"), ("rn", "m"), ("vv", "w"))

Tags = tuple[str, ...] | None
"""What is known beyond the class; None: the class does not fit."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A class of `CLASSES` and what is known beyond it, such as which mark made the dress differ."""

    kind: str
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Case:
    """A prediction with one accepted answer; `guess` and `truth` are both without dress."""

    prediction: str
    answer: str
    question: str
    truncated: bool
    guess: str
    truth: str


def classify(
    prediction: str, answers: Sequence[str], question: str = "", *, truncated: bool = False, page: str | None = None
) -> Failure:
    """The class of a prediction of which a metric said that it is not right: each is tried with every answer.

    `page` is the page's text, where it is known: then an answer is "elsewhere" or "not on the page" rather than
    "reasoning" or "other", and tagged with what the question asks for.
    """
    plain, asked = content(prediction), content(question)
    cases = [_Case(prediction, answer, asked, truncated, plain, content(answer)) for answer in answers]
    for kind, fits in _RULES:
        for case in cases:
            tags = fits(case)
            if tags is not None:
                return Failure(kind, tags)
    cues = tuple(name for name, cue in _CUES.items() if cue.search(asked))
    if page is not None:
        return Failure("elsewhere on the page" if _within(plain, content(page)) else "not on the page", cues)
    return Failure("reasoning", cues) if cues else Failure("other", _contrast(cases))


def _empty(case: _Case) -> Tags:
    if not case.prediction.strip():
        return ()
    return ("only punctuation",) if _unlettered(case.prediction) and not _unlettered(case.answer) else None


def _refusal(case: _Case) -> Tags:
    refused = _REFUSAL.search(case.guess) and not _REFUSAL.search(case.truth)
    return () if refused and not _within(case.truth, case.guess) else None


def _format(case: _Case) -> Tags:
    if step := same_but_dress(case.prediction, case.answer):
        return (step,)
    return ("notation",) if _same_value(case) == ("notation",) else None


def _unit(case: _Case) -> Tags:
    return _same_value(case) or None


def _same_value(case: _Case) -> tuple[str, ...]:
    guess, truth = quantities.parse(case.guess), quantities.parse(case.truth)
    return quantities.same_value(guess, truth) if guess and truth else ()


def _number(case: _Case) -> Tags:
    guess, truth = quantities.parse(case.guess), quantities.parse(case.truth)
    return quantities.near_value(guess, truth) or None if guess and truth else None


def _near_miss(case: _Case) -> Tags:
    """Not for "male" and "female": two letters apart, and the other choice."""
    longest = max(len(case.guess), len(case.truth))
    distance = Levenshtein.distance(case.guess, case.truth)
    close = 1 - distance / max(1, longest) >= SIMILAR or (distance <= EDITS and longest >= EDITABLE)
    if not close or _flipped(case) is not None:
        return None
    if _confused(case.guess) == _confused(case.truth):
        return ("confusable characters",)
    if accent_free(case.guess) == accent_free(case.truth):
        return ("accents",)
    if _letters(case.guess) == _letters(case.truth):
        return ("inner punctuation",)
    digits = [re.sub(r"\D", "", text) for text in (case.guess, case.truth)]
    return ("digits",) if digits[0] != digits[1] else ("letters",)


def _over_long(case: _Case) -> Tags:
    tags = []
    if len(case.guess) >= LONG * len(case.truth) and _said(case.truth, case.guess):
        tags.append("answer inside")
    run = _REPEATED.search(case.guess) if len(case.guess) >= 12 else None
    if run and len(run[0]) >= 12 and any(map(str.isalpha, run[0])):
        tags.append("repetition")
    return (*tags, "cut off") if case.truncated else tuple(tags) or None


def _partial(case: _Case) -> Tags:
    if _said(case.guess, case.truth):
        return ("too short",)
    return ("too wide",) if _said(case.truth, case.guess) else None


def _list(case: _Case) -> Tags:
    said, wanted = _items(case.prediction), _items(case.answer)
    if len(wanted) < 2 or not said:
        return None
    if sorted(said) == sorted(wanted):
        return ("order",)
    if set(said) == set(wanted):
        return ("repeated items",)
    if set(said) < set(wanted):
        return ("items missing",)
    return ("items too many",) if set(said) > set(wanted) else None


def _flipped(case: _Case) -> Tags:
    guess, truth = case.guess, case.truth
    if guess == truth:
        return None
    if truth in _OTHER_SIDE and guess.split(" ")[0].rstrip(",.") == _OTHER_SIDE[truth]:
        return ("yes or no",) if truth in ("yes", "no", "true", "false") else ("opposite",)
    if _OPTION.fullmatch(guess) and _OPTION.fullmatch(truth):
        return ("option letter",)
    offered = " or " in case.question and _within(guess, case.question) and _within(truth, case.question)
    return ("one of the question's",) if offered else None


def _echo(case: _Case) -> Tags:
    if not case.question:
        return None
    words = case.guess.split()
    known = set(re.findall(r"\w+", case.question))
    most = len(words) >= 4 and sum(word.strip(".,'\"") in known for word in words) >= 0.8 * len(words)
    return () if _within(case.guess, case.question) or most else None


_RULES: tuple[tuple[str, Callable[[_Case], Tags]], ...] = (
    ("empty", _empty),
    ("refusal", _refusal),
    ("format only", _format),
    ("unit or scale", _unit),
    ("number wrong", _number),
    ("near miss", _near_miss),
    ("over-long", _over_long),
    ("partial span", _partial),
    ("list", _list),
    ("choice flipped", _flipped),
    ("echo", _echo),
)


def _contrast(cases: Sequence[_Case]) -> tuple[str, ...]:
    """What kind of thing was said for what kind of thing."""
    said = quantities.parse(cases[0].guess) is not None
    wanted = any(quantities.parse(case.truth) is not None for case in cases)
    words = {word for case in cases for word in re.findall(r"\w{3,}", case.truth)}
    if said and wanted:
        return ("another number",)
    if said != wanted:
        return ("number for text",) if said else ("text for number",)
    return ("some words right",) if words & set(re.findall(r"\w{3,}", cases[0].guess)) else ("another text",)


def _within(part: str, whole: str) -> bool:
    """Whether `part` stands in `whole` as words: "4" is not in "14"."""
    start = whole.find(part) if part else -1
    while start >= 0:
        end = start + len(part)
        before, after = whole[start - 1 : start], whole[end : end + 1]
        if not (before.isalnum() and part[0].isalnum()) and not (after.isalnum() and part[-1].isalnum()):
            return True
        start = whole.find(part, start + 1)
    return False


def _said(part: str, whole: str) -> bool:
    """Whether `part` stands in `whole`, from six letters on whatever the spacing and punctuation inside it."""
    letters = _letters(part)
    return _within(part, whole) or (len(letters) >= 6 and letters in _letters(whole))


def _items(text: str) -> list[str]:
    return [item for part in _SEPARATORS.split(folded(text).strip("[]() .")) if (item := content(part))]


def _confused(text: str) -> str:
    for a, b in _CONFUSABLE:
        text = text.replace(a, b)
    return text


def _unlettered(text: str) -> bool:
    return all(unicodedata.category(letter)[0] in "PZC" for letter in text)


def _letters(text: str) -> str:
    return "".join(filter(str.isalnum, text))
