"""A served model as a point beside the page sizes of the same weights: what vLLM, say, takes for the same answers.

It is asked one question at a time, and then `concurrency` at once, by the requests of `docvlm.evaluate endpoint=URL`,
whose scores it has. Times are of a request, from opening the page to the text, with what the network takes. A server
remembers pages and the beginnings of prompts. So that it reads every page as it would a user's, the first pixel of each
timed request has a colour of its own, also in another benchmark. It says nothing of its memory, nor of what it computes
on. It is asked before anything is measured here: if it fails, nothing is lost.
"""

from __future__ import annotations

import itertools
import secrets
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, cast

from docvlm.answering import endpoint as endpoints
from docvlm.answering.chat import data_url
from docvlm.answering.endpoint import Endpoint
from docvlm.errors import DocvlmError
from docvlm.evaluation import outcome as outcomes
from docvlm.evaluation import subjects
from docvlm.scoring.predictions import read
from docvlm.scoring.score import compare
from docvlm.timing import budgets, timed_pages
from docvlm.timing.frontier import FEWEST_BATCHES
from docvlm.timing.latency import FEWEST_FOR_P95, Latency, percentile
from docvlm.timing.runtimes import judged
from docvlm.vlms.families import FAMILIES

if TYPE_CHECKING:
    from docvlm.config import BenchmarkConfig
    from docvlm.data.benchmark import Role
    from docvlm.data.example import Example
    from docvlm.data.loading.datamodule import DocumentDataModule
    from docvlm.evaluation.outcome import Outcome
    from docvlm.scoring.score import Score
    from docvlm.vlms.base import VLM

NAME = "served"
"""What the point is called beside page sizes."""
BUSY = 0.8
"""Share of the time with several questions at once from which resizing pages here, one at a time, is told of."""
_COLOURS = 1 << 24


@dataclass(frozen=True)
class Asked:
    """What a served model answered, and its latency alone and with several questions at once (None: not asked so)."""

    endpoint: Endpoint
    outcome: Outcome
    single: dict[str, Any]
    together: dict[str, Any] | None
    device: str | None


def connected(cfg: BenchmarkConfig, vlm: VLM) -> Endpoint:
    """What serves the weights that are measured, asked about pages of the first budget.

    Raises `DocvlmError` where it cannot be reached, or reads documents otherwise.
    """
    own, how = vlm.codec.budget, FAMILIES[vlm.family].served
    budget = budgets.chosen(cfg.budgets, own)[0] if cfg.budgets is not None else own
    if how is not None and how.page is None and budget != own:
        raise DocvlmError(
            f"budgets={budgets.word(budget)}: a server resizes pages of this model itself, to {budgets.word(own)}; name"
            " that first among budgets, or leave endpoint out"
        )
    found = endpoints.asked_as(cfg, vlm.family, budget, logprobs=cfg.logprobs)
    found.check(vlm.codec.reading)
    return found


def ask(cfg: BenchmarkConfig, endpoint: Endpoint, data: DocumentDataModule, say: Callable[[str], None]) -> Asked:
    """Time the served model, then score it on the split. `say` gets a line.

    Raises `DocvlmError` if it does not answer.
    """
    single, together = _timed(cfg, endpoint, data)
    subject = subjects.of_endpoint(endpoint, None)
    outcome = outcomes.evaluate(subject, endpoint, data, cast("Role", cfg.split), rerun=cfg.rerun)
    say(_line(outcome.score, single, together))
    if cfg.served_on is None:
        say(f"{NAME}: served_on=DEVICE would price it")
    return Asked(endpoint, outcome, single, together, cfg.served_on)


def _line(score: Score, single: dict[str, Any], together: dict[str, Any] | None) -> str:
    line = f"{NAME}: {score.metric} {score.interval}, {single['p50_ms']:.0f} ms a page"
    if together is None:
        return line
    line += f", {together['pages_per_s']:.1f} pages/s with {together['batch']} at once"
    busy = together["pages_per_s"] * single["prepare_p50_ms"] / 1000
    return (
        line if busy < BUSY else f"{line}; bounded by resizing pages here, which took {min(busy, 1):.0%} of that time"
    )


def beside(found: dict[str, Any], asked: Asked) -> dict[str, Any]:
    """A benchmark's record with the served model as its last point.

    It read pages at the budget of the first point, with whose answers its own are compared.
    """
    first, outcome = found["points"][0], asked.outcome
    before = read(Path(first["answers"]) / outcomes.PREDICTIONS)
    point = {
        "resolution": NAME,
        "runtime": True,
        "device": asked.device,
        "served": asked.endpoint.chat.served,
        "endpoint": asked.endpoint.chat.endpoint,
        "budget": first["budget"],
        "score": {"metric": outcome.score.metric, **asdict(outcome.score.interval)},
        "difference_to_first": asdict(compare(before, outcome.predictions, outcome.score.metric)),
        "single": asked.single,
        "batched": asked.together,
        "largest": None,
        "answers": str(outcome.folder),
    }
    return found | {"points": judged([*found["points"], point])}


def _timed(
    cfg: BenchmarkConfig, endpoint: Endpoint, data: DocumentDataModule
) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Requests one after the other, after those that are not counted; then `concurrency` at once."""
    marks = itertools.count(secrets.randbelow(_COLOURS))  # an earlier benchmark had others
    with TemporaryDirectory(prefix="docvlm-pages-") as folder:
        pages = timed_pages.alone(data.filled(cast("Role", cfg.split)), cfg.pages, Path(folder))
        for example in timed_pages.repeated(pages, cfg.warmup):
            _request(endpoint, example, next(marks), data.max_new_tokens)
        alone = [_request(endpoint, example, next(marks), data.max_new_tokens) for example in pages]
        single = _latency([total for _, total in alone], 1, sum(total for _, total in alone))
        single["prepare_p50_ms"] = percentile([prepared for prepared, _ in alone], 50)
        if cfg.concurrency == 1:
            return single, None
        many = timed_pages.repeated(pages, max(len(pages), FEWEST_BATCHES * cfg.concurrency))
        began = time.perf_counter()
        with ThreadPoolExecutor(cfg.concurrency, "endpoint") as pool:
            waiting = [pool.submit(_request, endpoint, one, next(marks), data.max_new_tokens) for one in many]
            together = [one.result() for one in waiting]
        took = time.perf_counter() - began
    return single, _latency([total for _, total in together], cfg.concurrency, took)


def _request(endpoint: Endpoint, example: Example, mark: int, max_new_tokens: int) -> tuple[float, float]:
    """Seconds until the request is made, and until its answer is there."""
    began = time.perf_counter()
    (page,) = example.pages
    image = endpoint.seen(page)
    image.putpixel((0, 0), (mark >> 16 & 255, mark >> 8 & 255, mark & 255))
    sent = [data_url(image)]
    prepared = time.perf_counter() - began
    endpoint.chat.ask(sent, example.question + example.instruction, max_new_tokens)
    return prepared, time.perf_counter() - began


def _latency(seconds: Sequence[float], at_once: int, took: float) -> dict[str, Any]:
    """As `docvlm.timing.latency.Latency`, of requests; None what a server does not say."""
    return dict.fromkeys(field.name for field in fields(Latency)) | {
        "batch": at_once,
        "n": len(seconds),
        "p50_ms": percentile(seconds, 50),
        "p95_ms": percentile(seconds, 95) if len(seconds) >= FEWEST_FOR_P95 else None,
        "mean_ms": 1000 * sum(seconds) / len(seconds),
        "pages_per_s": len(seconds) / took,
    }
