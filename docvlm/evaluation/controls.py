"""What a model knows without looking: the same questions with the pages replaced.

On a *blank* page (all white, of the same size) only the question is left to go by: a score there is prior knowledge,
"yes" for yes-or-no questions, words of the question. On a *shuffled* page (another document's of the same benchmark)
there is something to read that is not meant; equal answers there are what is said whatever the page. Why a benchmark
needs such controls: Goyal et al. 2017, arXiv 1612.00837. What looking adds is the real score minus either, paired.

Every control asks every question once more; answers are kept beside the real ones, as all answers are.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from PIL import Image

from docvlm.answering import answer as answering
from docvlm.data import splits
from docvlm.data.corruptions import on_pages
from docvlm.errors import DocvlmError
from docvlm.evaluation.outcome import PREDICTIONS, Outcome
from docvlm.scoring.formatting import content
from docvlm.scoring.intervals import Difference, Interval, score_interval
from docvlm.scoring.predictions import Prediction
from docvlm.scoring.score import clusters, compare, paired, score

if TYPE_CHECKING:
    from docvlm.answering.elsewhere import Elsewhere
    from docvlm.data.example import Example, Page
    from docvlm.data.loading.datamodule import DocumentDataModule
    from docvlm.vlms.base import VLM

BLANK, SHUFFLED = "blank", "shuffled"
CONTROLS = {
    BLANK: "every page replaced by a white one of its size",
    SHUFFLED: "every document's pages replaced by another document's",
}
"""Every control with what it does."""


@dataclass(frozen=True, slots=True)
class BlankPage:
    """White paper of a page's size."""

    page: Page

    @property
    def name(self) -> str:
        """The page's own name with what was done to it."""
        return f"{self.page.name} (blank)"

    def open(self) -> Image.Image:
        """A white RGB image. The page is opened for its size; raises what that raises."""
        return Image.new("RGB", self.page.open().size, "white")


def blank(examples: Sequence[Example]) -> list[Example]:
    """The same questions on white pages."""
    return on_pages(examples, BlankPage)


def shuffled(examples: Sequence[Example], seed: int = 0) -> list[Example]:
    """The same questions, each document's on the pages of another: no document keeps its own, none is used twice.

    Documents form one seeded cycle (Sattolo 1986). Raises `DocvlmError` where there is only one.
    """
    grouped = splits.documents(examples)
    if len(grouped) < 2:
        raise DocvlmError("controls=true: only one document to evaluate, so no other's pages to show; raise limit")
    cycle = list(grouped)
    random.Random(seed).shuffle(cycle)
    after = dict(zip(cycle, cycle[1:] + cycle[:1], strict=True))
    return [replace(e, pages=grouped[after[e.document]][0].pages) for e in examples]


@dataclass(frozen=True, slots=True)
class Control:
    """One control beside the real pages. `adds` is real minus control; `unchanged` the share of equal answers."""

    name: str
    score: Interval
    adds: Difference
    unchanged: Interval


@dataclass(frozen=True)
class Controls:
    """One set of weights on one benchmark, with every control."""

    outcome: Outcome
    controls: tuple[Control, ...]


def answer(
    model: VLM | Elsewhere, data: DocumentDataModule, outcome: Outcome, progress: answering.Progress | None = None
) -> dict[str, list[Prediction]]:
    """Answers to all questions of an outcome under each control, read from disk where they are there already."""
    examples = data.test if outcome.split == "test" else data.val
    changed = {BLANK: blank(examples), f"{SHUFFLED}-{data.split_seed}": shuffled(examples, data.split_seed)}
    answered = [
        answering.answer(model, data, pages, outcome.folder / "controls" / place / PREDICTIONS, progress)
        for place, pages in changed.items()
    ]
    return dict(zip(CONTROLS, answered, strict=True))


def measure(outcome: Outcome, answers: Mapping[str, Sequence[Prediction]]) -> Controls:
    """Compare the answers under each control with those to the real pages."""
    return Controls(outcome, tuple(_control(outcome, name, given) for name, given in answers.items()))


def _control(outcome: Outcome, name: str, given: Sequence[Prediction]) -> Control:
    metric, real = outcome.score.metric, outcome.predictions
    same = [float(content(a.prediction) == content(b.prediction)) for a, b in paired(real, given)]
    return Control(
        name, score(given, metric).interval, compare(given, real, metric), score_interval(same, clusters(real))
    )
