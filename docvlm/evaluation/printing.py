"""An analysis as tables for a terminal: gains by type with their sentence, failure classes with examples, flips.

Short by default: a table by type only where there are two types or more, and of the failures only the five most
frequent classes; all of it is in the CSV files beside the scores.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from docvlm.metrics import METRICS
from docvlm.scoring.analysis import Analysis, Side
from docvlm.scoring.flips import p_value
from docvlm.scoring.frequencies import Finding, Frequency
from docvlm.scoring.gains import FEWEST, Gains

PIPED_WIDTH = 100  # columns, where the output is no terminal
SHORT = 5  # classes of failure in a short table
_QUOTE = 26  # characters of an answer in an example


def console() -> Console:
    """Where tables are printed; a pipe or a log file gets its own width, since it has none."""
    terminal = Console(highlight=False)
    return terminal if terminal.is_terminal else Console(width=PIPED_WIDTH, highlight=False)


def of_gains(one: Analysis) -> list[RenderableType]:
    """For each kind of type that has two or more: a table, largest gain first, and what may be said of it."""
    found: list[RenderableType] = []
    for part in one.gains:
        if len(part.rows) > 1:
            found += [_gains(f"{one.title}: gain by {part.by} type ({one.metric})", part), Text(part.sentence + "\n")]
    return found


def of_failures(one: Analysis, most: int | None = SHORT) -> list[RenderableType]:
    """How the answers fail; `most` classes, the others together in one row."""
    side = one.ours
    if not side.found:
        return [Text(f"{one.title}: every answer is right\n")]
    title = f"{one.title}: {len(side.found)} of {len(side.records)} answers are not right"
    title += f" ({one.metric} {METRICS[one.metric].wrong})"
    table = _table(title, ["class", *(["baseline"] if one.baseline else []), "questions", "share of all", "lost"])
    table.add_column("for example: said for wanted")
    before = _counts(one.baseline)
    kept = list(side.classes[:most])
    for row in kept:
        counts = [str(before[row.kind] if row.kind in before else 0)] if one.baseline else []
        table.add_row(row.kind, *counts, str(row.count), str(row.share), f"{row.lost:.3f}", _example(row))
    if rest := side.classes[len(kept) :]:
        others = sum(before.values()) - sum(before[row.kind] for row in kept if row.kind in before)
        counts = [str(others)] if one.baseline else []
        lost = sum(row.lost for row in rest)
        table.add_row(f"{len(rest)} more", *counts, str(sum(row.count for row in rest)), "", f"{lost:.3f}", "")
    return [table]


def of_flips(one: Analysis) -> list[RenderableType]:
    """Fixed and broken answers in a line."""
    return [] if one.flips is None else [Text(f"{one.title}: {one.flips.sentence}\n")]


def _gains(title: str, part: Gains) -> Table:
    heads = [f"{part.by} type", "questions", "documents", "baseline", "ours", "Δ [95 % interval]", "p (Holm)"]
    table = _table(title, heads)
    for row in part.rows:
        judged = "few" if row.adjusted is None else p_value(row.adjusted)
        table.add_row(
            row.name,
            str(row.ours.n),
            str(row.ours.clusters),
            f"{row.baseline.mean:.3f}",
            f"{row.ours.mean:.3f}",
            str(row.difference),
            judged,
        )
    if len(part.judged) < len(part.rows):
        table.caption = f"few: fewer than {FEWEST} documents, or no type; too little to judge"
    return table


def _table(title: str, heads: Sequence[str]) -> Table:
    table = Table(title=title, box=SIMPLE_HEAD, pad_edge=False)
    table.title_justify = table.caption_justify = "left"
    for head in heads:
        first = head == heads[0]
        table.add_column(head, justify="left" if first else "right", no_wrap=not first)
    return table


def _counts(side: Side | None) -> dict[str, int]:
    return {} if side is None else {row.kind: row.count for row in side.classes}


def _example(row: Frequency) -> Text:
    """The shortest of the examples, since a table has no room for more."""
    return Text(min((_quoted(finding) for finding in row.examples), key=len))


def _quoted(finding: Finding) -> str:
    said, wanted = finding.record.prediction, finding.record.answers[0]
    return " for ".join(text if len(text) <= _QUOTE else text[: _QUOTE - 1] + "…" for text in map(repr, (said, wanted)))
