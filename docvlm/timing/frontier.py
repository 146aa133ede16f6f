"""Accuracy, latency and memory of one model at several page sizes, and which of them are worth having.

Every budget is one point: how well the model answers a split of the benchmark at it (with an interval over documents,
and the difference to the first budget on the same questions), how long an answer takes alone and in the largest batch
that fits. A point is on the frontier where no other is at least as fast and as accurate, and better at one of them;
that compares the measured means, so neighbours whose difference is within its interval are the same to a reader.

Answers are kept beside the weights as `docvlm.evaluate` keeps them, so a benchmark repeats only the timing.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, cast

import torch

from docvlm.errors import DocvlmError
from docvlm.evaluation import outcome as outcomes
from docvlm.machine import hardware
from docvlm.metrics.registry import goodness
from docvlm.scoring.score import Score, compare
from docvlm.timing import budgets, capacity, latency, timed_pages
from docvlm.timing.capacity import Largest
from docvlm.timing.latency import Latency

if TYPE_CHECKING:
    from docvlm.config import BenchmarkConfig
    from docvlm.data.benchmark import Role
    from docvlm.data.example import Example
    from docvlm.data.loading.datamodule import DocumentDataModule
    from docvlm.evaluation.outcome import Outcome
    from docvlm.evaluation.subjects import Subject
    from docvlm.scoring.intervals import Difference
    from docvlm.vlms.base import VLM
    from docvlm.vlms.codec import Budget

FEWEST_BATCHES = 5
"""A batch size is timed on at least as many batches, with pages asked again where there are too few."""
CPU_SHARE = 0.75
"""Of a CPU machine's memory: a batch may fill as much."""
_MB = 1024  # MiB in a GiB


@dataclass(frozen=True)
class Point:
    """One budget. `batched` is None where no batch above 1 was asked for or fits; `difference` at the first budget."""

    budget: Budget
    score: Score
    answers: Path
    difference: Difference | None
    single: Latency
    batched: Latency | None
    largest: Largest | None

    @property
    def resolution(self) -> str:
        """The word that `budgets=[…]` has for it."""
        return budgets.word(self.budget)


@dataclass(frozen=True)
class Measured:
    """A subject's points in the order of their budgets; `pages` are the sizes of the timed pages as files."""

    label: str
    split: str
    points: tuple[Point, ...]
    pages: tuple[tuple[int, int], ...]

    @property
    def best(self) -> tuple[bool, ...]:
        """Which points are on the frontier of latency (batch 1, median) and accuracy."""
        return pareto([(p.single.p50_ms, goodness(p.score.metric, p.score.headline)) for p in self.points])


def pareto(points: Sequence[tuple[float, float]]) -> tuple[bool, ...]:
    """Of (cost, gain) pairs: which have no other that costs no more and gains no less, and is better at one of them."""
    return tuple(
        not any(cost <= own_cost and gain >= own_gain and (cost, gain) != (own_cost, own_gain) for cost, gain in points)
        for own_cost, own_gain in points
    )


def measure(
    cfg: BenchmarkConfig, subject: Subject, vlm: VLM, data: DocumentDataModule, say: Callable[[str], None]
) -> Measured:
    """Every budget of `cfg`, in its order, on `data`. `say` gets a line as each budget is done."""
    own = vlm.codec.budget
    wanted = [own] if cfg.budgets is None and cfg.selectors is not None else budgets.chosen(cfg.budgets, own)
    if budgets.word(wanted[0]) == budgets.ONE_SIZE:
        say(f"{subject.family} reads every page at one size, so there is one point")
    questions = data.filled(cast("Role", cfg.split))
    points: list[Point] = []
    first: Outcome | None = None
    with TemporaryDirectory(prefix="docvlm-pages-") as folder:
        pages = timed_pages.alone(questions, cfg.pages, Path(folder))
        sizes = timed_pages.sizes(pages)
        for budget in wanted:
            vlm.set_budget(budget)
            outcome = outcomes.evaluate(subject, vlm, data, cast("Role", cfg.split), rerun=cfg.rerun)
            data.codec = None
            single, batched, found = _timed(cfg, vlm, pages, sizes, data.max_new_tokens)
            difference = None
            if first is not None:
                difference = compare(first.predictions, outcome.predictions, outcome.score.metric)
            first = first or outcome
            points.append(Point(budget, outcome.score, outcome.folder, difference, single, batched, found))
            say(_line(points[-1]))
    return Measured(data.label, cfg.split, tuple(points), tuple(sizes))


def _line(point: Point) -> str:
    return f"{point.resolution}: {point.score.metric} {point.score.interval}, {point.single.p50_ms:.0f} ms a page" + (
        f", {point.batched.pages_per_s:.1f} pages/s in batches of {point.batched.batch}" if point.batched else ""
    )


def _timed(
    cfg: BenchmarkConfig,
    vlm: VLM,
    pages: Sequence[Example],
    sizes: Sequence[tuple[int, int]],
    max_new_tokens: int,
) -> tuple[Latency, Latency | None, Largest | None]:
    """One by one; then in the batch that was asked for, or in the largest that fits."""
    try:
        single = latency.measure(vlm, pages, 1, warmup=cfg.warmup, max_new_tokens=max_new_tokens)
    except torch.OutOfMemoryError as error:
        word = budgets.word(vlm.codec.budget)
        raise DocvlmError(f"budgets={word}: not even one page fits; give smaller budgets") from error
    found = None if cfg.batch != "auto" else _largest(cfg, vlm, pages, sizes, max_new_tokens)
    size = found.batch if found is not None else int(cfg.batch)
    if size == 1:
        return single, None, found
    count = size * max(FEWEST_BATCHES, len(pages) // size)
    many = timed_pages.repeated(pages, count)
    try:
        batched = latency.measure(vlm, many, size, warmup=size, max_new_tokens=max_new_tokens)
    except torch.OutOfMemoryError as error:
        raise DocvlmError(f"batch={cfg.batch}: {size} pages do not fit; give a smaller batch, or batch=auto") from error
    return single, batched, found


def _largest(
    cfg: BenchmarkConfig,
    vlm: VLM,
    pages: Sequence[Example],
    sizes: Sequence[tuple[int, int]],
    max_new_tokens: int,
) -> Largest:
    """The largest batch of the largest pages, so that any others of these fit too."""
    order = sorted(range(len(pages)), key=lambda index: -sizes[index][0] * sizes[index][1])
    big = [pages[index] for index in order]

    def attempt(size: int) -> float:
        gc.collect()
        batch = timed_pages.repeated(big, size)
        return latency.measure(vlm, batch, size, warmup=0, max_new_tokens=max_new_tokens).peak_memory_mb

    return capacity.largest(attempt, cfg.max_batch, _limit_mb(cfg, vlm.device.type))


def _limit_mb(cfg: BenchmarkConfig, kind: str) -> float | None:
    """What was said; else nothing on a GPU, which says itself when it is full, and three quarters of a CPU's memory."""
    if cfg.memory_limit_gb is not None:
        return cfg.memory_limit_gb * _MB
    if kind == "cuda":
        return None
    return CPU_SHARE * float(hardware(kind)["memory_mb"])
