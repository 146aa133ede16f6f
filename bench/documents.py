"""Documents of many pages: training against TRL's two ways to hold one, evaluation, and what memory grows with.

A document of 8 pages of 256 tokens has 4 questions, the tower is frozen, a document is a step. TRL's `SFTTrainer` takes
it as a row a question, each with all the pages, or as one chat of four turns. The chat reads the pages once, as shared
pages do, but answers depend on the turns before them and, as TRL does by default, every token of the chat is learned:
it has a time and a peak to compare, and no loss. The memory is that of a step on the shared pages of one document of
1 to 16 pages, above model and optimizer.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec

from bench import clock, evaluation, models, pages, peers, precision
from bench.ours import Learner
from bench.suite import Cell, Column, Row, Section, Suite, each
from bench.training import OFF, SHARED, STORED, TRAINER, TRL, Exact, add, rows
from docvlm.vlms import load_family

PAGES, QUESTIONS, NUMBERS = 8, 4, (1, 2, 4, 8, 16)
CHAT = "TRL SFTTrainer, one chat a document"


def cells(suite: Suite) -> list[Cell]:
    """In the full suite, on small pages: they take eight minutes."""
    small = suite.tokens[0]
    if not suite.full:
        return []
    return [*each(trained, suite, [(small,)]), *each(answered, suite, [(small,)]), *each(memory, suite, [(small,)])]


def trained(suite: Suite, tokens: int) -> list[Row]:
    """TRL's two ways and plain against shared and stored; where TRL is not installed, Transformers' trainer."""
    folder = suite.folder / "documents-steps"
    steps = pages.documents_of(folder, tokens, [PAGES] * (suite.steps + 1), QUESTIONS, suite.preset)
    vlm = models.prepared("qwen2vl", suite.checkpoint("qwen2vl"), pages.budget(tokens))
    learner = Learner(vlm, steps, folder / "features")
    learner.fill()
    if find_spec("trl"):
        others = {TRL: peers.trl(models.stock(vlm), vlm.codec, steps, folder / "trl")}
        others[CHAT] = peers.trl(models.stock(vlm), vlm.codec, steps, folder / "chat", chat=True)
    else:
        others = {TRAINER: peers.hugging_face(models.stock(vlm), vlm.codec, steps, folder / "trainer")}
    exact: dict[str, Exact] = {name: peer.exact for name, peer in others.items() if name != CHAT}
    run: dict[str, Callable[[int], float]] = {name: peer.step for name, peer in others.items()}
    ways = {OFF: {"packed": False}, SHARED: {"packed": True}, STORED: {"packed": True, "stored": True}}
    add(learner, ways, exact, run)
    nets = [vlm, *(peer.trainer.model for peer in others.values())]
    against = {"ratio_chat": CHAT} if CHAT in others else {}
    return rows(f"{_named(PAGES, tokens)}, training", exact, run, [QUESTIONS] * suite.steps, nets, against)


def answered(suite: Suite, tokens: int) -> list[Row]:
    """Four questions about one document."""
    folder = suite.folder / "documents-answers"
    (examples,) = pages.documents_of(folder, tokens, [PAGES], QUESTIONS, suite.preset)
    vlm = load_family("qwen2vl").load(suite.checkpoint("qwen2vl"), pages.budget(tokens), attn="sdpa", offline=True)
    return evaluation.answered(f"{_named(PAGES, tokens)}, evaluation", vlm, examples, folder, suite.steps)


def memory(suite: Suite, tokens: int) -> list[Row]:
    """A step a number of pages, after one that warms up; not timed, since nothing stands beside it."""
    vlm = models.prepared("qwen2vl", suite.checkpoint("qwen2vl"), pages.budget(tokens))
    folder = suite.folder / "documents-memory"
    steps = pages.documents_of(folder, tokens, NUMBERS, QUESTIONS, suite.preset)
    learner = Learner(vlm, steps, folder / "features")
    learner.fill()
    if precision.HALF:
        models.halve(vlm)
    found: list[Row] = []
    for number, count in enumerate(NUMBERS):
        for name, stored in ((SHARED, False), (STORED, True)):
            step = partial(learner.step, number, packed=True, stored=stored)
            step()
            peaks = [clock.peak_above(step) for _ in range(3)]
            known = [peak for peak in peaks if peak is not None]
            peak = statistics.median(known) if known else None
            cell = f"{_named(count, tokens)}, memory"
            found.append({"cell": cell, "variant": name, "peak_mb": peak, "page_mb": peak and peak / count})
    return found


def _named(count: int, tokens: int) -> str:
    return f"{count} {'page' if count == 1 else 'pages'} of {tokens} tokens"


SECTION = Section(
    name="documents",
    title="Documents of many pages",
    note=(
        f"{QUESTIONS} questions a document, a document a step, tower frozen, LoRA r=16. Training: complete optimizer"
        f" steps; × peer is the time of {TRL if find_spec('trl') else TRAINER} with a row a question, each with all"
        " pages, over this one's, × chat that of its one chat a document, which learns every token of it; × off, peaks"
        f" and differences as above. Evaluation: {evaluation.NEW_TOKENS} new tokens an answer, × peer is one-by-one"
        " time over this one's, texts are compared in float32. Memory: the peak of a step above model and optimizer by"
        " pages of the document."
    ),
    columns=(
        Column("cell", "document"),
        Column("variant", "way"),
        Column("ms", "ms a question", ".0f"),
        Column("ratio", "× peer", ".1f"),
        Column("ratio_chat", "× chat", ".1f"),
        Column("ratio_off", "× off", ".1f"),
        Column("peak_mb", "peak MB", ".0f"),
        Column("peak_ratio", "peer's peak / this", ".1f"),
        Column("page_mb", "peak MB a page", ".0f"),
        Column("loss", "loss differs", ".1e"),
        Column("gradient", "gradient differs", ".1e"),
        Column("equal", "equal texts"),
    ),
    cells=cells,
    drawn=(SHARED, STORED, evaluation.SHARED, evaluation.STORED),
    computes=precision.NAME,
)
