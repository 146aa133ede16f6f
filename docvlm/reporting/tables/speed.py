"""Tables of `benchmark.json`: latency and memory, score against page size, what 1 000 pages cost, and selectors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from docvlm.reporting.inputs.measured import Measured
from docvlm.reporting.tables.scores import INTERVALS, RUN
from docvlm.scoring.intervals import Difference, Interval
from docvlm.tables import Column, Table
from docvlm.timing.tables import DOCUMENTS, RUNTIME, SELECTED, about_selectors, about_served, selected
from docvlm.vlms.families import label

_MODEL = Column("model", "model", kind="text")


def tables(found: Measured) -> list[Table]:
    """All of them, in the order they are read; none without a measurement."""
    made = [latency(found), costs(found), prices(found), frontier(found)] if found.records else []
    return [*made, *selectors(found)]


def latency(found: Measured) -> Table:
    """One row a page size and batch: median, 95th percentile, first token, rates, memory."""
    columns = (
        *_where(found), RUNTIME, Column("batch", "batch"), Column("n", "timed"), Column("p50_ms", "p50, ms", 0),
        Column("p95_ms", "p95, ms", 0), Column("first_token_p50_ms", "first token p50, ms", 0),
        Column("tokens_per_s", "tokens/s", 0), Column("pages_per_s", "pages/s", 1),
        Column("peak_memory_mb", "peak memory, MB", 0), RUN,
    )  # fmt: skip
    rows = [
        {**_of_point(record, source, point), **point[kind]}
        for source, record in found.records
        for point in record["points"]
        for kind in ("single", "batched")
        if point[kind] is not None
    ]
    notes = [
        "From opening the page to the text, of a whole batch, one question a page; the adapter is not merged.",
        f"p95 only where 20 batches or more were timed. Machine: {', '.join(_devices(found))}.",
        *_served(found),
    ]
    return Table("latency", "Latency and memory", columns, rows, notes)


def frontier(found: Measured) -> Table:
    """Score, its difference to the first page size, and latency of every page size."""
    columns = (
        *_where(found), Column("benchmark", "benchmark", kind="text"), RUNTIME, Column("score", "score"),
        Column("difference", "Δ to the first"), Column("p50_ms", "p50, ms", 0),
        Column("pareto", "on the frontier", kind="text"), RUN,
    )  # fmt: skip
    rows = [
        {
            **_of_point(record, source, point),
            "benchmark": record["benchmark"],
            "score": Interval.of(point["score"]),
            "difference": Difference.of(point["difference_to_first"]),
            "p50_ms": point["single"]["p50_ms"],
            "pareto": "yes" if point["pareto"] else "no",
        }
        for source, record in found.records
        for point in record["points"]
    ]
    notes = [INTERVALS, "Δ: the same questions, paired.", *_served(found)]
    return Table("frontier", "Score, latency and page size", columns, rows, notes)


def costs(found: Measured) -> Table:
    """US dollars for 1 000 pages: machines by the hour where they were timed, APIs by the token."""
    columns = (
        _MODEL, Column("name", "machine or API", kind="text"), RUNTIME, Column("latency_ms", "p50, ms", 0),
        Column("usd_per_1000_pages", "USD, one by one"), Column("batch", "batch"),
        Column("usd_per_1000_pages_batched", "USD, in batches"), Column("usd_per_hour", "USD an hour", 2),
        Column("date", "price of", kind="text"), RUN,
    )  # fmt: skip
    rows = [
        {**row, **_head(record, source)} | ({"model": row["name"]} if row["kind"] == "api" else {})
        for source, record in found.records
        for row in record["costs"]
    ]
    notes = [
        "One question a page. A machine has a cost only where the model was timed on it; prices are yours to edit."
    ]
    return Table("costs", "Cost of 1 000 pages", columns, rows, notes)


def prices(found: Measured) -> Table:
    """Who says what a machine or an API costs, and what to know about it."""
    columns = (
        Column("name", "machine or API", kind="text"), Column("source", "price from", kind="text"),
        Column("date", "of", kind="text"), Column("note", "note", kind="text"),
    )  # fmt: skip
    rows = {row["name"]: row for _, record in found.records for row in record["costs"]}
    return Table("prices", "Where prices come from", columns, list(rows.values()), folded=True)


def selectors(found: Measured) -> list[Table]:
    """All pages and those that selectors hand on, of the models that were asked so: whole, and by number of pages."""
    records = [(source, record) for source, record in found.records if "selectors" in record]
    rows = [
        {**_head(record, source), "benchmark": record["benchmark"], **selected(row)}
        for source, record in records
        for row in record["selectors"]["rows"]
    ]
    if not rows:
        return []
    where = (*_where(found), Column("benchmark", "benchmark", kind="text"))
    whole, by_pages = ([row for row in rows if (row["documents"] is None) == every] for every in (True, False))
    notes = list(dict.fromkeys(note for _, record in records for note in about_selectors(record)))
    title = "All pages of a document, and those that a selector hands on"
    made = [Table("selectors", title, (*where, *SELECTED, RUN), whole, notes)]
    if by_pages:
        columns = (*where, DOCUMENTS, *SELECTED, RUN)
        made.append(Table("selectors-by-pages", f"{title}, by number of pages", columns, by_pages))
    return made


def model(record: Mapping[str, Any]) -> str:
    """Family and subject of a record, as the report calls them."""
    return f"{label(record['family'])} {record['subject']}"


def _head(record: Mapping[str, Any], source: str) -> dict[str, Any]:
    return {"model": model(record), "device": record["device"], "run": source}


def _of_point(record: Mapping[str, Any], source: str, point: Mapping[str, Any]) -> dict[str, Any]:
    """A served model is on a device of its own."""
    return {**_head(record, source), "resolution": point["resolution"], "device": point.get("device", record["device"])}


def _served(found: Measured) -> list[str]:
    return list(dict.fromkeys(f"{note}." for _, record in found.records for note in about_served(record)))


def _devices(found: Measured) -> list[str]:
    devices = [
        device
        for _, record in found.records
        for device in (record["device"], *(point["device"] for point in record["points"] if point.get("device")))
    ]
    return list(dict.fromkeys(devices))


def _where(found: Measured) -> list[Column]:
    """The model, and the device where there is more than one."""
    return [_MODEL, Column("device", "device", kind="text")] if len(_devices(found)) > 1 else [_MODEL]
