"""Florence-2 at four questions a page: page and question meet in its encoder, so the tower's output is what is shared.

Three ways to train: LoRA beside a frozen tower, and the freezing ablation's two ends, where the language side learns in
full and the tower is frozen or learns with it. The more learns, the less of a step the tower's forward pass is. Dropped
paths are off in the embedded architecture, or two passes over a page would differ by their noise.
"""

from __future__ import annotations

from collections.abc import Callable

from bench import models, pages, peers, precision
from bench.ours import Learner
from bench.suite import Cell, Column, Row, Section, Suite, each
from bench.training import OFF, SHARED, STORED, TRAINER, Exact, add, rows
from docvlm.vlms.codec import Budget

QUESTIONS = 4
SIDE = 768  # pixels, as published: 24 x 24 tokens and one


def cells(suite: Suite) -> list[Cell]:
    """The freezing ablation's ends; in the full suite LoRA beside a frozen tower too."""
    ends = [(100.0, 0), (0.0, 0)]
    return each(at_freeze, suite, [(100.0, models.RANK), *ends] if suite.full else ends)


def at_freeze(suite: Suite, freeze: float, r: int) -> list[Row]:
    """Transformers' trainer and plain against shared, and stored where the tower is frozen."""
    height, width = (SIDE, SIDE) if suite.size == "mid" else (168, 280)
    folder = suite.folder / f"florence-{freeze:g}-{r}"
    steps = pages.cut(pages.drawn(folder, (height, width), [QUESTIONS] * (suite.steps + 1), suite.preset), 1)
    budget = Budget(height=height, width=width)
    vlm = models.prepared("florence2", suite.checkpoint("florence2"), budget, freeze=freeze, r=r)
    learner = Learner(vlm, steps, folder / "features")
    ways = {OFF: {"packed": False}, SHARED: {"packed": True}}
    if freeze == 100:
        learner.fill()
        ways[STORED] = {"packed": True, "stored": True}
    peer = peers.florence2(models.stock(vlm), vlm.codec, steps, folder / "trainer")
    exact: dict[str, Exact] = {TRAINER: peer.exact}
    run: dict[str, Callable[[int], float]] = {TRAINER: peer.step}
    add(learner, ways, exact, run)
    language = f"LoRA r={r}" if r else "language in full"
    state = "frozen" if freeze == 100 else "learning"
    found = rows(f"{height} x {width} px, {language}, tower {state}", exact, run, [QUESTIONS] * suite.steps)
    return [row | {"flops": row["ratio_off_flops"]} for row in found]


SECTION = Section(
    name="florence",
    title="Florence-2",
    note=(
        f"Complete optimizer steps at {QUESTIONS} questions a page. × peer is the time of Transformers'"
        " trainer with the published collator over this one's, × off that of packing=off, × by FLOPs what the latter"
        " would be if all of them took equal time:"
        " every question passes the encoder with the whole page, and that cannot be shared."
        " Differences as above, over all that learns."
    ),
    columns=(
        Column("cell", "page, what learns"),
        Column("variant", "path"),
        Column("ms", "ms a question", ".0f"),
        Column("ratio", "× peer", ".1f"),
        Column("ratio_off", "× off", ".1f"),
        Column("flops", "× by FLOPs", ".1f"),
        Column("peak_mb", "peak MB", ".0f"),
        Column("loss", "loss differs", ".1e"),
        Column("gradient", "gradient differs", ".1e"),
    ),
    cells=cells,
    drawn=(SHARED, STORED),
    computes=precision.NAME,
)
