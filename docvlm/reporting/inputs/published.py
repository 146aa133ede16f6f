"""`docs/published.yaml`: what others report, with split and source, to stand beside ours and never among it.

`beside` knows which numbers may share a column: the same public benchmark, the same public split, the same metric. What
docvlm calls its test split is the public validation split where the test answers are not public, so the split is
translated, not compared by name. Generated pages and own folders have nothing beside them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from docvlm.config.tables import read_table
from docvlm.data import benchmarks
from docvlm.data.benchmark import Role
from docvlm.data.benchmarks import BENCHMARKS
from docvlm.errors import DocvlmError
from docvlm.metrics import METRICS
from docvlm.metrics.registry import current_name

_PACKAGE = Path(__file__).resolve().parents[2]
# In a wheel `docs/published.yaml` travels inside the package, in a checkout it stands beside it.
DEFAULT = next(d for d in (_PACKAGE / "docs", _PACKAGE.parent / "docs") if d.is_dir()) / "published.yaml"
SPLITS = {"validation": "val", "test": "test"}
THEIRS = {"their_accuracy": "accuracy, theirs", "similarity": "similarity", "val_loss": "val loss"}
"""What others report that docvlm does not compute, and its heading."""
SETTINGS = ("epoch", "vision_trainable")


@dataclass(frozen=True)
class Published:
    """One published number. `score` is on 0 to 1 (a loss in nats); `size` and `questions` are None where not said.

    `vision_trainable` is the percentage of the vision tower that learned. `experiment` names the curve or ablation a
    number belongs to, "" for a score that stands alone.
    """

    model: str
    size: str | None
    benchmark: str
    split: str
    metric: str
    score: float
    source: str
    url: str | None
    note: str
    questions: int | None = None
    experiment: str = ""
    epoch: int | None = None
    vision_trainable: float | None = None


@dataclass
class _Source:
    title: str
    url: str | None


@dataclass
class _Score:
    model: str
    size: str | None
    benchmark: str
    split: str
    metric: str
    score: float
    source: str
    note: str


@dataclass
class _Experiment:
    model: str
    size: str | None
    benchmark: str
    split: str
    questions: int
    name: str
    set: dict[str, float]
    source: str
    note: str
    columns: list[str]
    rows: list[list[Any]]  # OmegaConf takes no whole number for a number inside nested lists


@dataclass
class _File:
    sources: dict[str, _Source] = field(default_factory=dict)
    scores: list[_Score] = field(default_factory=list)
    experiments: list[_Experiment] = field(default_factory=list)


def read(path: Path = DEFAULT) -> list[Published]:
    """Every number of the file, in its order; experiments after the scores that stand alone.

    Raises `DocvlmError` naming the file and the entry for a key or type that is wrong, an unknown benchmark, split,
    metric or source, a score outside 0 to 1, and a number that is there twice.
    """
    file = read_table(path, _File)
    found = [_alone(row, file, path) for row in file.scores]
    found += [one for experiment in file.experiments for one in _expanded(experiment, file, path)]
    seen: set[tuple[object, ...]] = set()
    for one in found:
        _check(one, path)
        key = (one.model, one.benchmark, one.split, one.metric, one.source, one.experiment, one.epoch)
        if (*key, one.vision_trainable) in seen:
            raise DocvlmError(f"{path}: {_name(one)} is there twice from {one.source!r}; keep one")
        seen.add((*key, one.vision_trainable))
    return found


@lru_cache
def shipped() -> tuple[Published, ...]:
    """The numbers that come with docvlm. Read once: checking the file against its schema takes 0.2 s."""
    return tuple(read())


def public_split(label: str, role: Role) -> str | None:
    """`val` or `test` for what docvlm's `role` is of a public benchmark; None for generated pages, folders, slices."""
    if label not in BENCHMARKS or not BENCHMARKS[label].published:
        return None
    public = BENCHMARKS[label].public
    return SPLITS[public[role]] if role in public else None


def beside(entries: Sequence[Published], label: str, role: Role, metric: str) -> list[Published]:
    """Numbers that may stand in the column of our score: same public benchmark, split and metric, and no experiment."""
    split = public_split(label, role)
    return [
        one
        for one in entries
        if split is not None and (one.benchmark, one.split, one.metric, one.experiment) == (label, split, metric, "")
    ]


def elsewhere(entries: Sequence[Published], label: str, role: Role, metric: str) -> list[Published]:
    """Numbers of the same benchmark and metric on its other split: to be shown apart, with the split said."""
    split = public_split(label, role)
    return [
        one
        for one in entries
        if split not in (None, one.split) and (one.benchmark, one.metric, one.experiment) == (label, metric, "")
    ]


def _alone(row: _Score, file: _File, path: Path) -> Published:
    source = _source(row.source, row.model, file, path)
    return Published(
        row.model, row.size, row.benchmark, row.split, current_name(row.metric), row.score, source.title, source.url,
        row.note,
    )  # fmt: skip


def _expanded(one: _Experiment, file: _File, path: Path) -> Iterator[Published]:
    source = _source(one.source, one.name, file, path)
    for row in one.rows:
        if len(row) != len(one.columns):
            raise DocvlmError(f"{path}: {one.name}: a row of {len(row)} values under {len(one.columns)} columns: {row}")
        if odd := [value for value in row if value is not None and not isinstance(value, (int, float))]:
            raise DocvlmError(f"{path}: {one.name}: {odd[0]!r} is no number in {row}")
        values: dict[str, float | None] = dict(zip(one.columns, row, strict=True))
        settings = {**dict.fromkeys(SETTINGS), **one.set, **{name: values[name] for name in SETTINGS if name in values}}
        if unknown := settings.keys() - set(SETTINGS):
            wrong = ", ".join(sorted(unknown))
            raise DocvlmError(f"{path}: {one.name}: set: {wrong}: choose from {', '.join(SETTINGS)}")
        for metric, score in values.items():
            if metric not in SETTINGS and score is not None:
                yield Published(
                    one.model,
                    one.size,
                    one.benchmark,
                    one.split,
                    current_name(metric),
                    score,
                    source.title,
                    source.url,
                    one.note,
                    one.questions,
                    one.name,
                    None if settings["epoch"] is None else int(settings["epoch"]),
                    settings["vision_trainable"],
                )


def _source(key: str, name: str, file: _File, path: Path) -> _Source:
    if key not in file.sources:
        known = ", ".join(file.sources) or "none"
        raise DocvlmError(f"{path}: {name}: source={key} is not under sources (there are: {known})")
    return file.sources[key]


def _check(one: Published, path: Path) -> None:
    for name, value, known in (
        ("benchmark", one.benchmark, tuple(benchmark.name for benchmark in benchmarks.published())),
        ("split", one.split, tuple(SPLITS.values())),
        ("metric", one.metric, (*METRICS, *THEIRS)),
    ):
        if value not in known:
            raise DocvlmError(f"{path}: {_name(one)}: {name}={value}: choose one of {', '.join(known)}")
    if not 0 <= one.score <= (float("inf") if one.metric == "val_loss" else 1):
        raise DocvlmError(f"{path}: {_name(one)}: score={one.score}: write it on 0 to 1")


def _name(one: Published) -> str:
    return f"{one.model} on {one.benchmark} {one.split}, {one.metric}"
