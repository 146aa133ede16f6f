"""Documents of three to eight pages in the manner of MP-DocVQA: an invoice, a contract with annexes, a report.

The invoice has its head, its articles and its sums on different pages. Annexes share their labels, chapters their
tables' heads: the question says which of them it means.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from random import Random
from typing import TYPE_CHECKING

from docvlm.data.generated.drawing import Drawing, Question, spread
from docvlm.data.generated.full import invoice as bill
from docvlm.data.generated.full import prose, table
from docvlm.data.generated.full.paper import GREY, HEIGHT, MARGIN, PALE, WIDTH, Look, Paper, look
from docvlm.data.generated.values import Values, money

if TYPE_CHECKING:
    from PIL.Image import Image

MOST = 8  # questions a document: one a page and a few more
FIRST, NEXT = 6, 8  # articles on the first page of an invoice, and on the second
FORM, TABLE, LAYOUT, HAND, TEXT = ("form",), ("table/list",), ("layout",), ("handwritten",), ("free_text",)
CLAUSES = (
    # sentence with one slot, how the slot is filled, a question for it
    ("The Contractor shall be paid a monthly fee of {}.", "money", "What is the monthly fee?"),
    ("The services shall be rendered at the Client's site in {}.", "place", "Where shall the services be rendered?"),
    ("This Agreement enters into force on {}.", "day", "When does the agreement enter into force?"),
    ("The liability of the Contractor is limited to {}.", "money", "To which amount is liability limited?"),
    ("Notices to the Client shall be sent to {}.", "person", "To whom shall notices to the client be sent?"),
    ("The Contractor insures the works with {}.", "company", "With which company are the works insured?"),
    ("Disputes shall be settled by the courts of {}.", "place", "The courts of which town settle disputes?"),
    ("The Agreement ends on {} without notice.", "day", "When does the agreement end?"),
    ("A penalty of {} is due for each week of delay.", "money", "Which penalty is due for each week of delay?"),
    ("The Contractor names {} as manager of the project.", "person", "Who is the manager of the project?"),
    ("The works comprise {} hours a year.", "number", "How many hours a year do the works comprise?"),
    ("Materials are bought from {} only.", "company", "From which company are materials bought?"),
)  # fmt: skip
ANNEXES = ("Maintenance", "Cleaning", "Training", "Transport", "Security", "Printing")


def invoice(values: Values) -> Drawing:
    """Three pages: the head with the first articles, more articles, the sums with how to pay."""
    content = bill.filled(values, FIRST + 3, FIRST + NEXT)
    parts = content.lines[:FIRST], content.lines[FIRST:]
    net, tax, total = content.sums()
    candidates = (
        [Question(f"What is the {label if '.O.' in label else label.lower()}?", (fact,), FORM)
         for label, fact in content.facts]
        + [Question("Which company is the invoice billed to?", (content.buyer,), LAYOUT),
           Question("Who is the contact at the customer?", (content.contact,), LAYOUT)]
        + _articles(parts[0]),
        _articles(parts[1]),
        [
            Question("What is the total amount?", (money(total), money(total, "")), TABLE),
            Question("What is the subtotal?", (money(net), money(net, "")), TABLE),
            Question(f"How much is the tax at {content.tax}%?", (money(tax), money(tax, "")), TABLE),
            Question("What is the account number for payment?", (content.account,), TEXT),
        ],
    )  # fmt: skip
    pages = [partial(_bill_page, content, parts, number) for number in range(3)]
    return _bound("invoice", pages, spread(values, candidates, MOST))


def _articles(lines: Sequence[bill.Line]) -> list[Question]:
    return [
        question
        for line in lines
        for question in (
            Question(f"What is the unit price of '{line.article}'?", (money(line.price), money(line.price, "")), TABLE),
            Question(f"What quantity of '{line.article}' was ordered?", (str(line.quantity),), TABLE),
        )
    ]


def _bill_page(content: bill.Invoice, parts: tuple[tuple[bill.Line, ...], ...], number: int) -> Image:
    paper, rng = Paper(_again(content.look, number)), Random(content.seed)
    if number == 0:
        bill.head(paper, content, rng)
    else:
        words = f"{content.seller} · Invoice {content.facts[0][1]}"
        paper.text(MARGIN, 110, words, 24, fill=GREY)
        paper.rule(MARGIN, 130, WIDTH - MARGIN, 2, content.look.accent)
    if number < 2:
        y = bill.articles(paper, replace(content, lines=parts[number]), 490 if number == 0 else 190)
        paper.text(WIDTH - MARGIN, y + 40, "continued on the next page", 20, "italic", fill=GREY, align="r")
    else:
        bill.sums(paper, content, 240)
        bill.foot(paper, content)
    return _numbered(paper, number, 3)


@dataclass(frozen=True)
class Contract:
    """Everything that is printed on one contract: clauses and annexes page by page."""

    look: Look
    number: str
    client: str
    contractor: str
    address: str
    clauses: tuple[tuple[str, ...], ...]
    annexes: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]
    signed_on: str
    signed: tuple[str, str]
    seed: int

    @property
    def count(self) -> int:
        """Pages."""
        return 1 + len(self.clauses) + len(self.annexes)


def contract(values: Values) -> Drawing:
    """The parties on the first page, one to three pages of clauses with the signatures, one to four annexes."""
    told = [
        (sentence.format(answer := prose.SLOTS[what](values)), answer, text)
        for sentence, what, text in values.several(CLAUSES, 4 * values.count(1, 3))
    ]
    clauses = [told[start : start + 4] for start in range(0, len(told), 4)]
    titles = values.several(ANNEXES, values.count(1, 4))
    annexes = tuple((title, _annex(values)) for title in titles)
    content = Contract(
        look(values, ("serif", "times", "roman", "typewriter"), 3),
        f"{values.pick('ABCHKT')}{values.pick('DKLNS')}-{values.number(1000, 99999)}",
        values.company(24),
        values.company(24),
        f"{values.number(10, 990)} {values.word('street', 20)}, {values.word('place', 14)}",
        tuple(tuple(sentence for sentence, _, _ in page) for page in clauses),
        annexes,
        values.day().strftime("%d/%m/%Y"),
        (values.person(20), values.person(20)),
        values.rng.getrandbits(32),
    )
    candidates = [
        [
            Question("What is the number of the contract?", (content.number,), FORM),
            Question("Who is the client?", (content.client,), LAYOUT),
            Question("Who is the contractor?", (content.contractor,), LAYOUT),
            Question("What is the address of the contractor?", (content.address,), LAYOUT),
        ],
        *([Question(text, (answer,), TEXT) for _, answer, text in page] for page in clauses),
    ]
    candidates[-1] += [
        Question("Who signed for the client?", (content.signed[0],), HAND),
        Question("On which date was the contract signed?", (content.signed_on,), FORM),
    ]
    for letter, (_, entries) in zip("ABCD", annexes, strict=False):
        asked = [Question(f"What is the {key.lower()} in Annex {letter}?", (value,), FORM) for key, value in entries]
        candidates.append(asked)
    pages = [partial(_contract_page, content, number) for number in range(content.count)]
    return _bound("contract", pages, spread(values, candidates, MOST))


def _annex(values: Values) -> tuple[tuple[str, str], ...]:
    """The labels that all annexes have."""
    return (
        ("Reference", f"R-{values.number(1000, 9999)}"),
        ("Start date", values.day().strftime("%d/%m/%Y")),
        ("End date", values.day().strftime("%d/%m/%Y")),
        ("Fee per month", money(values.number(10_000, 900_000))),
        ("Contact person", values.person(22)),
        ("Place", values.word("place", 16)),
    )


def _contract_page(content: Contract, number: int) -> Image:
    paper, annex = Paper(_again(content.look, number)), number - 1 - len(content.clauses)
    accent = content.look.accent
    if number == 0:
        paper.text(WIDTH / 2, 260, "SERVICE AGREEMENT", 46, "bold", fill=accent, align="m")
        paper.text(WIDTH / 2, 320, f"No. {content.number}", 28, align="m")
        parties = ("between", content.client, "(the Client)", "and", content.contractor, content.address)
        for place, words in enumerate((*parties, "(the Contractor)")):
            paper.text(WIDTH / 2, 480 + place * 62, words, 28, "bold" if place in (1, 4) else "regular", align="m")
        for place, (title, _) in enumerate(content.annexes):
            paper.text(MARGIN + 40, 1080 + place * 44, f"Annex {'ABCD'[place]}: {title}", 25)
    elif annex < 0:
        _clauses(paper, content, number)
    else:
        title, entries = content.annexes[annex]
        paper.text(MARGIN, 180, f"Annex {'ABCD'[annex]}: {title}", 38, "bold", fill=accent)
        for place, (key, value) in enumerate(entries):
            top = 250 + place * 72
            if content.look.layout != 2:
                paper.box(MARGIN, top, MARGIN + 330, top + 72, fill=PALE, edge=GREY, width=1)
            paper.box(MARGIN + 330, top, WIDTH - MARGIN, top + 72, edge=GREY, width=1)
            paper.text(MARGIN + 16, top + 46, key, 25)
            paper.text(MARGIN + 350, top + 46, value, 25)
    return _numbered(paper, number, content.count)


def _clauses(paper: Paper, content: Contract, number: int) -> None:
    """A page of clauses, numbered through; the signatures follow the last."""
    rng, y = Random(content.seed + number), 170.0
    for place, sentence in enumerate(content.clauses[number - 1], start=4 * number - 3):
        paper.text(MARGIN, y, f"§ {place}", 27, "bold", fill=content.look.accent)
        words = f"{rng.choice(prose.FILLERS)} {sentence} {rng.choice(prose.FILLERS)}"
        y = paper.paragraph(MARGIN, y + 46, WIDTH - 2 * MARGIN, words, 25) + 40
    if number == len(content.clauses):
        paper.text(MARGIN, y + 40, f"Signed on {content.signed_on}", 25)
        for x, words, name in zip((MARGIN, 640), ("Client", "Contractor"), content.signed, strict=True):
            paper.hand(x + 10, y + 150, name, 42, rng)
            paper.rule(x, y + 168, x + 420, 2)
            paper.text(x, y + 200, f"For the {words}: {name}", 20, fill=GREY)


def report(values: Values) -> Drawing:
    """A page with the table of contents, then a chapter of one page for each of two to six tables."""
    style = look(values, ("sans", "serif", "times", "roman"), 3)
    subjects = values.several(table.SUBJECTS, values.count(2, len(table.SUBJECTS)))
    company, writer, year = values.company(24), values.person(22), str(values.count(1995, 2029))
    chapters = [_chapter(values, style, number, subject) for number, subject in enumerate(subjects, start=1)]
    titles = tuple(subject[0] for subject in subjects)
    candidates = [
        [
            Question("Who wrote the report?", (writer,), LAYOUT),
            Question("Which company is the report about?", (company,), LAYOUT),
            *(Question(f"On which page does the chapter '{title}' begin?", (str(page),), TABLE)
              for page, title in enumerate(titles, start=2)),
        ],
        *(asked for _, asked in chapters),
    ]  # fmt: skip
    front = partial(_contents, style, company, writer, year, titles)
    pages: list[Callable[[], Image]] = [front, *(partial(table.paint, content) for content, _ in chapters)]
    return _bound("report", pages, spread(values, candidates, MOST))


Subject = tuple[str, str, str, tuple[str, ...], str]


def _chapter(values: Values, style: Look, number: int, subject: Subject) -> tuple[table.Table, list[Question]]:
    """A chapter's page, and what can be asked about it."""
    title, noun, pool, heads, unit = subject
    names = values.distinct(values.count(6, 11), lambda: prose.SLOTS[pool](values))
    rows = tuple((name, tuple(values.number(10, 4999) for _ in heads)) for name in names)
    page = table.Table(
        _again(style, number),
        f"{number} {title}",
        prose.paragraph(values, []),
        f"Table {number}. {title}.",
        (noun.capitalize(), *heads),
        rows,
        unit,
        prose.paragraph(values, []),
        f"{number + 1}",
    )
    asked = []
    for name, numbers in values.several(rows, 3):
        column = values.count(0, len(heads) - 1)
        text = f"What is listed under {heads[column]} for {name} in Table {number}?"
        asked.append(Question(text, (page.cell(numbers[column]),), TABLE))
    column = values.count(0, len(heads) - 1)
    highest = max(rows, key=lambda row: row[1][column])[0]
    text = f"Which {noun} has the highest value for {heads[column]} in Table {number}?"
    return page, [*asked, Question(text, (highest,), TABLE)]


