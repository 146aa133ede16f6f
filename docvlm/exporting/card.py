"""The model card of an export: the card of its run with the format and how close it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docvlm.exporting import formats, gguf, openvino
from docvlm.files import shown
from docvlm.metrics import metric_name
from docvlm.reporting.card import card
from docvlm.reporting.inputs.answers import Answers
from docvlm.reporting.inputs.scored import examine
from docvlm.reporting.naming import name
from docvlm.scoring.intervals import Difference
from docvlm.tables import Column, Table
from docvlm.vlms import forms

if TYPE_CHECKING:
    from docvlm.evaluation.outcome import Outcome
    from docvlm.exporting.source import Source

_COLUMNS = (
    Column("benchmark", "benchmark", kind="text"),
    Column("metric", "metric", kind="text"),
    Column("score", "score"),
    Column("difference", "Δ to the run"),
    Column("questions", "questions", digits=0),
)


def write(folder: Path, source: Source, outcomes: Sequence[Outcome], row: Mapping[str, Any]) -> Path:
    """`README.md` into `folder`, which holds the format of `row`."""
    run, word = source.run, str(row["format"])
    answers = [
        Answers(
            name(run.family, run),
            run.model,
            one.label,
            one.split,
            one.score.metric,
            shown(run.folder.root),
            one.predictions,
            run,
        )
        for one in outcomes
    ]
    seen, timed = row["canary"], row["latency"]
    facts = (
        f"{row['size_mb']:.1f} MB on disk. Read back from here and asked {seen['questions']} questions, it gave"
        f" {seen['equal']} of the run's answers to the character. {timed['p50_ms']:.0f} ms a page (median of"
        f" {timed['n']}, one question each, from opening the file to the text) on {row['device']}."
    )
    code, needs = {}, formats.RECORDS[word].needs
    if word in forms.OPENVINO:
        needs = openvino.needs(source)
        code = {"code": openvino.example(source), "library": "openvino"}
    elif word in forms.GGUF:
        code = {"code": gguf.example(source), "library": "gguf"}
    about = card.Format(word, word == "adapter", needs, facts, _table(row), **code)
    return card.write(folder, run, [examine(one) for one in answers], about)


def _table(row: Mapping[str, Any]) -> Table:
    rows = [
        {
            "benchmark": score["benchmark"],
            "metric": metric_name(score["metric"]),
            "score": score["mean"],
            "difference": Difference.of(score["difference"]),
            "questions": score["n"],
        }
        for score in row["scores"]
    ]
    return Table("export", "Against the run", _COLUMNS, rows)
