"""Invoices: a letterhead with a logo, who pays, a table of articles, sums, terms, now and then a rubber stamp."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from random import Random
from typing import TYPE_CHECKING

from docvlm.data.generated.drawing import Drawing, Question
from docvlm.data.generated.full.paper import GREY, INK, MARGIN, PALE, WIDTH, Look, Paper, look
from docvlm.data.generated.values import Values, money

if TYPE_CHECKING:
    from PIL.Image import Image

ARTICLES = (
    "Copy paper A4", "Toner cartridge", "Desk lamp", "Office chair", "USB cable", "Filing cabinet", "Whiteboard",
    "Ballpoint pens", "Envelopes C5", "Ring binder", "Monitor stand", "Paper shredder", "Label printer",
    "Extension lead", "Coffee machine", "Desk fan",
)  # fmt: skip
STAMPS = (("PAID", (170, 30, 40)), ("RECEIVED", (40, 60, 150)), ("COPY", (40, 110, 60)), ("OVERDUE", (170, 30, 40)))


@dataclass(frozen=True)
class Line:
    """One article: description, quantity, price each in cents."""

    article: str
    quantity: int
    price: int

    @property
    def amount(self) -> int:
        """Quantity times price, in cents."""
        return self.quantity * self.price


@dataclass(frozen=True)
class Invoice:
    """Everything that is printed on one invoice; sums in cents, tax in percent."""

    look: Look
    seller: str
    seller_address: str
    buyer: str
    contact: str
    buyer_address: tuple[str, str]
    facts: tuple[tuple[str, str], ...]
    lines: tuple[Line, ...]
    tax: int
    account: str
    stamp: int
    seed: int

    def sums(self) -> tuple[int, int, int]:
        """Subtotal, tax and total in cents."""
        net = sum(line.amount for line in self.lines)
        tax = round(net * self.tax / 100)
        return net, tax, net + tax


def invoice(values: Values) -> Drawing:
    """Three to nine articles; questions on the head, the articles and the sums."""
    content = filled(values, 3, 9)
    return Drawing("invoice", _questions(values, content), partial(paint, content))


def filled(values: Values, fewest: int, most: int) -> Invoice:
    """An invoice of `fewest` to `most` articles."""
    issued = values.day()
    lines = tuple(
        Line(article, values.count(1, 24), values.number(95, 48000))
        for article in values.several(ARTICLES, values.count(fewest, most))
    )
    town = values.word("place", 14)
    facts = (
        ("Invoice no.", f"{values.pick('ABFRX')}{values.number(10000, 99999)}"),
        ("Invoice date", issued.strftime("%d/%m/%Y")),
        ("Due date", (issued + timedelta(days=values.pick((10, 14, 30, 60)))).strftime("%d/%m/%Y")),
        ("Customer no.", str(values.number(1000, 99999))),
        ("P.O. number", f"PO-{values.number(1000, 9999)}"),
    )
    return Invoice(
        look(values, ("sans", "serif", "times", "grotesque"), 3),
        values.company(18),
        f"{values.number(10, 990)} {values.word('street', 20)}, {values.word('place', 14)}",
        values.company(22),
        values.person(22),
        (f"{values.number(10, 990)} {values.word('street', 20)}", f"{town}, {values.number(10000, 99999)}"),
        facts,
        lines,
        values.pick((5, 7, 8, 10, 20)),
        f"{values.number(1000, 9999)} {values.number(1000, 9999)} {values.number(1000, 9999)}",
        values.count(0, len(STAMPS) - 1) if values.chance(0.35) else -1,
        values.rng.getrandbits(32),
    )


def _questions(values: Values, invoice: Invoice) -> tuple[Question, ...]:
    line, (net, tax, total) = values.pick(invoice.lines), invoice.sums()
    label, fact = values.pick(invoice.facts)
    table, head = ("table/list",), ("form", "layout")
    candidates = [
        Question(f"What is the {label if label.startswith('P.O.') else label.lower()}?", (fact,), ("form",)),
        Question("What is the total amount?", (money(total), money(total, "")), table),
        Question("What is the subtotal?", (money(net), money(net, "")), table),
        Question(f"How much is the tax at {invoice.tax}%?", (money(tax), money(tax, "")), table),
        Question(f"What quantity of '{line.article}' was ordered?", (str(line.quantity),), table),
        Question(f"What is the unit price of '{line.article}'?", (money(line.price), money(line.price, "")), table),
        Question("Which company issued the invoice?", (invoice.seller,), head),
        Question("Which company is the invoice billed to?", (invoice.buyer,), head),
        Question("Who is the contact at the customer?", (invoice.contact,), head),
        Question("What is the account number for payment?", (invoice.account,), ("free_text",)),
        Question("What text is next to the logo?", (invoice.seller,), ("Image/Photo", "layout")),
    ]
    if invoice.stamp >= 0:
        candidates.append(Question("What does the stamp say?", (STAMPS[invoice.stamp][0],), ("Image/Photo", "others")))
    return tuple(values.several(candidates, values.count(4, 6)))


def paint(invoice: Invoice) -> Image:
    """Draw the invoice: head at the left, at the right, or on a coloured band, by its layout."""
    paper, rng = Paper(invoice.look), Random(invoice.seed)
    head(paper, invoice, rng)
    y = sums(paper, invoice, articles(paper, invoice, 490) + 46)
    if invoice.stamp >= 0:
        words, colour = STAMPS[invoice.stamp]
        paper.stamp(340, round(y - 60), words, 48, rng, colour)
    foot(paper, invoice)
    return paper.finished()


def head(paper: Paper, invoice: Invoice, rng: Random) -> None:
    """Letterhead, customer and the invoice's own facts, down to y = 470."""
    accent, layout, right = invoice.look.accent, invoice.look.layout, WIDTH - MARGIN
    ink = (255, 255, 255) if layout == 2 else accent
    if layout == 2:
        paper.box(0, 0, WIDTH, 190, fill=accent, edge=None)
    _logo(paper, right - 70 if layout == 1 else MARGIN, 64, ink, rng)
    x, align = (right - 90, "r") if layout == 1 else (MARGIN + 90, "l")
    paper.text(x, 102, invoice.seller, 36, "bold", fill=ink, align=align)  # type: ignore[arg-type]  # "l" or "r"
    paper.text(x, 138, invoice.seller_address, 19, fill=ink if layout == 2 else GREY, align=align)  # type: ignore[arg-type]  # same
    paper.text(
        MARGIN if layout == 1 else right, 112, "INVOICE", 44, "bold", align="l" if layout == 1 else "r", fill=ink
    )
    paper.text(MARGIN, 270, "Bill to", 19, fill=GREY)
    for number, words in enumerate((invoice.buyer, f"Attn. {invoice.contact}", *invoice.buyer_address)):
        paper.text(MARGIN, 306 + number * 36, words, 25, "bold" if number == 0 else "regular")
    for number, (label, fact) in enumerate(invoice.facts):
        paper.text(700, 270 + number * 37, label, 22, fill=GREY)
        paper.text(right, 270 + number * 37, fact, 23, align="r")


