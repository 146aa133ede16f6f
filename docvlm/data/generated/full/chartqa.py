"""Bar, line and pie charts in the manner of ChartQA, with templated (`augmented`) and `human`-like questions."""

from __future__ import annotations

from functools import partial

from docvlm.data.generated.drawing import Drawing, Question
from docvlm.data.generated.full.plot import FONTS, PALETTES, Chart, plot
from docvlm.data.generated.full.scan import Scan
from docvlm.data.generated.values import Values

THEMES = (
    # what is measured, its unit, as the subtitle says it
    ("Share of adults who read a daily newspaper", "%", "In percent of respondents"),
    ("Share of households with a solar panel", "%", "In percent of all households"),
    ("Number of museum visitors", "", "In thousands"),
    ("Revenue from online sales", "", "In million U.S. dollars"),
    ("Number of bicycles sold", "", "In thousands"),
    ("Average monthly rent", "", "In U.S. dollars per square meter"),
    ("Number of airport passengers", "", "In millions"),
    ("Unemployment rate", "%", "In percent of the labor force"),
)
GROUPS = (
    ("Men", "Women"), ("Urban", "Rural"), ("Under 30", "30 to 60", "Over 60"), ("Online", "In store"),
    ("Public", "Private"),
)  # fmt: skip
SHARES = (
    # title, how a share is asked for, what can be labelled
    ("Household spending", "What share of household spending goes to {}?",
     ("Rent", "Food", "Transport", "Leisure", "Savings", "Other")),
    ("Sources of electricity", "What share of electricity comes from {}?",
     ("Wind", "Solar", "Gas", "Coal", "Hydro", "Nuclear")),
    ("How people get to work", "What share of people get to work by {}?",
     ("Car", "Train", "Bus", "Bicycle", "Ferry", "Tram")),
    ("Favorite kinds of music", "What share of people like {} best?",
     ("Rock", "Pop", "Jazz", "Classical", "Folk", "Hip hop")),
)  # fmt: skip


def _years(values: Values, count: int) -> tuple[str, ...]:
    first = values.count(1995, 2024 - count)
    return tuple(str(first + step) for step in range(count))


def _chart(values: Values, form: str, title: str, subtitle: str, labels: tuple[str, ...],
           series: tuple[tuple[str, tuple[int, ...]], ...], unit: str) -> Chart:  # fmt: skip
    source = f"Source: {values.company(20)}, survey of {values.number(500, 20000):,} people"
    return Chart(form, title, subtitle, source, labels, series, unit, values.count(0, len(PALETTES) - 1),
                 values.count(0, len(FONTS) - 1), values.chance(0.5), Scan.of(values))  # fmt: skip


