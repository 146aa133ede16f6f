"""Answers of one split, collected from every batch and device, scored once.

Each device keeps records of the examples it answered. At the end all devices exchange them and score the same list, in
which every question of the split occurs once: a score is a function of records, not an average of averages.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist

from docvlm.answering.answer import record, settled
from docvlm.data.example import EvalBatch, Example
from docvlm.data.loading.packing import only_learned
from docvlm.data.reading import Reading
from docvlm.errors import DocvlmError
from docvlm.metrics.registry import goodness, joint
from docvlm.metrics.torch import StringMetric
from docvlm.scoring.intervals import Interval, score_interval
from docvlm.scoring.predictions import Prediction
from docvlm.scoring.protocol import options_of, variant_of
from docvlm.scoring.score import Score, score, with_scores
from docvlm.vlms.base import VLM


@dataclass(frozen=True)
class Evaluation:
    """A split's answers and what they are worth.

    `interval` is the headline: the mean over questions, each judged by its own benchmark's metric (`metric` names
    it, or all of them for a mixture). `scores` holds the full scores of each benchmark. `loss` is in nats an answer
    token, None where it was not measured; `seconds` is wall time.
    """

    predictions: tuple[Prediction, ...]
    metric: str
    interval: Interval
    scores: dict[str, Score]
    loss: float | None
    seconds: float

    def mean(self, name: str) -> float:
        """Mean of any metric over all questions."""
        total = sum(part.means[name] * part.n_questions for part in self.scores.values())
        return float(total / self.interval.n)

    @property
    def goodness(self) -> float:
        """The headline so that more is better, also where it is an error: what epochs and runs are chosen by."""
        return goodness(self.metric, self.interval.mean)


def judge(predictions: Sequence[Prediction], metrics: Mapping[str, str]) -> tuple[str, Interval, dict[str, Score]]:
    """Headline metric, headline and scores by benchmark. `metrics`: the metric of each benchmark label."""
    by_label = {label: [p for p in predictions if p.benchmark == label] for label in metrics}
    scores = {label: score(part, metric=metrics[label]) for label, part in by_label.items() if part}
    if len(scores) == 1:
        only = next(iter(scores.values()))
        return only.metric, only.interval, scores
    values = [p.scores[metrics[p.benchmark]] for p in predictions]
    clusters = [(p.benchmark, p.document) for p in predictions]
    used = joint({label: one.metric for label, one in scores.items()})
    return used, score_interval(values, clusters), scores


@dataclass
class Tally:
    """What this device has answered so far. `metrics`: the headline metric of each benchmark label."""

    metrics: Mapping[str, str]
    predictions: list[Prediction] = field(default_factory=list)
    loss: float = 0.0
    tokens: int = 0
    began: float = field(default_factory=time.perf_counter)
    running: dict[tuple[str, str], StringMetric] = field(init=False, default_factory=dict)

    @property
    def score(self) -> float:
        """The headline of what was answered, for whoever waits; NaN before the first answer."""
        counted = sum(int(part.count) for part in self.running.values())
        return sum(float(part.total) for part in self.running.values()) / counted if counted else math.nan

    @torch.no_grad()
    def measure(self, vlm: VLM, batch: EvalBatch) -> None:
        """Add the loss of a batch, computed in the checkpoint's own dtype, as `docvlm.evaluate` does.

        A page that does not hold the answer says nothing about it, where pages are shown one by one.
        """
        learned = [not (e.shown and e.answer_pages) or bool({*e.shown} & {*e.answer_pages}) for e in batch.examples]
        if not any(learned) and not vlm.in_step:
            return
        some = any(learned) and not all(learned)
        labelled = only_learned(batch.labelled, batch.examples, learned) if some else batch.labelled
        with torch.autocast(vlm.device.type, enabled=False):
            loss, tokens = vlm.loss(labelled)
        if not any(learned):  # devices that share the weights make a pass each
            return
        self.loss += float(loss)
        self.tokens += tokens

    def answer(self, vlm: VLM, batch: EvalBatch, max_new_tokens: int) -> None:
        """Add the generated answers of a batch. Latency is the batch's time over its examples."""
        began = time.perf_counter()
        with torch.autocast(vlm.device.type, enabled=False):
            generated = vlm.generate(batch.prompts, max_new_tokens)
        latency = (time.perf_counter() - began) / len(batch.examples)
        for example, answer in zip(batch.examples, generated, strict=True):
            self.predictions.append(record(example, answer, latency))
            running = self._running(example.benchmark, example.language)
            running.update([self.predictions[-1].prediction], [example.answers])

    def _running(self, label: str, language: str) -> StringMetric:
        """The running score of the questions of a benchmark in a language.

        Devices answer shares of different length, so none waits for the others before the end.
        """
        if (label, language) not in self.running:
            metric = self.metrics[label]
            options = options_of(metric, label, language)
            self.running[label, language] = StringMetric(metric, variant_of(metric, label), sync=False, **options)
        return self.running[label, language]

    def finish(self, expected: Sequence[Example], reading: Reading) -> Evaluation:
        """Exchange with the other devices and score. Raises `DocvlmError` unless each question was answered once.

        Once a page, where `reading` shows pages one by one: then its most confident answer stands.
        """
        parts = _gather((self.predictions, self.loss, self.tokens))
        records = [record for predictions, _, _ in parts for record in predictions]
        found = {record.key: record for record in settled(records)}
        asked = sum(len(reading.asked(example)) for example in expected)
        pages = {(record.key, record.page) for record in records}
        if not len(records) == len(pages) == asked or len(found) != len(expected):
            raise DocvlmError(
                f"{len(records)} answers to {len(found)} questions came from a split of {len(expected)}: the loader"
                " lost or repeated examples; try data.num_workers=0 and trainer.devices=1, and report it"
            )
        predictions = with_scores(found[example.benchmark, example.question_id] for example in expected)
        tokens = sum(part[2] for part in parts)
        loss = sum(part[1] for part in parts) / tokens if tokens else None
        if loss is not None and not math.isfinite(loss):
            raise DocvlmError(f"the evaluation loss is {loss}: the weights have diverged; lower optim.lr")
        seconds = time.perf_counter() - self.began
        return Evaluation(tuple(predictions), *judge(predictions, self.metrics), loss, seconds)


def _gather(part: Any) -> list[Any]:
    if not (dist.is_available() and dist.is_initialized()):
        return [part]
    parts: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(parts, part)
    return parts
