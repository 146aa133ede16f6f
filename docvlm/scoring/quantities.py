"""Answers that are numbers: value, unit, and how two of them are related.

Exact decimals, so that "0.1" times 100 is 10 and not 10.000000000000002. Read are digits with thousands separators
("1,234", "1 234", "12,34,567"), a decimal point or comma ("3,5"), a sign, one currency, a per cent sign, a word for
thousands and more, and a unit of up to two words. Dates, times and ranges are no numbers here. About 5 microseconds a
text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal

from rapidfuzz.distance import Levenshtein

_CURRENCY = r"us\$|rs\.?|rm|usd|eur|gbp|inr|[$€£¥₩₹¢]"
_NUMBER = re.compile(
    rf"(?P<sign>[-+])?\s*(?P<before>{_CURRENCY})?\s*(?P<inner>[-+])?(?P<number>\d[\d,. ]*\d|\d|\.\d+)"
    rf"(?:\s*(?P<after>%|{_CURRENCY}))?(?:\s*(?P<words>[a-zµ°²³/]+\.?(?: [a-zµ²³/]+\.?)?))?"
)
_GROUPED = re.compile(r"\d{1,3}(?:[, ]\d{2,3})*[, ]\d{3}(?:\.\d+)?")
_DECIMAL_COMMA = re.compile(r"(?:\d{1,3}(?:[. ]\d{3})+|\d+),\d{1,2}")
_PLAIN = re.compile(r"\d*\.?\d+")
_MARKS = {
    "percent": "%", "per cent": "%", "pct": "%", "dollars": "$", "us$": "$", "usd": "$", "euros": "€", "eur": "€",
    "gbp": "£", "rs": "₹", "inr": "₹", "rupees": "₹", "cents": "¢",
}  # fmt: skip
_SCALES = {
    "k": 3, "thousand": 3, "thousands": 3, "m": 6, "mn": 6, "mio": 6, "million": 6, "millions": 6,
    "b": 9, "bn": 9, "billion": 9, "billions": 9, "trillion": 12, "lakh": 5, "crore": 7,
}  # fmt: skip
_LONGEST = 60  # characters: a longer text is no number, and need not be searched for one
_NEAR = Decimal("0.2")
_YEARS = range(1500, 2100)


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number with its unit; `written` are its digits as they stand, `scale` the power of ten a word gave it."""

    value: Decimal
    percent: bool
    currency: str
    unit: str
    scale: int
    written: str


def parse(text: str) -> Quantity | None:
    """The number that `text` is, lower-cased and trimmed by the caller; None where it is no single number."""
    found = _NUMBER.fullmatch(text) if len(text) <= _LONGEST else None
    if found is None:
        return None
    number = _digits(found["number"])
    if number is None:
        return None
    words = (found["words"] or "").replace(".", "")
    marks = {_mark(found["before"] or ""), _mark(found["after"] or ""), _MARKS[words] if words in _MARKS else ""}
    first, _, rest = words.partition(" ")
    scale = _SCALES[first] if first in _SCALES else 0
    unit = "" if words in _MARKS else rest if scale else words
    value = Decimal(number).scaleb(scale)
    negative = "-" in (found["sign"], found["inner"])
    return Quantity(
        value=-value if negative else value,
        percent="%" in marks,
        currency="".join(sorted(marks - {"", "%"})),
        unit=unit,
        scale=scale,
        written=re.sub(r"\D", "", number),
    )


def same_value(guess: Quantity, truth: Quantity) -> tuple[str, ...]:
    """What tells two numbers apart that mean the same value up to unit or scale; () where the value itself differs.

    "notation" stands for no difference but in writing: "5.0" and "5".
    """
    if guess.value == truth.value:
        unlike = {
            "per cent": guess.percent != truth.percent,
            "currency": guess.currency != truth.currency,
            "unit": guess.unit != truth.unit,
            "scale word": guess.scale != truth.scale,
        }
        return tuple(name for name, differs in unlike.items() if differs) or ("notation",)
    if not guess.value or not truth.value:
        return ()
    ratio = max(guess.value / truth.value, truth.value / guess.value)
    if ratio == 100:
        return ("factor 100",)
    return ("factor of thousands",) if ratio in (10**3, 10**6, 10**9, 10**12) else ()


def near_value(guess: Quantity, truth: Quantity) -> tuple[str, ...]:
    """In which ways a different number is near the right one; () where in none.

    A pair of one-digit numbers is never "one digit": all of them are one digit apart.
    """
    gap = abs(guess.value - truth.value)
    years = all(q.value == int(q.value) and int(q.value) in _YEARS and len(q.written) == 4 for q in (guess, truth))
    ways = {
        "sign": guess.value == -truth.value,
        "year": years,
        "one digit": max(len(guess.written), len(truth.written)) >= 2
        and Levenshtein.distance(guess.written, truth.written, score_cutoff=1) == 1,
        "off by one": gap == 1,
        "within 20 %": not years and gap <= _NEAR * abs(truth.value),
    }
    return tuple(name for name, holds in ways.items() if holds)


def _mark(text: str) -> str:
    text = text.rstrip(".")
    return _MARKS[text] if text in _MARKS else text


def _digits(text: str) -> str | None:
    """Digits with at most a decimal point; None for dates, lists and the like."""
    if _GROUPED.fullmatch(text):
        return text.replace(",", "").replace(" ", "")
    if _DECIMAL_COMMA.fullmatch(text):
        whole, _, part = text.rpartition(",")
        return f"{whole.replace('.', '').replace(' ', '')}.{part}"
    return text if _PLAIN.fullmatch(text) else None
