"""Training of Qwen2-VL-2B: the same loss first, then time, FLOPs and memory of an optimizer step, and what fits.

A step is forward and backward over the same questions for every variant, in micro-batches of about as many body tokens,
and the optimizer on the adapters. Batches are made beforehand, as workers of a data loader would, and moved within the
step; what making them takes on one core is a column of its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bench.gpu.flops import Work, training_flops, work
from bench.gpu.models import RANK, asked, qwen, sheets
from bench.gpu.report import Deadline, Memory, Report, free, seconds
from bench.gpu.settings import (
    PLAIN,
    STORED,
    VARIANTS,
    Settings,
    Variant,
    batch_of,
    encode,
    micro_batches,
    moved,
    pinned,
    store,
)
from docvlm.data.loading.packing import questions
from docvlm.vlms.base import VLM
from docvlm.vlms.codec import Stored


def exactness(settings: Settings, report: Report, deadline: Deadline) -> None:
    """Loss, gradients and answers of one page's questions against the plain ones."""
    report.table(
        "Difference from plain sequences, one page",
        ["computed in", "variant", "loss a token", "loss differs", "gradient differs", "equal answers"],
    )
    for dtype in (torch.float32, torch.bfloat16):
        vlm = qwen(settings.device, dtype, tiny=settings.tiny)
        examples = asked(sheets([min(settings.mixed)]), settings.questions)
        with store(vlm) as stored:
            plain: tuple[float, Tensor] | None = None
            alone = [answers(vlm, vlm.codec.prompt_batch([one]), settings)[0] for one in examples]
            for variant in VARIANTS:
                if variant == STORED:
                    encode(vlm, examples, stored)
                loss, grads = _gradients(vlm, batch_of(vlm, examples, variant, stored))
                plain = plain or (loss, grads)
                away = ((grads - plain[1]).norm() / plain[1].norm()).item()
                prompts = vlm.codec.eval_batch(examples, packed=variant != PLAIN).prompts
                same = sum(a == b for a, b in zip(alone, answers(vlm, prompts, settings), strict=True))
                name = str(dtype).removeprefix("torch.")
                differs = abs(loss - plain[0]) / plain[0]
                report.row(name, variant, loss, differs, away, f"{same} of {len(examples)}")
        del vlm
        free(settings.device)


def answers(vlm: VLM, prompts: dict[str, Tensor], settings: Settings) -> list[str]:
    """Texts of a batch of prompts."""
    return [one.text for one in vlm.generate(moved(prompts, settings.device), settings.new_tokens)]


def _gradients(vlm: VLM, batch: dict[str, Tensor]) -> tuple[float, Tensor]:
    """Mean loss a token, and the adapter's gradient as one vector."""
    vlm.zero_grad()
    loss, tokens = vlm.loss(moved(batch, vlm.device))
    (loss / tokens).backward()
    grads = torch.cat([p.grad.flatten().float() for p in vlm.parameters() if p.grad is not None])
    vlm.zero_grad()
    return loss.item() / tokens, grads


def throughput(settings: Settings, report: Report, deadline: Deadline) -> None:
    """Every variant on pages of mixed sizes and of one size, without and with gradient checkpointing."""
    report.table(
        "Training step, LoRA r=16, tower frozen, bf16",
        [
            *("pages", "checkpointing", "variant", "micro-batches", "ms a question", "questions/s", "body tokens/s"),
            *(
                "TFLOP a question",
                "MFU %",
                "peak GB above the model",
                "plain / this",
                "making the batch, ms a question",
            ),
        ],
    )
    vlm = qwen(settings.device, torch.bfloat16, tiny=settings.tiny)
    with store(vlm) as stored:
        for checkpointing in (False, True):
            if checkpointing:
                vlm.gradient_checkpointing()
            for tokens in (settings.mixed, settings.equal):
                case = f"{len(tokens)} of {min(tokens)} to {max(tokens)} tokens"
                if deadline.left() < 0:
                    report.row(case, checkpointing, "left out for time", *[None] * 9)
                    continue
                plain: float | None = None
                for variant in VARIANTS:
                    groups = micro_batches(sheets(list(tokens)), settings.questions, settings.budget, variant)
                    if variant == STORED:  # beforehand: reading is what every epoch but the first does
                        for group in groups:
                            encode(vlm, group, stored)
                    began = time.perf_counter()
                    batches = [batch_of(vlm, group, variant, stored) for group in groups]
                    making = 1000 * (time.perf_counter() - began) / sum(map(len, groups))
                    figures, took = _measured(settings, report, deadline, vlm, batches, plain)
                    plain = took if variant == PLAIN else plain
                    report.row(case, checkpointing, variant, len(batches), *figures, making)


