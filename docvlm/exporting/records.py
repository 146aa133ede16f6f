"""What is written down of an export: one row a format, in its folder's `export.json` and in the run's table."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version as installed
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from docvlm.evaluation.subjects import contents
from docvlm.exporting import formats, verdict
from docvlm.files import read_json, shown
from docvlm.machine import versions
from docvlm.scoring.score import compare
from docvlm.timing.record import device_name
from docvlm.vlms import loading

if TYPE_CHECKING:
    from docvlm.config import ExportConfig
    from docvlm.data.benchmark import Role
    from docvlm.evaluation.outcome import Outcome
    from docvlm.exporting.canary import Comparison
    from docvlm.exporting.measuring import Found, Questions
    from docvlm.exporting.source import Source

FILE = "export.json"
RUN = "run"
"""The row of what was exported."""
_MB = 1e6


def row(
    word: str, folder: Path, found: Found, before: Sequence[Outcome] = (), seen: Comparison | None = None
) -> dict[str, Any]:
    """A format, or the run itself, in plain types. `before` and `seen`: what it is compared with, and how."""
    pairs = [(one, before[index] if before else None) for index, one in enumerate(found.outcomes)]
    return {
        "format": word,
        "folder": shown(folder),
        "reasons": [],
        "size_mb": round(loading.size(folder) / _MB, 3),
        "base_mb": None if found.base is None else round(found.base / _MB, 3),
        "canary": None if seen is None else asdict(seen),
        "scores": [_score(one, old) for one, old in pairs],
        "device": device_name(found.device),
        "latency": asdict(found.latency),
    }


def _score(outcome: Outcome, before: Outcome | None) -> dict[str, Any]:
    difference = None
    if before is not None:
        difference = asdict(compare(before.predictions, outcome.predictions, outcome.score.metric))
    return {
        "benchmark": outcome.label,
        "split": outcome.split,
        "metric": outcome.score.metric,
        **asdict(outcome.score.interval),
        "difference": difference,
        "answers": shown(outcome.folder),
    }


def made_of(cfg: ExportConfig, source: Source, asked: Questions, word: str, device: str) -> dict[str, Any]:
    """All that decides a row: weights, questions, settings, tolerance, packages, machine. Equal: it stays as it is."""
    digest = hashlib.sha256()
    for chunk in contents(source.best):
        digest.update(chunk)
    split = cast("Role", cfg.split)
    own = {name: installed(name) for name in formats.RECORDS[word].packages}
    return {
        "weights": digest.hexdigest()[:16],
        "base": source.record["base_fingerprint"],
        "budget": source.record["budget"],
        "questions": {data.label: data.fingerprint((split,)) for data in asked.benchmarks.values()},
        "settings": {name: getattr(cfg, name) for name in ("split", "canary", "pages", "warmup")},
        "max_new_tokens": asked.max_new_tokens,
        "tolerance": asdict(verdict.declared(cfg.tolerance, word, source.dtype)),
        "versions": versions() | own,
        "device": device_name(device),
    }


def kept(folder: Path, made: dict[str, Any]) -> dict[str, Any] | None:
    """The row of a format that is there already, if it was `made` of the same; else None."""
    if not (folder / FILE).is_file():
        return None
    record = read_json(folder / FILE)
    if "made_of" not in record or record["made_of"] != made:
        return None
    return {**record["row"], "folder": shown(folder)}
