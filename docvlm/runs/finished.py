"""The runs that training left, and the best setting of each family.

A run is a folder with `manifest.json` and `result.json` under `outputs/` or `multirun/`. Only finished runs compete, by
the score on the split that selects; the split that reports plays no part in the choice. What competes is a setting, by
its mean over its seeds: the best of many single runs is mostly the luckiest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from docvlm import registry
from docvlm.errors import DocvlmError
from docvlm.files import read_json
from docvlm.metrics.registry import goodness
from docvlm.runs import identity
from docvlm.runs.folder import RunFolder, follow
from docvlm.runs.result import read as read_result
from docvlm.vlms.families import FAMILIES, called, published

ROOTS = (Path("outputs"), Path("multirun"))
FINISHED = "finished"


@dataclass(frozen=True)
class Run:
    """One training run as its files tell it."""

    folder: RunFolder
    manifest: dict[str, Any]
    result: dict[str, Any]
    named: str = ""
    """What its results stand under where another checkpoint has the name of its own (`told_apart`)."""

    @property
    def family(self) -> str:
        """Name of the model's family (`docvlm.vlms.families`)."""
        return str(self.manifest["family"])

    @property
    def base(self) -> str:
        """The checkpoint it started from: the word `embedded`, a folder, or a hub id, also of its local cache."""
        return published(str(self.manifest["checkpoint"]["name"]))[0]

    @property
    def base_revision(self) -> str | None:
        """The commit, branch or tag of `base` on the hub where one is known."""
        _, commit = published(str(self.manifest["checkpoint"]["name"]))
        return commit or self.manifest["config"]["model"].get("revision")

    @property
    def model(self) -> str:
        """What its results stand under: the family, or the checkpoint where a family takes any."""
        return self.named or called(self.family, str(self.manifest["checkpoint"]["name"]))

    @property
    def checkpoint(self) -> tuple[str, str]:
        """Name and fingerprint of the checkpoint it started from."""
        found = self.manifest["checkpoint"]
        return called(self.family, str(found["name"])), str(found["fingerprint"])

    @property
    def extensions(self) -> tuple[str, ...]:
        """Modules of one's own that it was trained with; versions before there were any recorded none."""
        return tuple(self.manifest["config"].get("extensions", ()))

    @property
    def unknown(self) -> str:
        """What of it nobody has registered, and which extensions would, in a line; "" where all is known."""
        if self.family in FAMILIES:
            return ""
        return f"{self.folder.root}: its family {self.family} is not known here; {registry.advice(self.extensions)}"

    @property
    def scale(self) -> str:
        """`tiny` or `full`."""
        return str(self.manifest["scale"])

    @property
    def trained_on(self) -> str:
        """Label of the benchmark, or of the mixture."""
        return str(self.manifest["data"]["benchmark"])

    @property
    def status(self) -> str:
        """`running`, `finished`, `failed` or `interrupted`."""
        return str(self.result["status"])

    @property
    def selection(self) -> float:
        """Headline on the split that selects, of the epoch that was kept; of an error, what it lacks to 1."""
        found = self.result["selection"]
        return goodness(found["metric"], float(found["value"]))


def read(folder: Path) -> Run:
    """The run in `folder`, or the one its pointer names. Raises `DocvlmError` if it is none, saved no weights, or is of
    a family that is not known.
    """
    if not folder.is_dir():
        raise DocvlmError(f"run={folder}: no such folder; give one that docvlm.train left under outputs/ or multirun/")
    cells = sorted(path.parent for path in folder.glob("*/result.json"))
    if cells and not (folder / "result.json").exists():
        raise DocvlmError(f"run={folder}: a sweep of {len(cells)} runs; give one of them, such as run={cells[0]}")
    place = follow(folder)
    run = Run(place, read_json(place.manifest), read_result(place.result))
    if run.unknown:
        raise DocvlmError(f"run={run.unknown}")
    if not place.best.is_dir():
        raise DocvlmError(
            f"run={folder}: status {run.status}, and no weights in {place.best}; "
            "repeat its training command to finish it, or give another run"
        )
    return run


