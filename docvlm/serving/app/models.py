"""Who answers in the browser: a run beside the checkpoint it started from, or one model alone.

Both are in memory at once, so that they answer one after the other about the same page; where a machine has no room
for two, `--alone` leaves the base out. A base that cannot be loaded is said, and the run answers by itself.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docvlm.data.benchmarks import DEFAULT
from docvlm.data.generated.page import DrawnPage
from docvlm.errors import DocvlmError
from docvlm.reporting.naming import adapter
from docvlm.serving import reader
from docvlm.vlms import embedded, saved
from docvlm.vlms.families import label

if TYPE_CHECKING:
    from docvlm.data.example import Page
    from docvlm.serving.answers import Answer
    from docvlm.serving.reader import Reader


@dataclass(frozen=True, eq=False)
class Contender:
    """One model. `title` is its part (`fine-tuned`, `base`, `checkpoint`), `name` what was loaded, `reader` asks it."""

    title: str
    name: str
    reader: Reader

    @property
    def kind(self) -> str:
        """Family, and what was learned where something was."""
        vlm = self.reader.vlm
        words = [label(saved.name_of(vlm.family, vlm.checkpoint))]
        if vlm.trainable is not None:
            lora = vlm.trainable.lora
            word = adapter({"lora_use_dora": lora.use_dora, "quant": vlm.quant})
            words.append(f"with {word} of rank {lora.r}" if lora.r else "learned in full")
        return " ".join(words)

    @property
    def miniature(self) -> bool:
        """Whether it is, or started from, a checkpoint that docvlm ships."""
        return embedded.holds(self.reader.vlm.checkpoint)


@dataclass(frozen=True)
class Reply:
    """What each model answers to one question, in the order of the models."""

    question: str
    answers: tuple[Answer, ...]

    @property
    def differ(self) -> bool:
        """Whether the texts differ, spaces and case apart."""
        return not all(says(answer, self.answers[0].text) for answer in self.answers)


def says(answer: Answer, text: str) -> bool:
    """Whether an answer is `text`, spaces and case apart."""
    return answer.text.casefold().split() == text.casefold().split()


def load(
    run: Path | None,
    checkpoint: str | None = None,
    *,
    family: str | None = None,
    benchmark: str | None = None,
    base: str | None = None,
    device: str | None = None,
    offline: bool = False,
    alone: bool = False,
) -> tuple[Contender, ...]:
    """The models that `docvlm-app`'s flags mean: the run and its base, or the one checkpoint.

    Raises `DocvlmError` as `reader.load` does, also for a base that was named. A recorded base that cannot be loaded
    is left out, with a line on standard error.
    """
    options: dict[str, Any] = {"benchmark": benchmark, "device": device, "offline": offline}
    if run is None:
        assert checkpoint is not None
        return _warm(Contender("checkpoint", checkpoint, reader.load(checkpoint, family=family, **options)))
    ours = Contender("fine-tuned", str(run), reader.load(run, base=base, **options))
    if alone:
        return _warm(ours)
    try:
        theirs = reader.load_base(run, base=base, **options)
    except DocvlmError as error:
        if base is not None:
            raise
        print(f"without the base beside it: {error}", file=sys.stderr)
        return _warm(ours)
    name = "embedded" if embedded.holds(theirs.vlm.checkpoint) else str(theirs.vlm.checkpoint)
    return _warm(ours, Contender("base", name, theirs))


def _warm(*contenders: Contender) -> tuple[Contender, ...]:
    """The same, each having answered once: else the latency of the first answer is that of starting up."""
    page = DrawnPage(DEFAULT.name, "test", 0, "tiny", 0)
    for one in contenders:
        for questions in (["?"], ["?", "?"]):  # alone, and together: two ways through a model
            one.reader.ask(page, questions, max_new_tokens=2)
    return contenders


def ask(
    contenders: Sequence[Contender], pages: Sequence[Page], questions: Sequence[str], max_new_tokens: int | None
) -> list[Reply]:
    """What every model answers to `questions` about the pages of one document; each reads them once."""
    columns = [one.reader.ask(list(pages), list(questions), max_new_tokens=max_new_tokens) for one in contenders]
    return [Reply(question, tuple(answers)) for question, *answers in zip(questions, *columns, strict=True)]
