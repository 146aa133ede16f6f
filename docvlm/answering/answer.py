"""A model and a split to answers on disk, batch by batch, so that a killed evaluation goes on where it stopped.

The model is a `VLM` in this process or one `Elsewhere`; all else is the same for both.

Answers go to `predictions.jsonl` as they come; what is there already is not asked again. Nothing but text leaves a
batch, so memory does not grow with the split.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from docvlm.data.reading import Reading
from docvlm.errors import DocvlmError
from docvlm.scoring.predictions import Key, Prediction, PredictionLog
from docvlm.scoring.score import with_scores

if TYPE_CHECKING:
    from docvlm.answering.chat import Reply
    from docvlm.answering.elsewhere import Elsewhere
    from docvlm.data.example import Example
    from docvlm.data.loading.datamodule import DocumentDataModule
    from docvlm.vlms.base import VLM, Generated

Progress = Callable[[int, int], None]


def device() -> torch.device:
    """Where answers are generated: the first CUDA device, or the processor."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def record(example: Example, answer: Generated | Reply, latency_s: float) -> Prediction:
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
        confidence=None if answer.confidence is None else round(answer.confidence, 6),
        n_pages=example.n_pages or len(example.pages),
        answer_pages=example.answer_pages,
        page=example.shown[0] if len(example.shown) == 1 else None,
        shown=example.shown,
        language=example.language,
        content=content(example),
    )


def settled(records: Iterable[Prediction]) -> list[Prediction]:
    """One answer a question, the most confident of those it got from several pages; of equal ones the first page's.

    The latencies of its pages add up to that of a question.
    """
    asked: dict[Key, list[Prediction]] = {}
    for one in records:
        asked.setdefault(one.key, []).append(one)
    return [_surest(pages) for pages in asked.values()]


def _surest(pages: Sequence[Prediction]) -> Prediction:
    if len(pages) == 1:
        return pages[0]
    if len({one.page for one in pages}) > 1 and any(one.confidence is None for one in pages):
        raise DocvlmError(
            f"{pages[0].question_id}: an answer to one of its pages came without logprobs, and the most confident one"
            " stands; take data.pages=all or first with this server"
        )
    best = max(pages, key=lambda one: (one.confidence or 0.0, -(one.page or 0)))
    times = [one.latency_s for one in pages if one.latency_s is not None]
    return replace(best, latency_s=round(sum(times), 6) if times else None, shown=())  # all pages were


def content(example: Example) -> str:
    """16 hex digits of a question, its accepted answers and its pages: what an answer that is kept was given to.

    Where language or pages of the answer are said, they count too: scores depend on them.
    """
    from docvlm.data.page_ids import content_of

    said = [value for value in (example.language, example.answer_pages) if value]
    return hashlib.blake2b(repr((*content_of(example), *said)).encode(), digest_size=8).hexdigest()


def kept(path: Path) -> int:
    """How many answers are at `path` already."""
    return path.read_bytes().count(b"\n") if path.exists() else 0


def answer(
    model: VLM | Elsewhere,
    data: DocumentDataModule,
    examples: Sequence[Example],
    path: Path,
    progress: Progress | None = None,
) -> list[Prediction]:
    """Answers to `examples` in their order, from `path` where they are there already, else from the model.

    `progress(done, all)` is called after every batch. Latency is a batch's wall time over its questions, without the
    time to open pages; of a model elsewhere, a request's. Raises `DocvlmError` if `path` holds other questions, the
    loader lost one, or a model elsewhere fails.
    """
    wanted = {(example.benchmark, example.question_id): example for example in examples}
    with _log(path) as log:
        if odd := [record.key for record in log.records if record.key not in wanted]:
            raise DocvlmError(f"{path}: holds answers to other questions, such as {odd[0][1]!r}; give another output")
        missing = [example for key, example in wanted.items() if key not in log]
        if missing:
            for batch in _complete(_batches(model, data, missing), data.reading, data.shown(missing)):
                log.write(with_scores(batch))
                if progress is not None:
                    progress(len(log.records), len(wanted))
        answered = {record.key: record for record in log.records}
    if len(examples) != len(wanted) or answered.keys() != wanted.keys():
        raise DocvlmError(
            f"{path}: {len(answered)} answers to {len(examples)} questions with {len(wanted)} different ids; "
            "every question counts once: look for repeated question ids in data.source"
        )
    return [answered[key] for key in wanted]


def _complete(
    batches: Iterator[list[Prediction]], reading: Reading, examples: Sequence[Example]
) -> Iterator[list[Prediction]]:
    """Answers whose pages have all been asked; a question whose other pages are still to come waits."""
    if not reading.one_by_one:
        yield from batches
        return
    wanted = {(e.benchmark, e.question_id): len(reading.asked(e)) for e in examples}
    waiting: dict[Key, list[Prediction]] = {}
    for batch in batches:
        for one in batch:
            waiting.setdefault(one.key, []).append(one)
        whole = [key for key, pages in waiting.items() if len(pages) == wanted[key]]
        if whole:
            yield settled(one for key in whole for one in waiting.pop(key))


def _batches(
    model: VLM | Elsewhere, data: DocumentDataModule, examples: Sequence[Example]
) -> Iterator[list[Prediction]]:
    """Answers as they come, without scores."""
    from docvlm.answering.elsewhere import Elsewhere

    if isinstance(model, Elsewhere):
        model.check(data.reading)
        shown = [one for example in data.shown(examples) for one in data.reading.asked(example)]
        for answered in model.answers(shown, data.max_new_tokens):
            yield [record(example, reply, reply.latency_s) for example, reply in answered]
        return
    data.codec = model.codec
    model.eval()
    if data.packing and (line := model.settle(examples)):
        print(line, flush=True)
    for batch in data.answer_dataloader(examples):
        moved = data.transfer_batch_to_device(batch, model.device, 0)
        began = time.perf_counter()
        generated = model.generate(moved.prompts, data.max_new_tokens)
        each = (time.perf_counter() - began) / len(generated)
        yield [record(e, g, each) for e, g in zip(batch.examples, generated, strict=True)]


@contextmanager
def _log(path: Path) -> Iterator[PredictionLog]:
    """The log at `path`; where not one answer came of it, the empty file goes, and the folders made for it."""
    made = [folder for folder in path.parents if not folder.exists()]
    try:
        with PredictionLog(path) as log:
            yield log
    finally:
        if path.exists() and not path.stat().st_size:
            path.unlink()
            for folder in made:
                with suppress(OSError):  # somebody else has put something there meanwhile
                    folder.rmdir()
