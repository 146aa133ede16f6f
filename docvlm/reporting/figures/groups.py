"""Gains by type, scores by number of pages and failure classes: what the tables say, with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from textwrap import fill

from docvlm.metrics import metric_name
from docvlm.reporting.blocks import Figure
from docvlm.reporting.figures.style import GRID, MARKERS, MUTED, SERIES, drawing, finish
from docvlm.reporting.inputs.scored import Exam
from docvlm.scoring.groups import GROUPINGS
from docvlm.scoring.intervals import Interval

_ROW = 0.34  # inches a type or class takes
_MOST = 10  # classes drawn
_BEFORE = ", baseline"


def gains(folder: Path, exams: Sequence[Exam]) -> Figure | None:
    """Δ by document type, a panel a model; hollow where too few documents are behind it to judge."""
    drawn = [exam for exam in exams if exam.gains is not None and len(exam.gains.rows) > 1][:2]
    if not drawn:
        return None
    most = max(len(exam.gains.rows) for exam in drawn if exam.gains)
    by = drawn[0].gains.grouping.name if drawn[0].gains else "document type"
    title = f"Gain by {by}"
    with drawing(height=1.0 + _ROW * most, panels=len(drawn)) as panels:
        for i, (axes, exam) in enumerate(zip(panels.axes, drawn, strict=True)):
            rows = exam.gains.rows[::-1] if exam.gains else ()
            axes.axvline(0, color=MUTED, linewidth=1)
            for place, row in enumerate(rows):
                d = row.difference
                face = SERIES[i] if row.adjusted is not None else "none"
                axes.plot([d.low, d.high], [place, place], color=SERIES[i], linewidth=1.6)
                axes.plot([d.mean], [place], MARKERS[i], color=SERIES[i], markerfacecolor=face, markersize=6.5)
            axes.set_yticks(range(len(rows)), [f"{row.name} ({row.ours.clusters})" for row in rows])
            axes.set_xlabel(f"Δ {metric_name(exam.score.metric)} over baseline")
            axes.set_title(fill(exam.answers.name, 28), loc="left")
            axes.grid(False, axis="y")
            axes.set_ylim(-0.7, len(rows) - 0.3)
        about = f"{title} with 95 % intervals; in brackets the number of documents; hollow: too few to judge."
        said = [f"{exam.answers.title}: {', '.join(map(str, exam.gains.rows))}." for exam in drawn if exam.gains]
        alt = " ".join([about, *said])
        return finish(panels, folder, "gains-by-type", title, alt)


def by_pages(folder: Path, exams: Sequence[Exam]) -> Figure | None:
    """Score by number of pages of a document, models side by side; hollow is what they were before."""
    drawn = [(exam, _scores_by_pages(exam)) for exam in exams]
    drawn = [(exam, sides) for exam, sides in drawn if len(sides[0]) > 1][:3]
    if not drawn:
        return None
    labels = [label for label in GROUPINGS["pages"].order if any(label in sides[0] for _, sides in drawn)]
    metrics = {metric_name(exam.score.metric) for exam, _ in drawn}
    title = "Score by number of pages"
    names = [f"{exam.answers.title}{_BEFORE * side}" for exam, sides in drawn for side in range(len(sides))]
    series = [(i, side, scores) for i, (_, sides) in enumerate(drawn) for side, scores in enumerate(sides)]
    with drawing(width=6.4, height=2.6 + 0.18 * len(series)) as panels:
        (axes,) = panels.axes
        for place, (i, side, scores) in enumerate(series):
            shift = 0.12 * (place - (len(series) - 1) / 2)
            known = [(x + shift, scores[label]) for x, label in enumerate(labels) if label in scores]
            means = [score.mean for _, score in known]
            spread = [
                [max(0.0, score.mean - score.low) for _, score in known],
                [max(0.0, score.high - score.mean) for _, score in known],
            ]
            axes.errorbar(
                [x for x, _ in known], means, yerr=spread, fmt=MARKERS[i], color=SERIES[i], linewidth=1.4, capsize=2,
                markerfacecolor=SERIES[i] if side == 0 else "none", label=names[place], clip_on=False,
            )  # fmt: skip
        counts = [{sides[0][label].clusters for _, sides in drawn if label in sides[0]} for label in labels]
        ticks = [f"{label}\n{_documents(n)}" for label, n in zip(labels, counts, strict=True)]
        axes.set_xticks(range(len(labels)), ticks)
        axes.set_xlim(-0.5, len(labels) - 0.5)
        axes.set_ylim(0, 1)
        axes.set_ylabel(f"{metrics.pop() if len(metrics) == 1 else 'score'}, 95 % interval")
        axes.grid(False, axis="x")
        panels.figure.legend(loc="outside upper left")
        said = [
            f"{name}: {', '.join(f'{label} {score}' for label, score in scores.items())}."
            for name, (_, _, scores) in zip(names, series, strict=True)
        ]
        alt = " ".join([f"{title} of a document, with 95 % intervals over documents.", *said])
        return finish(panels, folder, "score-by-pages", title, alt)


def _documents(counts: set[int]) -> str:
    """How many of them are behind a group; nothing where models differ in that."""
    return " ".join(f"{count} document{'s' * (count != 1)}" for count in counts) if len(counts) == 1 else ""


def _scores_by_pages(exam: Exam) -> list[dict[str, Interval]]:
    """Ours by group, and the baseline's where there is one: the numbers of the table."""
    for part in exam.analysis.gains:
        if part.by == "pages":
            return [{row.name: row.ours for row in part.rows}, {row.name: row.baseline for row in part.rows}]
    return [exam.score.groups["pages"]]


