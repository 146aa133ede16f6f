"""What an evaluation shows and leaves: scores against the baseline, gains, failures, corrupted and replaced pages.

Short in a terminal: a table by type only where there are two types or more, and of the failures only the five most
frequent classes; all of it is in the files. `table.json`, `robustness.json` and `controls.json` hold everything,
`table.csv` a line for each benchmark, `controls.csv` a line a control. `robustness.csv` has a line a point, the clean
score first: cells (`corruption` and `severity` given) and means ("mean" there, null in JSON, where it is over all).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docvlm.data.corruptions import CORRUPTIONS
from docvlm.files import write_json
from docvlm.metrics import METRICS
from docvlm.scoring.analysis import Analysis, analyse
from docvlm.scoring.frequencies import Finding
from docvlm.scoring.gains import FEWEST, Gains
from docvlm.scoring.groups import BEYOND, GROUPINGS, TYPES
from docvlm.scoring.intervals import Difference
from docvlm.scoring.score import compare
from docvlm.scoring.significance import LEVEL
from docvlm.tables import Column, Table, to_csv
from docvlm.version import __version__

if TYPE_CHECKING:
    from docvlm.evaluation.controls import Controls
    from docvlm.evaluation.outcome import Outcome
    from docvlm.evaluation.robustness import Point, Robustness

CAPTION = "mean over questions, 95 % interval over documents"
PAGE_ACCURACY, PAGE_RECALL = "page accuracy", "page recall"
SHORT = 5  # classes of failure in a short table
CLEAN, MEAN = "clean", "mean"
_QUOTE = 26  # characters of an answer in an example
_ABOUT = ("family", "benchmark", "split", "subject", "run", "metric")  # of an outcome, as the lines of files begin


@dataclass(frozen=True)
class Row:
    """One family on one benchmark: `ours` without `baseline` is a checkpoint, a served model or a run alone."""

    ours: Outcome
    baseline: Outcome | None

    def analysis(self) -> Analysis:
        """Both sides taken apart by type and by failure."""
        before = None if self.baseline is None else self.baseline.predictions
        ours = self.ours
        siblings = () if ours.subject.described["run"] else None  # other seeds are gathered in the report
        return analyse(ours.subject.family, ours.label, ours.score.metric, ours.predictions, before, siblings)

    @property
    def gain(self) -> Difference | None:
        """Ours minus baseline on the same questions, paired."""
        if self.baseline is None:
            return None
        return compare(self.baseline.predictions, self.ours.predictions, self.ours.score.metric)


_ASKED = (Column("label", "benchmark", kind="text", filed=False), Column("size", "questions [documents]", filed=False))
_COMPARED = (
    Column("baseline", "baseline", filed=False),
    Column("score", "ours", filed=False),
    Column("difference", "Δ", filed=False),
    Column("difference_p", "p", kind="p", filed=False),
)

_PAGED = (
    Column("page_accuracy", PAGE_ACCURACY),
    Column("baseline_page_accuracy"),
    Column("page_recall", PAGE_RECALL),
)


def _filed() -> tuple[Column, ...]:
    """The columns of `table.csv`, but for those that only some rows know."""
    return (
        *map(Column, ("family", "benchmark", "split", "metric", "questions", "documents", "subject", "run")),
        Column("score", ends=("low", "high")),
        Column("baseline", ends=("baseline_low", "baseline_high")),
        Column("difference", ends=("difference_low", "difference_high")),
        Column("difference_p"),
        *map(Column, METRICS),
        *(Column(f"baseline_{name}") for name in METRICS),
        *map(Column, ("latency_ms", "truncated")),
    )


def summary(rows: Sequence[Row]) -> list[Table]:
    """The headline of every benchmark, one table for each set of weights."""
    titles = dict.fromkeys(_title(row) for row in rows)
    return [replace(scores([row for row in rows if _title(row) == title]), title=title) for title in titles]


def scores(rows: Sequence[Row]) -> Table:
    """A row for each benchmark: baseline, ours and their difference, or ours alone where there is no baseline."""
    paired = any(row.baseline is not None for row in rows)
    shown = _COMPARED if paired else (Column("score", rows[0].ours.subject.title, filed=False),)
    values = [_values(row) for row in rows]
    known = {column.key for row in values for column in _PAGED if row[column.key] is not None}
    paged = [column for column in _PAGED if column.key in known or column.key.removeprefix("baseline_") in known]
    return Table("table", "", [*_ASKED, *shown, *_filed(), *paged], values, [CAPTION])


def _title(row: Row) -> str:
    run = row.ours.subject.described["run"]
    return f"{row.ours.subject.family}, {f'run {run}' if run else row.ours.subject.title}, {row.ours.split} split"


def _values(row: Row) -> dict[str, Any]:
    found, gain = row.ours.score, row.gain
    before = None if row.baseline is None else row.baseline.score
    return {
        **row.ours.about,
        "label": f"{row.ours.label}, {found.metric}",
        "size": f"{found.n_questions} [{found.n_documents}]",
        "questions": found.n_questions,
        "documents": found.n_documents,
        "score": found.interval,
        "baseline": None if before is None else before.interval,
        "difference": gain,
        "difference_p": None if gain is None else gain.p,
        **found.means,
        **{f"baseline_{name}": None if before is None else before.means[name] for name in found.means},
        "latency_ms": found.latency_ms,
        "truncated": found.n_truncated,
        "page_accuracy": found.page_accuracy,
        "page_recall": found.page_recall,
        "baseline_page_accuracy": None if before is None else before.page_accuracy,
    }


def by_type(row: Row) -> list[Table]:
    """Scores of each group of a grouping, where there are two or more and no baseline to gain upon."""
    tables = []
    for by in (*TYPES, *BEYOND):
        groups, grouping = row.ours.score.groups[by], GROUPINGS[by]
        if row.baseline is None and len(groups) > 1:
            head, metric = Column("type", grouping.name, kind="text"), row.ours.score.metric
            values = [{"type": name, "questions": found.n, "score": found} for name, found in groups.items()]
            title = f"{row.ours.subject.family} on {row.ours.label} by {grouping.name}"
            columns = (head, Column("questions", "questions"), Column("score", metric))
            tables.append(Table(grouping.key.replace("_", "-"), title, columns, values))
    return tables


def details(one: Analysis, most: int | None = SHORT) -> list[Table | str]:
    """A benchmark taken apart: gains by type, `most` classes of failure, and how many answers changed sides."""
    tables: list[Table | str] = [_gains(one, part) for part in one.gains if len(part.rows) > 1]
    tables.append(_failures(one, most) if one.ours.found else f"{one.title}: every answer is right\n")
    return tables if one.flips is None else [*tables, f"{one.title}: {one.flips.sentence}\n"]


def _gains(one: Analysis, part: Gains) -> Table:
    """Largest gain first, and what may be said of it."""
    columns = (
        Column("type", part.grouping.name, kind="text"),
        Column("questions", "questions"),
        Column("documents", "documents"),
        Column("baseline", "baseline", kind="mean"),
        Column("ours", "ours", kind="mean"),
        Column("difference", "Δ [95 % interval]"),
        Column("p", "p (Holm)", kind="p"),
    )
    few = [f"few: fewer than {FEWEST} documents, or {part.grouping.unknown}; too little to judge"]
    notes = [*(few if len(part.judged) < len(part.rows) else []), part.sentence]
    title = f"{one.title}: gain by {part.grouping.name} ({one.metric})"
    return Table("gains", title, columns, gain_rows(part), notes)


def gain_rows(part: Gains) -> list[dict[str, Any]]:
    """A row for each type, with its intervals."""
    return [
        {
            "type": row.name,
            "questions": row.ours.n,
            "documents": row.ours.clusters,
            "baseline": row.baseline,
            "ours": row.ours,
            "difference": row.difference,
            "p": "few" if row.adjusted is None else row.adjusted,
        }
        for row in part.rows
    ]


def _failures(one: Analysis, most: int | None) -> Table:
    """How the answers fail; the classes beyond the first `most` together in one row."""
    side = one.ours
    columns = (
        Column("class", "class", kind="text"),
        *((Column("baseline", "baseline"),) if one.baseline else ()),
        Column("count", "questions"),
        Column("share", "share of all"),
        Column("lost", "lost"),
        Column("example", "for example: said for wanted", kind="text"),
    )
    every = failure_rows(one)
    rows, rest = every[:most], every[len(every[:most]) :]
    if rest:
        known = 0 if one.baseline is None else len(one.baseline.found)
        sums = {"count": sum(row["count"] for row in rest), "lost": sum(row["lost"] for row in rest)}
        others = known - sum(row["baseline"] for row in rows)
        rows.append({"class": f"{len(rest)} more", "baseline": others, "share": None, "example": None, **sums})
    title = f"{one.title}: {len(side.found)} of {len(side.records)} answers are not right"
    title += f" ({one.metric} {METRICS[one.metric].wrong})"
    return Table("failures", title, columns, rows)


def failure_rows(one: Analysis) -> list[dict[str, Any]]:
    """A row for each class of failure, most frequent first, with the shortest of its examples."""
    before = {} if one.baseline is None else {row.kind: row.count for row in one.baseline.classes}
    return [
        {
            "class": row.kind,
            "baseline": before[row.kind] if row.kind in before else 0,
            "count": row.count,
            "share": row.share,
            "lost": row.lost,
            "example": min((_example(finding) for finding in row.examples), key=len),
        }
        for row in one.ours.classes
    ]


def _example(finding: Finding) -> str:
    said, wanted = finding.record.prediction, finding.record.answers[0]
    return " for ".join(text if len(text) <= _QUOTE else text[: _QUOTE - 1] + "…" for text in map(repr, (said, wanted)))


def write(folder: Path, rows: Iterable[Row]) -> list[Path]:
    """`table.json` and `table.csv` in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = list(rows)
    files = [folder / "table.json", folder / "table.csv"]
    write_json(files[0], {"rows": [_plain(row) for row in rows]})
    to_csv(files[1], scores(rows))
    return files


