"""`conf/prices.yaml`: what an hour of a machine costs and what an API charges, with where and when it was read.

The file is yours to edit (`prices=FILE`). A price that nobody could cite is null with a note, and makes no cost.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from docvlm.config import CONF_DIR
from docvlm.config.tables import read_table
from docvlm.errors import DocvlmError

DEFAULT = CONF_DIR / "prices.yaml"
IMAGE_TOKENS = ("openai_tiles",)


@dataclass
class Machine:
    """A machine by the hour. `device` is a regular expression, searched in the measured device's name."""

    name: str
    device: str
    usd_per_hour: float | None
    source: str | None
    date: str | None
    note: str = ""


@dataclass
class Api:
    """An API by the token. `image_tokens` names a formula of `cost.py`; text and output tokens a page are assumed."""

    name: str
    usd_per_million_input: float | None
    usd_per_million_output: float | None
    image_tokens: str
    base_tokens: int
    tile_tokens: int
    text_tokens: int
    output_tokens: int
    source: str | None
    date: str | None
    tokens_source: str
    note: str = ""


@dataclass
class Prices:
    """Both kinds of rows, in the order of the file."""

    machines: list[Machine] = field(default_factory=list)
    apis: list[Api] = field(default_factory=list)


def read(path: Path = DEFAULT) -> Prices:
    """The checked file. Raises `DocvlmError` naming file and row for anything that is not a price."""
    prices = read_table(path, Prices, "prices=")
    for machine in prices.machines:
        _check(machine, [machine.usd_per_hour], path)
        try:
            re.compile(machine.device)
        except re.error as error:
            raise DocvlmError(f"prices={path}: {machine.name}: device={machine.device!r}: {error}") from error
    for api in prices.apis:
        _check(api, [api.usd_per_million_input, api.usd_per_million_output], path)
        if api.image_tokens not in IMAGE_TOKENS:
            known = ", ".join(IMAGE_TOKENS)
            raise DocvlmError(f"prices={path}: {api.name}: image_tokens={api.image_tokens}: choose one of {known}")
        if min(api.base_tokens, api.tile_tokens, api.text_tokens, api.output_tokens) < 0:
            raise DocvlmError(f"prices={path}: {api.name}: a number of tokens is negative")
    return prices


def _check(row: Machine | Api, amounts: list[float | None], path: Path) -> None:
    for amount in amounts:
        if amount is not None and not amount >= 0:
            raise DocvlmError(f"prices={path}: {row.name}: {amount} is no price; give US dollars, or null")
    if any(amount is not None for amount in amounts) and not (row.source and row.date):
        raise DocvlmError(f"prices={path}: {row.name}: a price needs its source and date; write who says so and when")
