"""What stands beside a score: gains by type, failure classes, flips; computed once, written as CSV.

`failures.csv` has a line a class, `failures_by_type.csv` a line a type and class, `failed.csv` a line a question that
is not right; with a baseline also `groups.csv`, a line a type, and `flips.csv`, a line a question that changed sides. A
file that would be empty is not there, and one that an earlier command left is removed. "Type" is whatever questions are
told apart by (`groups`); pages and language of a question have columns where some question has several or another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from docvlm.files import write_csv
from docvlm.scoring.flips import Flip, Flips, flips
from docvlm.scoring.frequencies import Finding, Frequency, crossed, findings, frequencies
from docvlm.scoring.gains import Gain, Gains, gains
from docvlm.scoring.groups import GROUPINGS, By, told
from docvlm.scoring.predictions import Prediction

FILES = ("failures.csv", "failures_by_type.csv", "failed.csv", "groups.csv", "flips.csv")
_BETWEEN = " | "  # accepted answers and tags in one cell of a CSV


@dataclass(frozen=True)
class Side:
    """One model's failures on a benchmark."""

    records: Sequence[Prediction]
    found: Sequence[Finding]
    classes: Sequence[Frequency]


@dataclass(frozen=True)
class Analysis:
    """A benchmark taken apart; `baseline`, `gains` and `flips` are None or empty where nothing is compared."""

    family: str
    benchmark: str
    metric: str
    ours: Side
    baseline: Side | None
    gains: tuple[Gains, ...]
    flips: Flips | None

    @property
    def title(self) -> str:
        """The model and what it answered."""
        return f"{self.family} on {self.benchmark}" if self.family else self.benchmark


def analyse(
    family: str,
    benchmark: str,
    metric: str,
    ours: Sequence[Prediction],
    baseline: Sequence[Prediction] | None = None,
    siblings: Sequence[Sequence[Prediction]] | None = None,
) -> Analysis:
    """Take one benchmark apart. Raises `DocvlmError` if `baseline` or one of `siblings` answers other questions.

    `siblings`: see `gains`; failures and the flips that are listed are those of `ours`.
    """
    compared = () if baseline is None else tuple(gains(baseline, ours, metric, by, siblings) for by in GROUPINGS)
    return Analysis(
        family,
        benchmark,
        metric,
        _side(ours, metric),
        None if baseline is None else _side(baseline, metric),
        compared,
        None if baseline is None else flips(baseline, ours, metric, siblings or ()),
    )


def write(folder: Path, analyses: Sequence[Analysis]) -> list[Path]:
    """The CSV files of the module's docstring, in `folder`; which of them there are."""
    folder.mkdir(parents=True, exist_ok=True)
    sides = [
        (_head(one) | {"side": name}, side)
        for one in analyses
        for name, side in (("ours", one.ours), ("baseline", one.baseline))
        if side is not None
    ]
    extra = told([record for _, side in sides for record in side.records])
    rows: tuple[list[Mapping[str, Any]], ...] = (
        [head | _frequency(row) for head, side in sides for row in side.classes],
        [head | row for head, side in sides for by in GROUPINGS for row in _crossed(side, by)],
        [head | _finding(finding, extra) for head, side in sides for finding in side.found],
        [_head(one) | {"by": part.by} | _gain(row) for one in analyses for part in one.gains for row in part.rows],
        [_head(one) | row for one in analyses if one.flips is not None for row in _flips(one.flips, extra)],
    )
    written = []
    for name, lines in zip(FILES, rows, strict=True):
        if lines:
            write_csv(folder / name, lines)
            written.append(folder / name)
        else:
            (folder / name).unlink(missing_ok=True)
    return written


def _side(records: Sequence[Prediction], metric: str) -> Side:
    found = findings(records, metric)
    return Side(records, found, frequencies(records, found))


def _head(one: Analysis) -> dict[str, Any]:
    return {"family": one.family, "benchmark": one.benchmark, "metric": one.metric}


def _frequency(row: Frequency) -> dict[str, Any]:
    first = row.examples[0].record
    return {
        "class": row.kind, "count": row.count, "questions": row.share.n, "documents": row.share.clusters,
        "share": row.share.mean, "low": row.share.low, "high": row.share.high, "lost": row.lost,
        "tags": _BETWEEN.join(f"{tag} {count}" for tag, count in row.tags.items()),
        "example_question": first.question, "example_prediction": first.prediction,
        "example_answers": _BETWEEN.join(first.answers),
    }  # fmt: skip


def _crossed(side: Side, by: By) -> list[dict[str, Any]]:
    return [
        {"by": by, "type": label, "questions": total, "class": kind, "count": count, "share": count / total}
        for label, (total, counts) in crossed(side.records, side.found, by).items()
        for kind, count in counts.items()
    ]


def _question(record: Prediction, extra: Sequence[str]) -> dict[str, Any]:
    """`extra`: the fields on pages and language that say something here."""
    values = asdict(record) | {"answer_pages": _BETWEEN.join(map(str, record.answer_pages))}
    more = {name: values[name] for name in extra}
    return {
        "question_id": record.question_id, "document": record.document, "document_type": record.document_type,
        "question_types": _BETWEEN.join(record.question_types), "question": record.question,
        "answers": _BETWEEN.join(record.answers), **more,
    }  # fmt: skip


def _finding(finding: Finding, extra: Sequence[str]) -> dict[str, Any]:
    said = {"prediction": finding.record.prediction, "score": finding.score, "class": finding.failure.kind}
    return _question(finding.record, extra) | said | {"tags": _BETWEEN.join(finding.failure.tags)}


def _gain(row: Gain) -> dict[str, Any]:
    return {
        "type": row.name, "questions": row.ours.n, "documents": row.ours.clusters,
        "baseline": row.baseline.mean, "baseline_low": row.baseline.low, "baseline_high": row.baseline.high,
        "ours": row.ours.mean, "ours_low": row.ours.low, "ours_high": row.ours.high,
        "difference": row.difference.mean, "difference_low": row.difference.low,
        "difference_high": row.difference.high, "p": row.difference.p, "p_holm": row.adjusted,
    }  # fmt: skip


def _flips(found: Flips, extra: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {"flip": name} | _question(flip.after, extra) | _both(flip)
        for name, part in (("fixed", found.fixed), ("broken", found.broken))
        for flip in part
    ]


def _both(flip: Flip) -> dict[str, Any]:
    before, after = flip.before.prediction, flip.after.prediction
    return {
        "baseline": before, "ours": after, "baseline_score": flip.score_before, "ours_score": flip.score_after,
    }  # fmt: skip