def _plain(row: Row) -> dict[str, Any]:
    gain = row.gain
    return {
        "family": row.ours.subject.family,
        "benchmark": row.ours.label,
        "split": row.ours.split,
        "ours": _outcome(row.ours),
        "baseline": None if row.baseline is None else _outcome(row.baseline),
        "difference": None if gain is None else asdict(gain),
    }


def _outcome(outcome: Outcome) -> dict[str, Any]:
    return {
        "subject": outcome.subject.title,
        **outcome.subject.described,
        "folder": str(outcome.folder),
        **outcome.score.as_dict(),
    }


def robustness(found: Robustness) -> Table:
    """A row a corruption with its scores by severity, then the mean over severities against the clean pages."""
    outcome, clean = found.outcome, found.clean
    columns = (
        Column("corruption", "severity", kind="text"),
        *(Column(str(severity), str(severity)) for severity in found.severities),
        Column("delta", "mean Δ"),
        Column("kept", "kept", 2, kind="mean"),
        Column("consistency", "same answer", 2, kind="mean"),
    )
    rows = [
        {
            "corruption": name or MEAN,
            **{str(severity): _starred(found.point(name, severity)) for severity in found.severities},
            "delta": whole.delta,
            "kept": whole.kept,
            "consistency": whole.consistency,
        }
        for name, whole in ((name, found.point(name, None)) for name in [*found.corruptions, None])
    ]
    title = (
        f"{outcome.subject.family} {outcome.subject.title} on {outcome.label}, corrupted: {outcome.score.metric} of "
        f"{clean.n} questions on {clean.clusters} documents, clean {clean}"
    )
    note = (
        "* differs from the clean pages beyond chance (paired, over documents, Holm); kept: share of the clean "
        "score; same answer: share of questions answered as on the clean page"
    )
    return Table("robustness", title, columns, rows, [note])


