"""What one language says on a generated page: labels, questions, how names, days and amounts are written.

The translations are the project's own. Labels are set in quotes where a question repeats one, so that no language has
to inflect it. Letters of a shaped script join or change places, which Pillow leaves to Raqm.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from unicodedata import category, east_asian_width, normalize

Asked = tuple[str, str]  # a label, and a question whose answer stands beside it


@dataclass(frozen=True)
class Language:
    """One language. `pools` says which words of Faker's providers a pool holds, as `person.ko_KR:last_names`.

    Templates: `person` of {first} and {last}; `companies`, `street` and `shops` of {last}, {word} and {number};
    `days` of {y}, {m} and {d}, the short form first; `money` of one number, whole or with two decimals. `#` in `phone`
    is a digit. `fields` are those of a form by what their values are.
    """

    code: str
    name: str
    pools: Mapping[str, tuple[str, ...]]
    person: str
    companies: tuple[str, ...]
    street: str
    phone: str
    days: tuple[str, str]
    money: str
    forms: tuple[str, ...]
    fields: Mapping[str, Asked]
    under: str
    measures: tuple[str, ...]
    cell: str
    more: str
    invoice: str
    number: Asked
    customer: Asked
    issued: Asked
    due: Asked
    total: Asked
    price: str
    supplies: tuple[str, ...]
    groceries: tuple[str, ...]
    dear: str
    body: tuple[str, str]
    closings: tuple[str, ...]
    writer: str
    reader: str
    written_in: str
    written_on: str
    amount: str
    shops: tuple[str, ...]
    payments: tuple[str, ...]
    shop: str
    bought_on: str
    paid_by: str
    city: str = "{}"
    decimals: bool = False
    comma: bool = False
    """1.234,56 instead of 1,234.56."""
    shaped: bool = False
    right_to_left: bool = False

    def day(self, day: date, long: bool = False) -> str:
        """A day, at most ten digits and signs in the short form."""
        y, m, d = day.year, day.month, day.day
        return self.days[long].format(y=y, m=m, d=d)

    def amount_of(self, number: int) -> str:
        """An amount of money: `number` whole units, or hundredths where the language writes decimals."""
        written = f"{number / 100:,.2f}" if self.decimals else f"{number:,}"
        return self.money.format(written.translate(_SWAPPED) if self.comma else written)


_SWAPPED = str.maketrans(",.", ".,")


def cells(words: str) -> int:
    """How many cells of a small page words fill: two for a full-width character, none for a mark on another."""
    return sum(2 if east_asian_width(c) in "WF" else 1 for c in words if category(c) != "Mn")


def composed(words: str) -> str:
    """Words in Unicode's form NFC: a Hangul syllable is one character, an umlaut too."""
    return normalize("NFC", words)
