"""What is written on a generated page: names, places, amounts, dates, drawn from one seeded stream per page.

The word pools are Faker's own (American English), read from its providers instead of through `Faker()`: a name then
costs a microsecond, so the questions of 2 000 documents are known in half a second, without drawing any.

Splits share no content. Every word of a pool and every number that is large enough to be rare belongs to exactly one
split, by a hash of the word or number, and a page only ever draws from its own split's share. A model cannot answer a
test page by remembering a training page, whatever the seed and however many pages are asked for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import date
from functools import cache
from hashlib import blake2b
from random import Random
from typing import TypeVar

T = TypeVar("T")

COMPANY_SUFFIXES = ("Inc", "LLC", "Group", "PLC", "Ltd")  # Faker's, too few to share out between the splits

SPLITS = ("train", "val", "test")
TENTHS = ("train",) * 8 + ("val", "test")  # each tenth of all words and numbers belongs to one split
FIRST_DAY = date(2000, 1, 1).toordinal()
DAYS = date(2030, 1, 1).toordinal() - FIRST_DAY  # two-digit years stay unambiguous
FEWEST = 200  # a range of numbers smaller than this may hold none of a split


def stable_hash(*parts: object) -> int:
    """64 bits that are the same in every process and on every machine (Python's own `hash` is salted)."""
    return int.from_bytes(blake2b("\0".join(map(str, parts)).encode(), digest_size=8).digest(), "big")


def split_of_number(number: int) -> str:
    """The split a number belongs to: Fibonacci hashing, so that last digits say nothing about the split."""
    return TENTHS[((number * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF) >> 40) % 10]


@cache
def _share(pool: str, split: str) -> tuple[str, ...]:
    """A split's share of a pool of Faker's ASCII words, sorted: `first`, `last`, `place`, `street`, `job`, `word`."""
    from faker.providers.address.en_US import Provider as Address
    from faker.providers.job import Provider as Job
    from faker.providers.lorem.en_US import Provider as Lorem
    from faker.providers.person.en_US import Provider as Person

    if pool == "first":
        words = set(Person.first_names)
    elif pool == "last":
        words = set(Person.last_names)
    elif pool == "place":  # as Faker makes towns: a surname and an ending
        words = {name + end for name in Person.last_names if len(name) < 7 for end in Address.city_suffixes}
    elif pool == "street":
        words = {f"{name} {end}" for name in Person.last_names for end in ("Street", "Road", "Avenue", "Lane")}
    elif pool == "job":
        words = {job for job in Job.jobs if re.fullmatch(r"[A-Za-z ]+", job)}
    elif pool == "word":
        words = {word for word in Lorem.word_list if len(word) > 3}
    else:
        raise ValueError(f"unknown pool {pool!r}")
    return tuple(sorted(w for w in words if w.isascii() and TENTHS[stable_hash(pool, w) % 10] == split))


@cache
def words(pool: str, split: str, longest: int) -> tuple[str, ...]:
    """A split's share of a pool, words of at most `longest` characters. Raises ValueError where there is none."""
    share = tuple(word for word in _share(pool, split) if len(word) <= longest)
    if not share:
        raise ValueError(f"no word of pool {pool!r} for {split!r} has at most {longest} characters")
    return share


class Values:
    """The stream of random choices of one page. Two streams with the same origin give the same page."""

    def __init__(self, benchmark: str, split: str, index: int, preset: str, seed: int, *more: str) -> None:
        if split not in SPLITS:
            raise ValueError(f"split={split!r}: generated pages have the splits {', '.join(SPLITS)}")
        self.split = split
        self.rng = Random(stable_hash("page", benchmark, split, index, preset, seed, *more))

    # choices that every split shares -------------------------------------------------------------------------
    def pick(self, options: Sequence[T]) -> T:
        """One of the options, all equally likely."""
        return options[int(self.rng.random() * len(options))]

    def several(self, options: Sequence[T], count: int) -> list[T]:
        """`count` different options in random order."""
        return self.rng.sample(options, count)

    def distinct(self, count: int, draw: Callable[[], T]) -> list[T]:
        """`count` different things, each drawn by `draw`."""
        found: dict[T, None] = {}
        while len(found) < count:
            found[draw()] = None
        return list(found)

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return self.rng.random() < probability

    def count(self, low: int, high: int) -> int:
        """A whole number from `low` to `high`, both included, of any split: for numbers too small to share out."""
        return low + int(self.rng.random() * (high - low + 1))

    # content that belongs to this split only -----------------------------------------------------------------
    def word(self, pool: str, longest: int = 99) -> str:
        """A word of a pool (see `words`) with at most `longest` characters."""
        return self.pick(words(pool, self.split, longest))

    def number(self, low: int, high: int) -> int:
        """A whole number of this split's share of `low` to `high`. Raises ValueError where the range is too small."""
        if high - low < FEWEST:
            raise ValueError(f"numbers from {low} to {high} are too few to share between the splits; use count()")
        while True:
            number = self.count(low, high)
            if split_of_number(number) == self.split:
                return number

    def unlike(self, draw: Callable[[], tuple[int, ...]]) -> tuple[int, ...]:
        """Draw a tuple of small numbers until it belongs to this split: for charts, whose values are small."""
        while True:
            numbers = draw()
            if TENTHS[stable_hash(*numbers) % 10] == self.split:
                return numbers

    def shares(self, count: int, total: int, cuts: range, least: int) -> tuple[int, ...]:
        """`count` different parts of `total`, none below `least`, for pies: what lies between some of the `cuts`."""

        def draw() -> tuple[int, ...]:
            while True:
                ends = sorted(self.several(cuts, count - 1))
                parts = tuple(after - before for before, after in zip((0, *ends), (*ends, total), strict=True))
                if min(parts) >= least and len(set(parts)) == count:
                    return parts

        return self.unlike(draw)

    def person(self, longest: int = 99, first: int = 99) -> str:
        """First and last name, at most `longest` characters together."""
        name = self.word("first", min(first, longest - 4))
        return f"{name} {self.word('last', longest - len(name) - 1)}"

    def company(self, longest: int = 99) -> str:
        """A surname and a legal form, at most `longest` characters."""
        suffix = self.pick(COMPANY_SUFFIXES)
        return f"{self.word('last', longest - len(suffix) - 1)} {suffix}"

    def day(self) -> date:
        """A day between 2000 and 2029."""
        return date.fromordinal(FIRST_DAY + self.number(0, DAYS - 1))


def short_date(day: date) -> str:
    """12/05/24: day, month, year."""
    return f"{day.day:02d}/{day.month:02d}/{day.year % 100:02d}"


def money(cents: int, sign: str = "$") -> str:
    """1250 → $12.50, 123456 → $1,234.56."""
    return f"{sign}{cents / 100:,.2f}"
