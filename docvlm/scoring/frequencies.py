"""How often each class of failure occurs, what it costs, and with which documents and questions it goes.

"Not right" is every score below 1: an answer that loses a tenth to a full stop is a failure of format, and what it
loses is counted. Shares are of all questions, so that the rows of two models compare; their intervals are Wilson's
with the number of documents behind them, since rare classes leave the bootstrap nothing to resample.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from docvlm.metrics import DEFAULT, METRICS
from docvlm.scoring.failures import CLASSES, Failure, classify
from docvlm.scoring.groups import By, members
from docvlm.scoring.intervals import Interval, clustered_wilson
from docvlm.scoring.predictions import Key, Prediction
from docvlm.scoring.protocol import scorer
from docvlm.scoring.score import clusters

EXAMPLES = 3


@dataclass(frozen=True, slots=True)
class Finding:
    """An answer that is not right: what it scored, how far that is from right, and the class of its failure."""

    record: Prediction
    score: float
    lost: float
    failure: Failure


@dataclass(frozen=True, slots=True)
class Frequency:
    """One class among all questions: `share` of them with its interval, `lost` of the mean score, by tag."""

    kind: str
    count: int
    share: Interval
    lost: float
    tags: dict[str, int]
    examples: tuple[Finding, ...]


def findings(
    records: Sequence[Prediction], metric: str = DEFAULT, pages: Mapping[Key, str] | None = None
) -> list[Finding]:
    """Every answer that scores below 1 (of an error: above 0), in the order of `records`.

    `pages` maps (benchmark, document) to the text of the page, where it is known.
    """
    goodness, function, texts = METRICS[metric].goodness, scorer(metric), pages or {}
    found = []
    for record in records:
        score = function(record)
        if (good := goodness(score)) < 1:
            key = (record.benchmark, record.document)
            page = texts[key] if key in texts else None
            failure = classify(
                record.prediction, record.answers, record.question, truncated=record.truncated, page=page
            )
            found.append(Finding(record, score, 1 - good, failure))
    return found


def frequencies(records: Sequence[Prediction], found: Sequence[Finding]) -> list[Frequency]:
    """The classes that occur, most frequent first. `found` are the findings of `records`."""
    by_kind: dict[str, list[Finding]] = {kind: [] for kind in CLASSES}
    for finding in found:
        by_kind[finding.failure.kind].append(finding)
    documents, rows = clusters(records), []
    for kind, part in by_kind.items():
        if part:
            hit = {finding.record.key for finding in part}
            share = clustered_wilson([float(record.key in hit) for record in records], documents)
            lost = sum(finding.lost for finding in part) / len(records)
            tags = Counter(tag for finding in part for tag in finding.failure.tags)
            rows.append(Frequency(kind, len(part), share, lost, dict(tags.most_common()), _examples(part)))
    return sorted(rows, key=lambda row: -row.count)


def crossed(records: Sequence[Prediction], found: Sequence[Finding], by: By) -> dict[str, tuple[int, dict[str, int]]]:
    """Type → its number of questions, and how many of them failed in each class, most frequent first."""
    kinds = {finding.record.key: finding.failure.kind for finding in found}
    table = {}
    for label, indices in members(records, by).items():
        keys = [records[index].key for index in indices]
        counts = Counter(kinds[key] for key in keys if key in kinds)
        table[label] = (len(keys), dict(counts.most_common()))
    return table


def _examples(part: Sequence[Finding]) -> tuple[Finding, ...]:
    """The first of each document, so that one bad page does not stand for a class."""
    first: dict[Key, Finding] = {}
    for finding in part:
        first.setdefault((finding.record.benchmark, finding.record.document), finding)
    return tuple(first.values())[:EXAMPLES]
