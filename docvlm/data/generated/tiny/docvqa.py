"""Small forms, tables, invoices, letters and receipts in the manner of DocVQA.

The embedded checkpoints have not seen these: their own pages are `Key: value` lines and tables with a header row. Here
keys stand above their values, behind dot leaders, or in the first column of a table whose header names people, and the
questions ask in other words. That difference is what fine-tuning teaches.
"""

from __future__ import annotations

from collections.abc import Callable

from docvlm.data.generated.drawing import Drawing, Question
from docvlm.data.generated.tiny import translated
from docvlm.data.generated.tiny.layout import Grid
from docvlm.data.generated.values import Values, money, short_date

JOBS = (
    "Baker", "Clerk", "Cook", "Driver", "Editor", "Farmer", "Lawyer", "Nurse", "Pilot", "Porter", "Teacher", "Tailor",
)  # fmt: skip
FORMS = ("VISITOR PASS", "CLUB FORM", "CLINIC CARD", "LOAN FORM", "STAFF RECORD", "SCHOOL FORM")
TICKS = ("Member", "Smoker", "Driver", "Owner", "Tenant", "Parent")
FIELDS: dict[str, tuple[Callable[[Values], str], str]] = {
    # key: how its value is drawn (at most 9 characters), a question that does not use the key
    "Name": (lambda v: v.word("first", 9), "Who filled in the form?"),
    "Surname": (lambda v: v.word("last", 9), "Which family name is given?"),
    "Born": (lambda v: short_date(v.day()), "When was the person born?"),
    "City": (lambda v: v.word("place", 9), "Where does the person live?"),
    "Phone": (lambda v: f"555-{v.number(1000, 9999)}", "Which number can be called?"),
    "Job": (lambda v: v.pick(JOBS), "How does the person earn a living?"),
    "Room": (lambda v: str(v.number(100, 999)), "In which Room is the person?"),
    "Fee": (lambda v: money(v.number(500, 99999)), "How much must be paid?"),
    "Visit": (lambda v: short_date(v.day()), "When is the Visit?"),
    "Card": (lambda v: f"{v.pick('ABCDEHKMPRT')}-{v.number(10000, 99999)}", "Which number is on the Card?"),
    "Doctor": (lambda v: f"Dr {v.word('last', 6)}", "Which Doctor is named?"),
    "Age": (lambda v: str(v.count(18, 89)), "How old is the person?"),
}
FIELD_WORDINGS = ("What is written under {key}?", "Which {key} does the form give?")
SCORES = ("Won", "Lost", "Drawn", "Goals", "Shots", "Fouls", "Cards", "Games", "Saves", "Runs")
SUPPLIES = ("Paper", "Pens", "Chairs", "Lamps", "Desks", "Toner", "Cables", "Folders", "Shelves", "Labels", "Tape")
GROCERIES = ("Milk", "Rice", "Eggs", "Bread", "Tea", "Soap", "Apples", "Butter", "Salt", "Honey", "Beans", "Juice")
BODIES = (("Please pay {a}", "for the {i}."), ("We owe you {a}", "for the {i}."), ("The new {i}", "will cost {a}."))
TITLES = ("Mr", "Ms", "Dr", "Mrs")