def foot(paper: Paper, invoice: Invoice) -> None:
    """How to pay, at the bottom of the page."""
    paper.rule(MARGIN, 1440, WIDTH - MARGIN, 1, GREY)
    for y, size, words in (
        (1478, 20, f"Please transfer the total to account {invoice.account} of {invoice.seller}."),
        (1510, 18, "Goods remain our property until paid in full. Thank you for your business."),
    ):
        paper.text(WIDTH / 2, y, words, size, align="m", fill=GREY)


def _logo(paper: Paper, x: float, y: float, ink: tuple[int, int, int], rng: Random) -> None:
    shape = rng.randrange(3)
    if shape == 0:
        paper.pen.ellipse((x, y, x + 70, y + 70), outline=ink, width=9)
        paper.pen.ellipse((x + 22, y + 22, x + 48, y + 48), fill=ink)
    elif shape == 1:
        for step in range(3):
            paper.box(x + step * 25, y + 46 - step * 23, x + 18 + step * 25, y + 70, fill=ink, edge=None)
    else:
        paper.pen.polygon(((x + 35, y), (x + 70, y + 70), (x, y + 70)), outline=ink, width=9)


def articles(paper: Paper, invoice: Invoice, y: float) -> float:
    """The table of articles from `y` on. Returns where it ends."""
    right, layout = WIDTH - MARGIN, invoice.look.layout
    stops = (MARGIN + 12, 690, 870, right - 12)
    paper.box(MARGIN, y, right, y + 50, fill=invoice.look.accent if layout != 1 else PALE, edge=None)
    for number, (x, head) in enumerate(zip(stops, ("Description", "Qty", "Unit price", "Amount"), strict=True)):
        paper.text(
            x, y + 34, head, 22, "bold", fill=INK if layout == 1 else (255, 255, 255), align="r" if number else "l"
        )
    for line in invoice.lines:
        y += 54
        for number, words in enumerate((line.article, str(line.quantity), money(line.price), money(line.amount))):
            paper.text(stops[number], y + 34, words, 23, align="r" if number else "l")
        if layout != 0:
            paper.rule(MARGIN, y + 50, right, 1, (190, 190, 195))
    paper.rule(MARGIN, y + 54, right, 3)
    return y + 60


def sums(paper: Paper, invoice: Invoice, y: float) -> float:
    """Subtotal, tax and total, the first at `y`. Returns where they end."""
    net, tax, total = invoice.sums()
    right = WIDTH - MARGIN - 12
    for label, cents in (("Subtotal", net), (f"Tax {invoice.tax}%", tax)):
        paper.text(720, y, label, 23)
        paper.text(right, y, money(cents), 23, align="r")
        y += 42
    paper.box(700, y - 30, right + 12, y + 22, fill=PALE, edge=None)
    paper.text(720, y + 5, "TOTAL", 26, "bold")
    paper.text(right, y + 5, money(total), 26, "bold", align="r")
    return y + 40
