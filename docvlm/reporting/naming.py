"""Models as the report calls them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from docvlm.runs.finished import Run
from docvlm.vlms.families import label, last_part


def name(family: str, run: Run | None, subject: str = "zero-shot") -> str:
    """A model in the report: family, checkpoint, what was trained of it; without a run, what `subject` says."""
    if run is None:
        return f"{label(family)} {subject}"
    words, learned = [label(run.model)], run.manifest["trainable"]
    if run.model == run.family:  # else its checkpoint is its name
        words.append(_checkpoint(run.manifest["config"]["model"]))
    if learned["lora_r"]:
        words.append(f"{adapter(learned)} r={learned['lora_r']}")
    if learned["freeze"] != 100 or not learned["lora_r"]:
        words.append(f"freeze={learned['freeze']:g}")
    if freeze_language(learned):
        words.append(f"freeze_language={freeze_language(learned)}")
    return " ".join(words)


def _checkpoint(model: Mapping[str, Any]) -> str:
    """The word for a checkpoint in `conf/model/`; one that has none there goes by its folder or hub id."""
    size, checkpoint = str(model["size"]), str(model["checkpoint"])
    if model["checkpoints"].get(size) != checkpoint:
        return last_part(checkpoint)
    return size.upper() if size[:1].isdigit() else size


def freeze_language(learned: Mapping[str, Any]) -> int:
    """Percent of the decoder's blocks that did not learn, of `trainable` as in `adapter`; older versions froze none."""
    return int(({"freeze_language": 0} | dict(learned))["freeze_language"])


def adapter(learned: Mapping[str, Any]) -> str:
    """The kind of adapter in `trainable` of a manifest or result; runs of older versions do not say, and had LoRA."""
    said = {"lora_use_dora": False, "quant": "none"} | dict(learned)
    return ("Q" if said["quant"] != "none" else "") + ("DoRA" if said["lora_use_dora"] else "LoRA")
