"""Evaluation at four questions a page: one by one, a padded batch, and one reading of the page for all its questions.

Every answer has the same number of new tokens: the end token is set outside the vocabulary, since a random model ends
anywhere or nowhere. Its weights are drawn wider, or it would say one thing to every question and equal texts would
prove nothing. Timed in `precision.DTYPE`; texts are compared in float32 with one-by-one `generate`.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

import torch

from bench import clock, pages, precision
from bench.ours import LIMIT
from bench.suite import Cell, Column, Row, Section, Suite, each
from docvlm.data.example import Example
from docvlm.vlms import FAMILIES, load_family
from docvlm.vlms.base import VLM
from docvlm.vlms.codec import Stored
from docvlm.vlms.feature_store import FeatureStore

QUESTIONS, NEW_TOKENS, WIDER = 4, 12, 4.0
ONE, PADDED = "one by one (`generate`)", "padded batch (packing=off)"
SHARED, STORED = "shared prefill", "shared prefill, stored features"


def cells(suite: Suite) -> list[Cell]:
    """Small and middle pages of Qwen2-VL; in the full suite large ones and Qwen3-VL too."""
    sizes, families = (suite.tokens, list(pages.SIDES)) if suite.full else (suite.tokens[:2], ["qwen2vl"])
    return each(at_tokens, suite, [(tokens, family) for family in families for tokens in sizes])


def at_tokens(suite: Suite, tokens: int, family: str) -> list[Row]:
    """All ways to answer the same questions."""
    folder = suite.folder / f"{family}-answers-{tokens}"
    asked = pages.of_tokens(folder, tokens, [QUESTIONS] * (2 if tokens <= 256 else 1), suite.preset, family)
    examples = [example for page in asked for example in page]
    vlm = load_family(family).load(suite.checkpoint(family), pages.budget(tokens, family), attn="sdpa", offline=True)
    model = "" if family == "qwen2vl" else f", {FAMILIES[family].label}"
    return answered(f"{tokens} tokens, {QUESTIONS} questions a page{model}", vlm, examples, folder, suite.steps)


def answered(cell: str, vlm: VLM, examples: Sequence[Example], folder: Path, steps: int) -> list[Row]:
    """All ways to answer `examples`."""
    speak_freely(vlm)
    store = FeatureStore(folder / "features", LIMIT)
    ways = {name: Answers(vlm, examples, name, store) for name in (ONE, PADDED, SHARED, STORED)}
    texts = {name: way.texts() for name, way in ways.items()}
    taken = clock.in_turn({name: way.timed for name, way in ways.items()}, steps + 1)
    return [
        {
            "cell": cell,
            "variant": name,
            "ms": 1000 * statistics.median(times) / len(examples),
            "ratio": clock.faster(taken[ONE], times),
            "equal": f"{sum(a == b for a, b in zip(texts[name], texts[ONE], strict=True))} of {len(examples)}",
            "different": len(set(texts[name])),
        }
        for name, times in taken.items()
    ]


def speak_freely(vlm: VLM) -> None:
    """Wider language weights and no end token."""
    net = vlm.bare
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if parameter.ndim == 2 and name.startswith((vlm.language, "lm_head")):
                parameter.mul_(WIDER)
    generation = net.generation_config
    assert generation is not None
    generation.eos_token_id = net.config.get_text_config().vocab_size  # one more than the last token's


class Answers:
    """One way to answer `examples`."""

    def __init__(self, vlm: VLM, examples: Sequence[Example], name: str, store: FeatureStore) -> None:
        self.vlm, self.examples, self.name, self.store = vlm, examples, name, store
        kept = {torch.float32, precision.DTYPE} if name == STORED else ()
        self.stored = {dtype: Stored(store, dtype, dtype) for dtype in kept}

    def texts(self) -> list[str]:
        """In float32, and with stored features from the store."""
        if self.stored:  # the first pass in a dtype fills the store
            self._as_timed()
            self._answer(torch.float32)
            self.store.flush()
        return self._answer(torch.float32)

    def timed(self, step: int) -> float:
        """Seconds for all examples; every step is the same."""
        return clock.seconds(self._as_timed)

    def _as_timed(self) -> list[str]:
        with precision.autocast():
            return self._answer(precision.DTYPE)

    def _answer(self, dtype: torch.dtype) -> list[str]:
        codec = self.vlm.codec
        codec.stored = self.stored.get(dtype)
        if self.name == ONE:
            batches = [codec.prompt_batch([example]) for example in self.examples]
        else:
            batches = [codec.eval_batch(self.examples, packed=self.name != PADDED).prompts]
        return [answer.text for batch in batches for answer in self.vlm.generate(batch, NEW_TOKENS)]


SECTION = Section(
    name="evaluation",
    title="Evaluation",
    note=(
        f"{NEW_TOKENS} new tokens an answer, greedy; × is one-by-one time over this one's. Texts are"
        " compared with one by one in float32; the last column says how many different texts there were."
    ),
    columns=(
        Column("cell", "page tokens, questions"),
        Column("variant", "way"),
        Column("ms", "ms a question", ".0f"),
        Column("ratio", "×", ".1f"),
        Column("equal", "equal texts"),
        Column("different", "different texts", ".0f"),
    ),
    cells=cells,
    drawn=(SHARED, STORED),
    computes=precision.NAME,
)
