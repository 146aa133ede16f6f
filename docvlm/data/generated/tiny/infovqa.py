"""Small infographics in the manner of InfographicVQA: big numbers, timelines, comparisons and rankings.

Question types are the benchmark's answer types: `Image-Span` (one span of the page), `Question-Span` (a span of the
question), `Multi-Span` (several spans of the page, accepted in any order), `None span` (counted or computed).
"""

from __future__ import annotations

from itertools import permutations

from docvlm.data.generated.drawing import Drawing, Question
from docvlm.data.generated.tiny.layout import Grid
from docvlm.data.generated.values import Values

HABITS = ("own cats", "eat fish", "run daily", "like jazz", "bake pies", "ride bikes", "read news", "grow figs",
          "play golf", "sleep late", "use maps", "drink tea")  # fmt: skip
EVENTS = ("Launch", "Merger", "Award", "Patent", "Flood", "Strike", "Revival", "Record", "Opening", "Reform", "Sale")
RIVALS = (("Tea", "Cocoa"), ("Cats", "Dogs"), ("Bus", "Train"), ("Solar", "Wind"), ("Rent", "Own"), ("Wool", "Silk"))
MEASURES = ("Cost", "Speed", "Range", "Fans", "Size", "Noise", "Age", "Hours")
ALL, ONE, ASKED, NONE = ("Multi-Span",), ("Image-Span",), ("Question-Span",), ("None span",)


def any_order(spans: tuple[str, ...]) -> tuple[str, ...]:
    """The accepted answers of a multi-span question: the spans joined by commas in every order."""
    return tuple(", ".join(order) for order in permutations(spans))


def facts(values: Values) -> Drawing:
    """Four big percentages, each above what it counts, and the source in the last row."""
    grid = Grid(values)
    source = values.word("last", 9)
    habits = values.several([habit for habit in HABITS if len(habit) < 10], 4)
    shares = values.unlike(lambda: tuple(values.several(range(5, 98), 4)))
    for place, (habit, share) in enumerate(zip(habits, shares, strict=True)):
        row, column = place // 2 * 2, place % 2 * 10
        grid.text(row, column, f"{share}%", "bold")
        grid.text(row + 1, column, habit)
    grid.rule(4)
    grid.text(5, 0, f"Source: {source}")
    pairs = dict(zip(habits, shares, strict=True))
    first, second, third = values.several(habits, 3)
    more = first if pairs[first] > pairs[second] else second
    candidates = [
        Question(
            values.pick(("What percentage {}?", "How many percent {}?")).format(first), (f"{pairs[first]}%",), ONE
        ),
        Question(f"What percentage {second}?", (f"{pairs[second]}%",), ONE),
        Question(f"What do {pairs[third]}% do?", (third,), ONE),
        Question("Who is the source?", (source,), ONE),
        Question(f"Do more people {first} or {second}?", (more,), ASKED),
        Question("Which two things stand in the lower half?", any_order((habits[2], habits[3])), ALL),
    ]
    return grid.drawing("facts", values.several(candidates, 4))


def timeline(values: Values) -> Drawing:
    """Years down the left side of a line, what happened to a company on the right."""
    grid = Grid(values)
    company, count = values.company(16), values.count(3, 4)
    years = sorted(values.several(range(1950, 2025), count))
    events = values.several(EVENTS, count)
    grid.banner(0, company)
    for row, (year, event) in enumerate(zip(years, events, strict=True), start=1):
        grid.fill(row, 6, 1, 0.6)
        grid.text(row, 1, str(year))
        grid.text(row, 9, event)
    when = dict(zip(events, years, strict=True))
    first, second, third = values.several(events, 3)
    earlier = first if when[first] < when[second] else second
    wordings = ("In which year was the {}?", "When did the {} take place?")
    candidates = [
        Question(values.pick(wordings).format(first), (str(when[first]),), ONE),
        Question(values.pick(wordings).format(second), (str(when[second]),), ONE),
        Question(f"What happened in {when[third]}?", (third,), ONE),
        Question("Whose history is shown?", (company,), ONE),
        Question(f"Which came first, {first} or {second}?", (earlier,), ASKED),
        Question("How many events are shown?", (str(count),), NONE),
    ]
    return grid.drawing("timeline", values.several(candidates, 4))


def versus(values: Values) -> Drawing:
    """Two rivals side by side; what is measured stands between their two numbers."""
    grid = Grid(values)
    rivals, measures = values.pick(RIVALS), values.several(MEASURES, 3)
    city = values.word("place", 9)
    numbers = [values.several(range(3, 100), 2) for _ in measures]
    grid.fill(0, 0, 10, 0.3)
    grid.fill(0, 10, 10, 0.75)
    grid.text(0, (10 - len(rivals[0])) // 2, rivals[0], "bold", 1.0)
    grid.text(0, 10 + (10 - len(rivals[1])) // 2, rivals[1], "bold", 0.0)
    for row, (measure, (left, right)) in enumerate(zip(measures, numbers, strict=True), start=1):
        grid.text(row, 2, str(left))
        grid.centred(row, measure)
        grid.right(row, str(right), 18)
    grid.rule(4)
    grid.text(5, 0, f"Asked in {city}")
    pick = values.count(0, 2)
    measure, pair = measures[pick], numbers[pick]
    higher = rivals[0] if pair[0] > pair[1] else rivals[1]
    other = values.several(range(3), 2)
    candidates = [
        Question(f"Which {measures[row]} is given for {rivals[side]}?", (str(numbers[row][side]),), ONE)
        for side, row in enumerate(other)
    ]
    candidates += [
        Question("Where were people asked?", (city,), ONE),
        Question(f"Which has the higher {measure}, {rivals[0]} or {rivals[1]}?", (higher,), ASKED),
        Question("Which two are compared?", any_order(rivals), ALL),
    ]
    return grid.drawing("versus", values.several(candidates, 4))


def ranking(values: Values) -> Drawing:
    """Places first to fourth: rank, name, and points in a shaded box at the right edge."""
    grid = Grid(values)
    count = values.count(3, 4)
    names = values.distinct(count, lambda: values.word("place", 9))
    points = sorted(values.several(range(20, 999), count), reverse=True)
    title = values.pick(("Best Towns", "Clean Air", "Green Parks", "Fast Trains", "Good Schools", "Safe Roads"))
    grid.banner(0, title)
    for row, (name, score) in enumerate(zip(names, points, strict=True), start=1):
        grid.fill(row, 16, 4, 0.85)
        grid.text(row, 0, f"#{row}", "bold")
        grid.text(row, 4, name)
        grid.right(row, str(score))
    place, other = values.several(range(count), 2)
    candidates = [
        Question(values.pick(("Who is on rank #{}?", "Which town is #{}?")).format(place + 1), (names[place],), ONE),
        Question(
            values.pick(("How many points does {} have?", "Which score did {} get?")).format(names[other]),
            (str(points[other]),),
            ONE,
        ),
        Question(f"Which rank did {names[place]} get?", (f"#{place + 1}",), ONE),
        Question(f"Which is better, {names[other]} or {names[place]}?", (names[min(place, other)],), ASKED),
        Question("How many towns are ranked?", (str(count),), NONE),
    ]
    return grid.drawing("ranking", values.several(candidates, 4))


KINDS = (facts, timeline, versus, ranking)
