"""`benchmark.json` as tables: latency and memory, the frontier of accuracy and latency, costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from docvlm.scoring.intervals import Difference, Interval
from docvlm.tables import Column, Table
from docvlm.timing.cost import Cost

_SPEEDS = (
    Column("resolution", "page size", kind="text"),
    Column("batch", "batch"),
    Column("n", "n"),
    Column("p50_ms", "p50 ms", 0),
    Column("p95_ms", "p95 ms", 0),
    *map(Column, ("mean_ms", "prepare_p50_ms")),
    Column("first_token_p50_ms", "first token ms", 0),
    Column("first_token_p95_ms"),
    Column("tokens_per_s", "tokens/s", 0),
    Column("pages_per_s", "pages/s", 1),
    *map(Column, ("prompt_tokens", "new_tokens")),
    Column("peak_memory_mb", "peak MB", 0),
    Column("held_memory_mb", "held MB", 0),
    Column("bound"),
)


def latency(found: Mapping[str, Any]) -> Table:
    """A row for each page size, alone and in the largest batch, and what ended the search for that batch."""
    rows = [
        {**point[name], "resolution": point["resolution"], "bound": bound}
        for point in found["points"]
        for name, bound in (("single", ""), ("batched", point["largest"]["bound"] if point["largest"] else ""))
        if point[name] is not None
    ]
    bounds = [
        f"{point['resolution']}: largest batch {point['largest']['batch']}, ended by {point['largest']['bound']}"
        for point in found["points"]
        if point["largest"] is not None
    ]
    title = f"{found['family']} {found['subject']} ({found['dtype']}) on {found['device']}"
    notes = ["from opening the page to the text, of a whole batch; one question a page", *bounds]
    return Table("latency", title, _SPEEDS, rows, notes)


def frontier(found: Mapping[str, Any]) -> Table:
    """A row for each page size: the score, its difference to the first, and the median latency alone."""
    score = found["points"][0]["score"]
    columns = (
        Column("resolution", "page size", kind="text"),
        Column("prompt_tokens", "tokens", 0),
        Column("metric"),
        Column("score", score["metric"], ends=("low", "high")),
        *map(Column, ("questions", "documents")),
        Column("difference", "Δ to the first", ends=("difference_low", "difference_high")),
        Column("p50_ms", "p50 ms", 0),
        *map(Column, ("p95_ms", "first_token_p50_ms", "pareto")),
        Column("best", "frontier", filed=False),
    )
    title = f"accuracy, latency, resolution: {found['benchmark']}, {found['split']} split, {score['n']} questions"
    note = f"mean with 95 % interval over {score['clusters']} documents; Δ paired on the same questions"
    return Table("frontier", title, columns, [_frontier_row(point) for point in found["points"]], [note])


def _frontier_row(point: Mapping[str, Any]) -> dict[str, Any]:
    score, difference, single = point["score"], point["difference_to_first"], point["single"]
    return {
        "resolution": point["resolution"],
        "metric": score["metric"],
        "score": Interval.of(score),
        "questions": score["n"],
        "documents": score["clusters"],
        "difference": Difference.of(difference),
        **{key: single[key] for key in ("prompt_tokens", "p50_ms", "p95_ms", "first_token_p50_ms")},
        "pareto": point["pareto"],
        "best": "yes" if point["pareto"] else "no",
    }


_COSTS = (
    Column("name", "machine or API", kind="text", filed=False),
    Column("resolution", "page size", filed=False),
    Column("latency_ms", "latency ms", 0, filed=False),
    Column("usd_per_1000_pages", "USD alone", filed=False),
    Column("batch", "batch", filed=False),
    Column("usd_per_1000_pages_batched", "USD in batches", filed=False),
    Column("date", "price of", filed=False),
    *(Column(field.name) for field in fields(Cost)),
)


def costs(rows: Sequence[Cost], pages: int) -> Table:
    """US dollars for 1 000 pages on every machine and from every API, by `pages` timed pages."""
    note = f"one question a page; APIs by their formula on the {pages} timed pages; – where nothing was measured"
    told = [f"{row.name}: {row.note}" for row in rows if row.note and (row.measured_in or row.kind == "api")]
    title = "cost of 1 000 pages, US dollars"
    return Table("costs", title, _COSTS, [row.as_dict() for row in rows], [note, *told])
