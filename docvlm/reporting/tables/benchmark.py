"""A benchmark as tables for a terminal: latency and memory, accuracy against latency, costs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from docvlm.timing.cost import Cost


def tables(record: Mapping[str, Any], costs: Sequence[Cost]) -> Iterator[RenderableType]:
    """All of them, in the order they are read."""
    yield _latency(record)
    yield from _bounds(record)
    yield _frontier(record)
    yield _costs(costs, len(record["pages"]))
    told = [row for row in costs if row.note and (row.measured_in or row.kind == "api")]
    yield from (Text(f"{row.name}: {row.note}") for row in told)


def _latency(record: Mapping[str, Any]) -> Table:
    heads = ["pixels", "batch", "n", "p50 ms", "p95 ms", "first token ms", "tokens/s", "pages/s", "peak MB", "held MB"]
    title = f"{record['family']} {record['subject']} ({record['dtype']}) on {record['device']}"
    shown = _table(title, heads)
    shown.caption = "from opening the page to the text, of a whole batch; one question a page"
    for point in record["points"]:
        for name in ("single", "batched"):
            if (row := point[name]) is not None:
                shown.add_row(
                    point["resolution"],
                    str(row["batch"]),
                    str(row["n"]),
                    _number(row["p50_ms"], 0),
                    _number(row["p95_ms"], 0),
                    _number(row["first_token_p50_ms"], 0),
                    _number(row["tokens_per_s"], 0),
                    _number(row["pages_per_s"], 1),
                    _number(row["peak_memory_mb"], 0),
                    _number(row["held_memory_mb"], 0),
                )
    return shown


def _bounds(record: Mapping[str, Any]) -> Iterator[RenderableType]:
    for point in record["points"]:
        if (found := point["largest"]) is not None:
            yield Text(f"{point['resolution']}: largest batch {found['batch']}, ended by {found['bound']}")
    yield Text("")


def _frontier(record: Mapping[str, Any]) -> Table:
    points = record["points"]
    score = points[0]["score"]
    title = f"accuracy, latency, resolution: {record['benchmark']}, {record['split']} split, {score['n']} questions"
    shown = _table(title, ["pixels", "tokens", score["metric"], "Δ to the first", "p50 ms", "frontier"])
    shown.caption = f"mean with 95 % interval over {score['clusters']} documents; Δ paired on the same questions"
    for point in points:
        score, difference = point["score"], point["difference_to_first"]
        shown.add_row(
            point["resolution"],
            f"{point['single']['prompt_tokens']:.0f}",
            f"{score['mean']:.3f} [{score['low']:.3f}, {score['high']:.3f}]".replace("[", r"\["),
            "-" if difference is None else _signed(difference),
            _number(point["single"]["p50_ms"], 0),
            "yes" if point["pareto"] else "no",
        )
    return shown


def _costs(costs: Sequence[Cost], pages: int) -> Table:
    heads = ["machine or API", "pixels", "latency ms", "USD alone", "batch", "USD in batches", "price of"]
    shown = _table("cost of 1 000 pages, US dollars", heads)
    shown.caption = (
        f"one question a page; APIs by their formula on the {pages} timed pages; - where nothing was measured"
    )
    for row in costs:
        shown.add_row(
            row.name,
            row.resolution or "-",
            _number(row.latency_ms, 0),
            _number(row.usd_per_1000_pages, 3),
            "-" if row.batch is None else str(row.batch),
            _number(row.usd_per_1000_pages_batched, 3),
            row.date or "-",
        )
    return shown


def _signed(difference: Mapping[str, Any]) -> str:
    low, high = difference["low"], difference["high"]
    return f"{difference['mean']:+.3f} [{low:+.3f}, {high:+.3f}]".replace("[", r"\[")


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _table(title: str, heads: Sequence[str]) -> Table:
    table = Table(title=title, box=SIMPLE_HEAD, pad_edge=False)
    table.title_justify = table.caption_justify = "left"
    for head in heads:
        first = head == heads[0]
        table.add_column(head, justify="left" if first else "right", no_wrap=first)
    return table
