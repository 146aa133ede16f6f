"""Till receipts: a narrow strip in a monospaced face, lying on a darker desk."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from docvlm.data.generated.drawing import Drawing, Question
from docvlm.data.generated.full.paper import Look, Paper, look
from docvlm.data.generated.values import Values, money

if TYPE_CHECKING:
    from PIL.Image import Image

GOODS = (
    "WHOLE MILK 1L", "BASMATI RICE", "EGGS 12 PK", "WHITE BREAD", "GREEN TEA", "HAND SOAP", "APPLES KG",
    "BUTTER 250G", "SEA SALT", "HONEY JAR", "BAKED BEANS", "ORANGE JUICE", "DARK CHOC", "TOMATOES KG", "PASTA 500G",
    "DISH CLOTH", "BATTERIES AA", "LIGHT BULB",
)  # fmt: skip
COLUMNS = 34
LINE = 38
ROOM = 640  # pixels for COLUMNS characters


@dataclass(frozen=True)
class Receipt:
    """Everything that is printed on one receipt: lines of at most COLUMNS characters, which of them are large."""

    look: Look
    shop: str
    lines: tuple[str, ...]


def _pair(left: str, right: str) -> str:
    return left + " " * (COLUMNS - len(left) - len(right)) + right


def receipt(values: Values) -> Drawing:
    """A shop, four to nine articles, total, tax, cash and change, day and time."""
    shop = f"{values.word('last', 10).upper()} {values.pick(('MARKET', 'GROCERY', 'STORES', 'SUPERMART'))}"
    street, town = f"{values.number(10, 990)} {values.word('street', 20)}", values.word("place", 14)
    bought = [(item, values.count(1, 6), values.number(45, 1900)) for item in values.several(GOODS, values.count(4, 9))]
    total = sum(count * price for _, count, price in bought)
    tax, cash = round(total * 0.06), (total // 2000 + 1) * 2000
    day, time = values.day().strftime("%d/%m/%Y"), f"{values.count(8, 20):02d}:{values.count(0, 59):02d}"
    number, cashier = str(values.number(100000, 999999)), values.word("first", 9)
    lines = [street, town, "", _pair(day, time), _pair(f"RECEIPT {number}", f"CASHIER {cashier}"[:15]), "-" * COLUMNS]
    for item, count, price in bought:
        lines += [item, _pair(f"   {count} x {money(price, '')}", money(count * price, ""))]
    lines += [
        "-" * COLUMNS,
        _pair("TOTAL", money(total)),
        _pair("INCL. TAX 6%", money(tax)),
        _pair("CASH", money(cash)),
        _pair("CHANGE", money(cash - total)),
        "-" * COLUMNS,
        "",
        "THANK YOU, COME AGAIN",
    ]
    item, count, price = values.pick(bought)
    table, head = ("table/list",), ("layout",)
    candidates = [
        Question("What is the total?", (money(total), money(total, "")), table),
        Question("How much cash was given?", (money(cash), money(cash, "")), table),
        Question("How much change was returned?", (money(cash - total), money(cash - total, "")), table),
        Question(f"How much was paid for {item} altogether?", (money(count * price, ""),), table),
        Question(f"How many {item} were bought?", (str(count),), table),
        Question("What is the name of the shop?", (shop,), head),
        Question("On which date was the receipt issued?", (day,), head),
        Question("At what time was the receipt issued?", (time,), head),
        Question("What is the receipt number?", (number,), head),
        Question("In which street is the shop?", (street,), head),
    ]
    content = Receipt(look(values, ("mono", "typewriter"), 3), shop, tuple(lines))
    return Drawing("receipt", tuple(values.several(candidates, values.count(3, 6))), partial(paint, content))


def paint(receipt: Receipt) -> Image:
    """Draw the receipt; the desk it lies on is white, grey or wood-coloured by its layout."""
    paper = Paper(receipt.look, colour=((255, 255, 255), (186, 188, 192), (196, 170, 138))[receipt.look.layout])
    size = 20.0
    while paper.length("0" * COLUMNS, size + 1) <= ROOM:
        size += 1
    middle, height = paper.width / 2, 330 + LINE * len(receipt.lines)
    top = max(20, (paper.height - height) // 2)
    left = middle - paper.length("0" * COLUMNS, size) / 2
    if receipt.look.layout:
        paper.box(left - 40, top + 10, middle * 2 - left + 56, top + height + 10, fill=(150, 146, 140), edge=None)
        paper.box(left - 48, top, middle * 2 - left + 48, top + height, fill=(252, 251, 247), edge=None)
    paper.text(middle, top + 90, receipt.shop, 36, "bold", align="m")
    y = top + 150
    for number, words in enumerate(receipt.lines):
        if number < 2 or words.startswith("THANK"):  # street and town
            paper.text(middle, y, words, size, align="m")
        else:
            paper.text(left, y, words, size, "bold" if words.startswith("TOTAL") else "regular")
        y += LINE
    _barcode(paper, receipt, middle, y)
    return paper.finished()


def _barcode(paper: Paper, receipt: Receipt, middle: float, y: float) -> None:
    x = middle - 150
    for number, letter in enumerate(receipt.shop * 4):
        width = 2 + (ord(letter) + number) % 4
        if x + width > middle + 150:
            break
        paper.box(x, y - 10, x + width, y + 60, fill=(25, 25, 30), edge=None)
        x += width + 2 + ord(letter) % 3
