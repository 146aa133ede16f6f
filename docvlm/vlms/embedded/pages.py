"""The base's own pages: layouts and wordings other than the benchmarks', so that fine-tuning has something to teach.

Four kinds (form, invoice, table, chart) and plain lines for the first steps of the curriculum. Each page carries its
full transcription, row by row with runs of blanks collapsed, and questions whose answers stand on it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

import numpy as np

from docvlm.data.generated.canvas import GridCanvas
from docvlm.vlms.embedded import words

INSTRUCTIONS = (
    "",
    "\nAnswer the question using a single word or phrase.",
    "\nAnswer the question with a single word.",
)
ASK = (
    "What is the {key}?",
    "What is the {key}?",
    "{key}?",
    "Find the {key}.",
    "What does it say for {key}?",
    "What is written for {key}?",
    "Read the value of {key}.",
    "What value is shown for {key}?",
)


@dataclass
class BasePage:
    """One page of the base's training: its drawing, the text on it by row, and questions with their answers."""

    kind: str
    canvas: GridCanvas
    lines: list[str]
    questions: list[tuple[str, str]] = field(default_factory=list)

    @property
    def transcription(self) -> str:
        """All text, row by row, runs of blanks collapsed."""
        return "\n".join(" ".join(line.split()) for line in self.lines if line.strip())


def _face(rng: Random) -> str:
    return "bold" if rng.random() < 0.25 else "sans"


def _put(page: BasePage, row: int, column: int, text: str, face: str = "sans", ink: float = 0.0) -> None:
    page.canvas.text(row, column, text, face, ink)
    line = page.lines[row].ljust(page.canvas.columns)
    page.lines[row] = line[:column] + text + line[column + len(text) :]


def _empty(kind: str, columns: int = 20, rows: int = 6) -> BasePage:
    return BasePage(kind, GridCanvas(columns, rows), [""] * rows)


def lines(rng: Random, columns: int, rows: int) -> BasePage:
    """Unrelated words and numbers, for learning the letters."""
    page = _empty("lines", columns, rows)
    for row in range(rows):
        text = ""
        while len(text) < columns - 4:
            picks: tuple[Callable[[Random], str], ...] = (words.value, words.key, words.random_word)
            text += rng.choice(picks)(rng) + rng.choice([" ", " ", ": "])
        indent = rng.choice([0, 0, 0, 1, 2])
        text = text[: columns - indent].rstrip()
        _put(page, row, indent, text, _face(rng))
    return page


def _keys(rng: Random, count: int, longest: int) -> list[str]:
    keys: dict[str, None] = {}
    while len(keys) < count:
        keys[words.key(rng, longest)] = None
    return list(keys)


def form(rng: Random) -> BasePage:
    """`Key: value` lines under a title; now and then a key stands above its value."""
    page = _empty("form")
    row = 0
    if rng.random() < 0.5:
        _header(rng, page, words.random_word(rng) + rng.choice([" Form", " Card", " Sheet", ""]))
        row = 1
    stacked = rng.random() < 0.2
    fields = (page.canvas.rows - row) // 2 if stacked else rng.randint(3, page.canvas.rows - row)
    keys = _keys(rng, fields, 8)
    aligned = rng.random() < 0.3
    for key in keys:
        if stacked:
            answer = words.value(rng)
            _put(page, row, 0, key, "bold")
            _put(page, row + 1, rng.choice([0, 1]), answer)
        else:
            answer = words.value(rng, 9)
            separator = rng.choice([": ", ": ", ":", "  "])
            column = 10 if aligned else 0
            _put(page, row, 0, key + separator.rstrip(), _face(rng))
            _put(page, row, max(column, len(key + separator)), answer, _face(rng))
        row += 2 if stacked else 1
        page.questions.append((rng.choice(ASK).format(key=key), answer))
    return page


