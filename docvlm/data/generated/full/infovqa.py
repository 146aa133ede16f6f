"""Infographics in the manner of InfographicVQA: big numbers, timelines, comparisons and rankings.

Question types are the benchmark's answer types, as at the `tiny` preset.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from docvlm.data.generated.drawing import Drawing, Question
from docvlm.data.generated.full.paper import GREY, Look, look
from docvlm.data.generated.full.poster import ICONS, WHITE, Poster, theme
from docvlm.data.generated.tiny.infovqa import ALL, ASKED, NONE, ONE, any_order
from docvlm.data.generated.values import Values

if TYPE_CHECKING:
    from PIL.Image import Image

HABITS = (
    "drink tea every morning", "read the news on paper", "own at least one cat", "grow their own vegetables",
    "ride a bicycle to work", "sleep less than six hours", "listen to jazz", "bake bread at home",
    "speak two languages", "play a musical instrument", "go swimming every week", "write letters by hand",
)  # fmt: skip
EVENTS = (
    ("First shop opened", "by {}"),
    ("Factory burned down", "rebuilt by {}"),
    ("Listed on the exchange", "under {}"),
    ("First patent", "filed by {}"),
    ("Merger with a rival", "led by {}"),
    ("Museum founded", "by {}"),
    ("Millionth customer", "greeted by {}"),
    ("New head office", "built by {}"),
)
RIVALS = (
    ("Tea", "Coffee"), ("Cats", "Dogs"), ("Bus", "Train"), ("Solar", "Wind"), ("Books", "Films"), ("City", "Village"),
)  # fmt: skip
MEASURES = (
    "Average cost", "Daily users", "Noise level", "Happiness", "Hours a week", "Energy used", "Age of fans",
    "Space needed",
)  # fmt: skip
CONTESTS = (
    "Greenest towns", "Friendliest towns", "Best towns for cyclists", "Towns with the cleanest air",
    "Most visited towns",
)  # fmt: skip
FAMILIES = ("sans", "serif", "times", "grotesque")


@dataclass(frozen=True)
class Graphic:
    """An infographic: its headline and the rows of (words, number, note) that its kind arranges."""

    look: Look
    theme: int
    title: str
    subtitle: str
    source: str
    rows: tuple[tuple[str, int, str], ...]


def _graphic(values: Values, title: str, subtitle: str, rows: list[tuple[str, int, str]]) -> Graphic:
    source = f"{values.company(20)}, {values.count(2000, 2024)}"
    return Graphic(look(values, FAMILIES, 2), theme(values), title, subtitle, source, tuple(rows))


def _drawing(
    values: Values,
    kind: str,
    candidates: list[Question],
    arrange: Callable[[Poster, Graphic], None],
    graphic: Graphic,
) -> Drawing:
    return Drawing(kind, tuple(values.several(candidates, values.count(4, 6))), partial(paint, arrange, graphic))


def paint(arrange: Callable[[Poster, Graphic], None], graphic: Graphic) -> Image:
    """Draw the infographic: its headline, its rows as its kind arranges them, and the source."""
    poster = Poster(graphic.look, graphic.theme)
    poster.head(graphic.title, graphic.subtitle)
    arrange(poster, graphic)
    poster.foot(graphic.source)
    return poster.finished()


def facts(values: Values) -> Drawing:
    """Four habits with their percentages: the first as ten little people, the others as numbers in discs."""
    place = values.word("place", 14)
    shares = [values.count(1, 9) * 10, *values.several(range(5, 98), 3)]
    rows = [
        (habit, share, values.pick(ICONS[1:])) for habit, share in zip(values.several(HABITS, 4), shares, strict=True)
    ]
    asked = values.number(1000, 90000)
    graphic = _graphic(values, f"Life in {place}", f"What {asked:,} inhabitants told us", rows)
    (one, first, _), (other, second, _) = values.several([row for row in rows if row[1] != rows[0][1]], 2)
    more = one if first > second else other
    candidates = [
        Question(f"What percentage of people {one}?", (f"{first}%", str(first)), ONE),
        Question(f"What do {second}% of the people do?", (other,), ONE),
        Question(f"How many out of ten people {rows[0][0]}?", (str(rows[0][1] // 10),), ONE),
        Question(f"Which is more common: people who {one} or people who {other}?", (more,), ASKED),
        Question("How many inhabitants were asked?", (f"{asked:,}", str(asked)), ONE),
        Question("Which place is the infographic about?", (place,), ONE),
        Question(f"How many percent of people do not {one}?", (f"{100 - first}%", str(100 - first)), NONE),
    ]
    return _drawing(values, "facts", candidates, arrange_facts, graphic)


def arrange_facts(poster: Poster, graphic: Graphic) -> None:
    """A row of people, then three panels with an icon, a number and its caption, side by side or stacked."""
    (habit, share, _), *others = graphic.rows
    for person in range(10):
        colour = poster.warm if person < share // 10 else (200, 200, 200)
        poster.icon("person", 92 + person * 104, 290, 92, colour)
    poster.text(poster.width / 2, 470, f"{share // 10} out of 10 people", 52, "bold", fill=poster.warm, align="m")
    poster.text(poster.width / 2, 525, habit, 32, align="m")
    for place, (words, number, icon) in enumerate(others):
        colour = (poster.cool, poster.headline, poster.warm)[place]
        if graphic.look.layout == 0:
            x = 220 + place * 382
            poster.box(x - 170, 620, x + 170, 1420, fill=WHITE, edge=None, radius=24)
            poster.icon(icon, x - 80, 680, 160, colour)
            poster.disc(x, 1030, 135, colour)
            poster.text(x, 1056, f"{number}%", 76, "bold", fill=WHITE, align="m")
            poster.paragraph(x, 1250, 290, words, 32, 1.3, "m")
        else:
            y = 620 + place * 280
            poster.box(80, y, poster.width - 80, y + 240, fill=WHITE, edge=None, radius=24)
            poster.icon(icon, 130, y + 50, 140, colour)
            poster.text(470, y + 150, f"{number}%", 96, "bold", fill=colour, align="m")
            poster.paragraph(840, y + 128, 480, words, 34, 1.3, "m")


def timeline(values: Values) -> Drawing:
    """Five or six events of a company's history with their years and people."""
    company, count = values.company(20), values.count(5, 6)
    years = sorted(values.several(range(1880, 2024), count))
    events = values.several(EVENTS, count)
    people = [values.person(18) for _ in events]
    rows = [
        (event, year, note.format(person)) for (event, note), year, person in zip(events, years, people, strict=True)
    ]
    graphic = _graphic(values, f"The history of {company}", f"{count} milestones since {years[0]}", rows)
    one, other, third = values.several(range(count), 3)
    early, late = sorted((one, other))
    candidates = [
        Question(f"In which year: '{rows[one][0]}'?", (str(years[one]),), ONE),
        Question(f"What happened in {years[third]}?", (rows[third][0],), ONE),
        Question(f"Which person is named for {years[other]}?", (people[other],), ONE),
        Question(f"Which came first, '{rows[one][0]}' or '{rows[other][0]}'?", (rows[early][0],), ASKED),
        Question(
            f"How many years lie between '{rows[early][0]}' and '{rows[late][0]}'?",
            (str(years[late] - years[early]),),
            NONE,
        ),
        Question("What are the first two milestones?", any_order((rows[0][0], rows[1][0])), ALL),
        Question("Whose history is shown?", (company,), ONE),
    ]
    return _drawing(values, "timeline", candidates, arrange_timeline, graphic)


