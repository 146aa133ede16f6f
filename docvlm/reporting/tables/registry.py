"""Every table of the report and the section it stands in, in reading order.

A table of one's own is a file beside this one and a line in `TABLES` (docs/extend/table.md). Tables of a sweep are not
here: there may be several sweeps, and the section `ablations` sets each with its figures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from docvlm.reporting.inputs.gather import Inputs
from docvlm.reporting.inputs.published import shipped
from docvlm.reporting.inputs.scored import Exam, leading_first
from docvlm.reporting.tables import failures, published, robustness, scores, setup, speed
from docvlm.tables import Table

Maker = Callable[[Inputs, Sequence[Exam]], Iterable[Table | None]]
"""A function of what was gathered and of every model on every benchmark; None stands for a table without rows."""

TABLES: tuple[tuple[str, Maker], ...] = (
    ("scores", lambda inputs, exams: scores.main(exams)),
    ("scores", lambda inputs, exams: scores.secondary(exams)),
    ("published", lambda inputs, exams: published.beside_ours(exams, shipped())),
    ("published", lambda inputs, exams: [published.scores(shipped()), *published.experiments(shipped())]),
    ("types", lambda inputs, exams: scores.by_type(leading_first([exam for exam in exams if exam.before]))),
    ("pages", lambda inputs, exams: scores.by_group(leading_first(exams), "pages")),
    ("places", lambda inputs, exams: scores.by_group(leading_first(exams), "place")),
    ("places", lambda inputs, exams: [scores.page_accuracies(exams)]),
    ("languages", lambda inputs, exams: scores.by_group(leading_first(exams), "language")),
    ("failures", lambda inputs, exams: failures.tables(exams)),
    ("speed", lambda inputs, exams: speed.tables(inputs.benchmarks)),
    ("robustness", lambda inputs, exams: robustness.corrupted(inputs.robustness)),
    ("robustness", lambda inputs, exams: robustness.controls(inputs.controls)),
    ("data", lambda inputs, exams: [setup.data(inputs.runs)]),
    ("training", lambda inputs, exams: [setup.training(inputs.chosen), setup.protocol()]),
    ("reproduce", lambda inputs, exams: [setup.versions(inputs.runs)]),
)


def of(section: str, inputs: Inputs, exams: Sequence[Exam]) -> list[Table]:
    """The tables of a section, by its anchor."""
    made = [table for name, make in TABLES if name == section for table in make(inputs, exams)]
    return [table for table in made if table is not None]