def _header(rng: Random, page: BasePage, title: str) -> None:
    title = title[:18]
    if rng.random() < 0.4:
        page.canvas.fill(0, 0, page.canvas.columns, 0.15)
        _put(page, 0, 1, title, "bold", ink=1.0)
    else:
        _put(page, 0, rng.choice([0, (page.canvas.columns - len(title)) // 2]), title, "bold")
        if rng.random() < 0.5:
            page.canvas.rule(0)


def invoice(rng: Random) -> BasePage:
    """A numbered head, items with prices flush right, and a total."""
    page = _empty("invoice")
    number = str(rng.randint(100, 99999))
    word = rng.choice(["Invoice", "Bill", "Order", "Receipt"])
    _header(rng, page, f"{word} {rng.choice(['', '#', 'No. '])}{number}")
    page.questions.append((f"What is the {word.lower()} number?", number))
    count = rng.randint(2, 4)
    entries: dict[str, str] = {}
    while len(entries) < count:
        name = rng.choice(words.ITEMS) if rng.random() < 0.6 else words.random_word(rng, 3, 7)
        entries[name] = words.amount(rng)
    rows = [*entries.items(), (rng.choice(["Total", "Total", "Amount Due", "Balance", "Sum"]), words.amount(rng))]
    asks = ("What is the price of {key}?", "How much is the {key}?", "How much does {key} cost?", *ASK[:3])
    for row, (name, price) in enumerate(rows, start=1):
        right = page.canvas.columns - len(price)
        _put(page, row, 0, name, "bold" if row == len(rows) else "sans")
        _put(page, row, right, price)
        page.questions.append((rng.choice(asks).format(key=name), price))
    if rng.random() < 0.5:
        page.canvas.rule(len(rows) - 1)
    return page


def table(rng: Random) -> BasePage:
    """A header row, then one row an item with one or two columns of short cells: two keys to look up."""
    page = _empty("table")
    columns = rng.choice([1, 2, 2])
    names = [rng.choice(words.ITEMS) if rng.random() < 0.6 else words.random_word(rng, 3, 6) for _ in range(5)]
    names = list(dict.fromkeys(names))[: rng.randint(3, 5)]
    starts = [8, 14] if columns == 2 else [10]
    heads = [head[:5] for head in _keys(rng, columns, 5)]
    first = rng.choice(["Item", "Name", "Place", "", "Type"])
    if rng.random() < 0.4:
        page.canvas.fill(0, 0, page.canvas.columns, 0.8)
    for column, head in zip([0, *starts], [first, *heads], strict=True):
        _put(page, 0, column, head, "bold")
    if rng.random() < 0.5:
        page.canvas.rule(0)
    asks = (
        "What is the {head} of {name}?",
        "What is the {head} for {name}?",
        "{name} {head}?",
        "Find the {head} of {name}.",
    )
    for row, name in enumerate(names, start=1):
        _put(page, row, 0, name)
        for column, head in zip(starts, heads, strict=True):
            cell = rng.choice(
                [
                    str(rng.randint(0, 10 ** rng.randint(1, 5) - 1)),
                    f"{rng.uniform(0, 99):.1f}",
                    words.random_word(rng, 3, 5),
                ]
            )
            _put(page, row, column, cell)
            page.questions.append((rng.choice(asks).format(head=head, name=name), cell))
    return page


def chart(rng: Random) -> BasePage:
    """Horizontal bars: label left, value right; sometimes only a list of shares."""
    page = _empty("chart")
    _header(rng, page, rng.choice(words.KEYS) + rng.choice([" by ", " per ", " "]) + rng.choice(words.KEYS))
    count = rng.randint(3, 5)
    names: dict[str, None] = {}
    while len(names) < count:
        names[rng.choice(words.ITEMS) if rng.random() < 0.7 else words.random_word(rng, 3, 6)] = None
    top = 10 ** rng.randint(1, 3)
    unit = rng.choice(["", "%", "k"]) if top <= 100 else ""
    values = rng.sample(range(1, top + 6), count)
    asks = (
        "What is the value of {key}?",
        "How many for {key}?",
        "What is {key}?",
        "Read the value of {key}.",
        "What is the value for {key}?",
    )
    for row, (name, number) in enumerate(zip(names, values, strict=True), start=1):
        text = f"{number}{unit}"
        _put(page, row, 0, name)
        length = max(0.3, 7 * number / max(values))
        page.canvas.bar(row, 8, length, rng.choice([0.35, 0.5, 0.65]))
        _put(page, row, page.canvas.columns - 4 if rng.random() < 0.7 else 8 + int(length) + 1, text)
        page.questions.append((rng.choice(asks).format(key=name), text))
    order = sorted(zip(values, names, strict=True))
    extreme, index = rng.choice([("highest", -1), ("lowest", 0)])
    page.questions.append((f"Which has the {extreme} value?", order[index][1]))
    return page


KINDS = {"form": form, "invoice": invoice, "table": table, "chart": chart}


def draw(seed: int, index: int, kind: str, columns: int = 20, rows: int = 6) -> BasePage:
    """Page `index` of a stream, the same on every machine; `kind` is a key of KINDS, or `lines` of the given size."""
    rng = Random(f"{seed}-{index}-{kind}-{columns}x{rows}")
    page = lines(rng, columns, rows) if kind == "lines" else KINDS[kind](rng)
    noise = rng.choice([0.0, 0.0, 0.02, 0.05])
    if noise:
        page.canvas.noise(np.random.default_rng(rng.getrandbits(64)), noise)
    rng.shuffle(page.questions)
    page.questions = [(ask + rng.choice(INSTRUCTIONS), answer) for ask, answer in page.questions]
    return page
