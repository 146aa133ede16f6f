"""A model and a split to answers on disk, batch by batch, so that a killed evaluation goes on where it stopped.

Answers go to `predictions.jsonl` as they come; what is there already is not asked again. Nothing but text leaves a
batch, so memory does not grow with the split.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from docvlm.errors import DocvlmError
from docvlm.evaluation.records import Prediction, PredictionLog
from docvlm.evaluation.score import with_scores

if TYPE_CHECKING:
    from docvlm.data.datamodule import DocumentDataModule
    from docvlm.data.example import Example
    from docvlm.vlms.base import VLM, Generated

Progress = Callable[[int, int], None]


def device() -> torch.device:
    """Where answers are generated: the first CUDA device, or the processor."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def record(example: Example, answer: Generated, latency_s: float) -> Prediction:
    """An answer with what is needed to score it later, without scores."""
    return Prediction(
        question_id=example.question_id,
        document=example.document,
        benchmark=example.benchmark,
        document_type=example.document_type,
        question_types=example.question_types,
        question=example.question,
        prediction=answer.text,
        answers=example.answers,
        latency_s=round(latency_s, 6),
        truncated=answer.truncated,
    )


def answer(
    vlm: VLM, data: DocumentDataModule, examples: Sequence[Example], path: Path, progress: Progress | None = None
) -> list[Prediction]:
    """Answers to `examples` in their order, from `path` where they are there already, else from the model.

    `progress(done, all)` is called after every batch. Latency is a batch's wall time over its questions, without the
    time to open pages. Raises `DocvlmError` if `path` holds other questions or the loader lost one.
    """
    wanted = {(example.benchmark, example.question_id): example for example in examples}
    with PredictionLog(path) as log:
        if odd := [record.key for record in log.records if record.key not in wanted]:
            raise DocvlmError(f"{path}: holds answers to other questions, such as {odd[0][1]!r}; give another output")
        missing = [example for key, example in wanted.items() if key not in log]
        if missing:
            data.codec = vlm.codec
            vlm.eval()
            for batch in data.answer_dataloader(missing):
                moved = data.transfer_batch_to_device(batch, vlm.device, 0)
                began = time.perf_counter()
                generated = vlm.generate(moved.prompts, data.max_new_tokens)
                each = (time.perf_counter() - began) / len(generated)
                log.write(with_scores(record(e, g, each) for e, g in zip(batch.examples, generated, strict=True)))
                if progress is not None:
                    progress(len(log.records), len(wanted))
        answered = {record.key: record for record in log.records}
    if len(examples) != len(wanted) or answered.keys() != wanted.keys():
        raise DocvlmError(
            f"{path}: {len(answered)} answers to {len(examples)} questions with {len(wanted)} different ids; "
            "every question counts once: look for repeated question ids in data.source"
        )
    return [answered[key] for key in wanted]
