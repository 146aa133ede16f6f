"""Business letters: letterhead, date, address, subject, two or three paragraphs, a signature by hand."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from random import Random
from typing import TYPE_CHECKING

from docvlm.data.generated.drawing import Drawing, Question
from docvlm.data.generated.full import prose
from docvlm.data.generated.full.paper import GREY, WIDTH, Look, Paper, look
from docvlm.data.generated.values import Values

if TYPE_CHECKING:
    from PIL.Image import Image

SUBJECTS = (
    "Renewal of the service agreement", "Reminder of an unpaid account", "Your enquiry about our products",
    "Minutes of the last meeting", "Change of delivery date", "Result of the annual review", "Invitation to tender",
    "Notice of termination",
)  # fmt: skip
TITLES = ("Mr.", "Ms.", "Mrs.", "Dr.")
EDGE = 130  # letters have a wider margin


@dataclass(frozen=True)
class Letter:
    """Everything that is printed and written on one letter."""

    look: Look
    sender: str
    sender_address: str
    reader: str
    reader_address: tuple[str, str]
    date: str
    reference: str
    subject: str
    paragraphs: tuple[str, ...]
    close: str
    writer: str
    job: str
    seed: int


def letter(values: Values) -> Drawing:
    """A letter with three or four facts in its text."""
    told, day = prose.facts(values, values.count(3, 4)), values.day()
    town = f"{values.word('place', 14)}, {values.number(10000, 99999)}"
    content = Letter(
        look(values, ("serif", "times", "roman", "typewriter", "sans"), 3),
        values.company(24),
        f"{values.number(10, 990)} {values.word('street', 20)}, {values.word('place', 14)}",
        f"{values.pick(TITLES)} {values.person(22)}",
        (f"{values.number(10, 990)} {values.word('street', 20)}", town),
        f"{day:%B} {day.day}, {day.year}",
        f"{values.pick('ABCHMT')}{values.pick('DKLNS')}/{values.number(100, 9999)}",
        values.pick(SUBJECTS),
        tuple(prose.paragraph(values, [fact]) for fact in told),
        values.pick(("Yours sincerely,", "Kind regards,", "Very truly yours,")),
        values.person(22),
        values.word("job", 26),
        values.rng.getrandbits(32),
    )
    candidates = [
        Question("Who signed the letter?", (content.writer,), ("handwritten", "layout")),
        Question("To whom is the letter addressed?", (content.reader, content.reader.split(" ", 1)[1]), ("layout",)),
        Question("What is the date of the letter?", (content.date,), ("layout",)),
        Question("What is the subject of the letter?", (content.subject,), ("layout", "free_text")),
        Question("What is the reference of the letter?", (content.reference,), ("layout",)),
        Question("What is the position of the person who signed?", (content.job,), ("layout",)),
        Question("Which company sent the letter?", (content.sender,), ("layout",)),
    ]
    questions = [Question(text, (answer,), ("free_text",)) for _, answer, text in values.several(told, 2)]
    return Drawing("letter", tuple(questions + values.several(candidates, values.count(2, 4))), partial(paint, content))


def paint(letter: Letter) -> Image:
    """Draw the letter: letterhead centred, at the left with a rule, or at the right."""
    paper, layout, accent = Paper(letter.look), letter.look.layout, letter.look.accent
    x, align = ((WIDTH / 2, "m"), (EDGE, "l"), (WIDTH - EDGE, "r"))[layout]
    paper.text(x, 130, letter.sender, 40, "bold", fill=accent, align=align)  # type: ignore[arg-type]  # one of l, m, r
    paper.text(x, 170, letter.sender_address, 20, fill=GREY, align=align)  # type: ignore[arg-type]  # same
    if layout != 2:
        paper.rule(EDGE, 195, WIDTH - EDGE, 3, accent)
    for number, words in enumerate((letter.reader, *letter.reader_address)):
        paper.text(EDGE, 290 + number * 36, words, 25)
    paper.text(WIDTH - EDGE, 420, letter.date, 25, align="r")
    paper.text(EDGE, 420, f"Our reference: {letter.reference}", 21, fill=GREY)
    paper.text(EDGE, 496, f"Re: {letter.subject}", 26, "bold")
    title, _, last = letter.reader.split(" ", 2)
    paper.text(EDGE, 562, f"Dear {title} {last},", 25)
    y = 618.0
    for paragraph in letter.paragraphs:
        y = paper.paragraph(EDGE, y, WIDTH - 2 * EDGE, paragraph, 25) + 18
    paper.text(EDGE, y + 14, letter.close, 25)
    paper.hand(EDGE + 12, y + 92, letter.writer, 46, Random(letter.seed))
    paper.text(EDGE, y + 146, letter.writer, 25)
    paper.text(EDGE, y + 180, letter.job, 22, fill=GREY)
    return paper.finished()
