"""One set of weights on one benchmark: answers, scores, and the file that says how they came about.

Answers lie in `<place>/<benchmark>-<split>-<8 hex digits>/`. The digits stand for everything that decides the answers
(weights, budget, prompt, questions), so the same command goes on where it stopped, a finished evaluation is read back
instead of repeated, and another limit or budget never mixes with it.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docvlm.answering import answer
from docvlm.data.reading import ALL_PAGES
from docvlm.evaluation.subjects import Subject, identity
from docvlm.files import write_json
from docvlm.machine import git_commit, hardware, versions
from docvlm.scoring.predictions import Prediction
from docvlm.scoring.score import Score, score
from docvlm.version import __version__
from docvlm.vlms.checkpoint import fingerprint

if TYPE_CHECKING:
    from docvlm.answering.elsewhere import Elsewhere
    from docvlm.data.benchmark import Role
    from docvlm.data.example import Example
    from docvlm.data.loading.datamodule import DocumentDataModule
    from docvlm.vlms.base import VLM

PREDICTIONS, RESULT = "predictions.jsonl", "evaluation.json"


@dataclass(frozen=True)
class Outcome:
    """A subject's answers on one benchmark. `label` names the benchmark as results call it.

    `kept` of the answers were there before. `corrupted` holds the answers to corrupted pages by (corruption, severity),
    `controls` those to replaced pages; empty where they were not asked for.
    """

    subject: Subject
    label: str
    split: str
    predictions: tuple[Prediction, ...]
    score: Score
    folder: Path
    kept: int = 0
    corrupted: Mapping[tuple[str, int], Sequence[Prediction]] = field(default_factory=dict)
    controls: Mapping[str, Sequence[Prediction]] = field(default_factory=dict)

    @property
    def about(self) -> dict[str, Any]:
        """Which result this is, for the lines of a file."""
        return {
            "family": self.subject.family,
            "benchmark": self.label,
            "split": self.split,
            "subject": self.subject.title,
            "run": self.subject.described["run"],
            "metric": self.score.metric,
        }


def evaluate(
    subject: Subject,
    model: VLM | Elsewhere,
    data: DocumentDataModule,
    split: Role,
    *,
    metric: str | None = None,
    rerun: bool = False,
    progress: answer.Progress | None = None,
) -> Outcome:
    """Answer and score a split. `metric` replaces the benchmark's own headline; `rerun` answers everything again."""
    examples: Sequence[Example] = data.test if split == "test" else data.val
    about: dict[str, Any] = {
        "benchmark": data.label,
        "split": split,
        "fingerprint": data.fingerprint((split,)),
        "max_new_tokens": data.max_new_tokens,
        "instruction": sorted({example.instruction for example in examples}),
    }
    if data.reading != ALL_PAGES:
        about["reading"] = asdict(data.reading)
    folder = subject.place(model) / f"{data.label}-{split}-{identity(subject, model, about)}"
    if rerun and folder.exists():
        shutil.rmtree(folder)
    began = time.perf_counter()
    kept = answer.kept(folder / PREDICTIONS)
    predictions = answer.answer(model, data, examples, folder / PREDICTIONS, progress)
    found = score(predictions, metric or data.metrics[data.label])
    write_json(folder / RESULT, _record(subject, model, data, about, found, time.perf_counter() - began))
    return Outcome(subject, data.label, split, tuple(predictions), found, folder, kept)


def _record(
    subject: Subject,
    model: VLM | Elsewhere,
    data: DocumentDataModule,
    about: dict[str, Any],
    found: Score,
    seconds: float,
) -> dict[str, Any]:
    """Everything that moves a score, beside the score."""
    return {
        "docvlm": __version__,
        "subject": subject.title,
        "family": subject.family,
        **subject.described,
        **_of_model(subject, model),
        **about,
        "source": data.source,
        "quarantined": len(data.quarantine.rejected),
        "seconds": round(seconds, 3),
        "score": found.as_dict(),
        "git_commit": git_commit(),
        "versions": versions(),
    }


def _of_model(subject: Subject, model: VLM | Elsewhere) -> dict[str, Any]:
    from docvlm.answering.elsewhere import Elsewhere

    if isinstance(model, Elsewhere):
        return model.described
    name, found = subject.checkpoint or model.checkpoint, fingerprint(model.checkpoint, model.revision)
    return {
        "checkpoint": {"name": name, "fingerprint": found},
        "budget": asdict(model.codec.budget),
        "dtype": str(model.dtype).removeprefix("torch."),
        "quant": model.quant,
        "prompt": model.codec.prompt,
        "hardware": hardware(model.device.type),
    }
