"""A decoder frozen from its input: complete optimizer steps of LoRA on the blocks above, four questions a page.

Three trainings stand beside each other. TRL's `SFTTrainer` learns in all blocks, a row a question and one chat of four
turns a page, as its users would; it also learns in the same blocks as we do, which its backward pass gains from too.
docvlm's ways differ in what is shared and stored; the last reads what the frozen blocks made of the page, as every
epoch but the first does. The chat has a time and no loss to compare (`documents`). Differences are of step 0 in float32
from packing=off of the same blocks.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib.util import find_spec

from bench import models, pages, peers, precision
from bench.ours import Learner
from bench.suite import Cell, Column, Row, Section, Suite, each
from bench.training import ALSO, CHAT, OFF, SHARED, STORED, TRAINER, TRL, Exact, add, rows
from docvlm.vlms import FAMILIES

QUESTIONS = 4
SAME = "{}, same blocks"
PREFILL, ALL = "shared pages, stored prefill", "stored features, all blocks learn"


def cells(suite: Suite) -> list[Cell]:
    """Two thirds of the blocks; other shares, pages and families with all."""
    small, middle, _ = suite.tokens
    more = [(small, 66), (middle, 33), (middle, 66, "qwen3vl")]
    return each(frozen_decoder, suite, [(middle, 66), *(more if suite.full else [])])


def frozen_decoder(suite: Suite, tokens: int, share: int, family: str = "qwen2vl") -> list[Row]:
    """Every way at one page size with `share` percent of the decoder's blocks frozen."""
    folder = suite.folder / f"decoder-{family}-{tokens}-{share}"
    size = 2 if tokens <= 256 else 1  # pages a step, as in the section on training
    asked = [QUESTIONS] * (suite.steps + 1) * size
    steps = pages.cut(pages.of_tokens(folder, tokens, asked, suite.preset, family), size)
    source, budget = suite.checkpoint(family), pages.budget(tokens, family)
    vlm = models.prepared(family, source, budget, freeze_language=share)
    whole = models.prepared(family, source, budget)
    learner, all_blocks = Learner(vlm, steps, folder / "features"), Learner(whole, steps, folder / "features")
    learner.fill()
    peer = TRL if find_spec("trl") else TRAINER
    make = peers.trl if find_spec("trl") else peers.hugging_face
    same = SAME.format(peer)
    others = {peer: make(models.stock(whole), whole.codec, steps, folder / "rows")}
    if find_spec("trl"):
        others[CHAT] = peers.trl(models.stock(whole), whole.codec, steps, folder / "chat", chat=True)
    others[same] = make(models.stock(vlm), vlm.codec, steps, folder / "same")
    exact: dict[str, Exact] = {same: others[same].exact}
    run: dict[str, Callable[[int], float]] = {name: other.step for name, other in others.items()}
    run[ALL] = partial(all_blocks.step, packed=True, stored=True)
    ways = {
        OFF: {"packed": False},
        SHARED: {"packed": True},
        STORED: {"packed": True, "stored": True},
        PREFILL: {"packed": True, "stored": True, "prefilled": True},
    }
    add(learner, ways, exact, run)
    assert vlm.trainable is not None
    frozen = f"{vlm.trainable.frozen_layers} of {vlm.trainable.layers} blocks frozen ({share} %)"
    model = "" if family == "qwen2vl" else f", {FAMILIES[family].label}"
    nets = [vlm, whole, *(other.trainer.model for other in others.values())]
    against = {"ratio_same": same, "ratio_all": ALL} | ({"ratio_chat": CHAT} if CHAT in others else {})
    questions = [len(step) for step in steps[1:]]
    return rows(f"{tokens} tokens, {frozen}{model}", exact, run, questions, nets, against)


SECTION = Section(
    name="decoder",
    title="A decoder frozen from its input",
    note=(
        f"{QUESTIONS} questions a page, complete optimizer steps, LoRA r=16 on the blocks above, tower frozen, SDPA"
        f" everywhere. × peer is the time of {TRL if find_spec('trl') else TRAINER} with LoRA on all blocks and a row a"
        " question over this one's, × chat that of its one chat a page, × same that of its rows with LoRA on the same"
        " blocks, × all that of docvlm's stored features with LoRA on all blocks, × off that of packing=off. By FLOPs,"
        " peaks and differences as above. What is stored was stored before: an epoch later it is as here."
    ),
    columns=(
        Column("cell", "page tokens, decoder"),
        Column("variant", "trainer"),
        Column("ms", "ms a question", ".0f"),
        Column("ratio", "× peer", ".1f"),
        Column("ratio_flops", "by FLOPs", ".1f"),
        Column("ratio_chat", "× chat", ".1f"),
        Column("ratio_chat_flops", "by FLOPs", ".1f"),
        Column("ratio_same", "× same", ".1f"),
        Column("ratio_all", "× all", ".2f"),
        Column("ratio_off", "× off", ".2f"),
        *ALSO,
    ),
    cells=cells,
    computes=precision.NAME,
)
