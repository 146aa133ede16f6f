"""The precision that a processor trains in: known for the embedded weights, measured for others."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from docvlm.config import precision
from docvlm.config.compose import load
from docvlm.config.train import TrainConfig


def of(*overrides: str) -> str:
    return load("train", TrainConfig, ["model=qwen2vl", "scale=tiny", *overrides]).trainer.precision


@pytest.mark.parametrize(("gain", "chosen"), [(4.2, "bf16-mixed"), (1.1, "32-true"), (0.0, "32-true")])
def test_weights_of_ones_own_are_computed_in_what_is_faster(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, gain: float, chosen: str
) -> None:
    monkeypatch.setattr(precision, "bf16_gain", lambda: gain)
    assert of(f"model.checkpoint={tmp_path}") == chosen
    assert of(f"model.checkpoint={tmp_path}", "trainer.precision=32-true") == "32-true"


@pytest.mark.parametrize(("flags", "chosen"), [("avx2 amx_bf16", "bf16-mixed"), ("avx512_bf16", "32-true")])
def test_embedded_weights_need_no_measurement(monkeypatch: pytest.MonkeyPatch, flags: str, chosen: str) -> None:
    def measured() -> float:
        raise AssertionError("small products gain nothing where large ones do")

    monkeypatch.setattr(precision, "bf16_gain", measured)
    monkeypatch.setattr(precision, "Path", lambda _: SimpleNamespace(exists=lambda: True, read_text=lambda: flags))
    assert of() == chosen


@pytest.mark.parametrize(("cost", "gain"), [(0.25, 4), (2.0, 0.5)])
def test_both_are_timed_and_once_in_a_process(monkeypatch: pytest.MonkeyPatch, cost: float, gain: float) -> None:
    """By a clock that goes on with every product, in bf16 by `cost` of a second."""
    now = [0.0]
    linear = torch.nn.functional.linear

    def timed(*args: Any) -> torch.Tensor:
        now[0] += cost if torch.is_autocast_enabled("cpu") else 1.0
        return linear(*args)

    monkeypatch.setattr(torch.nn.functional, "linear", timed)
    monkeypatch.setattr(precision.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)
    precision.bf16_gain.cache_clear()
    try:
        assert precision.bf16_gain() == gain
        spent = now[0]
        assert precision.bf16_gain() == gain and now[0] == spent
        monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
        precision.bf16_gain.cache_clear()
        assert precision.bf16_gain() == 0 and now[0] == spent
        monkeypatch.setattr(torch.ops, "mkldnn", None)  # PyTorch without oneDNN has no such operations
        monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
        precision.bf16_gain.cache_clear()
        assert precision.bf16_gain() == 0 and now[0] == spent
    finally:
        precision.bf16_gain.cache_clear()
