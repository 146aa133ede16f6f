"""Where things stand on the base's pages, and how it is asked about them: seven kinds.

form, invoice, table and chart are what the targets are set on; notes (sentences) and boards (names over numbers) are
there so that the base has looked up, down and into a line, and has been asked for a date or a name without being given
the word that stands beside it; slips are the easiest of all. Layouts and wordings keep clear of those of
`docvlm.data.generated.tiny`.
"""

from __future__ import annotations

import re
from random import Random

import numpy as np

from pretraining import words
from pretraining.pages import BasePage, lines

INSTRUCTIONS = (
    "",
    "\nAnswer the question using a single word or phrase.",
    "\nAnswer the question with a single word.",
)
NOISE = (0.0, 0.0, 0.02, 0.05, 0.07)
ASK = (
    "What is the {key}?",
    "What is the {key}?",
    "{key}?",
    "Find the {key}.",
    "What does it say for {key}?",
    "What is given as {key}?",
    "Read the value of {key}.",
    "What value is shown for {key}?",
)
BACK = ("Which entry reads {value}?", "What does {value} belong to?", "{value} stands for what?")
SORTS = {
    # what a value looks like, how to ask for the only one of its sort on a page
    r"\d\d[-/.]\d\d[-/.]\d\d": ("What date is given?", "Which date appears?", "When is it?"),
    r"\$?[\d,]+\.\d\d": ("What amount is given?", "Which sum of money appears?", "How much money is it?"),
    r"[A-Z]{1,3}-?\d+": ("What code is given?", "Which code appears?"),
    r"[A-Z]\. [A-Z][a-z]+": ("Who is named?", "Which person appears?"),
}


def _emphasis(rng: Random) -> str | None:
    return "bold" if rng.random() < 0.25 else None


def _keys(rng: Random, count: int, longest: int) -> list[str]:
    keys: dict[str, None] = {}
    while len(keys) < count:
        keys[words.key(rng, longest)] = None
    return list(keys)


def _names(rng: Random, count: int, longest: int = 6, known: float = 0.6) -> list[str]:
    names: dict[str, None] = {}
    items = [item for item in words.ITEMS if len(item) <= longest]
    while len(names) < count:
        names[rng.choice(items) if rng.random() < known else words.random_word(rng, 3, longest)] = None
    return list(names)


