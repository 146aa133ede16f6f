"""Florence-2-base with 0, 33, 66 and 100 % of its tower frozen: time and memory of a training step.

The language side learns in full, as `model=florence2` trains it. A page and a question meet in the encoder, so what
questions share is the tower's pass; what its frozen blocks make of a page can be stored.
"""

from __future__ import annotations

import torch

from bench.gpu.models import asked, florence, sheets
from bench.gpu.report import Deadline, Memory, Report, free, seconds
from bench.gpu.settings import PLAIN, STORED, VARIANTS, Settings, batch_of, encode, pinned, store
from bench.gpu.training import optimizer_step
from docvlm.data.loading.packing import IGNORED

PAGES = 4  # in a micro-batch


def training(settings: Settings, report: Report, deadline: Deadline) -> None:
    """Every variant at every level."""
    pages = 1 if settings.tiny else PAGES
    report.table(
        f"Florence-2-base, {pages} pages, {settings.questions} questions each, language side in full, bf16",
        ["freeze", "variant", "learning, M", "ms a question", "questions/s", "peak GB above the model", "plain / this"],
    )
    for freeze in (33, 100) if settings.tiny else (0, 33, 66, 100):
        if deadline.left() < 0:
            report.row(freeze, "left out for time", *[None] * 5)
            continue
        vlm = florence(settings.device, torch.bfloat16, freeze, tiny=settings.tiny)
        assert vlm.trainable is not None
        examples = asked(sheets([600] * pages), settings.questions)
        plain: float | None = None
        with store(vlm) as stored:
            for variant in VARIANTS if freeze else VARIANTS[:2]:
                if variant == STORED:
                    encode(vlm, examples, stored)
                batch = pinned(batch_of(vlm, examples, variant, stored), settings.device)
                memory = Memory(settings.device)
                step = optimizer_step(vlm, [batch], int((batch["labels"] != IGNORED).sum()))
                try:
                    took = seconds(step, settings.device, settings.repeats, deadline)
                except torch.OutOfMemoryError:
                    vlm.zero_grad()
                    report.row(freeze, variant, vlm.trainable.count / 1e6, "out of memory", *[None] * 3)
                    continue
                plain = took if variant == PLAIN else plain
                cells = (1000 * took / len(examples), len(examples) / took, memory.above())
                report.row(freeze, variant, vlm.trainable.count / 1e6, *cells, plain and plain / took)
        del vlm, step
        free(settings.device)
