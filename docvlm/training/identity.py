"""What makes two runs the same run: everything that decides the final weights, and nothing about where files lie.

Left out of the config: paths (data and checkpoint are hashed instead), names, loggers, worker counts, what changes
speed and nothing else (packing, features), whether the network may be used, and `audit`, since what it takes out of
train is missing from the data's fingerprint. Left in: precision, devices, batch sizes, early stopping, the seed. The
code stands beside the fingerprint and not in it, so that a command can say that there is a run with these settings,
made by another version (`code.py`).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from docvlm.training import code

if TYPE_CHECKING:
    from docvlm.config import TrainConfig
    from docvlm.data.datamodule import DocumentDataModule

_ELSEWHERE = {"source", "packing", "offline", "num_workers", "checkpoint", "revision", "checkpoints", "by_scale"}
_NO_EFFECT = {
    "name",
    "logger",
    "offline",
    "rerun",
    "scale",
    "packing",
    "audit",
    "features",
    "features_folder",
    "features_limit_gb",
}


@dataclass(frozen=True)
class Identity:
    """Fingerprints of a run, its data (questions and pages of all splits), the checkpoint it starts from, and the code.

    A finished run stands for another with the same `run` and the same `code`.
    """

    run: str
    data: str
    checkpoint: str
    code: str


def identify(cfg: TrainConfig, data: DocumentDataModule, checkpoint: str) -> Identity:
    """Fingerprint a run; `checkpoint` is the fingerprint of its base weights."""
    found = data.fingerprint()
    decides = {**_deciding(dataclasses.asdict(cfg)), "data fingerprint": found, "checkpoint fingerprint": checkpoint}
    text = json.dumps(decides, sort_keys=True, ensure_ascii=True)
    return Identity(
        hashlib.sha256(text.encode()).hexdigest()[:16], found, checkpoint, code.fingerprint(code.versions())
    )


def _deciding(values: dict[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in values.items() if key not in _NO_EFFECT}
    kept["scale"] = values["scale"]["name"]
    kept["trainer"] = {key: value for key, value in kept["trainer"].items() if not key.endswith("_every_n_steps")}
    for part in ("data", "model"):
        kept[part] = _without_places(kept[part])
    return kept


def _without_places(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_places(inner) for key, inner in value.items() if key not in _ELSEWHERE}
    return value
