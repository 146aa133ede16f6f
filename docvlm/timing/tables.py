"""`benchmark.json` as tables: latency and memory, the frontier of accuracy and latency, costs, selectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from docvlm.data.reading import NONE, Reading
from docvlm.scoring.intervals import Difference, Interval
from docvlm.tables import Column, Table
from docvlm.timing.cost import Cost

RUNTIME = Column("resolution", "page size, runtime", kind="text")
_SPEEDS = (
    RUNTIME,
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
    notes = ["from opening the page to the text, of a whole batch; one question a page", *bounds, *about_served(found)]
    return Table("latency", title, _SPEEDS, rows, notes)


def about_served(found: Mapping[str, Any]) -> list[str]:
    """Where a server computes that is among the points, and what its times are of; nothing without one."""
    return [
        f"{point['resolution']}: {point['served']}, on {point['device'] or 'a machine that served_on did not name'};"
        " times of requests, each with a page of its own"
        for point in found["points"]
        if "served" in point
    ]


def frontier(found: Mapping[str, Any]) -> Table:
    """A row for each page size and runtime: the score, its difference to the first, and the median latency alone."""
    score = found["points"][0]["score"]
    columns = (
        RUNTIME,
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
    rows = [_frontier_row(point) for point in found["points"]]
    note = f"mean with 95 % interval over {score['clusters']} documents; Δ paired on the same questions"
    return Table("frontier", title, columns, rows, [note, *about_served(found)])


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
    Column("resolution", "page size, runtime", filed=False),
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
    return Table("costs", title, _COSTS, [row.as_dict() for row in rows], [note, *dict.fromkeys(told)])


SELECTED = (
    Column("read", "what is read", kind="text"),
    Column("k", "k"),
    Column("questions", "questions"),
    Column("score", "score"),
    Column("difference", "Δ to the first"),
    Column("same_tokens", "Δ at these tokens"),
    Column("recall", "recall@k"),
    Column("prompt_tokens", "tokens", 0),
    Column("seconds", "s"),
    Column("selector_seconds", "s to select"),
    Column("peak_memory_mb", "peak MB", 0),
    Column("timed", "timed"),
)
"""Of the table of selectors."""
DOCUMENTS = Column("documents", "pages of a document", kind="text")


def selectors(found: Mapping[str, Any]) -> list[Table]:
    """All pages and those that selectors hand on: over all documents, and by the number of their pages.

    None where no selector was asked for; one where all documents have about the same number of pages.
    """
    if "selectors" not in found:
        return []
    compared = found["selectors"]
    rows = [selected(row) for row in compared["rows"]]
    whole, by_pages = ([row for row in rows if (row["documents"] is None) == all_of] for all_of in (True, False))
    title = f"all pages and selectors: {found['benchmark']}, {found['split']} split, {compared['metric']}"
    notes = about_selectors(found)
    made = [Table("selectors", title, SELECTED, whole, notes)]
    if by_pages:
        columns = (DOCUMENTS, *SELECTED)
        made.append(Table("selectors_by_pages", f"{title}, by number of pages", columns, by_pages))
    return made


def selected(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the record with its intervals."""
    spread = {"difference": Difference.of(row["difference"]), "same_tokens": Difference.of(row["same_tokens"])}
    recall = None if row["recall"] is None else Interval.of(row["recall"])
    return {**row, **spread, "score": Interval.of(row["score"]), "recall": recall, "questions": row["score"]["n"]}


def about_selectors(found: Mapping[str, Any]) -> list[str]:
    """What the numbers are of, and what differs between the rows beside the pages."""
    compared = found["selectors"]
    names = {row["selector"] for row in compared["rows"]}
    smaller = any(row["selector"] == NONE and row["k"] for row in compared["rows"])
    trained = Reading.of(compared["trained"])
    how = "" if trained.selection.name == NONE else f" selector={trained.selection.name}"
    learned = f"; the model was trained with data.pages={trained.pages}{how}: other rows are not as it was trained"
    notes = [
        "95 % intervals over documents; Δ paired on the same questions, at these tokens: to all pages at the smaller"
        " budget of the same k; recall: of the questions that say where the answer is, those handed such a page",
        "tokens (mean), seconds (median) and memory: the first question of a document, alone, from its pages to the"
        " text, with the selector's time",
        "no selector is trained" + (learned if found["trained_on"] else ""),
        "questions of a document share all its pages in evaluation; pages chosen for each question are not shared",
    ]
    if NONE in names and not smaller:
        notes.append("no row of all pages at a smaller budget: only models that read all pages together have one")
    if "text" in names and found["source"] == "generated":
        notes.append("selector=text has the text that was drawn, at hand: opening a PDF's text layer takes longer")
    if compared["left_out"]:
        notes.append(f"{compared['left_out']} questions that one of the rows cannot read are in none")
    return notes