def arrange_timeline(poster: Poster, graphic: Graphic) -> None:
    """A line down the page with a disc a year; events on alternating sides, or all on the right."""
    x = poster.width / 2 if graphic.look.layout == 0 else 210
    step = (poster.height - 380) / len(graphic.rows)
    poster.box(x - 5, 260, x + 5, poster.height - 120, fill=poster.headline, edge=None)
    for number, (event, year, note) in enumerate(graphic.rows):
        y = 320 + step * number
        left = graphic.look.layout == 0 and number % 2 == 1
        colour = poster.warm if number % 2 else poster.cool
        x0, x1 = (70, x - 110) if left else (x + 110, poster.width - 70)
        poster.box(x0, y - 62, x1, y + 74, fill=WHITE, edge=colour, width=4, radius=18)
        poster.disc(x, y, 70, colour)
        poster.text(x, y + 14, str(year), 40, "bold", fill=WHITE, align="m")
        poster.fitted((x0 + x1) / 2, y - 4, event, x1 - x0 - 30, 32, "bold", fill=poster.headline, align="m")
        poster.fitted((x0 + x1) / 2, y + 42, note, x1 - x0 - 30, 27, fill=GREY, align="m")


def versus(values: Values) -> Drawing:
    """Two rivals and five measures; bars grow from the middle to both sides."""
    rivals, place = values.pick(RIVALS), values.word("place", 14)
    pairs = {measure: values.several(range(5, 100), 2) for measure in values.several(MEASURES, 5)}
    rows = [(measure, left, str(right)) for measure, (left, right) in pairs.items()]
    graphic = _graphic(values, f"{rivals[0]} or {rivals[1]}?", f"A comparison from {place}", rows)
    one, other, third = values.several(list(pairs), 3)
    side = values.count(0, 1)
    won = tuple(measure for measure, numbers in pairs.items() if numbers[side] > numbers[1 - side])
    candidates = [
        Question(f"What is the value of '{one}' for {rivals[side]}?", (str(pairs[one][side]),), ONE),
        Question(f"What is the value of '{other}' for {rivals[1 - side]}?", (str(pairs[other][1 - side]),), ONE),
        Question(
            f"Which has the higher '{third}', {rivals[0]} or {rivals[1]}?",
            (rivals[pairs[third][1] > pairs[third][0]],),
            ASKED,
        ),
        Question(f"What is the difference in '{third}'?", (str(abs(pairs[third][0] - pairs[third][1])),), NONE),
        Question(f"In how many measures is {rivals[side]} ahead?", (str(len(won)),), NONE),
        Question("Which two things are compared?", any_order(rivals), ALL),
        Question("Where does the comparison come from?", (place,), ONE),
    ]
    return _drawing(values, "versus", candidates, arrange_versus, graphic)


