"""What a sweep shows: of its runs, or of its settings where they have seeds.

With one seed a cell, runs are compared: a paired bootstrap over documents says whether these weights answer better than
those, and a line says that one seed cannot tell settings apart and which command can. With two seeds or more, settings
are compared over documents and seeds (`scoring.crossed`). A cell with one seed borrows the spread of the other cells,
or, where none of them has seeds, of other settings whose runs took the same exam; a line says whose. Holm's correction
is over the whole sweep: all pairs of up to eight cells, beyond that each cell with the first. Where nothing is shown,
the lines say what would show a difference of 0.02. Eight cells on 5 000 questions take about 10 s.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from docvlm.reporting.sweeps.answers import CellScores, read_scores, table
from docvlm.reporting.sweeps.seeds import without_seed
from docvlm.runs.folder import RunFolder
from docvlm.scoring.crossed import MOST_SEEDS, SettingDifference, plan
from docvlm.scoring.flips import p_value
from docvlm.scoring.intervals import Difference
from docvlm.scoring.predictions import Key
from docvlm.scoring.significance import Comparison, borrowed, compare_cells, compare_settings

Row = Mapping[str, Any]
ALL_PAIRS = 8  # cells: 28 pairs; beyond that Holm would ask of every pair more than a test split can give
WANTED = 0.02  # a difference worth planning for
ONE_SEED = "one seed a cell: this is about these weights, and cannot tell the settings apart"


Exam = tuple[str, str, str, frozenset[Key]]  # family, benchmark, metric, questions: only who took the same is compared


@dataclass(frozen=True)
class _Found:
    """The comparisons among the cells of one exam; `lent` says whose spread the cells with one seed took."""

    groups: Mapping[str, Sequence[CellScores]]
    comparisons: Sequence[Comparison]
    lent: str = ""

    @property
    def seeded(self) -> bool:
        """Whether settings are compared, and not runs."""
        return isinstance(self.comparisons[0].difference, SettingDifference)


def compare(
    rows: Sequence[Row], command: str = "", others: Mapping[str, Sequence[Row]] | None = None
) -> tuple[list[str], list[dict[str, Any]]]:
    """What to print below the table of the finished cells `rows`, and a line of numbers for each comparison.

    `command` is the sweep's own, without its seeds; it is named, with `seeds=3`, where one seed is all there is.
    `others`: runs of settings with two seeds or more elsewhere, as rows with the columns of a cell, by a name.
    """
    lines: list[str] = []
    numbers: list[dict[str, Any]] = []
    exams: dict[Exam, dict[str, list[CellScores]]] = {}
    for row in rows:
        if (cell := read_scores(row)) is not None:
            exams.setdefault(_exam(row, cell), {}).setdefault(without_seed(row["settings"]), []).append(cell)
        else:
            name = RunFolder(Path(row["run"])).predictions.name
            lines.append(f"{row['settings'] or row['cell']}: not compared, its {name} is missing")
    found = {exam: _compared(exam, groups, others or {}) for exam, groups in exams.items() if len(groups) > 1}
    for (_, benchmark, metric, _), one in found.items():
        prefix = f"{benchmark}: " if len(exams) > 1 else ""
        lines += [prefix + line for line in (_of_settings(one) if one.seeded else _of_runs(one))]
        about = {"benchmark": benchmark, "metric": metric, "about": "settings" if one.seeded else "runs"}
        numbers += [about | _numbers(part, one.groups) for part in one.comparisons]
    if found and not any(one.seeded for one in found.values()):
        lines += [ONE_SEED, *([f"what would: {command} seeds=3 -m"] if command else [])]
    if len(exams) > 1 and not found:
        lines.append("the cells answered different questions, so none are compared")
    return lines, numbers


def _exam(row: Row, cell: CellScores) -> Exam:
    return row["family"], row["benchmark"], row["metric"], frozenset(cell.scores)


def _compared(exam: Exam, groups: Mapping[str, Sequence[CellScores]], others: Mapping[str, Sequence[Row]]) -> _Found:
    first = next(iter(groups.values()))[0]
    keys = list(first.scores)
    documents = [first.documents[key] for key in keys]
    runs = {name: table(cells, keys) for name, cells in groups.items()}
    against = None if len(groups) <= ALL_PAIRS else next(iter(groups))
    known = borrowed(runs, documents) or borrowed(_elsewhere(exam, keys, others), documents)
    if known is None:
        return _Found(groups, compare_cells({name: part[0] for name, part in runs.items()}, documents, against))
    spread, lenders = known
    alone = [name for name, cells in groups.items() if len(cells) == 1]
    said = f"{', '.join(alone)}: one seed; the spread of {', '.join(lenders)} (sd {spread.sd:.3f}) stands in"
    return _Found(groups, compare_settings(runs, documents, against, spread), said if alone else "")


def _elsewhere(exam: Exam, keys: Sequence[Key], others: Mapping[str, Sequence[Row]]) -> dict[str, NDArray[np.float64]]:
    """Scores of the runs elsewhere that took this exam, by the name of their setting."""
    found: dict[str, NDArray[np.float64]] = {}
    for name, rows in others.items():
        likely = [row for row in rows if (row["family"], row["benchmark"], row["metric"]) == exam[:3]]
        cells = [(row, cell) for row in likely if (cell := read_scores(row)) is not None]
        if same := [cell for row, cell in cells if _exam(row, cell) == exam]:
            found[name] = table(same, keys)
    return found


def _of_runs(found: _Found) -> list[str]:
    """What these weights did on such documents."""
    over, part = _over(found.comparisons), found.comparisons
    if lines := _apart(part, f"({over})", "the run of "):
        return lines + _rest(part, "differ beyond chance on such documents")
    n, documents = part[0].difference.n, part[0].difference.clusters
    line = f"no two runs differ by more than their interval over documents ({over})"
    size = _sizes(part)
    return [f"{line}; {n} questions on {documents} documents show a difference of {size}" if size else line]


def _of_settings(found: _Found) -> list[str]:
    """What holds for another seed, too."""
    part, counts = found.comparisons, [len(cells) for cells in found.groups.values()]
    number = str(counts[0]) if len(set(counts)) == 1 else f"{min(counts)} to {max(counts)}"
    scope = f"{part[0].difference.clusters} documents and {number} seed{'' if number == '1' else 's'}"
    also = [found.lent] if found.lent else []
    if lines := _apart(part, f"({_over(part)}; over {scope})"):
        return lines + _rest(part, "differ beyond chance") + also
    line = f"no two settings differ by more than their interval over {scope} ({_over(part)})"
    size = _sizes(part)
    return [f"{line}; these show a difference of {size}; {_needed(part)}" if size else line, *also]


def _apart(found: Sequence[Comparison], scope: str, what: str = "") -> list[str]:
    lines = []
    for one in sorted(found, key=lambda one: -abs(one.difference.mean)):
        if one.significant:
            more, less, difference = _upward(one)
            p = p_value(one.adjusted)
            lines.append(f"{what}{more} above {what and 'that of '}{less} by {difference}, p {p} {scope}")
    return lines


def _rest(found: Sequence[Comparison], do_not: str) -> list[str]:
    rest = sum(not one.significant for one in found)
    return [f"the other {rest} of {len(found)} do not {do_not}"] if rest else []


def _over(found: Sequence[Comparison]) -> str:
    return f"Holm over {len(found)} comparisons" if len(found) > 1 else "the only comparison"


def _sizes(found: Sequence[Comparison]) -> str:
    """The true differences that would be shown, "" where nothing varied."""
    sizes = sorted(one.detectable for one in found if one.detectable is not None)
    if not sizes:
        return ""
    size = f"{sizes[0]:.3f}" if sizes[-1] - sizes[0] < 0.005 else f"{sizes[0]:.3f} to {sizes[-1]:.3f}"
    return f"{size} four times in five"


def _needed(found: Sequence[Comparison]) -> str:
    """How many seeds and documents the widest comparison would take."""
    known = [one.difference for one in found if isinstance(one.difference, SettingDifference)]
    widest = max(known, key=lambda one: one.document_variance + one.seed_variance)
    made = plan(widest, WANTED, len(found))
    if made is None:
        return f"{WANTED:g} takes more than {MOST_SEEDS} seeds a cell"
    return f"{WANTED:g} takes {made.seeds} seeds a cell on {made.documents} documents"


def _upward(one: Comparison) -> tuple[str, str, Difference]:
    """The higher cell first."""
    d = one.difference
    if d.mean >= 0:
        return one.second, one.first, d
    return one.first, one.second, Difference(-d.mean, -d.high, -d.low, d.p, d.n, d.clusters)


def _numbers(one: Comparison, groups: Mapping[str, Sequence[CellScores]]) -> dict[str, Any]:
    d = one.difference
    return {
        "first": one.first, "second": one.second, "seeds_first": len(groups[one.first]),
        "seeds_second": len(groups[one.second]), "difference": d.mean, "low": d.low, "high": d.high, "p": d.p,
        "p_holm": one.adjusted, "questions": d.n, "documents": d.clusters, "smallest_detectable": one.detectable,
    }  # fmt: skip
