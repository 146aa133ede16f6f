"""Qwen2-VL-2B against TRL: a row a question, one chat of all turns a page, and what docvlm shares, stores and freezes.

The same pages, questions and weights for all, and the same blocks learn; a step is an optimizer step on two pages.
TRL's trainer opens its pages, makes its batch and moves it within the step, as at its users'; so does docvlm here, by
its codec. What TRL does before an epoch begins is not counted.
A chat is another training: later questions see earlier answers. ms-swift is not among them: what it advises for chats,
packing, asks for flash attention, and the environment that `python -m bench.swift` makes is for CPUs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from bench.gpu.models import asked, qwen, sheets, stock_qwen
from bench.gpu.report import Deadline, Memory, Report, free, median, once
from bench.gpu.settings import Settings, moved
from docvlm.data.example import Example
from docvlm.data.pages import FilePage
from docvlm.vlms.base import VLM
from docvlm.vlms.codec import Stored
from docvlm.vlms.feature_store import FeatureStore

PAGES, SHARE, LIMIT = 2, 66, 2**36
ROWS, CHAT = "TRL, a row a question", "TRL, one chat a page"
OFF, SHARED, STORED = "packing=off", "shared pages", "shared pages, stored features"
PREFILL = "shared pages, stored prefill"
NO_TRL = "not installed: pip install 'docvlm[bench]'"


def throughput(settings: Settings, report: Report, deadline: Deadline) -> None:
    """Every way with LoRA on all blocks; then with LoRA on those above `SHARE` percent of the decoder's."""
    pages, tokens = (1 if settings.tiny else PAGES), settings.equal[0]
    report.table(
        f"Training step beside TRL, {pages} pages of {tokens} tokens, {settings.questions} questions each, LoRA r=16,"
        " tower frozen, bf16",
        ["decoder frozen, %", "way", "ms a question", "rows / this", "chat / this", "peak GB above the model"],
    )
    with TemporaryDirectory() as name:
        examples = list(_written(asked(sheets([tokens] * pages), settings.questions), Path(name)))
        for share in (0, SHARE):
            peers = _peers(settings, report, deadline, examples, Path(name), share)
            vlm = qwen(settings.device, torch.bfloat16, tiny=settings.tiny, freeze_language=share)
            with _stores(vlm, Path(name) / f"stores-{share}") as stores:
                for way in (OFF, SHARED, STORED, *((PREFILL,) if share else ())):
                    step = partial(once, _stepper(vlm, examples, way, stores), settings.device)
                    _row(settings, report, deadline, (share, way), step, len(examples), peers)
            del vlm, step
            free(settings.device)


def _peers(
    settings: Settings, report: Report, deadline: Deadline, examples: Sequence[Example], folder: Path, share: int
) -> dict[str, float]:
    """Rows of TRL with `share` percent of the decoder frozen; seconds of a step by name, of what fitted."""
    found: dict[str, float] = {}
    if not find_spec("trl"):
        for name in (ROWS, CHAT):
            report.row(share, name, NO_TRL, *[None] * 3)
        return found
    from bench.peers import trl

    for name in (ROWS, CHAT):
        vlm = qwen(settings.device, torch.bfloat16, tiny=settings.tiny, freeze_language=share)
        net, kind = stock_qwen(vlm, tiny=settings.tiny), settings.device.type
        peer = trl(net, vlm.codec, [examples], folder / f"{name}-{share}", chat=name == CHAT, device=kind)
        del vlm
        free(settings.device)
        _row(settings, report, deadline, (share, name), partial(peer.step, 0), len(examples), found)
        del net, peer
        free(settings.device)
    return found


def _row(
    settings: Settings,
    report: Report,
    deadline: Deadline,
    names: tuple[int, str],
    step: Callable[[], float],
    questions: int,
    found: dict[str, float],
) -> None:
    """Time a way, whose `step` returns its seconds, and write its row; a peer's seconds go into `found`."""
    if deadline.left() < 0:
        report.row(*names, "left out for time", *[None] * 3)
        return
    memory = Memory(settings.device)
    try:
        took = median(step, settings.repeats, deadline)
    except torch.OutOfMemoryError:
        report.row(*names, "out of memory", *[None] * 3)
        return
    if names[1] in (ROWS, CHAT):
        found[names[1]] = took
    ratios = [found[name] / took if name in found else None for name in (ROWS, CHAT)]
    report.row(*names, 1000 * took / questions, *ratios, memory.above())


def _stepper(vlm: VLM, examples: Sequence[Example], way: str, stores: tuple[Stored, Stored]) -> Callable[[], None]:
    """An optimizer step from pages in files, or from what was stored of them before."""
    features, prefill = stores
    vlm.codec.stored = features if way in (STORED, PREFILL) else None
    vlm.codec.prefilled = prefill if way == PREFILL else None
    if way in (STORED, PREFILL):
        make = vlm.loss if way == PREFILL else vlm.page_features
        with torch.no_grad(), vlm.autocast():
            make(moved(vlm.codec.packed_batch(examples), vlm.device))
        features.store.flush()
        prefill.store.flush()
    optimizer = torch.optim.AdamW([p for p in vlm.parameters() if p.requires_grad], lr=1e-5, fused=True)

    def step() -> None:
        batch = vlm.codec.train_batch(examples) if way == OFF else vlm.codec.packed_batch(examples)
        loss, tokens = vlm.loss(moved(batch, vlm.device))
        (loss / tokens).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


@contextmanager
def _stores(vlm: VLM, folder: Path) -> Iterator[tuple[Stored, Stored]]:
    """Of features and of what frozen blocks make of pages, in the model's dtype."""
    try:
        features, prefill = (FeatureStore(folder / name, LIMIT) for name in ("features", "prefill"))
        yield Stored(features, vlm.dtype, vlm.dtype), Stored(prefill, vlm.dtype, vlm.dtype)
    finally:
        vlm.codec.stored = vlm.codec.prefilled = None


def _written(examples: Sequence[Example], folder: Path) -> Iterator[Example]:
    """The same questions about pages in files, as every trainer opens them."""
    pages: dict[str, FilePage] = {}
    for example in examples:
        (page,) = example.pages
        if page.name not in pages:
            image, path = page.open(), folder / f"{page.name}.png"
            image.save(path)
            pages[page.name] = FilePage(str(path), image.size)
        yield replace(example, pages=(pages[page.name],))
