"""The exports of a run as points beside its page sizes: which runtime is cheapest at which accuracy.

`docvlm.export` scores and times every format by the same protocol and writes `export.json`; nothing is measured again
here. Only what was measured on this device, and on as many questions about as many documents of the same split, is a
point: a split and a limit give the same questions, unless rows were edited in between.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docvlm.files import read_json, shown
from docvlm.metrics.registry import goodness
from docvlm.timing.budgets import word
from docvlm.timing.frontier import pareto

if TYPE_CHECKING:
    from docvlm.vlms.codec import Budget

EXPORTS = Path("export", "export.json")
"""Where an export leaves its figures, below a run."""
SAME_MODEL = ("run", "adapter", "merged")  # the same weights through torch, which the first point has
_SCORE = ("mean", "low", "high", "n", "clusters")


def beside(found: dict[str, Any], run: Path, own: Budget) -> tuple[dict[str, Any], list[str]]:
    """A benchmark's record with the exports of its run as further points, and a line for each that is none.

    Exports read pages at the run's `own` budget and are compared with the run at it, which must be the first point.
    """
    file = run / EXPORTS
    if not file.exists():
        return found, []
    points, left_out = list(found["points"]), []
    for row in read_json(file)["formats"]:
        if row["format"] in SAME_MODEL or row["reasons"]:
            continue
        scores, why = _comparable(row, found, own)
        if why:
            left_out.append(f"{shown(file)}: {row['format']} is no point here: {why}")
        else:
            points.append(_point(row, scores[0], found["points"][0]))
    return found | {"points": judged(points)}, left_out


def _comparable(row: Mapping[str, Any], found: Mapping[str, Any], own: Budget) -> tuple[list[Mapping[str, Any]], str]:
    """The score of a format on what the benchmark asked; or why it has none."""
    first = found["points"][0]["score"]
    scores = [s for s in row["scores"] if (s["benchmark"], s["split"]) == (found["benchmark"], found["split"])]
    if found["points"][0]["budget"] != asdict(own):
        return [], f"it reads pages at {word(own)}, which is not the first of budgets here"
    if row["device"] != found["device"]:
        return [], f"it was measured on {row['device']}"
    if not scores:
        return [], f"it was not asked about {found['benchmark']}, {found['split']} split"
    if (scores[0]["n"], scores[0]["clusters"]) != (first["n"], first["clusters"]):
        return [], f"it was asked {scores[0]['n']} questions, here they are {first['n']}; export with the same limit"
    return scores, ""


def _point(row: Mapping[str, Any], score: Mapping[str, Any], first: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "resolution": row["format"],
        "runtime": True,
        "budget": first["budget"],
        "score": {"metric": score["metric"], **{key: score[key] for key in _SCORE}},
        "difference_to_first": score["difference"],
        "single": row["latency"],
        "batched": None,
        "largest": None,
        "answers": row["folder"],
    }


def judged(points: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The points, each with whether it is on the frontier of all."""
    at = [(p["single"]["p50_ms"], goodness(p["score"]["metric"], p["score"]["mean"])) for p in points]
    return [{**point, "pareto": best} for point, best in zip(points, pareto(at), strict=True)]
