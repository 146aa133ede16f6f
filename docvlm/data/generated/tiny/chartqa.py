"""Small bar, line and pie charts with printed values, in the manner of ChartQA.

The base's charts are horizontal bars with labels left and values right; these are upright bars, lines of points and
pies with a legend that puts the share first. `augmented` questions are templates that look one value up, `human` ones
compare, count and look back from a value to its label, as in ChartQA.
"""

from __future__ import annotations

from itertools import pairwise
from math import cos, pi, sin

from docvlm.data.generated.drawing import Drawing, Question
from docvlm.data.generated.tiny.layout import Grid
from docvlm.data.generated.values import Values

LABELS = (
    ("month", ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")),
    ("day", ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")),
    ("year", tuple(str(year) for year in range(1990, 2030))),
    ("fruit", ("Fig", "Kiwi", "Lime", "Pear", "Plum", "Date")),
    ("city", ("Rome", "Oslo", "Lima", "Bonn", "Cork", "Nice", "Bern")),
)
GROUPS = (("group", ("Men", "Women", "Boys", "Girls", "Kids")), ("pet", ("Dogs", "Cats", "Birds", "Fish", "None")))
COUNTED = ("Visitors", "Sales", "Goals", "Tickets", "Births", "Trips", "Votes", "Calls")
SHARED = ("Budget", "Market", "Traffic", "Energy", "Income", "Waste")
LOOKUPS = ("How many {title} were counted for {label}?", "What number of {title} does {label} show?")
SHARES = ("What share of the {title} goes to {label}?", "Which percentage is labelled {label}?")


def _apart(values: Values, count: int, low: int, high: int, gap: int) -> tuple[int, ...]:
    """`count` numbers of this split, any two at least `gap` apart, so that the highest and lowest can be seen."""

    def draw() -> tuple[int, ...]:
        steps = sorted(values.several(range(low, high - gap * (count - 1) + 1), count))
        numbers = [step + place * (gap - 1) for place, step in enumerate(steps)]
        values.rng.shuffle(numbers)
        return tuple(numbers)

    return values.unlike(draw)


def _questions(
    values: Values, noun: str, title: str, mark: str, shown: dict[str, str], lookups: tuple[str, ...]
) -> list[Question]:
    """Two templated questions, one from a value back to its label, and one that compares or counts."""
    labels = sorted(shown, key=lambda label: int(shown[label].rstrip("%")))
    asked = values.several(list(shown), 3)
    questions = [
        Question(values.pick(lookups).format(title=title, label=label), (shown[label],), ("augmented",))
        for label in asked[:2]
    ]
    questions.append(Question(f"Which {noun} shows {shown[asked[2]]}?", (asked[2],), ("human",)))
    one, other = values.several(labels, 2)
    reasoned = (
        (f"Which {noun} has the highest {mark}?", labels[-1]),
        (f"Which {noun} has the lowest {mark}?", labels[0]),
        (
            f"How high is the tallest {mark}?" if mark != "slice" else "How large is the largest slice?",
            shown[labels[-1]],
        ),
        (
            f"Is {one} {'larger than' if mark == 'slice' else 'above'} {other}?",
            "Yes" if labels.index(one) > labels.index(other) else "No",
        ),
        (f"How many {mark}s are there?", str(len(shown))),
    )
    text, answer = values.pick(reasoned)
    questions.append(Question(text, (answer,), ("human",)))
    return questions


def _labels(values: Values, count: int) -> tuple[str, list[str]]:
    """What the labels are (a noun) and `count` of them; times in their order, other things in any."""
    noun, options = values.pick(LABELS)
    if noun in ("month", "day", "year"):
        start = values.count(0, len(options) - count)
        return noun, list(options[start : start + count])
    return noun, values.several(options, count)


def bar(values: Values) -> Drawing:
    """Upright bars, the value above each, the label below."""
    grid = Grid(values)
    count = values.count(3, 4)
    noun, labels = _labels(values, count)
    heights = _apart(values, count, 10, 99, 5)
    title, step = values.pick(COUNTED), grid.columns // count
    grid.centred(0, title, "bold")
    for place, (label, height) in enumerate(zip(labels, heights, strict=True)):
        left = place * step + (step - 4) // 2
        top = 5 * 28 - 3 * 28 * height / 99
        corners = ((14 * left, top), (14 * left + 55, top), (14 * left + 55, 139), (14 * left, 139))
        grid.polygon(corners, (0.45, 0.6, 0.7, 0.55)[place])
        grid.text(int(top) // 28 - 1, left + 1, str(height))
        grid.text(5, left, label)
    shown = {label: str(height) for label, height in zip(labels, heights, strict=True)}
    return grid.drawing("bar", _questions(values, noun, title, "bar", shown, LOOKUPS))


def line(values: Values) -> Drawing:
    """Points joined by a line, the value above each point, months, days or years below."""
    grid = Grid(values)
    noun, options = values.pick(LABELS[:3])
    start = values.count(0, len(options) - 4)
    labels = options[start : start + 4]
    heights = _apart(values, 4, 10, 99, 5)
    title = values.pick(COUNTED)
    grid.text(0, 0, title, "bold")
    points = [(14 * (5 * place + 2), 5 * 28 - 8 - 2.4 * 28 * height / 99) for place, height in enumerate(heights)]
    for (x0, y0), (x1, y1) in pairwise(points):
        grid.polygon(((x0, y0 - 2), (x1, y1 - 2), (x1, y1 + 2), (x0, y0 + 2)), 0.6)
    for place, ((x, y), label, height) in enumerate(zip(points, labels, heights, strict=True)):
        grid.polygon(((x - 6, y), (x, y - 6), (x + 6, y), (x, y + 6)), 0.2)
        grid.text(int(y - 8) // 28 - 1, 5 * place + 1, str(height))
        grid.text(5, 5 * place + (1 if len(label) < 4 else 0), label)
    shown = {label: str(height) for label, height in zip(labels, heights, strict=True)}
    return grid.drawing("line", _questions(values, noun, title, "point", shown, LOOKUPS))


def pie(values: Values) -> Drawing:
    """A pie of three to four slices; the legend gives the share first and then the label."""
    grid = Grid(values)
    count = values.count(3, 4)
    noun, options = values.pick((*LABELS[3:], *GROUPS))
    labels = values.several(options, count)
    parts = values.shares(count, 100, range(8, 93), 6)
    title = values.pick(SHARED)
    grid.right(0, title, face="bold")
    turned, levels = 0.0, (0.3, 0.5, 0.68, 0.82)
    for place, (label, share) in enumerate(zip(labels, parts, strict=True)):
        angles = [2 * pi * (turned + share / 100 * part / 12) for part in range(13)]
        rim = tuple((63 + 56 * sin(angle), 91 - 56 * cos(angle)) for angle in angles)
        grid.polygon(((63.0, 91.0), *rim), levels[place])
        turned += share / 100
        grid.fill(1 + place, 9, 1, levels[place])
        grid.text(1 + place, 11, f"{share}%")
        grid.text(1 + place, 15, label)
    shown = {label: f"{share}%" for label, share in zip(labels, parts, strict=True)}
    return grid.drawing("pie", _questions(values, noun, title, "slice", shown, SHARES))


KINDS = (bar, line, pie)