def _header(rng: Random, page: BasePage, title: str) -> None:
    title = title[:18]
    if rng.random() < 0.4:
        page.canvas.fill(0, 0, page.canvas.columns, rng.choice([0.1, 0.2, 0.3]))
        page.put(0, rng.choice([1, (page.canvas.columns - len(title)) // 2]), title, "bold", ink=1.0)
    else:
        page.put(0, rng.choice([0, (page.canvas.columns - len(title)) // 2]), title, "bold")
        if rng.random() < 0.5:
            page.canvas.rule(0)
    if rng.random() < 0.3:
        page.questions.append((rng.choice(["What is the heading?", "What does the top line say?"]), title))


def _by_sort(rng: Random, page: BasePage, values: list[str]) -> None:
    """Ask for values by what they are, where only one of that sort is there."""
    for pattern, asks in SORTS.items():
        found = [value for value in values if re.fullmatch(pattern, value)]
        if len(found) == 1:
            page.questions.append((rng.choice(asks), found[0]))


def form(rng: Random) -> BasePage:
    """`Key: value` lines under a title; now and then a key stands above its value, or under it."""
    page = BasePage.blank(rng, "form")
    row = 0
    if rng.random() < 0.5:
        _header(rng, page, words.random_word(rng) + rng.choice([" Form", " Card", " Sheet", ""]))
        row = 1
    stacked = rng.random() < 0.25
    fields = (page.canvas.rows - row) // 2 if stacked else rng.randint(3, page.canvas.rows - row)
    aligned, under = rng.random() < 0.3, rng.random() < 0.4
    values = []
    for key in _keys(rng, fields, 8):
        value = words.value(rng) if stacked else words.value(rng, 9)
        if stacked:
            page.put(row + under, 0, key, "bold")
            page.put(row + 1 - under, rng.choice([0, 1]), value)
        else:
            separator = rng.choice([": ", ": ", ":", "  "])
            page.put(row, 0, key + separator.rstrip(), _emphasis(rng))
            page.put(row, max(10 if aligned else 0, len(key + separator)), value, _emphasis(rng))
        row += 2 if stacked else 1
        values.append(value)
        back = rng.random() < 0.15
        page.questions.append(
            (rng.choice(BACK).format(value=value), key) if back else (rng.choice(ASK).format(key=key), value)
        )
    _by_sort(rng, page, values)
    return page


def invoice(rng: Random) -> BasePage:
    """A numbered head, items with prices flush right, and a total."""
    page = BasePage.blank(rng, "invoice")
    number = str(rng.randint(100, 99999))
    word = rng.choice(["Invoice", "Bill", "Order", "Receipt"])
    _header(rng, page, f"{word} {rng.choice(['', '#', 'No. '])}{number}")
    page.questions.append((f"What is the {word.lower()} number?", number))
    entries = {name: words.amount(rng) for name in _names(rng, rng.randint(2, 4), 7)}
    total = rng.choice(["Total", "Total", "Amount Due", "Balance", "Sum"])
    rows = [*entries.items(), (total, words.amount(rng))]
    asks = ("What is the price of {key}?", "How much is the {key}?", "How much does {key} cost?", *ASK[:3])
    for row, (name, price) in enumerate(rows, start=1):
        page.put(row, 0, name, "bold" if row == len(rows) else None)
        page.right(row, page.canvas.columns, price)
        page.questions.append((rng.choice(asks).format(key=name), price))
    if rng.random() < 0.5:
        page.canvas.rule(len(rows) - 1)
    return page


def _cell(rng: Random) -> str:
    roll = rng.random()
    if roll < 0.5:
        return str(rng.randint(0, 10 ** rng.randint(1, 4) - 1))
    return f"{rng.uniform(0, 99):.1f}" if roll < 0.7 else words.random_word(rng, 3, 5)


def table(rng: Random) -> BasePage:
    """A header row, then one row an item with one or two columns of short cells: two keys to look up."""
    page = BasePage.blank(rng, "table")
    columns = rng.choice([1, 2, 2, 2])
    names = _names(rng, rng.randint(3, 5))
    starts, ends = ([8, 14], [13, 20]) if columns == 2 else ([10], [17])
    flush = rng.random() < 0.4
    heads = list(dict.fromkeys(head[:5] for head in _keys(rng, columns, 5)))
    if rng.random() < 0.4:
        page.canvas.fill(0, 0, page.canvas.columns, 0.8)
    page.put(0, 0, rng.choice(["Item", "Name", "Place", "", "Type"]), "bold")
    rows: list[tuple[int, str, str]] = []
    for column, head in enumerate(heads):
        cells = [(0, head, "bold"), *((row, _cell(rng), "") for row in range(1, len(names) + 1))]
        for row, text, face in cells:
            if flush:
                page.right(row, ends[column], text, face or None)
            else:
                page.put(row, starts[column], text, face or None)
        rows += [(row, head, text) for row, text, _ in cells[1:]]
    if rng.random() < 0.5:
        page.canvas.rule(0)
    asks = (
        "What is the {head} of {name}?",
        "What is the {head} for {name}?",
        "{name} {head}?",
        "Find the {head} of {name}.",
        "In the row of {name}, what is the {head}?",
    )
    for row, name in enumerate(names, start=1):
        page.put(row, 0, name)
    for row, head, text in rows:
        page.questions.append((rng.choice(asks).format(head=head, name=names[row - 1]), text))
    return page


def chart(rng: Random) -> BasePage:
    """Horizontal bars: label left, value right or after the bar."""
    page = BasePage.blank(rng, "chart")
    _header(rng, page, rng.choice(words.KEYS) + rng.choice([" by ", " per ", " "]) + rng.choice(words.KEYS))
    names = _names(rng, rng.randint(3, 5), known=0.7)
    top = 10 ** rng.randint(1, 3)
    unit = rng.choice(["", "%", "k"]) if top <= 100 else ""
    values = rng.sample(range(1, top + 6), len(names))
    asks = (
        "What is the value of {key}?",
        "How many for {key}?",
        "What is {key}?",
        "Read the value of {key}.",
        "What is the value for {key}?",
    )
    for row, (name, number) in enumerate(zip(names, values, strict=True), start=1):
        text = f"{number}{unit}"
        page.put(row, 0, name)
        length = max(0.3, 7 * number / max(values))
        page.canvas.bar(row, 8, length, rng.choice([0.35, 0.5, 0.65]))
        page.put(row, page.canvas.columns - 4 if rng.random() < 0.7 else 8 + int(length) + 1, text)
        back = rng.random() < 0.2
        page.questions.append(
            (rng.choice(BACK).format(value=text), name) if back else (rng.choice(asks).format(key=name), text)
        )
    order = sorted(zip(values, names, strict=True))
    extreme, index = rng.choice([("highest", -1), ("lowest", 0)])
    page.questions.append((f"Which has the {extreme} value?", order[index][1]))
    return page


def board(rng: Random) -> BasePage:
    """Blocks side by side in one or two bands, a number under each name."""
    page = BasePage.blank(rng, "board")
    row = 0
    if rng.random() < 0.6:
        _header(rng, page, f"{words.random_word(rng)} {rng.choice(words.KEYS)}")
        row = 1
    across = rng.choice([2, 3])
    bands = rng.choice([1, 2])
    width, gap = page.canvas.columns // across, rng.choice([0, 1]) if bands == 1 else 0
    names = _names(rng, across * bands, min(6, width - 1))
    asks = ("What number is under {key}?", "What does the {key} column say?", "What is below {key}?", *ASK[:3])
    for place, name in enumerate(names):
        text = str(rng.randint(0, 10 ** rng.randint(1, 4) - 1)) + rng.choice(["", "", "%"])
        top, left = row + place // across * 2, place % across * width
        page.put(top, left, name, _emphasis(rng))
        page.put(top + 1 + gap, left + rng.choice([0, 0, 1]), text)
        back = rng.random() < 0.2
        page.questions.append(
            (rng.choice(BACK).format(value=text), name) if back else (rng.choice(asks).format(key=name), text)
        )
    return page


def note(rng: Random) -> BasePage:
    """Short sentences about people, days, sums and things; the question turns them round."""
    page = BasePage.blank(rng, "note")
    first, last, thing = rng.choice(words.FIRST), rng.choice(words.LAST), rng.choice(words.ITEMS).lower()
    day, sum_, place, code = words.date(rng), words.amount(rng), words.random_word(rng), str(rng.randint(10, 9999))
    sentences = (
        (f"{first} paid {sum_}", (("Who paid?", first), ("How much was paid?", sum_))),
        (f"Meet {last} there", (("Who is to be met?", last),)),
        (f"Arrive by {day}", (("What is the latest arrival?", day), ("Arrive when?", day))),
        (f"Sent from {place}", (("Sent from what place?", place), ("What place is it from?", place))),
        (f"Bring the {thing}", (("What should be brought?", thing),)),
        (f"Ask for {first}", (("Who can be asked?", first),)),
        (f"{thing.capitalize()} is {sum_}", ((f"What does {thing} cost?", sum_),)),
        (f"Call {code} now", (("What number should be called?", code),)),
        (f"By {first[0]}. {last}", (("Who is it by?", f"{first[0]}. {last}"),)),
    )
    picked, used = rng.sample(sentences, len(sentences)), set[str]()
    row = rng.choice([0, 0, 1])
    for sentence, asked in picked:
        facts = {answer for _, answer in asked}
        if row == page.canvas.rows or len(sentence) > page.canvas.columns or used & facts:
            continue
        if any(fact not in sentence for fact in facts):
            continue
        used |= facts
        page.put(row, rng.choice([0, 0, page.canvas.columns - len(sentence)]), sentence, _emphasis(rng))
        page.questions.append(rng.choice(asked))
        row += 1
    return page


def slip(rng: Random) -> BasePage:
    """Two entries somewhere on the page: the easiest page to look something up on."""
    page = BasePage.blank(rng, "slip")
    asks = (*ASK, "What number is under {key}?", "What is the price of {key}?", "What is the value of {key}?")
    beside = rng.random() < 0.7
    keys, rows = _keys(rng, 2, 8), sorted(rng.sample(range(0, page.canvas.rows - 1, 1 if beside else 2), 2))
    for key, row in zip(keys, rows, strict=True):
        value = words.value(rng, 9)
        page.put(row, 0, key + rng.choice([":", ""]) * beside, _emphasis(rng))
        page.put(row if beside else row + 1, 10 if beside else 0, value)
        page.questions.append((rng.choice(asks).format(key=key), value))
    return page


KINDS = {"form": form, "invoice": invoice, "table": table, "chart": chart, "board": board, "note": note, "slip": slip}


def draw(seed: int, index: int, kind: str, columns: int = 20, rows: int = 6) -> BasePage:
    """Page `index` of a stream, the same on every machine; `kind` is a key of KINDS, or `lines` of the given size."""
    rng = Random(f"{seed}-{index}-{kind}-{columns}x{rows}")
    page = lines(rng, columns, rows) if kind == "lines" else KINDS[kind](rng)
    noise = rng.choice(NOISE)
    if noise:
        page.canvas.noise(np.random.default_rng(rng.getrandbits(64)), noise)
    rng.shuffle(page.questions)
    page.questions = [(ask + rng.choice(INSTRUCTIONS), answer) for ask, answer in page.questions]
    return page