def _numbers(values: Values, count: int, unit: str) -> tuple[int, ...]:
    """Different tenths, whole numbers for half of the charts."""
    whole, top = values.chance(0.5), 940 if unit == "%" else 9000
    step = 10 if whole and top > 2000 else 1
    return tuple(values.distinct(count, lambda: values.number(30, top) // step * step))


def bar(values: Values) -> Drawing:
    """Upright bars over years (one to three groups) or bars from left to right for places."""
    topic, unit, subtitle = values.pick(THEMES)
    if values.chance(0.45):
        labels = tuple(values.distinct(values.count(5, 9), lambda: values.word("place", 11)))
        numbers = _numbers(values, len(labels), unit)
        if values.chance(0.6):
            numbers = tuple(sorted(numbers, reverse=True))
        chart = _chart(values, "sideways", f"{topic} by town", subtitle, labels, (("", numbers),), unit)
        return _drawing(values, "bar", chart, "town", topic)
    labels = _years(values, values.count(4, 8))
    names = values.pick(GROUPS) if values.chance(0.5) and len(labels) < 7 else ("",)
    series = tuple((name, _numbers(values, len(labels), unit)) for name in names)
    place = values.word("place", 12)
    chart = _chart(values, "upright", f"{topic} in {place}", subtitle, labels, series, unit)
    return _drawing(values, "bar", chart, "year", topic)


def _drift(values: Values, count: int, low: int, high: int) -> tuple[int, ...]:
    """A random walk of different numbers between two bounds."""
    walk = [values.count(low, high)]
    while len(walk) < count:
        step = walk[-1] + values.count(-(high - low) // 4, (high - low) // 4)
        walk += [step] if low < step < high and step not in walk else []
    return tuple(walk)


def line(values: Values) -> Drawing:
    """One to three lines over years, that drift instead of jumping."""
    topic, unit, subtitle = values.pick(THEMES)
    labels = _years(values, values.count(6, 9))
    names = values.pick(GROUPS) if values.chance(0.5) else ("",)
    top = 940 if unit == "%" else 9000
    band = top // len(names)  # each line keeps to its own height, so that values do not collide
    series = tuple(
        (name, values.unlike(partial(_drift, values, len(labels), place * band + 30, (place + 1) * band - 30)))
        for place, name in enumerate(names)
    )
    chart = _chart(values, "line", f"{topic} in {values.word('place', 12)}", subtitle, labels, series, unit)
    return _drawing(values, "line", chart, "year", topic)


def pie(values: Values) -> Drawing:
    """A pie or ring of three to six slices that sum to 100 percent."""
    topic, wording, options = values.pick(SHARES)
    count = values.count(3, 6)
    labels = tuple(values.several(options, count))
    title = f"{topic} in {values.word('place', 12)}, {values.count(1995, 2024)}"
    form, parts = values.pick(("pie", "ring")), values.shares(count, 1000, range(50, 950), 50)
    chart = _chart(values, form, title, "Share in percent", labels, (("", parts),), "%")
    return _drawing(values, "pie", chart, "slice", wording)


def _drawing(values: Values, kind: str, chart: Chart, noun: str, topic: str) -> Drawing:
    questions = _augmented(values, chart, noun, topic) + values.several(_human(values, chart, noun), 2)
    return Drawing(kind, tuple(questions), partial(plot, chart))


def _augmented(values: Values, chart: Chart, noun: str, topic: str) -> list[Question]:
    """Two look-ups of a value by the topic's own words, as ChartQA's machine-made questions are."""
    questions = []
    for place in values.several(range(len(chart.labels)), 2):
        name, numbers = values.pick(chart.series)
        label = chart.labels[place]
        if noun == "slice":
            text = topic.format(label.lower())
        else:
            text = f"What was the {topic[0].lower()}{topic[1:]}{f' for {name}' if name else ''} in {label}?"
        questions.append(Question(text, (chart.shown(numbers[place]),), ("augmented",)))
    return questions


def _human(values: Values, chart: Chart, noun: str) -> list[Question]:
    """Comparisons, differences, counts and colours."""
    place = values.count(0, len(chart.series) - 1)
    name, numbers = chart.series[place]
    group = f" of {name}" if name else ""
    one, other = values.several(range(len(numbers)), 2)
    ordered = sorted(numbers)
    highest, lowest = (chart.labels[numbers.index(number)] for number in (ordered[-1], ordered[0]))
    middle = ordered[len(ordered) // 2]
    candidates = [
        (f"Which {noun} has the highest value{group}?", highest),
        (f"Which {noun} has the lowest value{group}?", lowest),
        (f"What is the highest value{group}?", chart.shown(ordered[-1])),
        (
            f"What is the difference between {chart.labels[one]} and {chart.labels[other]}{group}?",
            chart.shown(abs(numbers[one] - numbers[other])),
        ),
        (
            f"Is the value of {chart.labels[one]} more than that of {chart.labels[other]}{group}?",
            "Yes" if numbers[one] > numbers[other] else "No",
        ),
        (
            f"How many {noun}s have a value above {chart.shown(middle)}{group}?",
            str(sum(number > middle for number in numbers)),
        ),
        (f"How many {noun}s are shown in the chart?", str(len(numbers))),
    ]
    if name:
        candidates.append((f"Which color stands for {name}?", chart.colour(place)))
    elif noun == "slice":
        candidates.append((f"What is the color of the slice for {chart.labels[one]}?", chart.colour(one)))
    return [Question(text, (answer,), ("human",)) for text, answer in candidates]


KINDS = (bar, line, pie)