def _contents(style: Look, company: str, writer: str, year: str, titles: tuple[str, ...]) -> Image:
    paper, right = Paper(style), WIDTH - MARGIN
    paper.text(MARGIN, 220, f"Report for {year}", 52, "bold", fill=style.accent)
    paper.text(MARGIN, 290, company, 34)
    paper.text(MARGIN, 340, f"Prepared by {writer}", 25, fill=GREY)
    paper.text(MARGIN, 480, "Contents", 34, "bold")
    paper.rule(MARGIN, 500, right, 3, style.accent)
    for number, title in enumerate(titles, start=1):
        y = 510 + 62 * number
        width = paper.text(MARGIN, y, f"{number} {title}", 27)
        paper.text(right, y, str(number + 1), 27, align="r")
        step = paper.length(".", 27) * 2
        for place in range(int((right - 50 - MARGIN - width - 20) // step)):
            paper.text(MARGIN + width + 20 + place * step, y, ".", 27)
    return _numbered(paper, 0, 1 + len(titles), folio=True)


def _again(style: Look, number: int) -> Look:
    """The same look on another page: the scanner's settings stay, its noise does not repeat."""
    return replace(style, scan=replace(style.scan, seed=style.scan.seed + number))


def _numbered(paper: Paper, number: int, count: int, folio: bool = False) -> Image:
    """The finished page with its number at the bottom."""
    words = str(number + 1) if folio else f"Page {number + 1} of {count}"
    paper.text(WIDTH / 2, HEIGHT - 46, words, 22, fill=GREY, align="m")
    return paper.finished()


def _bound(kind: str, pages: Sequence[Callable[[], Image]], questions: tuple[Question, ...]) -> Drawing:
    first, *further = pages
    return Drawing(kind, questions, first, tuple(further))


KINDS = (invoice, contract, report)
