"""Evaluation of Qwen2-VL-2B, and the loss of its answers: how fast they are made, and that they are the same.

Random weights do not end an answer, so every answer has `new_tokens` tokens, more than DocVQA's five or so. In bf16 two
layouts round apart, and random logits lie close together, so not all texts are equal there; that they are in float32
the first table of the call shows.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from bench.gpu.models import asked, qwen, sheets
from bench.gpu.report import Deadline, Memory, Report, seconds
from bench.gpu.settings import Settings, encode, moved, store
from docvlm.data.example import Example
from docvlm.vlms import losses
from docvlm.vlms.base import VLM, Generated


def throughput(settings: Settings, report: Report, deadline: Deadline) -> None:
    """One by one, a padded batch, one reading of each page, and stored features."""
    report.table(
        f"Evaluation, {len(settings.mixed)} pages of {min(settings.mixed)} to {max(settings.mixed)} tokens,"
        f" {settings.questions} questions each, {settings.new_tokens} new tokens, bf16",
        ["decoding", "ms a question", "questions/s", "new tokens/s", "one by one / this", "equal texts", "peak GB"],
    )
    vlm = qwen(settings.device, torch.bfloat16, tiny=settings.tiny)
    examples = asked(sheets(list(settings.mixed)), settings.questions)
    alone: tuple[float, list[str]] | None = None
    with store(vlm) as stored:
        for name in ("one by one", "padded batch", "pages read once", "pages read once, stored features"):
            vlm.codec.stored = None
            if name.endswith("stored features"):
                encode(vlm, examples, stored)
            batches = _batches(vlm, examples, name)
            memory = Memory(settings.device)
            try:
                repeats = 1 if name == "one by one" else min(3, settings.repeats)  # which is many batches already
                took, found = _timed(vlm, batches, settings, repeats, deadline)
            except torch.OutOfMemoryError:
                report.row(name, "out of memory", *[None] * 5)
                continue
            texts = [one.text for one in found]
            alone = alone or (took, texts)
            same = sum(a == b for a, b in zip(texts, alone[1], strict=True))
            tokens = sum(one.tokens for one in found)
            cells = (1000 * took / len(texts), len(texts) / took, tokens / took, alone[0] / took)
            report.row(name, *cells, f"{same} of {len(texts)}", memory.above())


def _batches(vlm: VLM, examples: list[Example], name: str) -> list[dict[str, Tensor]]:
    if name == "one by one":
        return [vlm.codec.prompt_batch([example]) for example in examples]
    return [vlm.codec.eval_batch(examples, packed=name != "padded batch").prompts]


def _timed(
    vlm: VLM, batches: list[dict[str, Tensor]], settings: Settings, repeats: int, deadline: Deadline
) -> tuple[float, list[Generated]]:
    """Median seconds of answering all batches, and what was answered."""
    found: list[Generated] = []

    def step() -> None:
        found[:] = [one for batch in batches for one in vlm.generate(moved(batch, vlm.device), settings.new_tokens)]

    return seconds(step, settings.device, repeats, deadline), found


def cross_entropy(settings: Settings, report: Report, deadline: Deadline) -> None:
    """Loss and gradient of answer tokens by both ways of making them, where both are at hand."""
    because = losses.plain_because(settings.device.type, torch.bfloat16)
    words, width = (500, 64) if settings.tiny else (151_936, 1536)
    report.table(
        f"Cross-entropy of answers, {words} words, frozen projection, bf16; training takes"
        f" {losses.describe(settings.device.type, torch.bfloat16)}",
        ["answer tokens", "way", "ms forward and backward", "peak GB", "loss", "gradient differs"],
    )
    ways = {"plain": losses.plain} if because else {"plain": losses.plain, "fused": losses.fused}
    projection = nn.Linear(width, words, bias=False, device=settings.device, dtype=torch.bfloat16)
    projection.requires_grad_(False)
    for tokens in (8, 32) if settings.tiny else (64, 256, 1024, 8192):
        torch.manual_seed(0)
        hidden = torch.randn(tokens, width, device=settings.device, dtype=torch.bfloat16, requires_grad=True)
        labels = torch.randint(words, (tokens,), device=settings.device)
        plain: Tensor | None = None
        for name, way in ways.items():
            memory = Memory(settings.device)
            loss, grad, took = _loss_step(way, hidden, projection, labels, settings, deadline)
            plain = grad if plain is None else plain
            away = ((grad - plain).norm() / plain.norm()).item()
            report.row(tokens, name, 1000 * took, memory.above(), loss, away)


def _loss_step(
    way: Callable[[Tensor, nn.Module, Tensor], Tensor],
    hidden: Tensor,
    projection: nn.Linear,
    labels: Tensor,
    settings: Settings,
    deadline: Deadline,
) -> tuple[float, Tensor, float]:
    """Loss a token, gradient of the hidden states in float32, and seconds."""
    made: list[Tensor] = []

    def step() -> None:
        hidden.grad = None
        loss = way(hidden, projection, labels) / len(labels)
        loss.backward()
        made[:] = [loss.detach()]

    took = seconds(step, settings.device, settings.repeats, deadline)
    assert hidden.grad is not None
    return made[0].item(), hidden.grad.float(), took
