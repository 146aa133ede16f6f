"""Cards for the gallery: answers that are not right and answers that changed sides, chosen so that all kinds are seen.

A class of two answers gets its cards before a class of two hundred gets its third: cards are dealt out in turn to every
model, benchmark and class, one document each before any document comes twice. What a reader sees is therefore no sample
by frequency; the table of frequencies is for that.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from docvlm.config import ReportConfig
from docvlm.metrics import METRICS
from docvlm.reporting.blocks import Card, Gallery
from docvlm.reporting.inputs.scored import Exam
from docvlm.reporting.page.pictures import Pictures
from docvlm.scoring.failures import classify
from docvlm.scoring.flips import Flip
from docvlm.scoring.frequencies import Finding
from docvlm.scoring.groups import ENGLISH
from docvlm.scoring.predictions import Prediction

T = TypeVar("T")
_LONGEST = 400  # characters of any text on a card


def make(exams: Sequence[Exam], cfg: ReportConfig) -> Gallery:
    """The gallery of all models and benchmarks, within the numbers and megabytes of `cfg.gallery`."""
    pictures = Pictures(cfg.gallery, Path(cfg.pages).expanduser() if cfg.pages else None)
    failed = _dealt([(exam, part) for exam in exams for part in _by_class(exam)], cfg.gallery.failures)
    turned = _dealt([(exam, part) for exam in exams for part in _flips(exam)], cfg.gallery.flips)
    cards = [_failure(exam, finding, pictures) for exam, finding in failed]
    cards += [_flip(exam, name, flip, pictures) for exam, (name, flip) in turned]
    total = sum(len(exam.analysis.ours.found) for exam in exams)
    notes = [f"{len(failed)} of {total} answers that are not right, dealt out over models, benchmarks and classes."]
    return Gallery(cards, notes + pictures.notes)


def _by_class(exam: Exam) -> Iterator[list[Finding]]:
    for row in exam.analysis.ours.classes:
        part = [finding for finding in exam.analysis.ours.found if finding.failure.kind == row.kind]
        yield _spread(part, [finding.record.document for finding in part])


def _flips(exam: Exam) -> Iterator[list[tuple[str, Flip]]]:
    if exam.analysis.flips is not None:
        for name, part in (("broken", exam.analysis.flips.broken), ("fixed", exam.analysis.flips.fixed)):
            yield _spread([(name, flip) for flip in part], [flip.after.document for flip in part])


def _spread(items: Sequence[T], documents: Sequence[str]) -> list[T]:
    """The same items, first one of each document, then a second one of each."""
    seen: dict[str, int] = {}
    turns = []
    for document in documents:
        seen[document] = seen[document] + 1 if document in seen else 0
        turns.append(seen[document])
    return [item for _, item in sorted(zip(turns, items, strict=True), key=lambda pair: pair[0])]


def _dealt(piles: Sequence[tuple[Exam, list[T]]], most: int) -> list[tuple[Exam, T]]:
    """At most `most` items, one of each pile in turn, then in the order of the piles."""
    taken: list[list[T]] = [[] for _ in piles]
    for turn in range(max((len(pile) for _, pile in piles), default=0)):
        for place, (_, pile) in enumerate(piles):
            if turn < len(pile) and sum(map(len, taken)) < most:
                taken[place].append(pile[turn])
    return [(exam, item) for (exam, _), items in zip(piles, taken, strict=True) for item in items]


def _failure(exam: Exam, finding: Finding, pictures: Pictures) -> Card:
    return _card(exam, finding.record, "", finding.failure.kind, None, finding.score, pictures)


def _flip(exam: Exam, name: str, flip: Flip, pictures: Pictures) -> Card:
    wrong = flip.after if name == "broken" else flip.before
    kind = classify(wrong.prediction, wrong.answers, wrong.question, truncated=wrong.truncated).kind
    return _card(exam, flip.after, name, kind, flip.before.prediction, flip.score_after, pictures)


def _card(
    exam: Exam, record: Prediction, flip: str, kind: str, before: str | None, score: float, pictures: Pictures
) -> Card:
    picture = pictures.of(exam.answers, record)
    return Card(
        flip,
        kind,
        exam.answers.name,
        exam.answers.benchmark,
        record.document_type or ", ".join(record.question_types),
        record.document,
        _cut(record.question),
        _cut(record.prediction),
        None if before is None else _cut(before),
        [_cut(answer) for answer in dict.fromkeys(record.answers)],
        score,
        METRICS[exam.score.metric].goodness(score) == 1,
        exam.answers.source,
        _facts(record),
        "" if record.language == ENGLISH else record.language,
        *((picture.uri, picture.width, picture.height) if picture else ()),
    )


def _facts(record: Prediction) -> list[str]:
    """What is known of the pages of a document of several, and nothing of one page."""
    if record.n_pages == 1:
        return []
    pages = ", ".join(map(str, record.answer_pages))
    return [
        *([f"{record.n_pages} pages"] if record.n_pages else []),
        *([f"answer on page {pages}"] if pages else []),
        *([f"read from page {record.page}"] if record.page is not None else []),
    ]


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
