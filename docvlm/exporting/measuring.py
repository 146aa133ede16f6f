"""What is known of one set of weights: its canary answers, its scores, how long an answer takes, what memory it needs.

The run and each of its exports are read from disk and go through the same steps, one at a time. Scores are the
evaluation's own (`docvlm.evaluation.outcome`), whose answers are kept, latency the benchmark's
(`docvlm.timing.latency`): one question alone on its page, from opening the file to the text.
"""

from __future__ import annotations

import gc
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from peft import PeftModel

from docvlm.answering import answer
from docvlm.answering.outside import Outside
from docvlm.evaluation import outcome
from docvlm.evaluation.questions import prepare
from docvlm.exporting import canary
from docvlm.timing import chosen, latency, timed_pages
from docvlm.timing.latency import Timing
from docvlm.vlms import loading

if TYPE_CHECKING:
    from docvlm.answering.outside import Said
    from docvlm.config import ExportConfig
    from docvlm.data.benchmark import Role
    from docvlm.data.example import Example
    from docvlm.data.loading.datamodule import DocumentDataModule
    from docvlm.evaluation.outcome import Outcome
    from docvlm.evaluation.subjects import Subject
    from docvlm.exporting.canary import Reply
    from docvlm.timing.latency import Latency
    from docvlm.vlms.base import VLM


@dataclass(frozen=True)
class Questions:
    """What every format is asked: the benchmarks, the canary's questions, and the pages that are timed."""

    benchmarks: dict[str, DocumentDataModule]
    canary: list[Example]
    timed: list[Example]
    max_new_tokens: int


@dataclass(frozen=True)
class Found:
    """One set of weights on an `Questions`; `outcomes` in the order of its benchmarks.

    `base` is the size in bytes of the checkpoint that has to be there beside an adapter, None for a whole model.
    """

    replies: list[Reply]
    outcomes: list[Outcome]
    latency: Latency
    base: int | None
    device: str


def questions(cfg: ExportConfig, names: Sequence[str], folder: Path, subject: Subject) -> Questions:
    """The questions of an export, from the first of `names` but for the scores; drawn pages are written to `folder`.

    Rows are judged for `subject`, the run that is exported.
    """
    data = {name: chosen.data(cfg, name) for name in names}
    prepare(subject, data.values(), cast("Role", cfg.split), lambda line: print(line, flush=True))
    first = data[names[0]]
    examples = first.filled(cast("Role", cfg.split))
    timed = timed_pages.alone(examples, cfg.pages, folder)
    asked = [first.reading.asked(example)[0] for example in first.shown(canary.chosen(examples, cfg.canary))]
    return Questions(data, asked, timed, first.max_new_tokens)


def measure(cfg: ExportConfig, subject: Subject, asked: Questions, *, rerun: bool) -> Found:
    """Load `subject`, ask, score, time, and let its weights go. `rerun` answers the benchmarks again."""
    model = subject.load()
    if not isinstance(model, Outside):
        model = model.to(answer.device()).eval()
    replies = canary.ask(model, asked.canary, asked.max_new_tokens)
    outcomes = []
    for data in asked.benchmarks.values():
        outcomes.append(outcome.evaluate(subject, model, data, cast("Role", cfg.split), rerun=rerun))
        data.codec = None
    timed, base = _timed(cfg, model, asked), None
    if isinstance(model, Outside):
        model.close()
    elif isinstance(model.net, PeftModel):
        base = loading.base_size(model.checkpoint, model.revision)
    found = Found(replies, outcomes, timed, base, model.device.type)
    del model
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return found


def _timed(cfg: ExportConfig, model: VLM | Outside, asked: Questions) -> Latency:
    """As `docvlm.timing.latency`, also where the model answers in a process of its own, whose memory it then is."""
    if not isinstance(model, Outside):
        return latency.measure(model, asked.timed, 1, warmup=cfg.warmup, max_new_tokens=asked.max_new_tokens)
    for number in range(cfg.warmup):
        model.ask(asked.timed[number % len(asked.timed)], asked.max_new_tokens)
    held, _ = model.memory(reset=True)
    timings = [_timing(model.ask(example, asked.max_new_tokens)) for example in asked.timed]
    return latency.summarise(timings, 1, model.memory()[1], held)


def _timing(said: Said) -> Timing:
    return Timing(1, said.prepared, said.first_token, said.total, said.prompt_tokens, said.tokens)