def failures(folder: Path, exams: Sequence[Exam]) -> Figure | None:
    """Share of all questions in each class, models side by side."""
    drawn = [exam for exam in exams if exam.analysis.ours.classes][:3]
    if not drawn:
        return None
    totals: dict[str, float] = {}
    for exam in drawn:
        for row in exam.analysis.ours.classes:
            totals[row.kind] = max(totals[row.kind] if row.kind in totals else 0.0, row.share.mean)
    kinds = sorted(totals, key=lambda kind: totals[kind])[-_MOST:]
    bar = 0.8 / len(drawn)
    title = "How answers fail"
    with drawing(width=6.4, height=0.9 + 0.2 * len(drawn) + (0.2 + 0.17 * len(drawn)) * len(kinds)) as panels:
        (axes,) = panels.axes
        for i, exam in enumerate(drawn):
            rows = {row.kind: row.share for row in exam.analysis.ours.classes}
            shares = [(place, rows[kind]) for place, kind in enumerate(kinds) if kind in rows]
            places = [place + 0.4 - bar * (i + 0.5) for place, _ in shares]
            means = [100 * share.mean for _, share in shares]
            spread = [
                [100 * max(0.0, share.mean - share.low) for _, share in shares],  # -1e-17 where all or none fail so
                [100 * max(0.0, share.high - share.mean) for _, share in shares],
            ]
            label = exam.answers.title
            axes.barh(places, means, height=bar * 0.9, color=SERIES[i], label=label, edgecolor=GRID, linewidth=0.4)
            axes.errorbar(means, places, xerr=spread, fmt="none", color=MUTED, linewidth=1, capsize=2)
        axes.set_yticks(range(len(kinds)), kinds)
        axes.set_xlabel("share of all questions, %, with 95 % interval")
        axes.grid(False, axis="y")
        axes.set_xlim(left=0)
        panels.figure.legend(loc="outside upper left")  # beside the bars, which may be of any length
        by_title = {one.answers.title: one.analysis.ours.classes for one in drawn}
        said = [
            f"{name}: {', '.join(f'{row.kind} {100 * row.share.mean:.0f} %' for row in rows)}."
            for name, rows in by_title.items()
        ]
        alt = " ".join([f"{title}: share of all questions by class.", *said])
        return finish(panels, folder, "failure-frequencies", title, alt)
