"""Words and values the base pages are filled with.

Half of them are random strings: a model that only ever saw dictionary words would learn to guess them, and the point of
the base is that it reads.
"""

from __future__ import annotations

import string
from random import Random

from faker.providers.currency.en_US import Provider as Currency
from faker.providers.person.en_US import Provider as Person

FIRST = tuple(dict.fromkeys(name for name in Person.first_names if len(name) <= 8))
LAST = tuple(dict.fromkeys(name for name in Person.last_names if len(name) <= 9))
CODES = tuple(code for code, _ in Currency.currencies)
KEYS = tuple(
    "Name Date City Phone Email Dept Code Ref Status Owner Region Branch Agent Order Ticket Grade Level Zone Unit Room "
    "Floor Batch Lot Model Serial Weight Height Length Color Size Price Cost Fee Tax Total Subtotal Balance Discount "
    "Due Paid Rate Terms Vendor Client Buyer Seller Account Policy Claim Doctor Nurse Ward School Class Course Score "
    "Team Coach Route Bus Gate Seat Flight Hotel Street State Country Bank Branch Invoice Receipt Amount Cash Card "
    "Change Store Clerk Item Qty Stock Rank Points Sales Profit Loss Votes Share Age Years Speed Power Fuel Energy "
    "From To Subject Signed Sent Contact Position Member Title Author Editor Year Month Day Time Start End "
    "Visit".split()
)
ITEMS = tuple(
    "Apple Pear Plum Lemon Mango Grape Bread Milk Rice Beans Tea Coffee Sugar Salt Pepper Fish Beef Pork Lamb Egg Soup "
    "Cake Pie Pen Ink Paper Book Lamp Desk Chair Table Sofa Clock Phone Cable Mouse Screen Drill Saw Nail Bolt Rope "
    "Paint Brush Glass Plate Fork Knife Spoon Cup Shirt Socks Coat Hat Shoe Belt Ring Watch Bag North South East West "
    "Asia Africa Europe Spain France Italy Japan China India Chile Peru Kenya Egypt Cuba Rome Paris Oslo Lima Delhi "
    "Rail Road Air Sea Gas Oil Coal Wind Solar Hydro Steel Gold Zinc Corn Wheat Cotton Wool Silk Cats "
    "Dogs Birds".split()
)


def random_word(rng: Random, shortest: int = 3, longest: int = 8) -> str:
    """A pronounceable-looking string nobody has seen: alternating consonants and vowels, capitalised."""
    first = rng.randint(0, 1)
    letters = "".join(
        rng.choice("bcdfghjklmnpqrstvwxz" if (first + index) % 2 else "aeiouy")
        for index in range(rng.randint(shortest, longest))
    )
    return letters.capitalize() if rng.random() < 0.8 else letters.upper()


def key(rng: Random, longest: int = 9) -> str:
    """A field name: a known word, a random one, or two short words."""
    roll = rng.random()
    if roll < 0.6:
        return rng.choice([word for word in KEYS if len(word) <= longest])
    if roll < 0.85:
        return random_word(rng, 3, min(8, longest))
    pair = f"{rng.choice(KEYS)} {rng.choice(KEYS)}"
    return pair if len(pair) <= longest else rng.choice([word for word in KEYS if len(word) <= longest])


def amount(rng: Random, longest: int = 8) -> str:
    """A sum of money with cents, with or without a dollar sign and thousands separator."""
    number = f"{rng.randint(1, 10 ** rng.randint(1, 4)):,}.{rng.randint(0, 99):02d}"
    text = f"${number}" if rng.random() < 0.6 else number
    return text if len(text) <= longest else f"{rng.randint(1, 999)}.{rng.randint(0, 99):02d}"


def date(rng: Random) -> str:
    """A date as forms print it, eight characters."""
    separator = rng.choice("//-.")
    return separator.join(f"{rng.randint(low, high):02d}" for low, high in ((1, 12), (1, 28), (0, 99)))


def value(rng: Random, longest: int = 10) -> str:
    """A field's value: name, sum, date, number, code or random word, at most `longest` characters (at least 8)."""
    roll = rng.random()
    if roll < 0.2:
        text = rng.choice(FIRST if rng.random() < 0.5 else LAST)
    elif roll < 0.28:
        text = f"{rng.choice(string.ascii_uppercase)}. {rng.choice(LAST)}"
    elif roll < 0.45:
        text = amount(rng)
    elif roll < 0.58:
        text = date(rng)
    elif roll < 0.72:
        text = str(rng.randint(0, 10 ** rng.randint(1, 6)))
    elif roll < 0.85:
        text = random_word(rng, 3, 8)
    else:
        letters = "".join(rng.choice(string.ascii_uppercase) for _ in range(rng.randint(1, 3)))
        text = f"{letters}{rng.choice(['', '-'])}{rng.randint(1, 9999)}"
    return text if len(text) <= longest else random_word(rng, 3, longest)