def _starred(point: Point) -> str:
    return f"{point.score.mean:.3f}{'*' if point.adjusted < LEVEL else ' '}"


_POINTS = (
    *map(Column, (*_ABOUT, "questions", "documents", "corruption", "severity", "level", "unit")),
    Column("score", ends=("low", "high")),
    Column("delta", ends=("delta_low", "delta_high")),
    *map(Column, ("p", "p_holm")),
    Column("consistency", ends=("consistency_low", "consistency_high")),
    Column("kept", ends=("kept_low", "kept_high")),
)


def write_robustness(folder: Path, found: Sequence[Robustness]) -> tuple[dict[str, Any], list[Path]]:
    """`robustness.json` and `robustness.csv` in `folder`; what the first of them holds, for its figure."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / "robustness.json", folder / "robustness.csv"]
    whole = plain(found)
    write_json(files[0], whole)
    to_csv(files[1], Table("robustness", "", _POINTS, [row for one in found for row in _points(one)]))
    return whole, files


def plain(found: Sequence[Robustness]) -> dict[str, Any]:
    """What `robustness.json` holds."""
    names = dict.fromkeys(name for one in found for name in one.corruptions)
    definitions = {
        name: {key: getattr(CORRUPTIONS[name], key) for key in ("title", "unit", "levels", "definition")}
        for name in names
    }
    return {"docvlm": __version__, "corruptions": definitions, "results": [_result(one) for one in found]}


def _result(found: Robustness) -> dict[str, Any]:
    return {
        **found.outcome.about,
        "folder": str(found.outcome.folder),
        "questions": found.clean.n,
        "documents": found.clean.clusters,
        "questions_of_split": found.outcome.score.n_questions,
        "clean": asdict(found.clean),
        "points": [_point(point) for point in found.points],
    }


def _point(point: Point) -> dict[str, Any]:
    return {
        "corruption": point.corruption,
        "severity": point.severity,
        "level": _level(point),
        "score": asdict(point.score),
        "delta": asdict(point.delta),
        "p_holm": point.adjusted,
        "consistency": asdict(point.consistency),
        "kept": None if point.kept is None else asdict(point.kept),
    }


def _level(point: Point) -> float | None:
    if point.corruption is None or point.severity is None:
        return None
    return CORRUPTIONS[point.corruption].levels[point.severity - 1]


def _points(found: Robustness) -> list[dict[str, Any]]:
    """The clean score, then every point."""
    head = {**found.outcome.about, "questions": found.clean.n, "documents": found.clean.clusters}
    clean = {"corruption": CLEAN, "severity": 0, "score": found.clean}
    empty = dict.fromkeys(column.key for column in _POINTS)
    return [empty | head | clean, *(head | _values_of(point) for point in found.points)]


def _values_of(point: Point) -> dict[str, Any]:
    return {
        "corruption": point.corruption or MEAN,
        "severity": MEAN if point.severity is None else point.severity,
        "level": _level(point),
        "unit": None if point.corruption is None else CORRUPTIONS[point.corruption].unit,
        "score": point.score,
        "delta": point.delta,
        "p": point.delta.p,
        "p_holm": point.adjusted,
        "consistency": point.consistency,
        "kept": point.kept,
    }


_CONTROLS = (
    *map(Column, _ABOUT),
    Column("questions"),
    Column("documents"),
    Column("score", ends=("low", "high")),
    Column("control", "pages", kind="text"),
    Column("size", "questions [documents]", filed=False),
    Column("score", "on real pages", filed=False),
    Column("control_score", "on these", ends=("control_low", "control_high")),
    Column("looking_adds", "looking adds", ends=("looking_adds_low", "looking_adds_high")),
    Column("p", "p", kind="p"),
    Column("same_answer", "same answer", kind="mean", ends=("same_answer_low", "same_answer_high")),
)


def controls(found: Controls) -> Table:
    """A row a control: the score on real pages, the score under the control, and what looking adds."""
    outcome, real = found.outcome, found.outcome.score.interval
    rows = [
        {
            **outcome.about,
            "questions": real.n,
            "documents": real.clusters,
            "size": f"{real.n} [{real.clusters}]",
            "score": real,
            "control": one.name,
            "control_score": one.score,
            "looking_adds": one.adds,
            "p": one.adds.p,
            "same_answer": one.unchanged,
        }
        for one in found.controls
    ]
    subject = f"{outcome.subject.family} {outcome.subject.title} on {outcome.label}"
    title = f"{subject}: what it knows without looking ({outcome.score.metric})"
    notes = ["95 % intervals over documents; looking adds: real minus control, paired"]
    return Table("controls", title, _CONTROLS, rows, notes)


def write_controls(folder: Path, found: Sequence[Controls], definitions: Mapping[str, str]) -> list[Path]:
    """`controls.json` and `controls.csv` in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / "controls.json", folder / "controls.csv"]
    write_json(files[0], {"controls": definitions, "results": [_plain_controls(one) for one in found]})
    to_csv(files[1], Table("controls", "", _CONTROLS, [row for one in found for row in controls(one).rows]))
    return files


def _plain_controls(found: Controls) -> dict[str, Any]:
    parts = {
        one.name: {"score": asdict(one.score), "looking_adds": asdict(one.adds), "same_answer": asdict(one.unchanged)}
        for one in found.controls
    }
    return {**found.outcome.about, "real": asdict(found.outcome.score.interval), **parts}
