"""The summed cross-entropy of answers: which way of making it is taken, and that both ways are the same number."""

from __future__ import annotations

import importlib.machinery
import importlib.util

import pytest
import torch
from torch import Tensor, nn

from docvlm.vlms import losses
from tests.support.tiny import example, load

WORDS, WIDTH = 5000, 96


def case(tokens: int, device: str = "cpu", dtype: torch.dtype = torch.float32) -> tuple[Tensor, nn.Linear, Tensor]:
    hidden = torch.randn(tokens, WIDTH, device=device, dtype=dtype, requires_grad=True)
    projection = nn.Linear(WIDTH, WORDS, bias=False, device=device, dtype=dtype)
    return hidden, projection, torch.randint(WORDS, (tokens,), device=device)


@pytest.fixture(autouse=True)
def fresh() -> None:
    losses.plain_because.cache_clear()


def installed(monkeypatch: pytest.MonkeyPatch, release: str | None) -> None:
    """Let it look as if liger-kernel were installed in that release, or not at all."""
    spec = None if release is None else importlib.machinery.ModuleSpec("liger_kernel", None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    monkeypatch.setattr(losses, "version", lambda name: release)


def test_a_cpu_takes_the_plain_one(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, "0.9.0")
    taken = []
    monkeypatch.setattr(losses, "plain", lambda *case: taken.append("plain") or torch.tensor(0.0))
    monkeypatch.setattr(losses, "fused", lambda *case: taken.append("fused") or torch.tensor(0.0))
    vlm = load("qwen2vl")
    vlm.loss(vlm.codec.train_batch([example(0), example(1)]))
    assert taken == ["plain"]
    assert losses.describe("cpu", torch.float32) == "plain (the device is cpu)"


def test_what_a_gpu_takes_and_why(monkeypatch: pytest.MonkeyPatch) -> None:
    for release, dtype, said in [
        (None, torch.bfloat16, "plain (liger-kernel is not installed: docvlm[gpu])"),
        ("0.5.2", torch.bfloat16, "plain (liger-kernel is 0.5.2, not 0.8.4 or later)"),
        ("0.10.0", torch.bfloat16, "fused (liger-kernel 0.10.0)"),
        ("0.8.4", torch.float32, "fused (liger-kernel 0.8.4)"),
        ("0.8.4", torch.float16, "plain (the fused kernel is exact in float32 and bfloat16, not in float16)"),
    ]:
        losses.plain_because.cache_clear()
        installed(monkeypatch, release)
        assert losses.describe("cuda", dtype) == said


def test_no_answers_are_no_loss() -> None:
    hidden, projection, labels = case(0)
    assert losses.answer_cross_entropy(hidden, projection, labels).item() == 0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("tokens", [1, 37, 3000])  # one token, one chunk, several chunks
@pytest.mark.parametrize("learning", [False, True], ids=["frozen", "learning"])
@pytest.mark.parametrize(
    ("dtype", "autocast", "tolerance"),
    [(torch.float32, False, 1e-5), (torch.bfloat16, True, 1e-2), (torch.float32, True, 1e-2)],
    ids=["float32", "bf16", "float32 under autocast"],
)
def test_fused_is_plain(tokens: int, learning: bool, dtype: torch.dtype, autocast: bool, tolerance: float) -> None:
    pytest.importorskip("liger_kernel")
    hidden, projection, labels = case(tokens, "cuda", dtype)
    projection.requires_grad_(learning)
    found = []
    for way in (losses.plain, losses.fused):
        hidden.grad = projection.weight.grad = None
        with torch.autocast("cuda", torch.bfloat16, enabled=autocast):
            loss = way(hidden, projection, labels)
        (loss / tokens).backward()  # not 1, so that the kernel's own scaling is seen too
        weight = projection.weight.grad
        assert (weight is not None) == learning
        found.append([loss.detach(), hidden.grad, *([] if weight is None else [weight])])
    for plain, fused in zip(*found, strict=True):
        assert plain is not None and fused is not None and plain.dtype == fused.dtype
        assert (fused.double() - plain.double()).norm() <= tolerance * plain.double().norm()
