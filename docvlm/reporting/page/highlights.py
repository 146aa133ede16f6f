"""The three figures a reader remembers, each with its interval or its scope and the run it is read off."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from docvlm.metrics import METRICS, metric_name
from docvlm.reporting.inputs.measured import Measured
from docvlm.reporting.inputs.scored import Exam, leading


@dataclass(frozen=True)
class Highlight:
    """A figure, what it is, and what to know before quoting it."""

    label: str
    value: str
    detail: str
    source: str


def highlights(exams: Sequence[Exam], timed: Measured) -> list[Highlight]:
    """Gain over the baseline, what was trained, time an answer, share not right, of the model that leads."""
    if not exams:
        return []
    exam = leading(exams)[0]
    found, lost = exam.score, len(exam.analysis.ours.found)
    made = [_gain(exam), *_trained(exam), *_time(exam, timed)]
    wrong = METRICS[found.metric].wrong
    share, detail = f"{100 * lost / found.n_questions:.0f} %", f"{lost} of {found.n_questions} answers score {wrong}"
    return [*made, Highlight("not right", share, detail, exam.answers.source)]


def _gain(exam: Exam) -> Highlight:
    found, source = exam.score, exam.answers.source
    change, score = exam.setting_difference or exam.difference, (exam.setting or exam.score.interval).mean
    label = f"{metric_name(found.metric)} on {exam.answers.benchmark}"
    if change is None or exam.before is None:
        return Highlight(label, f"{score:.3f}", "no baseline", source)
    span = f"[{100 * change.low:+.1f}, {100 * change.high:+.1f}]"
    base = "zero-shot" if exam.answers.run else exam.answers.base
    detail = f"points {span} over {base} ({exam.before.headline:.3f} → {score:.3f})"
    if exam.seeds is not None:
        detail += f"; {exam.seeds} seeds" if exam.seeds > 1 else "; one seed"
    return Highlight(label, f"{100 * change.mean:+.1f}", detail, source)


def _trained(exam: Exam) -> list[Highlight]:
    run = exam.answers.run
    if run is None:
        return []
    learned, minutes = run.manifest["trainable"], run.result["cost"]["seconds"] / 60
    detail = f"{learned['percent']:.2f} % of {learned['total'] / 1e6:.4g} M; {minutes:.1f} min"
    return [Highlight("parameters trained", f"{learned['parameters'] / 1e6:.3g} M", detail, exam.answers.source)]


def _time(exam: Exam, timed: Measured) -> list[Highlight]:
    """Of one page alone where it was timed, else of the batches of the evaluation."""
    source = exam.answers.source
    for where, record in timed.records:
        if where.startswith(f"{source}/"):
            text = f"{record['points'][0]['single']['p50_ms']:.0f} ms"
            return [Highlight("an answer takes", text, f"median of one page on {record['device']}", where)]
    if exam.score.latency_ms is None:
        return []
    detail = "mean of requests, many at once" if exam.answers.served else "mean of batches in evaluation"
    return [Highlight("an answer takes", f"{exam.score.latency_ms:.1f} ms", detail, source)]
