"""Models as the report calls them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from docvlm.runs.finished import Run
from docvlm.vlms.families import label


def name(family: str, run: Run | None, subject: str = "zero-shot") -> str:
    """A model as the report calls it: family, size, and what was trained of it; without a run, what `subject` says."""
    if run is None:
        return f"{label(family)} {subject}"
    words, learned = [label(run.model)], run.manifest["trainable"]
    if run.model == run.family:  # else its checkpoint is its name
        size = str(run.manifest["config"]["model"]["size"])
        words.append(size.upper() if size[:1].isdigit() else size)
    if learned["lora_r"]:
        words.append(f"{adapter(learned)} r={learned['lora_r']}")
    if learned["freeze"] != 100 or not learned["lora_r"]:
        words.append(f"freeze={learned['freeze']:g}")
    return " ".join(words)


def adapter(learned: Mapping[str, Any]) -> str:
    """The kind of adapter in `trainable` of a manifest or result; runs of older versions do not say, and had LoRA."""
    said = {"lora_use_dora": False, "quant": "none"} | dict(learned)
    return ("Q" if said["quant"] != "none" else "") + ("DoRA" if said["lora_use_dora"] else "LoRA")