def apart(checkpoints: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """What results of checkpoints stand under, each a name and a fingerprint.

    The name, with digits of the fingerprint where another checkpoint has it too; a family has many checkpoints.
    """
    known = set(checkpoints)
    shared = Counter(name for name, _ in known if name not in FAMILIES)
    return {(name, mark): f"{name}-{mark[:8]}" if shared[name] > 1 else name for name, mark in known}


def told_apart(runs: Sequence[Run]) -> list[Run]:
    """The same runs; those from checkpoints of one name have another each."""
    names = apart(run.checkpoint for run in runs)
    return [replace(run, named=names[run.checkpoint]) for run in runs]


def finished(roots: Iterable[Path] = ROOTS) -> list[Run]:
    """Every finished run with weights under `roots`, oldest first. A folder that only points elsewhere is skipped.

    Checkpoints of one name are told apart.
    """
    files = [path for root in roots for depth in ("*", "*/*") for path in root.glob(f"{depth}/result.json")]
    runs = []
    for path in sorted(files):
        place = RunFolder(path.parent)
        result = read_result(path)
        if result["status"] == FINISHED and place.manifest.exists() and place.best.is_dir():
            runs.append(Run(place, read_json(place.manifest), result))
    return told_apart(runs)


@dataclass(frozen=True)
class Chosen:
    """A family's setting with the highest mean selection score. `name` is "" where it is the family's only one.

    `runs` has one run a seed; `run`, the best of them on val, stands for the setting. A setting of one seed competes
    with its one score.
    """

    name: str
    runs: Sequence[Run]

    @property
    def run(self) -> Run:
        """The run with the highest selection score; the later one on a tie."""
        return max(reversed(self.runs), key=lambda run: run.selection)

    @property
    def mean(self) -> float:
        """Mean selection score over the seeds."""
        return mean(run.selection for run in self.runs)

    def __str__(self) -> str:
        """What was chosen by what, and which run is used for it, in a line."""
        run, seeds = self.run, len(self.runs)
        has = f"{self.name} has the highest" if self.name else "the only setting has a"
        if seeds == 1:
            score = f"val score ({self.mean:.3f} on {run.trained_on}, one seed only)"
            return f"{run.model}: {has} {score}; its run {run.folder.root} is used"
        spread = stdev(run.selection for run in self.runs)
        score = f"mean val score over {seeds} seeds ({self.mean:.3f} ± {spread:.3f} on {run.trained_on})"
        return f"{run.model}: {has} {score}; its run {run.folder.root}, the best of them, is used"


def best(runs: Sequence[Run]) -> dict[str, Chosen]:
    """Per model the setting with the highest mean selection score; the later one on a tie.

    A run that was repeated with its seed counts once, as its later self.
    """
    models: dict[str, list[Chosen]] = {}
    for seeds in by_setting(runs):
        models.setdefault(seeds[0].model, []).append(Chosen("", seeds))
    return {model: _best(settings) for model, settings in sorted(models.items())}


def by_setting(runs: Iterable[Run]) -> list[list[Run]]:
    """Runs that differ in nothing but their seed, together: one a seed, the later one where a seed was repeated."""
    settings: dict[str, dict[int, Run]] = {}
    for run in runs:
        seeds = settings.setdefault(identity.setting(run.manifest, run.result.get("code")), {})
        seeds.pop(run.manifest["seed"], None)
        seeds[run.manifest["seed"]] = run
    return [list(seeds.values()) for seeds in settings.values()]


def _best(candidates: Sequence[Chosen]) -> Chosen:
    chosen = max(reversed(candidates), key=lambda one: one.mean)
    return chosen if len(candidates) == 1 else replace(chosen, name=_name(chosen, candidates))


def _name(chosen: Chosen, candidates: Sequence[Chosen]) -> str:
    """What tells a setting from the others: `freeze=33`, every key of the config in which any two of them differ."""
    flat = [dict(_flat(identity.decisions(one.run.manifest, None))) for one in candidates]
    own = flat[candidates.index(chosen)]
    words = [f"{key}={value}" for key, value in own.items() if any(other.get(key) != value for other in flat)]
    shown = [word for word in words if " fingerprint=" not in word]
    return " ".join(shown) or f"the setting of {chosen.run.folder.root}"


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", f"{value:g}" if isinstance(value, float) else value
