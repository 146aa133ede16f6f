"""What a run can be told: where `conf/` is, and the typed schema that every composed config is merged onto.

The yaml files in `conf/` hold the defaults and say why; this file holds names and types, nothing else. A composed
config becomes plain dataclasses before a verb sees it (`docvlm.config.compose`): interpolations resolved, types
checked, read-only, no OmegaConf container left that could leak into a library. `None` means "the callee's own default".
"""

from __future__ import annotations

from dataclasses import FrozenInstanceError, dataclass
from pathlib import Path
from typing import Any

from docvlm import registry

_PACKAGE = Path(__file__).resolve().parents[1]
# In a wheel `conf/` travels inside the package, in a checkout it stands beside it.
CONF_DIR: Path = next(d for d in (_PACKAGE / "conf", _PACKAGE.parent / "conf") if d.is_dir())


def choices_of(group: str) -> list[str]:
    """What a group of the config can be: files of `conf/`, and those beside one's own modules."""
    folders = (CONF_DIR, *registry.config_folders())
    return sorted({file.stem for folder in folders for file in (folder / group).glob("*.yaml")})


class ReadOnly:
    """Attributes can be set once, by the constructor: OmegaConf cannot merge onto a class with `frozen=True`."""

    def __setattr__(self, name: str, value: object) -> None:
        if name in self.__dict__:
            raise FrozenInstanceError(f"the config is read-only: cannot set {name}={value!r}")
        super().__setattr__(name, value)


@dataclass
class ScaleConf(ReadOnly):
    """`conf/scale/`: what "tiny" and "full" mean, where it does not depend on the model family."""

    name: str
    source: str | None
    preset: str
    limit_train: int | None
    limit_val: int | None
    limit_test: int | None
    batch_size: int | None
    batch_tokens: int | None
    eval_batch_size: int
    num_workers: int
    max_epochs: int
    accumulate_grad_batches: int
    precision: str
    dtype: str


@dataclass
class ScaledModel(ReadOnly):
    """What a model family starts from at one scale. Learning rates: `lr` beside an adapter, `full_lr` where r=0."""

    size: str
    attn: str
    lr: float
    full_lr: float
    vision_lr: float
    limit_train: int | None = None  # questions, where the scale asks the family
    limit_test: int | None = None
    min_pixels: int | None = None
    max_pixels: int | None = None
    height: int | None = None
    width: int | None = None


@dataclass
class ModelConf(ReadOnly):
    """`conf/model/`: a family, which checkpoint of it, and the family's defaults for `lora.r`, `freeze`, budget.

    `revision` is a branch, tag or commit of a checkpoint on the hub.
    """

    family: str
    size: str
    checkpoint: str
    dtype: str
    attn: str
    checkpoints: dict[str, str]
    default_r: int
    default_freeze: float
    by_scale: dict[str, ScaledModel]
    revision: str | None = None


@dataclass
class BudgetConf(ReadOnly):
    """Pixels of a page a model sees: `min_pixels` to `max_pixels`, or `height` x `width`, as its family reads.

    `jpeg_quality`: pages go through JPEG before they are resized, as lmms-eval's do at 85; some families' only.
    """

    min_pixels: int | None = None
    max_pixels: int | None = None
    height: int | None = None
    width: int | None = None
    jpeg_quality: int | None = None


@dataclass
class LoraConf(ReadOnly):
    """Adapter on the language side. `r=0`: none, the language side learns in full. `alpha=None` means `2 * r`."""

    r: int
    alpha: float | None = None
    dropout: float = 0.0
    target_modules: list[str] | None = None
    use_dora: bool = False

    @property
    def effective_alpha(self) -> float:
        """`alpha`, or the policy: `2 * r`, so that alpha / r, the real scale of an update, is 2 at every rank."""
        return 2.0 * self.r if self.alpha is None else self.alpha


@dataclass
class DataConf(ReadOnly):
    """`conf/data/`: one benchmark, a folder of one's own, or the mixture. Fields that are None are not passed on."""

    _target_: str
    name: str
    source: str | None
    preset: str
    seed: int
    batch_size: int | None
    batch_tokens: int | None
    eval_batch_size: int
    num_workers: int
    limit_train: int | None
    limit_val: int | None
    limit_test: int | None
    val_fraction: float
    offline: bool
    test_fraction: float | None = None
    split_seed: int | None = None
    metric: str | None = None
    max_new_tokens: int | None = None
    revision: str | None = None
    packing: str = "on"
    parts: dict[str, Any] | None = None
    weights: dict[str, float] | None = None


