"""The three figures a reader remembers, each with its interval or its scope and the run it is read off."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from docvlm.reporting.answers import leading
from docvlm.reporting.exams import Exam
from docvlm.reporting.parts import metric_name


@dataclass(frozen=True)
class Highlight:
    """A figure, what it is, and what to know before quoting it."""

    label: str
    value: str
    detail: str
    source: str


def highlights(exams: Sequence[Exam]) -> list[Highlight]:
    """Gain over the baseline, what was trained, time an answer, of the model that leads; fewer where unknown."""
    if not exams:
        return []
    exam = leading(exams)[0]
    found, change, run, source = exam.score, exam.difference, exam.answers.run, exam.answers.source
    metric = metric_name(found.metric)
    made = []
    if change is not None and exam.before is not None:
        span = f"[{100 * change.low:+.1f}, {100 * change.high:+.1f}]"
        base = "zero-shot" if run else exam.answers.base
        detail = f"points {span} over {base} ({exam.before.headline:.3f} → {found.headline:.3f})"
        made.append(Highlight(f"{metric} on {exam.answers.benchmark}", f"{100 * change.mean:+.1f}", detail, source))
    else:
        made.append(Highlight(f"{metric} on {exam.answers.benchmark}", f"{found.headline:.3f}", "no baseline", source))
    if run is not None:
        learned = run.manifest["trainable"]
        minutes = run.result["cost"]["seconds"] / 60
        detail = f"{learned['percent']:.2f} % of {learned['total'] / 1e6:.4g} M; {minutes:.1f} min"
        made.append(Highlight("parameters trained", f"{learned['parameters'] / 1e6:.3g} M", detail, source))
    if found.latency_ms is not None:
        made.append(Highlight("an answer takes", f"{found.latency_ms:.1f} ms", "mean of batches in evaluation", source))
    made.append(
        Highlight("not right", f"{100 * len(exam.analysis.ours.found) / found.n_questions:.0f} %",
                  f"{len(exam.analysis.ours.found)} of {found.n_questions} answers score below 1", source)
    )  # fmt: skip
    return made
