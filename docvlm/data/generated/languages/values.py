"""Names, places, days and amounts of one language, drawn from Faker's word lists of its locale.

As in English, splits share no content: a word, and a name put together from words, belongs to one split by its hash.
"""

from __future__ import annotations

import re
from functools import cache
from importlib import import_module

from docvlm.data.generated.languages.language import Language, cells, composed
from docvlm.data.generated.values import TENTHS, Values, stable_hash

TRIES = 100_000


@cache
def pool(sources: tuple[str, ...]) -> tuple[str, ...]:
    """The words of Faker's lists, such as `person.ko_KR:last_names`, without repetitions, in NFC, sorted."""
    found: set[str] = set()
    for source in sources:
        module, _, name = source.partition(":")
        words = getattr(import_module(f"faker.providers.{module}").Provider, name)
        found |= {composed(word) for word in words if "(" not in word}
    return tuple(sorted(found))


def letters(language: Language) -> set[str]:
    """Every character that a page of this language may show."""
    told = [language.invoice, language.dear, *language.body, *language.days, language.money, language.phone]
    told += [language.person, language.street, language.city, *language.closings, *language.companies, *language.shops]
    for group in (language.forms, language.measures, language.supplies, language.groceries, language.payments):
        told += group
    told += [label for label, _ in language.fields.values()]
    told += [label for label, _ in (language.number, language.customer, language.issued, language.due, language.total)]
    told += [word for sources in language.pools.values() for word in pool(sources)]
    return set(composed(re.sub(r"\{.*?\}|#", "", "".join(told)))) | set("0123456789,.")


class LocalValues(Values):
    """The stream of random choices of one page in another language. Widths are in `cells`."""

    def __init__(self, benchmark: str, split: str, index: int, preset: str, seed: int, language: Language) -> None:
        super().__init__(benchmark, split, index, preset, seed, language.code)
        self.language = language

    def phrase(self, longest: int, *templates: str) -> str:
        """One of the templates filled with words and a number, of this split alone, at most `longest` wide.

        Raises ValueError where none seems to be that narrow.
        """
        for _ in range(TRIES):
            fields = {name: self.pick(pool(sources)) for name, sources in self.language.pools.items()}
            words = composed(self.pick(templates).format(**fields, number=self.count(2, 180)))
            if cells(words) <= longest and TENTHS[stable_hash(words) % 10] == self.split:
                return words
        raise ValueError(f"{self.language.name}: nothing like {templates[0]!r} for {self.split} in {longest} cells")

    def person(self, longest: int = 99, first: int = 99) -> str:
        """A whole name as the language writes it."""
        return self.phrase(longest, self.language.person)

    def given(self, longest: int = 99) -> str:
        """A given name."""
        return self.phrase(longest, "{first}")

    def company(self, longest: int = 99) -> str:
        """A firm."""
        return self.phrase(longest, *self.language.companies)

    def place(self, longest: int = 99) -> str:
        """A town."""
        return self.phrase(longest, self.language.city.format("{city}"))

    def shop(self, longest: int = 99) -> str:
        """A shop."""
        return self.phrase(longest, *self.language.shops)

    def street(self, longest: int = 99) -> str:
        """A street with the number of a house."""
        return self.phrase(longest, self.language.street)

    def phone(self) -> str:
        """A telephone number."""
        wanted = self.language.phone
        digits = iter(f"{self.number(0, 10 ** wanted.count('#') - 1):0{wanted.count('#')}d}")
        return "".join(next(digits) if sign == "#" else sign for sign in wanted)

    def written_day(self, long: bool = False) -> str:
        """A day between 2000 and 2029, as the language writes it."""
        return self.language.day(self.day(), long)

    def fee(self, most: int = 99_999) -> tuple[int, str]:
        """An amount of money: the number, and how it is written."""
        number = self.number(500, most)
        return number, self.language.amount_of(number)