def arrange_versus(poster: Poster, graphic: Graphic) -> None:
    """Two coloured halves with a disc each; bars between, or icons repeated in a row."""
    middle = poster.width / 2
    names = graphic.title.rstrip("?").split(" or ")
    for x, name, colour in zip((300, poster.width - 300), names, (poster.warm, poster.cool), strict=True):
        poster.disc(x, 370, 125, colour)
        poster.fitted(x, 384, name, 220, 46, "bold", fill=WHITE, align="m")
    poster.text(middle, 388, "VS", 54, "bold", fill=poster.headline, align="m")
    for number, (measure, left, note) in enumerate(graphic.rows):
        y = 590 + number * 180
        poster.text(middle, y, measure, 32, "bold", fill=poster.headline, align="m")
        for value, way, colour in ((left, -1, poster.warm), (int(note), 1, poster.cool)):
            start, end = middle + way * 10, middle + way * (10 + 4.2 * value)
            poster.box(min(start, end), y + 26, max(start, end), y + 92, fill=colour, edge=None, radius=10)
            poster.text(end + way * 14, y + 74, str(value), 40, "bold", fill=colour, align="r" if way < 0 else "l")


def ranking(values: Values) -> Drawing:
    """Six to eight towns with points, best first, and who won last year."""
    title, count = values.pick(CONTESTS), values.count(6, 8)
    towns = tuple(values.distinct(count, lambda: values.word("place", 13)))
    last = values.word("place", 13)
    points = sorted(values.several(range(120, 999), count), reverse=True)
    rows = [(town, score, "") for town, score in zip(towns, points, strict=True)]
    graphic = _graphic(values, title, f"Last year's winner: {last}", rows)
    one, other = values.several(range(count), 2)
    candidates = [
        Question(f"Which town is ranked {one + 1}?", (towns[one],), ONE),
        Question(f"How many points does {towns[other]} have?", (str(points[other]),), ONE),
        Question("Which town won last year?", (last,), ONE),
        Question(f"Which is ranked better, {towns[one]} or {towns[other]}?", (towns[min(one, other)],), ASKED),
        Question("Which two towns have the most points?", any_order(towns[:2]), ALL),
        Question("How many towns are ranked?", (str(count),), NONE),
        Question(f"By how many points does {towns[0]} lead over {towns[1]}?", (str(points[0] - points[1]),), NONE),
    ]
    return _drawing(values, "ranking", candidates, arrange_ranking, graphic)


def arrange_ranking(poster: Poster, graphic: Graphic) -> None:
    """A row a town: rank in a disc, name, and a bar with its points; stars for the first three."""
    step = (poster.height - 360) / len(graphic.rows)
    for number, (town, score, _) in enumerate(graphic.rows):
        y = 320 + step * number
        colour = poster.warm if number < 3 else poster.cool
        poster.disc(130, y, 48, colour)
        poster.text(130, y + 15, str(number + 1), 44, "bold", fill=WHITE, align="m")
        poster.text(215, y + 12, town, 36, "bold", fill=poster.headline)
        poster.box(540, y - 34, 540 + 0.46 * score, y + 34, fill=colour, edge=None, radius=12)
        poster.text(560 + 0.46 * score, y + 14, str(score), 38, "bold", fill=colour)
        if number < 3 and graphic.look.layout == 0:
            poster.icon("star", poster.width - 120, y - 34, 68, poster.warm)


KINDS = (facts, timeline, versus, ranking)
