"""Tables of `robustness.json` and `controls.json`: what corrupted pages cost, and what is known without looking."""

from __future__ import annotations

from typing import Any

from docvlm.reporting.inputs.measured import Measured
from docvlm.reporting.tables.scores import INTERVALS, RUN
from docvlm.reporting.tables.speed import model
from docvlm.scoring.intervals import Difference, Interval
from docvlm.tables import Column, Table

_MODEL, _BENCHMARK = Column("model", "model", kind="text"), Column("benchmark", "benchmark", kind="text")


def corrupted(found: Measured) -> list[Table]:
    """Means over severities, every severity, and what the corruptions are; none without a measurement."""
    return [*(points(found, cells=cells) for cells in (False, True)), definitions(found)] if found.records else []


def points(found: Measured, *, cells: bool) -> Table:
    """Every corruption, a row its mean over severities (`cells`: a row a severity)."""
    columns = (
        _MODEL,
        _BENCHMARK,
        Column("corruption", "corruption", kind="text"),
        Column("severity", "severity", kind="text"),
        Column("score", "score"),
        Column("delta", "Δ to clean"),
        Column("p_holm", "p (Holm)", kind="p"),
        Column("kept", "share of clean score", 2),
        Column("consistency", "same answer", 2),
        RUN,
    )  # fmt: skip
    rows = [
        {
            **_head(one, source),
            "corruption": point["corruption"] or "mean of them",
            "severity": _severity(found, point),
            "score": Interval.of(point["score"]),
            "delta": Difference.of(point["delta"]),
            "p_holm": point["p_holm"],
            "kept": None if point["kept"] is None else Interval.of(point["kept"]),
            "consistency": Interval.of(point["consistency"]),
        }
        for source, one in found.records
        for point in one["points"]
        if (point["severity"] is not None) == cells
    ]
    clean = [f"{model(one)} on {one['benchmark']}: {Interval.of(one['clean'])}" for _, one in found.records]
    notes = [
        f"Clean pages: {'; '.join(clean)}; the same questions.",
        f"{INTERVALS} Same answer: share of questions answered as on the clean page, right or wrong.",
    ]
    name, title = ("robustness-severities", ", by severity") if cells else ("robustness", "")
    return Table(name, f"Corrupted pages{title}", columns, rows, notes, folded=cells)


def definitions(found: Measured) -> Table:
    """What each corruption does, and its levels."""
    columns = (
        Column("name", "corruption", kind="text"),
        Column("definition", "what is done", kind="text"),
        Column("levels", "levels", kind="text"),
    )
    rows = [
        {"name": name, "definition": one["definition"], "levels": f"{', '.join(map(str, one['levels']))} {one['unit']}"}
        for name, one in found.about.items()
    ]
    return Table("corruptions", "What the corruptions are", columns, rows, folded=True)


def controls(found: Measured) -> list[Table]:
    """The score on real pages beside blank ones and another document's; what looking adds, paired."""
    columns = (
        _MODEL, _BENCHMARK, Column("control", "pages", kind="text"), Column("real", "score on real pages"),
        Column("score", "score without them"), Column("adds", "looking adds"), Column("p", "p", kind="p"),
        Column("same", "same answer", 2), RUN,
    )  # fmt: skip
    rows = [
        {
            **_head(one, source),
            "control": name,
            "real": Interval.of(one["real"]),
            "score": Interval.of(one[name]["score"]),
            "adds": Difference.of(one[name]["looking_adds"]),
            "p": one[name]["looking_adds"]["p"],
            "same": Interval.of(one[name]["same_answer"]),
        }
        for source, one in found.records
        for name in found.about
    ]
    notes = [f"{name}: {text}." for name, text in found.about.items()]
    table = Table("controls", "What is known without looking", columns, rows, [*notes, INTERVALS])
    return [table] if found.records else []


def _severity(found: Measured, point: dict[str, Any]) -> str:
    if point["severity"] is None or point["corruption"] is None:
        return "mean" if point["severity"] is None else str(point["severity"])
    return f"{point['severity']} ({point['level']:g} {found.about[point['corruption']]['unit']})"


def _head(one: dict[str, Any], source: str) -> dict[str, Any]:
    return {"model": model(one), "benchmark": one["benchmark"], "run": source}
