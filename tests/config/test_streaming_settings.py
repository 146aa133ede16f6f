"""`data.streaming` and what belongs to it: what is refused before anything is read, what makes two runs the same."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from docvlm.config import TrainConfig
from docvlm.config.compose import load
from docvlm.errors import DocvlmError
from docvlm.runs.identity import _deciding

HUB = ("scale=tiny", "data.source=hub")
ON = (*HUB, "data.streaming=true")


def deciding(*words: str) -> dict[str, Any]:
    return _deciding(dataclasses.asdict(load("train", TrainConfig, list(words))))


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("scale=tiny", "data.streaming=true"), "data.streaming=true: pages of data.source=generated are drawn"),
        ((*ON, "data.cache_gb=1"), "data.cache_gb=1.0: at least 2 times data.window_gb=1"),
        ((*ON, "data.window_gb=0"), "data.window_gb=0.0: above 0"),
        ((*ON, "data.cache_folder="), "data.cache_folder"),
        (("scale=tiny", "data.source=https://there/set"), "an address is read with data.streaming=true only"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(words: tuple[str, ...], line: str) -> None:
    with pytest.raises(DocvlmError, match=line):
        load("train", TrainConfig, list(words)).check()


def test_an_order_is_another_run_and_a_cache_is_not() -> None:
    plain, streamed = deciding(*HUB), deciding(*ON)
    assert not {"streaming", "window_gb", "cache_gb", "cache_folder"} & plain["data"].keys()
    assert streamed == {**plain, "data": {**plain["data"], "window_gb": 1.0}}
    assert deciding(*ON, "data.cache_gb=50", "data.cache_folder=/elsewhere") == streamed
    assert deciding(*ON, "data.window_gb=2") != streamed and deciding(*HUB, "data.window_gb=2") == plain
    assert deciding(*HUB, "data.streaming=false") == plain


def test_a_mixture_is_streamed_as_a_whole_or_in_part() -> None:
    whole = load("train", TrainConfig, ["data=mix", *ON, "data.window_gb=2"]).data.parts
    assert whole is not None
    assert {(part["streaming"], part["window_gb"], part["cache_gb"]) for part in whole.values()} == {(True, 2.0, 10)}
    part = deciding("data=mix", *HUB, "data.parts.infovqa.streaming=true")
    assert part["data"]["window_gb"] == 1.0 and "window_gb" not in deciding("data=mix", *HUB)["data"]
