"""What makes two runs the same run: everything that decides the final weights, and nothing about where files lie.

Left out of the config: paths and languages (data and checkpoint are hashed instead), names, loggers, worker counts,
what changes speed and nothing else (packing, features), whether the network may be used, and `audit`, since what it
takes out of train is missing from the data's fingerprint. Left in: precision, devices, batch sizes, early stopping, the
seed, and where pages are streamed the size of a window, which decides their order. Of devices that share the weights
only how many batches make a step counts: such a run goes on with another number of them. The code stands beside the
fingerprint and not in it, so that a command can say that there is a run with these settings, made by another version
(`code_version.py`).

Rows of val and test count for the run, since they decide its scores, and not for its training: mending one of them
after hours of training costs the final exam.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from docvlm.config.renamed import as_first_spelled
from docvlm.config.train import shares_weights
from docvlm.data.reading import NONE
from docvlm.runs import code_version

if TYPE_CHECKING:
    from docvlm.config import TrainConfig
    from docvlm.data.benchmark import Role
    from docvlm.data.loading.datamodule import DocumentDataModule

ROLES: tuple[Role, ...] = ("train", "val", "test")
_ELSEWHERE = {
    "source", "packing", "offline", "num_workers", "checkpoint", "revision", "checkpoints", "by_scale", "languages",
    "streaming", "cache_folder", "cache_gb", "window_gb",
}  # fmt: skip
_NO_EFFECT = {
    "name",
    "logger",
    "offline",
    "rerun",
    "seeds",  # how many other runs there are
    "scale",
    "packing",
    "audit",
    "features",
    "features_folder",
    "features_limit_gb",
    "jobs",
    "extensions",  # what comes of them is in the model, the data and the code
}
_LATER = {
    "budget": {"jpeg_quality", "longest_edge", "max_tiles", "document_pixels"},
    "model": {"tower", "blocks"},
    "data": {"pages", "page_numbers", "join_pages"},
}


@dataclass(frozen=True)
class Identity:
    """Fingerprints of a run, its data (questions and pages of all splits), the checkpoint it starts from, and the code.

    A finished run stands for another with the same `run` and the same `code`. `training` leaves out the rows of val and
    test, which no weight is learned from: where only they differ, a training that has ended stands. `splits` has a
    fingerprint of each split, by its name.
    """

    run: str
    data: str
    checkpoint: str
    versions: Mapping[str, int]
    training: str | None = None
    splits: Mapping[str, str] = field(default_factory=dict)

    @property
    def code(self) -> str:
        """The version of the code, as a run records it."""
        return code_version.fingerprint(self.versions)

    @property
    def known(self) -> dict[str, Any]:
        """The fields of `result.json` by which a later command finds a run."""
        return {
            "fingerprint": self.run,
            "training": self.training,
            "splits": dict(self.splits),
            "code": self.code,
        }


def identify(cfg: TrainConfig, data: DocumentDataModule, checkpoint: str) -> Identity:
    """Fingerprint a run; `checkpoint` is the fingerprint of its base weights."""
    found, deciding = data.fingerprint(), _deciding(dataclasses.asdict(cfg))
    splits: dict[str, str] = {role: data.fingerprint((role,)) for role in ROLES}
    run, training = (
        _hash({**deciding, "data fingerprint": rows, "checkpoint fingerprint": checkpoint})
        for rows in (found, splits["train"])
    )
    return Identity(run, found, checkpoint, code_version.versions(cfg.model.family), training, splits)


def decisions(manifest: Mapping[str, Any], code: str | None) -> dict[str, Any]:
    """All that makes a run's setting, from its manifest: everything of its identity but the seed, and what follows it.

    Runs with equal decisions differ by chance alone, and stand for one setting together. `code` is what `result.json`
    has under this word.
    """
    kept = _without_seed(_deciding(manifest["config"]), manifest["config"]["seed"])
    rows, checkpoint = manifest["data"]["fingerprint"], manifest["checkpoint"]["fingerprint"]
    return {**kept, "data fingerprint": rows, "checkpoint fingerprint": checkpoint, "code": code}


def setting(manifest: Mapping[str, Any], code: str | None) -> str:
    """A fingerprint of `decisions`."""
    return _hash(decisions(manifest, code))


def _hash(decides: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(decides, sort_keys=True, ensure_ascii=True).encode()).hexdigest()[:16]


def _deciding(values: dict[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in values.items() if key not in _NO_EFFECT}
    kept["scale"] = values["scale"]["name"]
    kept["data"] = as_first_spelled(kept["data"])
    trainer = {key: value for key, value in kept["trainer"].items() if not key.endswith("_every_n_steps")}
    kept["trainer"] = _of_any_devices(trainer) if shares_weights(trainer.get("strategy")) else trainer
    window = _window(kept["data"])
    for part in ("data", "model"):
        kept[part] = _without_places(kept[part])
    if window is not None:  # streamed pages are learned from in another order
        kept["data"]["window_gb"] = window
    # keys at the values that were the only ones before there were the keys, so that runs of then are found
    if kept.get("select") == "score":
        del kept["select"]
    if not kept.get("freeze_language"):
        kept.pop("freeze_language", None)
    if kept.get("selector") in (None, NONE):
        kept = {key: value for key, value in kept.items() if not key.startswith("selector")}
    for part, later in _LATER.items():
        kept[part] = {key: value for key, value in kept[part].items() if key not in later or value is not None}
    return kept


def _window(data: dict[str, Any]) -> float | None:
    """The size of a window of the order, where any pages are streamed."""
    parts = (data.get("parts") or {}).values()
    return data["window_gb"] if any(part.get("streaming") for part in (data, *parts)) else None


def _of_any_devices(trainer: dict[str, Any]) -> dict[str, Any]:
    """Settings of a sharded run: batches a step, in place of devices and of what each accumulates."""
    devices, nodes, accumulated = (trainer[key] for key in ("devices", "num_nodes", "accumulate_grad_batches"))
    step = ["devices", accumulated] if devices == -1 else devices * nodes * accumulated
    left = {key: value for key, value in trainer.items() if key not in ("devices", "num_nodes")}
    return left | {"accumulate_grad_batches": step, "strategy": trainer["strategy"]["_target_"]}


def _without_seed(value: Any, seed: int) -> Any:
    """Without `seed`, also where the config repeats it (`data.seed`, the order of training); one set apart stays."""
    if isinstance(value, dict):
        return {k: _without_seed(inner, seed) for k, inner in value.items() if k != "seed" or inner != seed}
    return value


def _without_places(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_places(inner) for key, inner in value.items() if key not in _ELSEWHERE}
    return value
