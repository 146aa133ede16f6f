"""How long an answer takes, as a person waits for it: page opened, resized, encoded, prefilled, decoded, as text.

The path is that of `docvlm-predict`: each question is alone on its page and an adapter is not merged. The clock stops
when the text is there, which on a GPU means that its kernels are done. The first token counts from its logits, which a
hook on the vocabulary projection sees; that costs one synchronisation an answer.

Percentiles interpolate linearly between order statistics (numpy's default). Of fewer than 20 timings the 95th would be
the maximum under another name, and is left out. What a machine does for others is in the times: close it first.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from docvlm.machine import measured_peak, memory_mb

if TYPE_CHECKING:
    from docvlm.data.example import Example
    from docvlm.vlms.base import VLM

Clock = Callable[[], float]
FEWEST_FOR_P95 = 20


@dataclass(frozen=True, slots=True)
class Timing:
    """One batch answered, in seconds from its start: pages ready on the device, first token of an answer, text.

    Tokens are sums over the batch; `new_tokens` counts end tokens.
    """

    questions: int
    prepared: float
    first_token: float
    total: float
    prompt_tokens: int
    new_tokens: int


@dataclass(frozen=True, slots=True)
class Latency:
    """`n` batches of `batch` questions, each on a page of its own. Times are of a whole batch, from page to text.

    `tokens_per_s` is decoding alone: tokens after the first of each answer, over the time after the first token; None
    where no answer had a second one. Memory is in MiB: allocated on the GPU, or resident in the process; `held` is what
    was there before the first timed batch (weights, and on a CPU the libraries).
    """

    batch: int
    n: int
    p50_ms: float
    p95_ms: float | None
    mean_ms: float
    prepare_p50_ms: float
    first_token_p50_ms: float
    first_token_p95_ms: float | None
    tokens_per_s: float | None
    pages_per_s: float
    prompt_tokens: float
    new_tokens: float
    peak_memory_mb: float
    held_memory_mb: float


def measure(
    vlm: VLM,
    examples: Sequence[Example],
    batch: int,
    *,
    warmup: int,
    max_new_tokens: int,
    clock: Clock = time.perf_counter,
) -> Latency:
    """Answer `examples` in batches of `batch`, after batches of `warmup` questions or more that are not counted.

    An incomplete last batch is left out. Raises `ValueError` if there is no whole batch.
    """
    batches = [examples[start : start + batch] for start in range(0, len(examples) - batch + 1, batch)]
    if not batches:
        raise ValueError(f"{len(examples)} examples do not fill a batch of {batch}")
    for number in range(-(-warmup // batch)):
        timed(vlm, batches[number % len(batches)], max_new_tokens, clock)
    kind = vlm.device.type
    held = memory_mb(kind)
    with measured_peak(kind) as peak:
        timings = [timed(vlm, one, max_new_tokens, clock) for one in batches]
    return summarise(timings, batch, peak[0], held)


def timed(vlm: VLM, examples: Sequence[Example], max_new_tokens: int, clock: Clock = time.perf_counter) -> Timing:
    """Answer one batch by the clock."""
    _wait(vlm.device)
    began = clock()
    batch = {name: tensor.to(vlm.device) for name, tensor in vlm.codec.prompt_batch(examples).items()}
    _wait(vlm.device)
    prepared = clock()
    with _first_token(vlm, clock) as first:
        answers = vlm.generate(batch, max_new_tokens)  # ends with text, so with everything done
    ended = clock()
    return Timing(
        questions=len(examples),
        prepared=prepared - began,
        first_token=first[0] - began,
        total=ended - began,
        prompt_tokens=int(batch["attention_mask"].sum()),
        new_tokens=sum(answer.tokens for answer in answers),
    )


def summarise(timings: Sequence[Timing], batch: int, peak: float, held: float) -> Latency:
    """Percentiles of whole batches; tokens a question; rates over the sums."""
    total, first = [t.total for t in timings], [t.first_token for t in timings]
    questions = sum(t.questions for t in timings)
    later = sum(t.new_tokens - t.questions for t in timings)
    decoding = sum(t.total - t.first_token for t in timings)
    return Latency(
        batch=batch,
        n=len(timings),
        p50_ms=percentile(total, 50),
        p95_ms=percentile(total, 95) if len(timings) >= FEWEST_FOR_P95 else None,
        mean_ms=1000 * sum(total) / len(timings),
        prepare_p50_ms=percentile([t.prepared for t in timings], 50),
        first_token_p50_ms=percentile(first, 50),
        first_token_p95_ms=percentile(first, 95) if len(timings) >= FEWEST_FOR_P95 else None,
        tokens_per_s=later / decoding if later > 0 else None,
        pages_per_s=questions / sum(total),
        prompt_tokens=sum(t.prompt_tokens for t in timings) / questions,
        new_tokens=sum(t.new_tokens for t in timings) / questions,
        peak_memory_mb=peak,
        held_memory_mb=held,
    )


def percentile(seconds: Sequence[float], percent: float) -> float:
    """In milliseconds, interpolated linearly."""
    return 1000 * float(np.percentile(seconds, percent))


@contextmanager
def _first_token(vlm: VLM, clock: Clock) -> Iterator[list[float]]:
    """Afterwards the list holds the time at which the first answer token's logits were there."""
    seen: list[float] = []
    calls = 0

    def look(*_: object) -> None:
        nonlocal calls
        calls += 1
        if calls == vlm.forced_tokens + 1:
            _wait(vlm.device)
            seen.append(clock())

    handle = vlm.bare.get_output_embeddings().register_forward_hook(look)
    try:
        yield seen
    finally:
        handle.remove()


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
