"""Small documents of two to four pages in the manner of MP-DocVQA: an invoice, a contract with annexes, a report.

The lines are those of the small single pages (`tiny.docvqa`): dot leaders, banners, a signature. What is new is that
the same key stands on several pages with other values, and the question says which page it means.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from docvlm.data.generated.drawing import Drawing, Question, spread
from docvlm.data.generated.tiny.docvqa import SUPPLIES
from docvlm.data.generated.tiny.layout import Grid
from docvlm.data.generated.values import Values, money, short_date

TOPICS = ("Sales", "Costs", "Staff", "Rents", "Orders", "Visits", "Taxes", "Loans")
ANNEXED: tuple[tuple[str, Callable[[Values], str], str], ...] = (
    # key, how its value is drawn (at most 9 characters), a question that names the annex
    ("Item", lambda v: v.pick(SUPPLIES), "Which Item is in Annex {}?"),
    ("Fee", lambda v: money(v.number(500, 99999)), "How much is the Fee in Annex {}?"),
    ("Start", lambda v: short_date(v.day()), "When is the Start in Annex {}?"),
    ("Contact", lambda v: v.word("first", 9), "Who is the Contact in Annex {}?"),
    ("Place", lambda v: v.word("place", 9), "Which Place is in Annex {}?"),
    ("Hours", lambda v: str(v.number(100, 2000)), "How many Hours are in Annex {}?"),
)
MOST = 6  # questions a document
FORM, TABLE, LAYOUT, HAND = ("form",), ("table/list",), ("layout",), ("handwritten",)


def invoice(values: Values) -> Drawing:
    """Three pages: who pays and by when, what was bought, how it was paid."""
    head, bought, paid = _pages(values, 3)
    number, company = f"#{values.number(10000, 99999)}", values.company(16)
    items = {item: values.number(100, 49999) for item in values.several(SUPPLIES, 4)}
    issued, due, settled = (short_date(values.day()) for _ in range(3))
    total, discount = money(sum(items.values())), money(values.number(100, 9999))
    account, clerk = str(values.number(100000, 999999)), values.person(16)
    head.text(0, 0, "INVOICE", "bold")
    head.right(0, number)
    head.text(1, 0, company)
    head.rule(1)
    for row, (key, value) in enumerate((("Date", issued), ("Due", due), ("Total", total)), start=2):
        head.leader(row, key, value)
    bought.banner(0, "ITEMS")
    for row, (item, cents) in enumerate(items.items(), start=1):
        bought.leader(row, item, money(cents))
    paid.banner(0, "PAYMENT")
    for row, (key, value) in enumerate((("Date", settled), ("Account", account), ("Discount", discount)), start=1):
        paid.leader(row, key, value)
    paid.text(4, 0, clerk, "oblique")
    candidates = (
        [
            Question("Which number does the invoice carry?", (number,), FORM),
            Question("Which company is billed?", (company,), LAYOUT),
            Question("What is the Date of the invoice?", (issued,), FORM),
            Question("By when is the invoice Due?", (due,), FORM),
            Question("How much is the Total?", (total,), FORM),
        ],
        [Question(f"How much is charged for {item}?", (money(cents),), TABLE) for item, cents in items.items()],
        [
            Question("What is the Date of the payment?", (settled,), FORM),
            Question("To which Account was it paid?", (account,), FORM),
            Question("How large is the Discount?", (discount,), FORM),
            Question("Who signed for the payment?", (clerk,), HAND),
        ],
    )
    return _bound("invoice", (head, bought, paid), spread(values, candidates, MOST))


def contract(values: Values) -> Drawing:
    """The contract on the first page, then one to three annexes, each with the same keys."""
    count = values.count(1, 3)
    head, *annexes = _pages(values, 1 + count)
    number, signed = f"{values.pick('ABCHKT')}-{values.number(10000, 99999)}", short_date(values.day())
    seller, buyer, writer = values.company(16), values.company(16), values.person(16)
    head.text(0, 0, "CONTRACT", "bold")
    head.right(0, number)
    head.text(1, 0, f"By  {seller}")
    head.text(2, 0, f"For {buyer}")
    head.leader(3, "Signed", signed)
    head.right(4, writer, face="oblique")
    candidates = [
        [
            Question("Which number does the contract carry?", (number,), FORM),
            Question("For which company is the contract?", (buyer,), LAYOUT),
            Question("By which company is the contract?", (seller,), LAYOUT),
            Question("When was the contract Signed?", (signed,), FORM),
            Question("Who signed the contract?", (writer,), HAND),
        ]
    ]
    keys, stacked = values.several(ANNEXED, 4), values.chance(0.4)
    for letter, annex in zip("ABC", annexes, strict=False):
        filled = [(key, make(values), text.format(letter)) for key, make, text in keys]
        annex.banner(0, f"ANNEX {letter}")
        for place, (key, value, _) in enumerate(filled):
            if stacked:
                annex.stacked(1 + place // 2 * 2, place % 2 * annex.columns // 2, key, value)
            else:
                annex.leader(1 + place, key, value)
        candidates.append([Question(text, (value,), FORM) for _, value, text in filled])
    return _bound("contract", (head, *annexes), spread(values, candidates, MOST))


def report(values: Values) -> Drawing:
    """A table of contents, then two or three chapters that count the same towns."""
    count = values.count(2, 3)
    contents, *chapters = _pages(values, 1 + count)
    places = values.unlike(
        lambda: tuple(values.several(range(len(TOPICS)), count))
    )  # no two splits share a contents page
    topics, writer = [TOPICS[place] for place in places], values.person(16)
    towns = values.distinct(4, lambda: values.word("place", 9))
    contents.banner(0, f"REPORT {values.count(1990, 2029)}")
    for row, topic in enumerate(topics, start=1):
        contents.leader(row, f"{row} {topic}", str(row + 1))
    contents.text(4, 0, writer, "oblique")
    begins = [Question(f"On which page does {t} begin?", (str(n),), TABLE) for n, t in enumerate(topics, start=2)]
    candidates = [[*begins, Question("Who wrote the report?", (writer,), HAND)]]
    for number, (topic, chapter) in enumerate(zip(topics, chapters, strict=True), start=1):
        counted = dict(zip(towns, values.distinct(len(towns), lambda: values.number(100, 9999)), strict=True))
        chapter.text(0, 0, f"{number} {topic}", "bold")
        chapter.rule(0)
        for row, (town, figure) in enumerate(counted.items(), start=1):
            chapter.leader(row, town, str(figure))
        most = max(towns, key=counted.__getitem__)
        asked = [
            Question(f"Which number of {topic} is given for {town}?", (str(counted[town]),), TABLE) for town in towns
        ]
        candidates.append([*asked, Question(f"Which town has the most {topic}?", (most,), TABLE)])
    return _bound("report", (contents, *chapters), spread(values, candidates, MOST))


def _pages(values: Values, count: int) -> list[Grid]:
    """Empty pages in one face."""
    pages = [Grid(values)]
    while len(pages) < count:
        pages.append(pages[-1].next_page())
    return pages


def _bound(kind: str, pages: Sequence[Grid], questions: tuple[Question, ...]) -> Drawing:
    """The document, each page numbered in its last row."""
    for number, page in enumerate(pages, start=1):
        page.right(page.rows - 1, f"{number}/{len(pages)}")
    first, *further = (page.paint() for page in pages)
    return Drawing(kind, questions, first, tuple(further))


KINDS = (invoice, contract, report)
