"""Costs: only measured machines have one, the user's prices count, an API's formula is the vendor's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from docvlm.errors import DocvlmError
from docvlm.timing import prices
from docvlm.timing.cost import NOT_MEASURED, Cost, OnMachine, costs, openai_tiles
from docvlm.timing.prices import Prices

MINE = """
machines:
  - {name: mine, device: "^cpu", usd_per_hour: 3.6, source: my bill, date: "2026-11", note: ""}
  - {name: A100, device: A100, usd_per_hour: 2.0, source: s, date: d, note: ""}
apis:
  - {name: api, usd_per_million_input: 10, usd_per_million_output: 30, image_tokens: openai_tiles, base_tokens: 85,
     tile_tokens: 170, text_tokens: 35, output_tokens: 10, source: s, date: d, tokens_source: t, note: ""}
"""
HERE = OnMachine("here.json", "cpu: a processor, 2 cores", "65536", 90.0, 0.1, 8, 0.05)
PAGES = [(1024, 1024), (280, 168)]


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "prices.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def by_name(listed: Prices, *measured: OnMachine) -> dict[str, Cost]:
    return {row.name: row for row in costs(listed, measured, PAGES)}


def test_only_a_measured_machine_has_a_cost(tmp_path: Path) -> None:
    rows = by_name(prices.read(written(tmp_path, MINE)), HERE)
    mine, a100 = rows["mine"], rows["A100"]
    assert mine.usd_per_1000_pages == pytest.approx(3.6 / 3600 * 0.1 * 1000)
    assert (mine.batch, mine.usd_per_1000_pages_batched) == (8, pytest.approx(0.05))
    assert (mine.latency_ms, mine.measured_in, mine.device) == (90.0, "here.json", HERE.device)
    assert (a100.usd_per_1000_pages, a100.latency_ms, a100.measured_in) == (None, None, None)
    assert a100.note == NOT_MEASURED and a100.usd_per_hour == 2.0


def test_a_machine_measured_elsewhere_has_a_cost_and_one_without_a_price_says_so(tmp_path: Path) -> None:
    there = OnMachine("there.json", "NVIDIA A100-SXM4-80GB", "65536", 20.0, 0.02, None, None)
    odd = OnMachine("odd.json", "NVIDIA GeForce RTX 4090", "65536", 20.0, 0.02, None, None)
    rows = by_name(prices.read(written(tmp_path, MINE)), HERE, there, odd)
    assert rows["A100"].usd_per_1000_pages == pytest.approx(2.0 / 3600 * 20)
    assert rows["A100"].usd_per_1000_pages_batched is None
    assert rows[odd.device].usd_per_1000_pages is None and rows[odd.device].latency_ms == 20.0
    assert "add one" in rows[odd.device].note


def test_an_api_costs_its_tokens_on_the_timed_pages_and_has_no_latency(tmp_path: Path) -> None:
    api = by_name(prices.read(written(tmp_path, MINE)), HERE)["api"]
    given = (765 + 255) / 2 + 35
    assert api.tokens_per_page == given + 10
    assert api.usd_per_1000_pages == pytest.approx((given * 10 + 10 * 30) / 1e6 * 1000)
    assert api.latency_ms is None and api.measured_in is None


@pytest.mark.parametrize(
    "width, height, tokens",
    [(1024, 1024, 765), (2048, 4096, 1105), (512, 512, 255), (513, 512, 425), (128, 64, 255), (768, 1536, 1105)],
)
def test_image_tokens_are_the_vendors(width: int, height: int, tokens: int) -> None:
    """The first two are OpenAI's own examples; the fifth was billed 255 plus the text (see conf/prices.yaml)."""
    assert openai_tiles(width, height, 85, 170) == tokens


def test_the_packaged_prices_are_cited_or_empty() -> None:
    listed = prices.read()
    names = [row.name for row in listed.machines]
    assert [n for n in ("A100 80 GB", "A100 40 GB", "T4", "H100", "H200", "CPU") if n not in names] == []
    for row in listed.machines:
        assert (row.usd_per_hour is None) == (row.source is None) and (row.usd_per_hour is not None or row.note)
    assert {"GPT-4V", "GPT-4o"} == {row.name.split(" ")[0] for row in listed.apis}
    for device, name in (
        ("NVIDIA A100-SXM4-80GB", "A100 80 GB"), ("NVIDIA A100 80GB PCIe", "A100 80 GB"), ("Tesla T4", "T4"),
        ("NVIDIA A100-SXM4-40GB", "A100 40 GB"), ("NVIDIA H100 80GB HBM3", "H100"), ("NVIDIA H200", "H200"),
        ("cpu: AMD EPYC, 2 cores", "CPU"),
    ):  # fmt: skip
        found = [r.name for r in costs(listed, [OnMachine("f", device, "1", 1, 1, None, None)], PAGES) if r.measured_in]
        assert found == [name], device


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("usd_per_hour: 3.6", "usd_per_hour: cheap", "could not be converted to Float"),
        ("usd_per_hour: 3.6", "usd_per_hour: -1", "mine: -1.0 is no price"),
        ("source: my bill", "source: null", "mine: a price needs its source and date"),
        ('device: "^cpu"', 'device: "("', "mine: device='('"),
        ("image_tokens: openai_tiles", "image_tokens: guess", "image_tokens=guess: choose one of openai_tiles"),
        ("usd_per_hour: 3.6", "usd_an_hour: 3.6", "usd_an_hour"),
        ("base_tokens: 85", "base_tokens: -85", "api: a number of tokens is negative"),
        ("machines:", "machines: [", "prices.yaml"),
    ],
)
def test_mistakes_in_prices_are_one_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    file = written(tmp_path, MINE.replace(old, new, 1))
    with pytest.raises(DocvlmError) as caught:
        prices.read(file)
    line: Any = str(caught.value)
    assert message in line and line.startswith(f"prices={file}") and "\n" not in line