def _measured(
    settings: Settings,
    report: Report,
    deadline: Deadline,
    vlm: VLM,
    batches: list[dict[str, Tensor]],
    plain: float | None,
) -> tuple[list[Any], float | None]:
    """Cells from time to ratio, and the seconds of a step; nothing but the reason where it does not fit into memory."""
    done = sum((work(batch) for batch in batches), Work((), 0, 0, 0))
    asks = sum(questions(batch) for batch in batches)
    memory = Memory(settings.device)
    try:
        step = optimizer_step(vlm, [pinned(batch, settings.device) for batch in batches], done.answers)
        took = seconds(step, settings.device, settings.repeats, deadline)
    except torch.OutOfMemoryError:
        vlm.zero_grad()
        return ["out of memory", *[None] * 6], None
    flops = training_flops(vlm.bare.config, RANK, done)
    peak = report.facts["peak FLOP/s"]
    mfu = None if peak is None else 100 * flops / took / peak
    ratio = 1.0 if plain is None else plain / took
    cells = [1000 * took / asks, asks / took, done.tokens / took, flops / asks / 1e12, mfu, memory.above(), ratio]
    return cells, took


def optimizer_step(vlm: VLM, batches: list[dict[str, Tensor]], answers: int) -> Callable[[], None]:
    """One update of what learns by the mean loss over all answer tokens of `batches`."""
    optimizer = torch.optim.AdamW([p for p in vlm.parameters() if p.requires_grad], lr=1e-6)

    def step() -> None:
        for batch in batches:
            loss, _ = vlm.loss(moved(batch, vlm.device))
            (loss / answers).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def largest(settings: Settings, report: Report, deadline: Deadline) -> None:
    """What fits into memory as one micro-batch, without and with gradient checkpointing."""
    tokens = settings.equal[0]
    report.table(
        f"Largest micro-batch, pages of {tokens} tokens, {settings.questions} questions each",
        ["checkpointing", "variant", "pages", "body tokens", "ms a question", "peak GB above the model", "next size"],
    )
    vlm = qwen(settings.device, torch.bfloat16, tiny=settings.tiny)
    with store(vlm) as stored:
        for checkpointing in (False, True):
            if checkpointing:
                vlm.gradient_checkpointing()
            for variant in (PLAIN, STORED):
                report.row(checkpointing, variant, *_grown(settings, deadline, vlm, variant, stored))


def _grown(settings: Settings, deadline: Deadline, vlm: VLM, variant: Variant, stored: Stored) -> list[Any]:
    """Double the pages until they do not fit; figures of the last that did, and what stopped the next."""
    pages, took = 1, 0.0
    cells: list[Any] = [None] * 4
    while pages <= settings.most_pages:
        if deadline.left() < 4 * took:  # twice the pages, once to warm up and once to be timed
            return [*cells, "left out for time"]
        examples = asked(sheets([settings.equal[0]] * pages), settings.questions)
        if variant == STORED:
            encode(vlm, examples, stored)
        batch = batch_of(vlm, examples, variant, stored)
        done = work(batch)
        memory = Memory(settings.device)
        try:
            took = seconds(optimizer_step(vlm, [batch], done.answers), settings.device, 1, deadline)
        except torch.OutOfMemoryError:
            vlm.zero_grad()
            return [*cells, f"{pages} pages: out of memory"]
        cells = [pages, done.tokens, 1000 * took / len(examples), memory.above()]
        pages *= 2
    return [*cells, "not tried"]
