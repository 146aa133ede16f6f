"""Reading all pages of a document against reading those that a selector hands on: accuracy, tokens, seconds, memory.

Three ways to read the same questions stand in one table: all pages; all pages at a smaller budget, at which a document
costs about as many tokens as k of its pages at full size; and the k pages that a selector hands on, at full size. What
one of the ways cannot read is left out of all of them.

Answers are kept beside the weights as `docvlm.evaluate` keeps them. Tokens, seconds and memory are of the first
question of a document, alone, with nothing kept of the document before: the selector's time is part of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from copy import copy
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean, median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from docvlm.data.reading import ALL, FIRST, NONE, RETRIEVER, Selection, recalled
from docvlm.errors import DocvlmError
from docvlm.evaluation import outcome as outcomes
from docvlm.machine import measured_peak
from docvlm.scoring.groups import members
from docvlm.scoring.intervals import Difference, Interval
from docvlm.scoring.pages import page_recall
from docvlm.scoring.score import compare
from docvlm.selection import Choose, choose_by, chooser, ranking
from docvlm.timing import latency, timed_pages
from docvlm.vlms.families import FAMILIES, PIXELS

if TYPE_CHECKING:
    from docvlm.config import BenchmarkConfig
    from docvlm.data.benchmark import Role
    from docvlm.data.example import Example
    from docvlm.data.loading.datamodule import DocumentDataModule
    from docvlm.data.reading import Reading
    from docvlm.evaluation.outcome import Outcome
    from docvlm.evaluation.subjects import Subject
    from docvlm.vlms.base import VLM
    from docvlm.vlms.codec import Budget, Codec

Say = Callable[[str], None]
_Asked = tuple[int, float, float | None]
"""Prompt tokens of a question, seconds until its answer is there, those of them that choosing pages took."""
_CLOSE = 100  # the smaller budget is found to one part in so many


@dataclass(frozen=True)
class Way:
    """One way to read documents: the pages that `selection` hands on, at `budget`. `data` asks the questions so.

    `pages` is k, the number of pages handed on or whose tokens all pages together have; None: all at full size.
    """

    selection: Selection
    budget: Budget
    data: DocumentDataModule
    pages: int | None = None

    @property
    def name(self) -> str:
        """What is read, in the words of the table."""
        reading = self.data.reading
        if self.selection.name != NONE:
            return f"best k by {self.selection.name}" + ", one by one" * reading.one_by_one
        if self.pages is not None:
            return f"all pages, document_pixels={self.budget.document_pixels}"
        return {ALL: "all pages", FIRST: "the first page"}.get(reading.pages, "all pages, one by one")


@dataclass(frozen=True)
class Plan:
    """The ways in the order of their rows. `left_out` questions are asked in none, since one of them cannot read them.

    `trained` is how the model was trained to read.
    """

    ways: tuple[Way, ...]
    left_out: int
    trained: Reading


@dataclass(frozen=True)
class Row:
    """One way on all documents, or on those of some number of pages (`documents`, a group of `scoring.groups`).

    Of the first questions of `timed` documents: mean tokens of the prompt, median seconds, median seconds of these that
    choosing pages took, and the peak in MiB; None where none of the group was timed. `difference` is to the first way,
    `same_tokens` to all pages at the smaller budget of the same k.
    """

    read: str
    k: int | None
    documents: str | None
    selector: str
    budget: Mapping[str, Any]
    score: Interval
    difference: Difference | None
    same_tokens: Difference | None
    recall: Interval | None
    prompt_tokens: float | None
    seconds: float | None
    selector_seconds: float | None
    peak_memory_mb: float | None
    timed: int


@dataclass(frozen=True)
class Compared:
    """Every way, first on all documents, then by number of pages; `trained` and `left_out` are the plan's."""

    metric: str
    trained: Reading
    left_out: int
    rows: tuple[Row, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain types for JSON."""
        return asdict(self)


def plan(cfg: BenchmarkConfig, subject: Subject, data: DocumentDataModule, say: Say) -> Plan | None:
    """The ways that `selectors` and `selector_pages` mean; None without selectors.

    Pages are chosen here, before weights are loaded. Raises `DocvlmError` where no document has several pages, a
    selector cannot be had or knows nothing of the pages, or no question is left.
    """
    if cfg.selectors is None:
        return None
    assert subject.codec is not None
    split, codec = cast("Role", cfg.split), subject.codec()
    examples = data.filled(split)
    if all(len(example.pages) == 1 for example in examples):
        raise DocvlmError(
            f"selectors=[{','.join(cfg.selectors)}]: no document of {data.label} has several pages to choose from; give"
            " benchmark=NAME or data.NAME.source=DIR with documents that have, or drop selectors"
        )
    chosen = _chosen(cfg, examples, say)
    kept, reason = _readable(examples, chosen.values(), codec, data)
    budgets: dict[int, Budget] = {}
    if Selection() in chosen and data.reading.pages == ALL and FAMILIES[codec.family].budget == PIXELS and kept:
        budgets = {k: _smaller(codec, kept, k) for k in cfg.selector_pages}
    for budget in budgets.values():
        kept, why = _readable(kept, [chosen[Selection()]], _at(codec, budget), data)
        reason = reason or why
    if all(len(example.pages) == 1 for example in kept):
        raise DocvlmError(f"selectors: no document of several pages is left that can be read in every way: {reason}")
    if left_out := len(examples) - len(kept):
        say(f"selectors: {left_out} of {len(examples)} questions are left out of every row: {reason}")

    def way(selection: Selection, budget: Budget, k: int | None) -> Way:
        return Way(selection, budget, data.asked_of(kept, split, selection, _known(selection, chosen[selection])), k)

    found = [way(Selection(), codec.budget, None)] if Selection() in chosen else []
    for k in cfg.selector_pages:
        found += [way(Selection(), budgets[k], k)] if k in budgets else []
        found += [way(one, codec.budget, k) for one in chosen if one.name != NONE and one.pages == k]
    return Plan(tuple(found), left_out, codec.reading)


def _chosen(cfg: BenchmarkConfig, examples: Sequence[Example], say: Say) -> dict[Selection, dict[str, Example]]:
    """By selection, the examples by their question's id, with the pages that are handed on."""
    found = {}
    for name in cfg.selectors or []:
        if name == NONE:
            found[Selection()] = {example.question_id: example for example in examples}
            continue
        checkpoint = (cfg.selector_checkpoint or "") if name == RETRIEVER else ""
        wanted = [Selection(name, k, checkpoint) for k in cfg.selector_pages]
        selector = ranking(wanted[0], offline=cfg.offline)
        for selection in wanted:
            handed = choose_by(selector, selection)(examples)
            held, known = recalled(handed)
            where = f", which hold the answer of {held} of {known} questions that say where it is" if known else ""
            say(f"selector: {name} hands on {selection.pages} of a document's pages{where}")
            found[selection] = {example.question_id: example for example in handed}
    return found


def _known(selection: Selection, chosen: Mapping[str, Example]) -> Choose | None:
    """What was chosen already, without the selector that did: its weights are not to count as another way's memory."""
    return None if selection.name == NONE else lambda examples: [chosen[example.question_id] for example in examples]


def _readable(
    examples: Sequence[Example], shown: Collection[Mapping[str, Example]], codec: Codec, data: DocumentDataModule
) -> tuple[list[Example], str]:
    """The examples that a model can take in every form of `shown`, and why the first of the others is not."""
    kept, reason = [], ""
    for example in examples:
        forms = [one for chosen in shown for one in data.reading.asked(chosen[example.question_id])]
        bad = next(filter(None, (codec.refusal(one, data.max_new_tokens) for one in forms)), None)
        if bad is None:
            kept.append(example)
        elif not reason:
            reason = f"{example.document}: {bad}"
    return kept, reason


def _at(codec: Codec, budget: Budget) -> Codec:
    found = copy(codec)
    found.budget = budget
    return found


def _smaller(codec: Codec, examples: Sequence[Example], k: int) -> Budget:
    """The budget at which all pages of a document have about the tokens, and no more, of k of them at full size."""
    documents = list({example.pages: example for example in examples}.values())

    def tokens(budget: Budget) -> Any:
        return _at(codec, budget).lengths(documents).pages

    counts = np.array([len(one.pages) for one in documents])
    allowed = float((tokens(codec.budget) * np.minimum(1, k / counts)).mean())
    assert codec.budget.max_pixels is not None
    low, high = 1, k * codec.budget.max_pixels
    while high - low > max(1, low // _CLOSE):
        middle = (low + high) // 2
        if tokens(replace(codec.budget, document_pixels=middle)).mean() <= allowed:
            low = middle
        else:
            high = middle
    return replace(codec.budget, document_pixels=low)


def measure(cfg: BenchmarkConfig, subject: Subject, vlm: VLM, planned: Plan | None, say: Say) -> Compared | None:
    """Answer, score and time every way; None without a plan. `say` gets a line as each is done."""
    if planned is None:
        return None
    split, rows = cast("Role", cfg.split), list[Row]()
    first: Outcome | None = None
    smaller: dict[int, Outcome] = {}
    with TemporaryDirectory(prefix="docvlm-pages-") as folder:
        timed = timed_pages.whole(planned.ways[0].data.filled(split), cfg.pages, Path(folder))
        for way in planned.ways:
            vlm.set_budget(way.budget)
            outcome = outcomes.evaluate(subject, vlm, way.data, split, rerun=cfg.rerun)
            groups = members(outcome.predictions, "pages")
            against = None if way.pages is None or way.selection.name == NONE else smaller.get(way.pages)
            made = _rows(way, outcome, first, against, groups, _timed(cfg, vlm, way, timed, outcome, groups))
            say(f"{way.name}{'' if way.pages is None else f', k={way.pages}'}: {outcome.score.metric} {made[0].score}")
            rows += made
            first = first or outcome
            if way.selection.name == NONE and way.pages is not None:
                smaller[way.pages] = outcome
    order = [None, *groups] if len(groups) > 1 else [None]
    ordered = [row for label in order for row in rows if row.documents == label]
    return Compared(outcome.score.metric, planned.trained, planned.left_out, tuple(ordered))


def _rows(
    way: Way,
    outcome: Outcome,
    first: Outcome | None,
    smaller: Outcome | None,
    groups: Mapping[str, list[int]],
    clocked: Mapping[str | None, _Clocked],
) -> list[Row]:
    """One of all documents, and one of each group; `groups` has the places of its questions in the answers."""
    whole: tuple[str | None, Sequence[int]] = (None, range(len(outcome.predictions)))
    found = []
    for label, places in (whole, *groups.items()):
        mine = [outcome.predictions[place] for place in places]
        to_first, same_tokens = (
            None if other is None else compare([other.predictions[p] for p in places], mine, outcome.score.metric)
            for other in (first, smaller)
        )
        found.append(
            Row(
                read=way.name,
                k=way.pages,
                documents=label,
                selector=way.selection.name,
                budget=asdict(way.budget),
                score=outcome.score.interval if label is None else outcome.score.groups["pages"][label],
                difference=to_first,
                same_tokens=same_tokens,
                recall=page_recall(mine),
                **asdict(clocked.get(label, _Clocked())),
            )
        )
    return found


@dataclass(frozen=True)
class _Clocked:
    """What the timed documents of a group took, a question; see `Row`."""

    prompt_tokens: float | None = None
    seconds: float | None = None
    selector_seconds: float | None = None
    peak_memory_mb: float | None = None
    timed: int = 0


def _timed(
    cfg: BenchmarkConfig,
    vlm: VLM,
    way: Way,
    examples: Sequence[Example],
    outcome: Outcome,
    groups: Mapping[str, list[int]],
) -> dict[str | None, _Clocked]:
    """The examples one by one, group by group, each with what its group took; under None what all did."""
    label = {outcome.predictions[place].question_id: name for name, places in groups.items() for place in places}
    most, reading = way.data.max_new_tokens, way.data.reading
    peaks: dict[str, float] = {}
    took: dict[str, list[_Asked]] = {}
    try:
        choose = chooser(way.selection, offline=cfg.offline)
        for number in range(cfg.warmup):
            _answered(vlm, examples[number % len(examples)], choose, reading, most)
        choose = chooser(way.selection, offline=cfg.offline)  # one that has seen none of the documents
        for name in groups:
            asked = [example for example in examples if label[example.question_id] == name]
            with measured_peak(vlm.device.type) as peak:
                took[name] = [_answered(vlm, example, choose, reading, most) for example in asked]
            peaks[name] = peak[0]
    except torch.OutOfMemoryError as error:
        raise DocvlmError(
            f"selectors: {way.name} of a document do not fit; give the run's weights with a smaller budget.max_pixels,"
            " or leave none out of selectors"
        ) from error
    found: dict[str | None, _Clocked] = {name: _of(some, peaks[name]) for name, some in took.items() if some}
    everything = [one for some in took.values() for one in some]
    return {None: _of(everything, max(peaks[name] for name, some in took.items() if some)), **found}


def _of(took: Sequence[_Asked], peak: float) -> _Clocked:
    tokens, seconds, selecting = zip(*took, strict=True)
    chosen = [one for one in selecting if one is not None]
    return _Clocked(fmean(tokens), median(seconds), median(chosen) if chosen else None, peak, len(took))


def _answered(vlm: VLM, example: Example, choose: Choose | None, reading: Reading, max_new_tokens: int) -> _Asked:
    began = time.perf_counter()
    (shown,) = [example] if choose is None else choose([example])
    selecting = 0.0 if choose is None else time.perf_counter() - began
    timings = [latency.timed(vlm, [one], max_new_tokens) for one in reading.asked(shown)]
    seconds = selecting + sum(one.total for one in timings)
    return sum(one.prompt_tokens for one in timings), seconds, None if choose is None else selecting