def form(values: Values) -> Drawing:
    """Two columns of fields, each key above its value, under a banner; a box to tick in the last row."""
    grid = Grid(values)
    title, tick = values.pick(FORMS), values.pick(TICKS)
    grid.banner(0, title)
    candidates = []
    for place, key in enumerate(values.several(tuple(FIELDS), 4)):
        make, own_wording = FIELDS[key]
        value = make(values)
        grid.stacked(1 + place // 2 * 2, place % 2 * grid.columns // 2, key, value)
        wording = own_wording if values.chance(0.33) else values.pick(FIELD_WORDINGS).format(key=key)
        candidates.append(Question(wording, (value,), ("form",)))
    yes = values.chance(0.5)
    grid.text(5, 0, f"{tick:<7}[{'x' if yes else ' '}]Yes [{' ' if yes else 'x'}]No")
    questions = values.several(candidates, values.count(3, 4))
    if values.chance(0.4):
        questions.append(Question(f"Is the person a {tick}?", ("Yes" if yes else "No",), ("Yes/No", "form")))
    elif values.chance(0.3):
        questions.append(Question("What is the title of the page?", (title,), ("layout",)))
    return grid.drawing("form", questions)


def table(values: Values) -> Drawing:
    """People across the top, what was counted down the side, numbers right-aligned, ruled."""
    grid = Grid(values)
    (people,) = values.several(("first", "last"), 1)
    names = values.distinct(2, lambda: values.word(people, 5))
    rows = values.several(SCORES, values.count(3, 4))
    numbers = {(row, name): values.count(1, 999 if values.chance(0.3) else 99) for row in rows for name in names}
    ends = (grid.columns - 7, grid.columns)
    for name, end in zip(names, ends, strict=True):
        grid.right(0, name, end, "bold")
    grid.rule(0)
    for number, row in enumerate(rows, start=1):
        grid.text(number, 0, row)
        for name, end in zip(names, ends, strict=True):
            grid.right(number, str(numbers[row, name]), end)
    grid.rule(len(rows))
    cells = values.several(sorted(numbers), 3)
    wordings = ("How many {row} does {name} have?", "Which number of {row} did {name} reach?")
    questions = [
        Question(values.pick(wordings).format(row=row, name=name), (str(numbers[row, name]),), ("table/list",))
        for row, name in cells
    ]
    row = values.pick(rows)
    first, second = (numbers[row, name] for name in names)
    if first != second and values.chance(0.6):
        winner = names[0] if first > second else names[1]
        questions.append(Question(f"Who has more {row}?", (winner,), ("table/list",)))
    return grid.drawing("table", questions)


def invoice(values: Values) -> Drawing:
    """A number, a customer, and lines whose amounts stand behind dot leaders at the right edge."""
    grid = Grid(values)
    number, company = f"#{values.number(10000, 99999)}", values.company(16)
    grid.text(0, 0, "INVOICE", "bold")
    grid.right(0, number)
    grid.text(1, 0, f"To: {company}" if values.chance(0.5) else company)
    grid.rule(1)
    items = {item: values.number(100, 49999) for item in values.several(SUPPLIES, 2)}
    due, total = short_date(values.day()), money(sum(items.values()))
    for row, (item, cents) in enumerate(items.items(), start=2):
        grid.leader(row, item, money(cents))
    if values.chance(0.5):
        grid.leader(4, "Total", total)
        grid.leader(5, "Due", due)
    else:
        grid.rule(3)
        grid.stacked(4, 0, "Total", total)
        grid.stacked(4, grid.columns // 2, "Due", due)
    wordings = ("How much is charged for {}?", "Which amount is due for {}?")
    candidates = [
        Question(values.pick(wordings).format(item), (money(cents),), ("table/list",)) for item, cents in items.items()
    ]
    candidates += [
        Question(values.pick(("How much is the Total?", "How much is it in all?")), (total,), ("form", "table/list")),
        Question(values.pick(("By when is the invoice Due?", "When must it be paid?")), (due,), ("form",)),
        Question(
            values.pick(("Which number does the invoice carry?", "How is the invoice numbered?")), (number,), ("form",)
        ),
        Question(values.pick(("Which company is billed?", "Who has to pay?")), (company,), ("form", "layout")),
    ]
    return grid.drawing("invoice", values.several(candidates, values.count(3, 5)))


def letter(values: Values) -> Drawing:
    """Place and date at the right, a salutation, two lines, and a signature in a slanted hand."""
    grid = Grid(values)
    place, day = values.word("place", 9), short_date(values.day())
    reader, writer = f"{values.pick(TITLES)} {values.word('last', 10)}", values.person(16)
    item, amount = values.pick(SUPPLIES).lower(), money(values.number(500, 99999))
    body = values.pick(BODIES)
    grid.right(0, f"{place}, {day}")
    grid.text(1, 0, f"Dear {reader},")
    for row, line in enumerate(body, start=2):
        grid.text(row, 0, line.format(a=amount, i=item))
    grid.text(4, 0, values.pick(("Yours,", "Sincerely,", "Best wishes,", "Kind regards,")))
    grid.right(5, writer, face="oblique")
    candidates = [
        Question(values.pick(("Who signed the letter?", "Who wrote the letter?")), (writer,), ("handwritten",)),
        Question(values.pick(("Who is the letter addressed to?", "Who receives the letter?")), (reader,), ("layout",)),
        Question("Where was the letter written?", (place,), ("layout",)),
        Question("When was the letter written?", (day,), ("layout",)),
        Question(values.pick(("How much money is mentioned?", "Which amount is named?")), (amount,), ("free_text",)),
        Question("What is the letter about?", (item,), ("free_text",)),
    ]
    return grid.drawing("letter", values.several(candidates, values.count(3, 5)))


def receipt(values: Values) -> Drawing:
    """A shop's name, then count, article and price without a currency sign, the total, the day and how it was paid."""
    grid = Grid(values)
    shop = f"{values.word('last', 9).upper()} {values.pick(('SHOP', 'STORE', 'MARKET', 'MART'))}"
    lines = [(values.count(1, 9), item, values.number(50, 9999)) for item in values.several(GROCERIES, 3)]
    total, day = money(sum(cents for _, _, cents in lines), ""), short_date(values.day())
    paid = values.pick(("CASH", "CARD", "VISA", "CHEQUE"))
    grid.centred(0, shop, "bold")
    for row, (count, item, cents) in enumerate(lines, start=1):
        grid.text(row, 0, f"{count} {item}")
        grid.right(row, money(cents, ""))
    grid.text(4, 0, values.pick(("TOTAL", "SUM", "TO PAY")), "bold")
    grid.right(4, total, face="bold")
    grid.text(5, 0, day)
    grid.right(5, paid)
    wordings = ("How much did the {} cost?", "Which price is shown for {}?")
    candidates = [
        Question(values.pick(wordings).format(item), (money(cents, ""),), ("table/list",)) for _, item, cents in lines
    ]
    count, item, _ = values.pick(lines)
    candidates += [
        Question(f"How many {item} were bought?", (str(count),), ("table/list",)),
        Question(values.pick(("How much was paid in all?", "How much is the whole bill?")), (total,), ("table/list",)),
        Question("On which day was it bought?", (day,), ("layout",)),
        Question(values.pick(("Which shop is it?", "Where was it bought?")), (shop,), ("layout",)),
        Question("How was it paid?", (paid,), ("others",)),
    ]
    return grid.drawing("receipt", values.several(candidates, values.count(3, 5)))


KINDS = (form, table, invoice, letter, receipt)
TRANSLATED = translated.KINDS
