"""What stands on a page in another language: its lines from top to bottom, and the questions about them.

A line is laid out by the painter of its preset, from the side where the language begins to read. So a form, a table, an
invoice, a letter and a receipt are decided here once, for every language, small and large.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from docvlm.data.generated.drawing import Question
from docvlm.data.generated.languages.language import cells
from docvlm.data.generated.languages.values import LocalValues

Align = Literal["start", "middle", "end"]
COLUMNS = 20  # cells of a row of a small page
FORM, TABLE, LAYOUT, HAND, TEXT = ("form",), ("table/list",), ("layout",), ("handwritten",), ("free_text",)


@dataclass(frozen=True)
class Title:
    """Words across the page, white on dark."""

    words: str


@dataclass(frozen=True)
class Pair:
    """A label where the line begins, its value where it ends; dots between them, or nothing."""

    label: str
    value: str
    dots: bool = True


@dataclass(frozen=True)
class Row:
    """A row of a table: what it is, and its cells."""

    label: str
    cells: tuple[str, ...]
    head: bool = False


@dataclass(frozen=True)
class Text:
    """A line of words; `hand` is a signature."""

    words: str
    align: Align = "start"
    hand: bool = False


Line = Title | Pair | Row | Text


@dataclass(frozen=True)
class Content:
    """A page's kind, its lines, and its questions."""

    kind: str
    lines: tuple[Line, ...]
    questions: tuple[Question, ...]


def form(values: LocalValues, small: bool) -> Content:
    """A title and five fields (seven on a large page), asked for by their labels or in other words."""
    language, long = values.language, not small
    make: dict[str, Callable[[int], str]] = {
        "person": values.person,
        "birth": lambda room: values.written_day(long),
        "city": values.place,
        "phone": lambda room: values.phone(),
        "fee": lambda room: values.fee()[1],
        "visit": lambda room: values.written_day(long),
        "card": lambda room: str(values.number(100_000, 999_999)),
        "street": values.street,
    }
    keys = values.several([key for key in make if long or key != "street"], 5 if small else 7)
    lines: list[Line] = [Title(values.pick(language.forms))]
    asked = []
    for key in keys:
        label, own_wording = language.fields[key]
        value = make[key](_room(label, small))
        lines.append(Pair(label, value))
        wording = own_wording if values.chance(0.5) else language.under.format(label)
        asked.append(Question(wording, (value,), FORM))
    return Content("form", tuple(lines), tuple(values.several(asked, values.count(3, 4))))


def table(values: LocalValues, small: bool) -> Content:
    """People across the top, what was counted down the side."""
    language = values.language
    names = values.distinct(2, lambda: values.given(6)) if small else values.distinct(4, lambda: values.person(18))
    rows = values.several(language.measures, values.count(3, 4) if small else values.count(6, 8))
    numbers = {(row, name): values.count(1, 999 if values.chance(0.3) else 99) for row in rows for name in names}
    lines = [Row("", tuple(names), head=True)]
    lines += [Row(row, tuple(str(numbers[row, name]) for name in names)) for row in rows]
    asked = [
        Question(language.cell.format(row=row, name=name), (str(numbers[row, name]),), TABLE)
        for row, name in values.several(sorted(numbers), 3)
    ]
    row = values.pick(rows)
    first, second = (numbers[row, name] for name in names[:2])
    if len(names) == 2 and first != second:
        asked.append(Question(language.more.format(row=row), (names[0] if first > second else names[1],), TABLE))
    return Content("table", tuple(lines), tuple(asked))


def invoice(values: LocalValues, small: bool) -> Content:
    """A number, a customer, articles with their amounts, the total; days and an address on a large page."""
    language, long = values.language, not small
    number, customer = str(values.number(10_000, 99_999)), values.company(_room(language.customer[0], small))
    issued, due = values.written_day(long), values.written_day(long)
    articles = {item: values.fee(49_999) for item in values.several(language.supplies, 2 if small else 6)}
    total = language.amount_of(sum(cents for cents, _ in articles.values()))
    head = [Pair(language.number[0], number), Pair(language.customer[0], customer)]
    if long:
        head += [Pair(language.fields["street"][0], values.street()), Pair(language.issued[0], issued)]
        head += [Pair(language.due[0], due)]
    bought = [Pair(item, amount) for item, (_, amount) in articles.items()]
    asked = [Question(language.price.format(item), (amount,), TABLE) for item, (_, amount) in articles.items()][:3]
    asked += [
        Question(language.number[1], (number,), FORM),
        Question(language.customer[1], (customer,), LAYOUT),
        Question(language.total[1], (total,), TABLE),
    ]
    if long:
        asked += [Question(language.issued[1], (issued,), FORM), Question(language.due[1], (due,), FORM)]
    lines: tuple[Line, ...] = (Title(language.invoice), *head, *bought, Pair(language.total[0], total))
    return Content("invoice", lines, tuple(values.several(asked, values.count(3, 5))))


def letter(values: LocalValues, small: bool) -> Content:
    """Place and day, to whom, what something costs, a greeting and a signature."""
    language, long = values.language, not small
    day = values.written_day(long)
    place = values.place(COLUMNS - 1 - cells(day) if small else 99)
    reader = values.person(COLUMNS - cells(language.dear.format("")) if small else 99)
    writer = values.person(COLUMNS if small else 99)
    item, (_, amount) = values.pick(language.supplies), values.fee()
    first, second = (line.format(item=item, amount=amount) for line in language.body)
    body = [Text(first), Text(second)] if small else [Text(f"{first} {second}")]
    lines = (
        Text(f"{place} {day}", "end"),
        Text(language.dear.format(reader)),
        *body,
        Text(values.pick(language.closings)),
        Text(writer, "end", hand=True),
    )
    asked = [
        Question(language.writer, (writer,), HAND),
        Question(language.reader, (reader,), LAYOUT),
        Question(language.written_in, (place,), LAYOUT),
        Question(language.written_on, (day,), LAYOUT),
        Question(language.amount, (amount,), TEXT),
    ]
    return Content("letter", lines, tuple(values.several(asked, values.count(3, 5))))


def receipt(values: LocalValues, small: bool) -> Content:
    """A shop, what was bought, the total, the day and how it was paid."""
    language = values.language
    shop, day, paid = values.shop(COLUMNS), values.written_day(not small), values.pick(language.payments)
    bought = {item: values.fee(9_999) for item in values.several(language.groceries, 3 if small else 7)}
    total = language.amount_of(sum(cents for cents, _ in bought.values()))
    lines: tuple[Line, ...] = (
        Title(shop),
        *(Pair(item, amount) for item, (_, amount) in bought.items()),
        Pair(language.total[0], total),
        Pair(day, paid, dots=False),
    )
    asked = [Question(language.price.format(item), (amount,), TABLE) for item, (_, amount) in bought.items()][:3]
    asked += [
        Question(language.total[1], (total,), TABLE),
        Question(language.shop, (shop,), LAYOUT),
        Question(language.bought_on, (day,), LAYOUT),
        Question(language.paid_by, (paid,), ("others",)),
    ]
    return Content("receipt", lines, tuple(values.several(asked, values.count(3, 5))))


def _room(label: str, small: bool) -> int:
    """How wide a value beside a label may be, with a dot between them."""
    return COLUMNS - 1 - cells(label) if small else 99


ALL = (form, table, invoice, letter, receipt)
"""The kinds of the English pages, in their order."""