@dataclass
class OptimConf(ReadOnly):
    """`conf/optim/`: peak learning rates, and optimizer and schedule as partials without them.

    `warmup` is the share of all optimizer steps in which the rate rises from 0.
    """

    lr: float
    vision_lr: float
    weight_decay: float
    warmup: float
    optimizer: dict[str, Any]
    scheduler: dict[str, Any]


@dataclass
class TrainerConf(ReadOnly):
    """`conf/trainer/`: how long and on what. `devices=-1` is all; `strategy` is Lightning's word or a `_target_`."""

    max_epochs: int
    max_steps: int
    accelerator: str
    devices: int
    num_nodes: int
    strategy: Any
    precision: str
    accumulate_grad_batches: int
    gradient_clip_val: float | None
    gradient_checkpointing: bool
    deterministic: bool
    log_every_n_steps: int
    checkpoint_every_n_steps: int


@dataclass
class TrainConfig(ReadOnly):
    """Everything `docvlm.train` can be told (`conf/train.yaml`)."""

    scale: ScaleConf
    model: ModelConf
    budget: BudgetConf
    lora: LoraConf
    freeze: float
    data: DataConf
    optim: OptimConf
    trainer: TrainerConf
    logger: dict[str, Any]
    callbacks: dict[str, Any]
    packing: str
    audit: str
    features: str
    features_folder: str
    features_limit_gb: float
    seed: int
    offline: bool
    extensions: list[str]
    rerun: bool
    quant: str
    name: str = ""


@dataclass
class EvaluateConfig(ReadOnly):
    """Everything `docvlm.evaluate` can be told (`conf/evaluate.yaml`).

    `run` is a folder a training left; without it, `endpoint` and `predictions`, `checkpoint` (default: the family's
    own) is evaluated zero-shot. `data` holds one entry for each benchmark that `benchmarks` may name.
    """

    scale: ScaleConf
    model: ModelConf
    budget: BudgetConf
    data: dict[str, DataConf]
    benchmarks: list[str]
    run: str | None
    checkpoint: str | None
    endpoint: str | None
    served: str | None
    concurrency: int
    timeout: float
    retries: int
    predictions: str | None
    against: str | None
    metric: str | None
    baseline: bool
    best: bool
    split: str
    limit: int | None
    output: str | None
    rerun: bool
    robustness: bool
    corruptions: list[str]
    severities: list[int]
    robustness_limit: int | None
    controls: bool
    packing: str
    seed: int
    offline: bool
    extensions: list[str]


@dataclass
class AuditConfig(ReadOnly):
    """Everything `docvlm.audit` can be told (`conf/audit.yaml`). `model` only says what `scale` asks of it."""

    scale: ScaleConf
    model: ModelConf
    data: DataConf
    features_folder: str
    packing: str
    seed: int
    offline: bool
    extensions: list[str]


@dataclass
class BenchmarkConfig(ReadOnly):
    """Everything `docvlm.benchmark` can be told. What is timed is chosen as by `docvlm.evaluate`.

    `batch` is a number or `auto`; each of `budgets` a number of pixels or `HEIGHTxWIDTH`.
    """

    scale: ScaleConf
    model: ModelConf
    budget: BudgetConf
    data: dict[str, DataConf]
    run: str | None
    best: bool
    checkpoint: str | None
    benchmark: str | None
    budgets: list[str] | None
    pages: int
    warmup: int
    batch: str
    max_batch: int
    memory_limit_gb: float | None
    split: str
    limit: int | None
    prices: str | None
    measured: list[str]
    output: str | None
    rerun: bool
    packing: str
    seed: int
    offline: bool
    extensions: list[str]


@dataclass(frozen=True)
class Job:
    """Where one execution of a verb writes, which cell of which sweep it is, and where earlier ones lie.

    `runs` holds single runs, `sweeps` sweeps (`outputs/` and `multirun/` unless told otherwise). `wait`: a cell that
    another process is training is waited for, not put off.
    """

    folder: Path
    overrides: tuple[str, ...] = ()
    sweep: Path | None = None
    number: int | None = None
    runs: Path | None = None
    sweeps: Path | None = None
    wait: bool = False

    def told(self, group: str) -> tuple[str, ...]:
        """Keys of a group of the config that the command itself sets, not a default: `max_pixels` of `budget`."""
        keys = (override.partition("=")[0].lstrip("+~") for override in self.overrides)
        return tuple(key.removeprefix(f"{group}.") for key in keys if key.startswith(f"{group}."))
