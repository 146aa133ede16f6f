"""Filled-in forms: lines to write on, boxed cells, or a two-column list; typed or written by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import TYPE_CHECKING

from docvlm.data.generated.drawing import Drawing, Question
from docvlm.data.generated.full.paper import BLUE, GREY, INK, MARGIN, PALE, WIDTH, Look, Paper, look
from docvlm.data.generated.values import Values, money

if TYPE_CHECKING:
    from PIL.Image import Image

Field = tuple[str, Callable[[Values], str], str]  # label, value, question
SECTIONS: dict[str, tuple[Field, ...]] = {
    "Personal details": (
        ("Full name", lambda v: v.person(22), "What is the full name of the applicant?"),
        ("Date of birth", lambda v: v.day().strftime("%d/%m/%Y"), "What is the date of birth?"),
        ("Street address", lambda v: f"{v.number(10, 990)} {v.word('street', 17)}", "What is the street address?"),
        ("City", lambda v: v.word("place", 14), "In which city does the applicant live?"),
        ("ZIP code", lambda v: str(v.number(10000, 99999)), "What is the ZIP code?"),
        ("Telephone", lambda v: f"({v.count(201, 989)}) 555-{v.number(1000, 9999)}", "What is the telephone number?"),
        ("E-mail", lambda v: f"{v.word('last', 9).lower()}{v.count(1, 99)}@example.com", "What is the e-mail address?"),
    ),
    "Employment": (
        ("Occupation", lambda v: v.word("job", 22), "What is the occupation?"),
        ("Employer", lambda v: v.company(20), "Who is the employer?"),
        ("Employee no.", lambda v: f"E-{v.number(10000, 99999)}", "What is the employee no.?"),
        ("Annual income", lambda v: f"${v.number(18000, 190000):,}", "How much is the annual income?"),
        ("Start date", lambda v: v.day().strftime("%d/%m/%Y"), "What is the start date?"),
        ("Supervisor", lambda v: v.person(20), "Who is the supervisor?"),
    ),
    "Insurance": (
        ("Policy no.", lambda v: f"{v.pick('ABKLPT')}{v.number(100000, 999999)}", "What is the policy no.?"),
        ("Insured sum", lambda v: f"${v.number(10000, 900000):,}", "How much is the insured sum?"),
        ("Monthly premium", lambda v: money(v.number(1500, 89000)), "What is the monthly premium?"),
        ("Valid until", lambda v: v.day().strftime("%d/%m/%Y"), "Until when is the policy valid?"),
        ("Beneficiary", lambda v: v.person(20), "Who is the beneficiary?"),
    ),
    "Health": (
        ("Physician", lambda v: f"Dr. {v.person(18)}", "Which physician is named?"),
        ("Last visit", lambda v: v.day().strftime("%d/%m/%Y"), "When was the last visit?"),
        ("Height", lambda v: f"{v.count(150, 199)} cm", "What is the height?"),
        ("Weight", lambda v: f"{v.count(48, 119)} kg", "What is the weight?"),
        ("Emergency contact", lambda v: v.person(20), "Who is the emergency contact?"),
    ),
}  # fmt: skip
TITLES = (
    "Application for Membership", "Patient Registration", "Employee Data Sheet", "Insurance Application",
    "Request for Benefits",
)  # fmt: skip
TICKS = ("Smoker", "Married", "Own vehicle", "Full-time", "First application", "Newsletter")


@dataclass(frozen=True)
class Form:
    """Everything that is printed and written on one form."""

    look: Look
    organisation: str
    title: str
    code: str
    sections: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]
    ticks: tuple[tuple[str, bool], ...]
    signed: str
    signed_on: str
    by_hand: bool
    seed: int


def form(values: Values) -> Drawing:
    """Three or four sections of fields, three boxes to tick, a signature."""
    style = look(values, ("sans", "serif", "times", "grotesque"), 3)
    filled, asked = [], []
    by_hand = values.chance(0.4)
    types = ("handwritten", "form") if by_hand else ("form",)
    for section in values.several(tuple(SECTIONS), values.count(3, 4)):
        fields = values.several(SECTIONS[section], values.count(4, len(SECTIONS[section])))
        entries = [(label, make(values)) for label, make, _ in fields]
        asked += [Question(text, (value,), types) for (_, _, text), (_, value) in zip(fields, entries, strict=True)]
        filled.append((section, tuple(entries)))
    ticks = tuple((label, values.chance(0.5)) for label in values.several(TICKS, 3))
    content = Form(
        style,
        values.company(24),
        values.pick(TITLES),
        f"Form {values.number(100, 9999)}-{values.pick('ABCK')}",
        tuple(filled),
        ticks,
        values.person(20),
        values.day().strftime("%d/%m/%Y"),
        by_hand,
        values.rng.getrandbits(32),
    )
    questions = values.several(asked, 3)
    label, yes = values.pick(ticks)
    more = (
        Question(f"Is the box '{label}' ticked yes?", ("Yes" if yes else "No",), ("Yes/No", "form")),
        Question("What is the title of the form?", (content.title,), ("layout",)),
        Question("Which organisation issued the form?", (content.organisation,), ("layout",)),
        Question("Who signed the form?", (content.signed,), ("handwritten",)),
        Question("What is the form number?", (content.code, content.code.removeprefix("Form ")), ("layout",)),
    )
    return Drawing("form", tuple(questions + values.several(more, 2)), partial(paint, content))


def paint(form: Form) -> Image:
    """Draw the form in the layout of its look."""
    paper, rng, accent = Paper(form.look), Random(form.seed), form.look.accent
    paper.text(MARGIN, 120, form.organisation, 30, "bold", fill=accent)
    paper.text(WIDTH - MARGIN, 120, form.code, 22, fill=GREY, align="r")
    paper.rule(MARGIN, 140, WIDTH - MARGIN, 4, accent)
    paper.text(WIDTH / 2, 205, form.title, 42, "bold", align="m")
    y = 262.0
    for number, (section, entries) in enumerate(form.sections, start=1):
        band, ink = (accent, (255, 255, 255)) if form.look.layout == 1 else (PALE, INK)
        paper.box(MARGIN, y, WIDTH - MARGIN, y + 42, fill=band, edge=None)
        paper.text(MARGIN + 14, y + 31, f"{number}. {section}", 24, "bold", fill=ink)
        y = (lines, cells, listed)[form.look.layout](paper, form, rng, y + 42, entries) + 26
    for place, (label, yes) in enumerate(form.ticks):
        _tick(paper, MARGIN + place * 345, y + 34, label, yes)
    y += 150
    paper.hand(MARGIN + 20, y - 12, form.signed, 40, rng)
    paper.hand(WIDTH - MARGIN - 330, y - 12, form.signed_on, 32, rng)
    for left, right, label in ((MARGIN, 620, "Signature"), (WIDTH - MARGIN - 350, WIDTH - MARGIN, "Date")):
        paper.rule(left, y, right, 2)
        paper.text(left, y + 28, label, 18, fill=GREY)
    paper.box(MARGIN, 1440, WIDTH - MARGIN, 1530, fill=(246, 246, 248), edge=GREY, width=1)
    paper.text(MARGIN + 14, 1466, "FOR OFFICE USE ONLY", 16, "bold", fill=GREY)
    for place, label in enumerate(("Received", "Checked by", "Entered")):
        paper.text(MARGIN + 14 + place * 340, 1514, label, 17, fill=GREY)
        paper.rule(MARGIN + 130 + place * 340, 1516, MARGIN + 310 + place * 340, 1, GREY)
    return paper.finished()


def _entry(paper: Paper, form: Form, rng: Random, x: float, y: float, words: str, width: float) -> None:
    if form.by_hand:
        paper.hand(x, y, words, 28 if paper.length(words, 28, family="hand") < width else 22, rng)
    else:
        paper.fitted(x, y, words, width, 25, family="typewriter")


def lines(paper: Paper, form: Form, rng: Random, y: float, entries: tuple[tuple[str, str], ...]) -> float:
    """Two fields a row, each value on a line behind its label."""
    half = (WIDTH - 2 * MARGIN) // 2
    for number, (label, value) in enumerate(entries):
        x, baseline = MARGIN + number % 2 * half, y + 58 + number // 2 * 66
        width = paper.text(x, baseline, f"{label}:", 21) + 12
        paper.rule(x + width, baseline + 6, x + half - 24, 1, GREY)
        _entry(paper, form, rng, x + width + 8, baseline - 1, value, half - width - 34)
    return y + 30 + (len(entries) + 1) // 2 * 66


def cells(paper: Paper, form: Form, rng: Random, y: float, entries: tuple[tuple[str, str], ...]) -> float:
    """Boxed cells, two a row, with a small label in the upper left corner."""
    half = (WIDTH - 2 * MARGIN) // 2
    for number, (label, value) in enumerate(entries):
        x, top = MARGIN + number % 2 * half, y + number // 2 * 84
        last = number == len(entries) - 1 and number % 2 == 0
        paper.box(x, top, x + (2 if last else 1) * half, top + 84, edge=GREY)
        paper.text(x + 10, top + 26, label, 17, fill=GREY)
        _entry(paper, form, rng, x + 20, top + 66, value, half - 40)
    return y + (len(entries) + 1) // 2 * 84


def listed(paper: Paper, form: Form, rng: Random, y: float, entries: tuple[tuple[str, str], ...]) -> float:
    """One field a row: label in a shaded column, value beside it."""
    for number, (label, value) in enumerate(entries):
        top = y + number * 46
        paper.box(MARGIN, top, MARGIN + 300, top + 46, fill=(246, 246, 248), edge=GREY, width=1)
        paper.box(MARGIN + 300, top, WIDTH - MARGIN, top + 46, edge=GREY, width=1)
        paper.text(MARGIN + 14, top + 32, label, 21)
        _entry(paper, form, rng, MARGIN + 318, top + 33, value, 600)
    return y + len(entries) * 46


def _tick(paper: Paper, x: float, y: float, label: str, yes: bool) -> None:
    x += paper.text(x, y, label, 21) + 14
    for words, ticked in (("Yes", yes), ("No", not yes)):
        paper.box(x, y - 19, x + 21, y + 2)
        if ticked:
            paper.pen.line((x + 3, y - 16, x + 18, y - 1), fill=BLUE, width=4)
            paper.pen.line((x + 18, y - 16, x + 3, y - 1), fill=BLUE, width=4)
        x += 28 + paper.text(x + 28, y, words, 19) + 14
