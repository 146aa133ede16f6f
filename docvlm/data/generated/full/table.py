"""Pages of reports with a table: booktabs rules, a full grid, or zebra stripes, between paragraphs of text."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from docvlm.data.generated.drawing import Drawing, Question
from docvlm.data.generated.full import prose
from docvlm.data.generated.full.paper import GREY, MARGIN, PALE, WIDTH, Look, Paper, Weight, look
from docvlm.data.generated.values import Values

if TYPE_CHECKING:
    from PIL.Image import Image

SUBJECTS = (
    # title, what a row is, pool of row names, column heads, unit
    ("Units sold by branch", "branch", "place", ("2019", "2020", "2021", "2022", "2023"), ""),
    ("Expenses by employee", "employee", "person", ("Travel", "Meals", "Hotel", "Other"), "$"),
    ("Working hours by employee", "employee", "person", ("January", "February", "March", "April"), ""),
    ("Results of the clinical survey", "site", "place", ("Enrolled", "Treated", "Dropped", "Cured"), ""),
    ("Supplier performance", "supplier", "company", ("Orders", "Late", "Returned", "Disputed"), ""),
    ("Donations received", "donor", "person", ("Spring", "Summer", "Autumn", "Winter"), "$"),
)


@dataclass(frozen=True)
class Table:
    """Everything that is printed on one page with a table."""

    look: Look
    heading: str
    intro: str
    caption: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, tuple[int, ...]], ...]
    unit: str
    outro: str
    folio: str

    def cell(self, number: int) -> str:
        """A number as the table prints it."""
        return f"{self.unit}{number:,}"


def table(values: Values) -> Drawing:
    """A heading, a paragraph, a table of eight to fifteen rows with totals, a paragraph, a page number."""
    title, noun, pool, heads, unit = values.pick(SUBJECTS)
    told, count = prose.facts(values, 4), values.count(8, 15)
    names = values.distinct(count, lambda: prose.SLOTS[pool](values))
    rows = tuple((name, tuple(values.number(10, 4999) for _ in heads)) for name in names)
    content = Table(
        look(values, ("sans", "serif", "times", "roman"), 3),
        f"{values.count(1, 9)}.{values.count(1, 9)} {title}",
        prose.paragraph(values, told[:1]),
        f"Table {values.count(1, 30)}. {title}.",
        (noun.capitalize(), *heads),
        rows,
        unit,
        prose.paragraph(values, told[1:]),
        str(values.count(2, 180)),
    )
    return Drawing("table", _questions(values, content, noun, told), partial(paint, content))


def _questions(values: Values, table: Table, noun: str, told: list[tuple[str, str, str]]) -> tuple[Question, ...]:
    heads = table.heads[1:]
    questions = []
    for name, numbers in values.several(table.rows, 2):
        column = values.count(0, len(heads) - 1)
        text = values.pick(("What is the value of '{head}' for {name}?", "What is listed under {head} for {name}?"))
        questions.append(
            Question(text.format(head=heads[column], name=name), (table.cell(numbers[column]),), ("table/list",))
        )
    column = values.count(0, len(heads) - 1)
    highest = max(table.rows, key=lambda row: row[1][column])[0]
    total = table.cell(sum(numbers[column] for _, numbers in table.rows))
    _, answer, text = values.pick(told)
    more = (
        Question(f"Which {noun} has the highest value for {heads[column]}?", (highest,), ("table/list",)),
        Question(f"What is the total for {heads[column]}?", (total,), ("table/list",)),
        Question(text, (answer,), ("free_text",)),
        Question("What is the page number?", (table.folio,), ("layout",)),
        Question(
            "What is the number of the table?", (table.caption.split(".")[0].removeprefix("Table "),), ("layout",)
        ),
    )
    return tuple(questions + values.several(more, 3))


def paint(table: Table) -> Image:
    """Draw the page; every layout of the table has totals in the last row."""
    paper = Paper(table.look)
    width = WIDTH - 2 * MARGIN
    paper.text(MARGIN, 150, table.heading, 36, "bold")
    y = paper.paragraph(MARGIN, 215, width, table.intro, 25) + 34
    paper.text(MARGIN, y, table.caption, 23, "bold")
    y = grid(paper, table, y + 18)
    y = paper.paragraph(MARGIN, y + 60, width, table.outro, 25)
    paper.text(WIDTH / 2, 1530, table.folio, 22, fill=GREY, align="m")
    return paper.finished()


def grid(paper: Paper, table: Table, top: float) -> float:
    """The table itself, from `top` on. Returns where it ends."""
    layout, accent, height = table.look.layout, table.look.accent, 50
    right = WIDTH - MARGIN
    first = max(260.0, *(paper.length(name, 23) + 40 for name, _ in table.rows))
    step = (right - MARGIN - first) / (len(table.heads) - 1)
    sums = tuple(sum(column) for column in zip(*(numbers for _, numbers in table.rows), strict=True))
    body = [*table.rows, ("Total", sums)]
    bottom = top + height * (len(body) + 1)
    for number in range(1, len(body), 2) if layout == 2 else ():
        paper.box(MARGIN, top + height * number, right, top + height * (number + 1), fill=PALE, edge=None)
    paper.box(MARGIN, top, right, top + height, fill=accent if layout == 2 else None, edge=None)
    ink = (255, 255, 255) if layout == 2 else accent
    edges = [MARGIN + first + step * column for column in range(len(table.heads))]
    stops = [MARGIN + 12, *(edge - 14 for edge in edges[1:])]
    for column, head in enumerate(table.heads):
        paper.text(stops[column], top + 34, head, 23, "bold", fill=ink, align="r" if column else "l")
    for number, (name, numbers) in enumerate(body, start=1):
        weight: Weight = "bold" if number == len(body) else "regular"
        for column, words in enumerate((name, *map(table.cell, numbers))):
            paper.text(stops[column], top + height * number + 34, words, 23, weight, align="r" if column else "l")
    _ruled(paper, layout, top, bottom, height, edges[:-1])
    return bottom


def _ruled(paper: Paper, layout: int, top: float, bottom: float, height: int, columns: list[float]) -> None:
    right = WIDTH - MARGIN
    if layout == 1:
        paper.box(MARGIN, top, right, bottom)
        for row in range(int(top) + height, int(bottom), height):
            paper.rule(MARGIN, row, right, 1)
        for x in columns:
            paper.pen.line((x, top, x, bottom), fill=(25, 25, 30), width=1)
    elif layout == 0:
        for y, thickness in ((top, 4), (top + height, 2), (bottom - height, 2), (bottom, 4)):
            paper.rule(MARGIN, y, right, thickness)
    else:
        paper.rule(MARGIN, bottom - height, right, 2)
