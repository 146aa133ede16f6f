"""The three questions, each answered in a sentence that claims no more than the numbers bear.

Sentences are about a setting, over documents and seeds, where runs of two seeds or more answered; else they are about
the run, and say so. "Better" needs a paired difference beyond chance; "reached" an interval that lies above the target
as a whole; "gains most" what `scoring.gains` asks for; "fails most often" an interval above that of the next class.
Where that is not so, the sentence says what cannot be told apart. Scores on drawn pages are never offered as an answer
about documents.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from docvlm.metrics import METRICS, metric_name
from docvlm.reporting.inputs.scored import Exam, leading
from docvlm.scoring.flips import p_value
from docvlm.scoring.frequencies import Frequency
from docvlm.scoring.significance import LEVEL

QUESTIONS = (
    "Is a small model good enough?",
    "Which documents gain most?",
    "How does it fail, and what would help?",
)
REMEDIES = {
    "empty": "look at these pages first: an empty answer often is a page that could not be read at that pixel budget",
    "refusal": "a prompt that asks for an answer, or training on such questions; the page is rarely the reason",
    "format only": "no training: normalise the answer, or say in the instruction how it is to be written",
    "unit or scale": "say in the instruction which unit is wanted, or let training answers carry it",
    "number wrong": "more pixels a page (`budget`), or a partly learning vision tower (`freeze`): digits were misread",
    "near miss": "more pixels a page (`budget`), or a partly learning vision tower (`freeze`): letters were misread",
    "over-long": "training on short answers; or a firmer instruction",
    "partial span": "training on this benchmark's answers, which say how much of a line an answer takes",
    "list": "training on lists; order and number of items are learned from answers, not from pages",
    "choice flipped": "questions of that kind in training: both choices were read, the wrong one was taken",
    "echo": "training on questions and answers; the model continues the question",
    "elsewhere on the page": "more questions a page in training: the text was read, the place was not found",
    "not on the page": "more pixels a page (`budget`): what was said stands nowhere on it",
    "reasoning": "a larger model, or training answers of that kind: the question asks to count, compute or compare",
    "other": "the gallery below: these answers share no string rule, so look at the pages",
}
"""What to try first for a class. Advice from what a class means, not a measured effect."""


@dataclass(frozen=True)
class Answer:
    """One of the three questions: the sentence, what else to know, and the run or file it is read off."""

    question: str
    sentence: str
    more: Sequence[str]
    source: str


def answer(exams: Sequence[Exam], target: float | None) -> list[Answer]:
    """The three answers, from the models of the most telling kind of pages there is. [] without any answers."""
    if not exams:
        return []
    main = leading(exams)
    first = main[0]
    others = main[1:]
    enough = [_score(one) for one in others] + _targets(first, target) + _one_seed(main)
    gains = [f"{one.answers.title}: {one.gains.sentence}" for one in others if one.gains is not None]
    fails = [_failing(one) for one in others]
    help_ = _remedy(first)
    return [
        Answer(QUESTIONS[0], _score(first), enough, first.answers.source),
        Answer(QUESTIONS[1], _gains(first), gains, first.answers.source),
        Answer(QUESTIONS[2], _failing(first), [*help_, *fails], first.answers.source),
    ]


def _score(exam: Exam) -> str:
    found, change = exam.score, exam.setting_difference or exam.difference
    who, size = exam.answers.name, f"{found.n_questions} questions on {found.n_documents} documents"
    if exam.setting is not None:
        size += f", {exam.seeds} seeds"
    elif exam.seeds == 1:
        who = f"This run of {who}"
    interval = exam.setting or found.interval
    text = f"{who} reaches {metric_name(found.metric)} {interval} on {exam.answers.benchmark} ({size})"
    if change is None:
        return f"{text}; there is no baseline beside it, so what training brought cannot be said."
    base = "its zero-shot base" if exam.answers.run else exam.answers.base
    if change.p >= LEVEL:
        return f"{text}, which cannot be told from {base} ({change}, p {p_value(change.p)})."
    word = "above" if change.mean > 0 else "below"
    return f"{text}, {change} {word} {base} (p {p_value(change.p)})."


def _one_seed(exams: Sequence[Exam]) -> list[str]:
    """What a single run cannot say, and what would."""
    alone = [exam.answers.name for exam in exams if exam.seeds == 1]
    if not alone:
        return []
    those = "this sentence is about the run" if len(alone) == 1 else "these sentences are about the runs"
    return [
        f"One seed ({'; '.join(alone)}): {those}. Another training with the same settings may score otherwise;"
        " `seeds=3` and `-m` beside its command say by how much."
    ]


def _targets(exam: Exam, target: float | None) -> list[str]:
    if target is None:
        return ["Good enough for what? Give `target=0.9`, say, and this page tells whether the interval reaches it."]
    found, count = exam.setting or exam.score.interval, exam.score.n_documents
    error = not METRICS[exam.score.metric].higher_is_better
    reached, missed = (
        (found.high <= target, found.low > target) if error else (found.low >= target, found.high < target)
    )
    better, worse = ("below", "above") if error else ("above", "below")
    if reached:
        return [f"The target of {target:g} is reached: the whole interval lies at or {better} it."]
    if missed:
        return [f"The target of {target:g} is not reached: the whole interval lies {worse} it."]
    return [
        f"Whether the target of {target:g} is reached cannot be said from {count} documents: it is in the interval."
    ]


def _gains(exam: Exam) -> str:
    if exam.before is None:
        return "Cannot be said: a gain needs a baseline's answers to the same questions."
    if exam.gains is None:
        return "Cannot be said: these answers name neither document types nor question types."
    return f"{exam.answers.title}: {exam.gains.sentence}"


def _failing(exam: Exam) -> str:
    side = exam.analysis.ours
    count, total = len(side.found), len(side.records)
    if not side.classes:
        return f"{exam.answers.title}: all {total} answers are right."
    of_run = " of this run" if exam.seeds is not None and exam.seeds > 1 else ""
    head = f"{exam.answers.title}: {count} of {total} answers{of_run} are not right"
    first, *rest = side.classes
    tied = [row for row in rest if row.share.high >= first.share.low]
    if not rest:
        return f"{head}, all of the class “{first.kind}” {_share(first)}."
    if not tied:
        return f"{head}; most often “{first.kind}” {_share(first)}, which costs {first.lost:.3f} of the score."
    shown = ", ".join(f"“{row.kind}” {_share(row)}" for row in [first, *tied][:3])
    more = f" and {len(tied) - 2} more classes" if len(tied) > 2 else ""
    return f"{head}; {shown}{more} lead, and their frequencies cannot be told apart."


def _remedy(exam: Exam) -> list[str]:
    """What to try for the class that costs most: a first guess, said to be one."""
    classes = [row for row in exam.analysis.ours.classes if row.kind != "other"]
    if not classes:
        return []
    costly = max(classes, key=lambda row: row.lost)
    return [
        f"Of the classes with a name, “{costly.kind}” costs most: mended, it would give back at most {costly.lost:.3f}."
        f" To try first (not measured here): {REMEDIES[costly.kind]}."
    ]


def _share(row: Frequency) -> str:
    return f"({100 * row.share.mean:.0f} % [{100 * row.share.low:.0f}, {100 * row.share.high:.0f}] of all questions)"
