"""Training: complete optimizer steps of docvlm and of others' trainers, on the same weights, pages and questions.

LoRA r=16 on the language side, frozen tower, SDPA on all sides, in `precision.DTYPE`, frozen weights too. "packing=off"
is docvlm's plain path: a question a row, padded, on its faster tower modules; the peers run Transformers' own modules
as they come. The differences are of step 0 in float32 from packing=off, all as means over the same answer tokens
(`peers.Peer.exact`). The strongest peer is TRL with all questions of a page in one chat, whose turns see the answers
before them: it has a time and no loss to compare. So has ms-swift with the same chats, where `python -m bench.swift`
has made its environment. Beside its time stands what a variant would gain if all FLOPs took equal time. Cost of a cell:
steps + 2 steps of each variant as timed, one in float32, one whose FLOPs are counted.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from importlib.util import find_spec
from typing import Any

from torch import Tensor, nn

from bench import clock, models, operations, pages, peers, precision
from bench.ours import Learner
from bench.suite import Cell, Column, Row, Section, Suite, each
from bench.swift import environment
from bench.swift.peer import Swift
from docvlm.vlms import FAMILIES

TRL, TRAINER, OFF = "TRL SFTTrainer", "Transformers Trainer", "packing=off"
CHAT = "TRL SFTTrainer, one chat a page"
SWIFT = "ms-swift, one chat a page"
SHARED, STORED = "shared pages", "shared pages, stored features"
Exact = Callable[[], tuple[float, dict[str, Tensor]]]


def cells(suite: Suite) -> list[Cell]:
    """The central cells, or every one."""
    small, middle, _ = suite.tokens
    central: list[tuple[object, ...]] = [(middle, "DocVQA"), (small, "DocVQA")]
    every: list[tuple[object, ...]] = [
        (tokens, name) for tokens in suite.tokens for name in ("ChartQA", "DocVQA", "InfoVQA")
    ]
    every += [(tokens, "DocVQA", "qwen3vl") for tokens in (small, middle)]
    learning = suite.tokens[:2] if suite.full else suite.tokens[:1]
    return each(frozen_tower, suite, every if suite.full else central) + each(
        learning_tower, suite, [(tokens,) for tokens in learning]
    )


def frozen_tower(suite: Suite, tokens: int, benchmark: str, family: str = "qwen2vl") -> list[Row]:
    """Every variant at one page size and question density."""
    density = pages.densities()[0][benchmark]
    size = 2 if tokens <= 256 or density < 2 else 1  # pages a step: small pages come together, as in real batches
    asked = pages.asked_on((suite.steps + 1) * size, density)
    folder = suite.folder / f"{family}-{benchmark}-{tokens}"
    steps = pages.cut(pages.of_tokens(folder, tokens, asked, suite.preset, family), size)
    vlm = models.prepared(family, suite.checkpoint(family), pages.budget(tokens, family))
    learner = Learner(vlm, steps, folder / "features")
    learner.fill()
    others = {}
    if find_spec("trl"):
        others[TRL] = peers.trl(models.stock(vlm), vlm.codec, steps, folder / "trl")
        others[CHAT] = peers.trl(models.stock(vlm), vlm.codec, steps, folder / "page-chat", chat=True)
    if not others or suite.full or tokens == suite.tokens[0]:  # elsewhere TRL alone, for time's sake
        others[TRAINER] = peers.hugging_face(models.stock(vlm), vlm.codec, steps, folder / "trainer")
    exact: dict[str, Exact] = {name: peer.exact for name, peer in others.items() if name != CHAT}
    run: dict[str, Callable[[int], float]] = {name: peer.step for name, peer in others.items()}
    ways: dict[str, dict[str, bool]] = {
        OFF: {"packed": False},
        SHARED: {"packed": True},
        STORED: {"packed": True, "stored": True},
    }
    add(learner, ways, exact, run)
    questions = [len(step) for step in steps[1:]]
    count = sum(asked[size:]) / len(asked[size:])
    model = "" if family == "qwen2vl" else f", {FAMILIES[family].label}"
    cell = f"{tokens} tokens, {count:.1f} questions a page ({benchmark}){model}"
    nets = [vlm, *(peer.trainer.model for peer in others.values())]
    against = {"ratio_chat": CHAT} if CHAT in others else {}
    with ExitStack() as until:
        if family == "qwen2vl" and environment.python() is not None:
            swift = Swift(suite.checkpoint(family), vlm.codec.processor, models.RANK, steps, folder / "swift")
            run[SWIFT] = until.enter_context(swift).step
            against["ratio_swift"] = SWIFT
        return rows(cell, exact, run, questions, nets, against, apart={SWIFT})


def learning_tower(suite: Suite, tokens: int) -> list[Row]:
    """One question a page and nothing to store: sharing must not cost anything here."""
    folder = suite.folder / f"one-{tokens}"
    steps = pages.cut(pages.of_tokens(folder, tokens, [1] * 4 * (suite.steps + 1), suite.preset), 4)
    vlm = models.prepared("qwen2vl", suite.checkpoint("qwen2vl"), pages.budget(tokens), freeze=0)
    exact: dict[str, Exact] = {}
    run: dict[str, Callable[[int], float]] = {}
    add(Learner(vlm, steps, folder / "features"), {OFF: {"packed": False}, SHARED: {"packed": True}}, exact, run)
    return rows(f"{tokens} tokens, 1 question a page, tower learns", exact, run, [len(step) for step in steps[1:]])


def add(learner: Learner, ways: dict[str, dict[str, bool]], exact: dict[str, Exact], run: dict[str, Any]) -> None:
    """Put docvlm's ways to take a step beside the others'."""
    for name, way in ways.items():
        exact[name] = partial(learner.exact, **way)
        run[name] = partial(learner.step, **way)


def rows(
    cell: str,
    exact: dict[str, Exact],
    run: dict[str, Callable[[int], float]],
    questions: list[int],
    nets: Sequence[nn.Module] = (),
    against: Mapping[str, str] | None = None,
    apart: Collection[str] = (),
) -> list[Row]:
    """Measure: differences while all weights are still equal, then steps in turn, then one more for the memory.

    `against`: further columns, and whose time over a row's they hold. A way without an `exact` has no differences; one
    that runs `apart`, in a process of its own, has neither memory nor FLOPs.
    The frozen weights of `nets` are held in `precision.DTYPE` from the steps on.
    """
    plain, reference = exact[OFF]()
    away: dict[str, tuple[float, float]] = {OFF: (0.0, 0.0)}
    for name in (name for name in exact if name != OFF):
        loss, grads = exact[name]()
        away[name] = abs(loss - plain) / abs(plain), clock.difference(grads, reference)
    for net in nets if precision.HALF else ():
        models.halve(net)
    taken = clock.in_turn(run, len(questions) + 1)
    here = {name: way for name, way in run.items() if name not in apart}
    peaks = {name: clock.peak_above(partial(way, 0)) for name, way in here.items()}
    done = {name: operations.flops(partial(way, 1)) for name, way in here.items()}
    peer = next((name for name in (TRL, TRAINER) if name in run), None)
    result: list[Row] = []
    for name, times in taken.items():
        peak, most = peaks.get(name), None if peer is None else peaks[peer]
        differs = away.get(name)
        result.append(
            {
                "cell": cell,
                "variant": name,
                "peer": peer,
                "ms": 1000 * statistics.median(t / n for t, n in zip(times, questions, strict=True)),
                "ratio": None if peer is None else clock.faster(taken[peer], times),
                "ratio_off": clock.faster(taken[OFF], times),
                "peak_mb": peak,
                "peak_ratio": most / peak if most and peak else None,
                "loss": differs and differs[0],
                "gradient": differs and differs[1],
                **{key: clock.faster(taken[other], times) for key, other in (against or {}).items()},
                **bounds(done, name, {"ratio": peer, "ratio_off": OFF} | dict(against or {})),
            }
        )
    return result


def bounds(done: Mapping[str, int], name: str, against: Mapping[str, str | None]) -> dict[str, float]:
    """The FLOPs of others over those of `name`, each under the key of their ratio in time."""
    known = {key: done[other] for key, other in against.items() if other is not None and other in done}
    return {f"{key}_flops": count / done[name] for key, count in known.items()} if name in done else {}


def _note() -> str:
    versus = "TRL's trainer" if find_spec("trl") else "Transformers' trainer (TRL is not installed)"
    return (
        "Complete optimizer steps, data to update; LoRA r=16, SDPA everywhere, frozen weights in what is computed in;"
        f" the tower is frozen unless the cell says otherwise. × peer is {versus}'s time over this one's, × off is"
        " that of packing=off, step by step; × chat that of TRL with one chat a page, a turn a question, which is"
        " another training: later questions see earlier answers; × ms-swift that of its chats."
        " By FLOPs is what × peer and × chat would be if all FLOPs of products and attention took equal time. Peak"
        " memory is of the process above model and optimizer. Loss and LoRA gradient: relative distance from"
        " packing=off in float32."
        f" Question densities: {pages.densities()[1]}."
    )


ALSO = (
    Column("peak_mb", "peak MB", ".0f"),
    Column("peak_ratio", "peer's peak / this", ".1f"),
    Column("loss", "loss differs", ".1e"),
    Column("gradient", "gradient differs", ".1e"),
)
"""The last columns here and of a frozen decoder: memory, and the differences from packing=off."""
SECTION = Section(
    name="training",
    title="Training",
    note=_note(),
    columns=(
        Column("cell", "page tokens, questions"),
        Column("variant", "trainer"),
        Column("ms", "ms a question", ".0f"),
        Column("ratio", "× peer", ".1f"),
        Column("ratio_flops", "by FLOPs", ".1f"),
        Column("ratio_chat", "× chat", ".1f"),
        Column("ratio_chat_flops", "by FLOPs", ".1f"),
        Column("ratio_swift", "× ms-swift", ".1f"),
        Column("ratio_off", "× off", ".2f"),
        *ALSO,
    ),
    cells=cells,
    drawn=(SHARED, STORED),
    computes=precision.NAME,
)
