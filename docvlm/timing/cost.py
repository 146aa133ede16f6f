"""What 1 000 pages cost: on machines by the hour and measured seconds, over an API by the token.

A machine's row has a cost only if the model was measured on that machine, in this benchmark or in another one's file.
Seconds a page are the mean (not the median: slow pages are paid for as well), of a machine that only answers; half
idle, it costs twice as much. One question a page; further ones share the page and are cheaper.

An API's row needs no measurement, and its latency stays empty. Image tokens are the vendor's documented formula on the
very pages that were timed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from docvlm.timing.prices import Api, Machine, Prices

PAGES = 1000
NOT_MEASURED = "not measured on this machine"
NO_PRICE = "no price: put one into prices.yaml"
_TILE, _SQUARE, _SHORT = 512, 2048, 768  # pixels


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """A row of the table of costs. `measured_in` is the benchmark file that holds the latency; None: no measurement."""

    kind: str
    name: str
    device: str | None = None
    resolution: str | None = None
    measured_in: str | None = None
    latency_ms: float | None = None
    usd_per_1000_pages: float | None = None
    batch: int | None = None
    usd_per_1000_pages_batched: float | None = None
    usd_per_hour: float | None = None
    tokens_per_page: float | None = None
    source: str | None
    date: str | None
    note: str

    def as_dict(self) -> dict[str, Any]:
        """Plain types for JSON and CSV."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class OnMachine:
    """What a benchmark file says of one machine: seconds a page alone (mean), and in batches where it was tried."""

    file: str
    device: str
    resolution: str
    p50_ms: float
    seconds_per_page: float
    batch: int | None
    seconds_per_page_batched: float | None


def on_machine(record: Mapping[str, Any], file: str) -> list[OnMachine]:
    """The points of a benchmark's record that are priced: the first, and those of other runtimes.

    A served model is on a device of its own, and has no price where nobody said which.
    """
    points = [point for place, point in enumerate(record["points"]) if not place or "runtime" in point]
    devices = [point["device"] if "device" in point else record["device"] for point in points]
    return [_of_point(point, device, file) for point, device in zip(points, devices, strict=True) if device is not None]


def _of_point(point: Mapping[str, Any], device: str, file: str) -> OnMachine:
    single, batched = point["single"], point["batched"]
    return OnMachine(
        file,
        device,
        point["resolution"],
        single["p50_ms"],
        1 / single["pages_per_s"],
        None if batched is None else batched["batch"],
        None if batched is None else 1 / batched["pages_per_s"],
    )


def costs(prices: Prices, measured: Sequence[OnMachine], pages: Sequence[tuple[int, int]]) -> list[Cost]:
    """Every row of the prices, once for each machine it fits; then machines that no price fits; then the APIs."""
    rows: list[Cost] = []
    fitted: set[OnMachine] = set()
    for machine in prices.machines:
        fitting = [one for one in measured if re.search(machine.device, one.device)]
        fitted |= set(fitting)
        rows += [_measured(machine, one) for one in fitting] or [_unmeasured(machine)]
    nobody = Machine("", "", None, None, None, "no row of the prices fits this device: add one")
    rows += [_measured(nobody, one) for one in measured if one not in fitted]
    return rows + [_api(api, pages) for api in prices.apis]


def _measured(machine: Machine, one: OnMachine) -> Cost:
    batched = one.seconds_per_page_batched
    return Cost(
        kind="machine",
        name=machine.name or one.device,
        device=one.device,
        resolution=one.resolution,
        measured_in=one.file,
        latency_ms=one.p50_ms,
        usd_per_1000_pages=_per_pages(machine.usd_per_hour, one.seconds_per_page),
        batch=one.batch,
        usd_per_1000_pages_batched=None if batched is None else _per_pages(machine.usd_per_hour, batched),
        usd_per_hour=machine.usd_per_hour,
        source=machine.source,
        date=machine.date,
        note=machine.note or ("" if machine.usd_per_hour is not None else NO_PRICE),
    )


def _unmeasured(machine: Machine) -> Cost:
    return Cost(
        kind="machine",
        name=machine.name,
        usd_per_hour=machine.usd_per_hour,
        source=machine.source,
        date=machine.date,
        note="; ".join(filter(None, [NOT_MEASURED, machine.note])),
    )


def _per_pages(usd_per_hour: float | None, seconds: float) -> float | None:
    return None if usd_per_hour is None else usd_per_hour / 3600 * seconds * PAGES


def _api(api: Api, pages: Sequence[tuple[int, int]]) -> Cost:
    images = [openai_tiles(width, height, api.base_tokens, api.tile_tokens) for width, height in pages]
    given = sum(images) / len(images) + api.text_tokens
    cost = None
    if api.usd_per_million_input is not None and api.usd_per_million_output is not None:
        paid = given * api.usd_per_million_input + api.output_tokens * api.usd_per_million_output
        cost = paid / 1e6 * PAGES
    return Cost(
        kind="api",
        name=api.name,
        usd_per_1000_pages=cost,
        tokens_per_page=given + api.output_tokens,
        source=api.source,
        date=api.date,
        note=api.note or ("" if cost is not None else NO_PRICE),
    )


def openai_tiles(width: int, height: int, base: int, tile: int) -> int:
    """Tokens of a page at `detail: high`: fitted into 2048 x 2048, then its short side to 768, then tiles of 512.

    Neither step enlarges. Source: OpenAI, "Images and vision: calculating costs" (GPT-4o, GPT-4 Turbo: base 85, 170 a
    tile; its examples: 1024 x 1024 is 765, 2048 x 4096 is 1 105).
    """
    scale = min(1.0, _SQUARE / max(width, height))
    scale *= min(1.0, _SHORT / (min(width, height) * scale))
    across, down = (math.ceil(round(side * scale, 6) / _TILE) for side in (width, height))
    return base + tile * across * down
