"""What `docvlm.train` can be told, and values a training cannot be made with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from docvlm.config.base import SWITCH, ReadOnly, need
from docvlm.config.data import DataConf, check_data
from docvlm.config.model import BudgetConf, ReadingVerbConfig, check_budget, check_revision
from docvlm.vlms.families import FAMILIES, no_decoder

PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")
NO_HALF_ON_CPU = "a CPU does not train in float16, and Lightning would take bf16-mixed without a word; take it yourself"
QUANTS = ("none", "4bit")
SHARDED = "docvlm.training.sharding.Sharded"
EVALUATIONS = ("gathered", "sharded")
SELECTS = ("score", "loss")
AUDITS = ("auto", "stop", "drop", "off")


@dataclass
class LoraConf(ReadOnly):
    """Adapter on the language side. `r=0`: none, the language side learns in full.

    `alpha=None` means `2 * r` (`docvlm.vlms.trainable.Lora`), so that alpha / r, the real scale of an update, is 2 at
    every rank.
    """

    r: int
    alpha: float | None = None
    dropout: float = 0.0
    target_modules: list[str] | None = None
    use_dora: bool = False


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

    @property
    def sharded(self) -> bool:
        """Whether the devices share the weights (`trainer=fsdp`)."""
        return shares_weights(self.strategy)


@dataclass
class TrainConfig(ReadingVerbConfig):
    """Everything `docvlm.train` can be told (`conf/train.yaml`)."""

    budget: BudgetConf
    lora: LoraConf
    freeze: float
    freeze_language: int
    data: DataConf
    optim: OptimConf
    trainer: TrainerConf
    logger: dict[str, Any]
    callbacks: dict[str, Any]
    select: str
    audit: str
    features: str
    features_folder: str
    features_limit_gb: float
    rerun: bool
    quant: str
    jobs: int
    seeds: int | None = None
    name: str = ""

    @property
    def pages_from(self) -> str | None:
        return self.data.source

    @property
    def seed_list(self) -> list[int]:
        """See `VerbConfig.seed_list`. The configured seed is the first: what was trained with it before is reused."""
        return [] if self.seeds is None else [*range(self.seed, self.seed + self.seeds)]

    def check(self, *, sweep: bool = False) -> None:
        super().check(sweep=sweep)
        if self.seeds is not None:
            need(self.seeds >= 1, "seeds", self.seeds, "how many seeds every cell is trained with: 1 or more")
            advice = f"{self.seeds} seeds are {self.seeds} runs; add -m, or give seed=N for one run"
            need(sweep, "seeds", self.seeds, advice)
        check_revision(self.model)
        check_budget(self.budget, FAMILIES[self.model.family])
        _train(self)

    def check_cell(self, nodes: int, tasks: int) -> None:
        """See `VerbConfig.check_cell`: the processes of a run must be those that the launcher starts."""
        devices, machines = self.trainer.devices, self.trainer.num_nodes
        if nodes == tasks == 1:
            advice = (
                "one device a cell in a sweep, since every rank would start the sweep again; run the cells one by one "
                "with torchrun, or use a launcher that starts them (hydra.launcher.tasks_per_node), or one device"
            )
            need(devices == 1, "trainer.devices", devices, advice)
            need(machines == 1, "trainer.num_nodes", machines, advice)
        advice = f"the launcher starts {tasks} processes on each of {nodes} nodes (hydra.launcher.tasks_per_node)"
        need(devices == tasks, "trainer.devices", devices, f"{advice}; give the same numbers")
        need(machines == nodes, "trainer.num_nodes", machines, f"{advice}; give the same numbers")


def _train(cfg: TrainConfig) -> None:
    need(0 <= cfg.freeze <= 100, "freeze", f"{cfg.freeze:g}", "a percentage of the vision tower's blocks, 0 to 100")
    family, share = FAMILIES[cfg.model.family], cfg.freeze_language
    need(0 <= share <= 99, "freeze_language", share, "a percentage of the decoder's blocks, 0 to 99: one has to learn")
    need(not share or family.has_decoder, "freeze_language", share, no_decoder(family))
    _lora(cfg.lora)
    _quant(cfg)
    check_data(cfg.data, "data")
    packed_flash = cfg.packing == "on" and family.branches and "flash" in cfg.model.attn
    advice = "FlashAttention takes no mask of branches; use sdpa, or packing=off"
    need(not packed_flash, "model.attn", cfg.model.attn, advice)
    advice = "score (the headline of generated answers on val) or loss (of the accepted answers) chooses the epoch"
    need(cfg.select in SELECTS, "select", cfg.select, advice)
    advice = "stop (an overlap ends the run), drop (takes it out of train), auto (by the source) or off"
    need(cfg.audit in AUDITS, "audit", cfg.audit, advice)
    need(cfg.features in ("auto", *SWITCH), "features", cfg.features, "choose auto, on or off")
    need(cfg.jobs >= 1, "jobs", cfg.jobs, "cells of a sweep beside each other: 1 or more")
    need(cfg.features_limit_gb > 0, "features_limit_gb", cfg.features_limit_gb, "above 0; features=off stores nothing")
    optim = cfg.optim
    need(optim.lr > 0, "optim.lr", optim.lr, "a learning rate is above 0")
    need(optim.vision_lr > 0, "optim.vision_lr", optim.vision_lr, "above 0; freeze=100 keeps the tower as it is")
    need(optim.weight_decay >= 0, "optim.weight_decay", optim.weight_decay, "0 or more")
    need(0 <= optim.warmup < 1, "optim.warmup", optim.warmup, "the share of all steps that warms up: 0 to below 1")
    fused = bool(optim.optimizer.get("fused")) and cfg.trainer.precision == "16-mixed"
    advice = "trainer.precision=16-mixed must unscale gradients before they are clipped; set false, or take bf16-mixed"
    need(not fused, "optim.optimizer.fused", True, advice)
    _trainer(cfg.trainer)
    _strategy(cfg)
    _halves(cfg.model.dtype, cfg.trainer.precision)


def _lora(lora: LoraConf) -> None:
    need(lora.r >= 0, "lora.r", lora.r, "a rank of 1 or more, or 0 to let the language side learn in full")
    need(lora.alpha is None or lora.alpha > 0, "lora.alpha", lora.alpha, "above 0, or null for 2 * lora.r")
    need(0 <= lora.dropout < 1, "lora.dropout", lora.dropout, "a probability from 0 to below 1")
    need(lora.target_modules != [], "lora.target_modules", "[]", "name modules, or null for the family's own")
    for key, given in (("use_dora", lora.use_dora), ("target_modules", lora.target_modules is not None)):
        need(lora.r > 0 or not given, "lora.r", 0, f"there is no adapter for lora.{key}; set lora.r above 0 or drop it")


def _quant(cfg: TrainConfig) -> None:
    need(cfg.quant in QUANTS, "quant", cfg.quant, f"how frozen language weights are held: {' or '.join(QUANTS)}")
    if cfg.quant == "none":
        return
    need(cfg.lora.r > 0, "lora.r", 0, f"weights in 4 bits cannot learn (quant={cfg.quant}); give lora.r, or quant=none")
    device = cfg.trainer.accelerator
    gpu = device in ("auto", "gpu", "cuda")
    need(gpu, "trainer.accelerator", device, f"quant={cfg.quant} needs a CUDA device; take auto, or quant=none")


def _trainer(trainer: TrainerConf) -> None:
    need(trainer.max_epochs >= 1, "trainer.max_epochs", trainer.max_epochs, "1 or more; docvlm.evaluate is zero-shot")
    need(trainer.max_steps == -1 or trainer.max_steps >= 1, "trainer.max_steps", trainer.max_steps, "1 or more, or -1")
    need(trainer.devices == -1 or trainer.devices >= 1, "trainer.devices", trainer.devices, "1 or more, or -1 for all")
    need(trainer.num_nodes >= 1, "trainer.num_nodes", trainer.num_nodes, "1 or more")
    _precision(trainer.precision, trainer.accelerator)
    accumulate = trainer.accumulate_grad_batches
    need(accumulate >= 1, "trainer.accumulate_grad_batches", accumulate, "1 or more")
    every = trainer.checkpoint_every_n_steps
    need(every >= 1, "trainer.checkpoint_every_n_steps", every, "1 or more")
    clip = trainer.gradient_clip_val
    need(clip is None or clip > 0, "trainer.gradient_clip_val", clip, "above 0, or null for no clipping")


def shares_weights(strategy: Any) -> bool:
    """Whether `trainer.strategy` is that of `trainer=fsdp`."""
    return isinstance(strategy, dict) and strategy["_target_"] == SHARDED


def _strategy(cfg: TrainConfig) -> None:
    given = cfg.trainer.strategy
    word = str(given["_target_"] if isinstance(given, dict) else given)
    if not cfg.trainer.sharded:
        foreign = any(part in word.lower() for part in ("fsdp", "modelparallel", "deepspeed"))
        need(not foreign, "trainer.strategy", word, "what it shards cannot be saved as best/; take trainer=fsdp")
        return
    evaluation = given["evaluation"] if "evaluation" in given else EVALUATIONS[0]
    need(evaluation in EVALUATIONS, "trainer.strategy.evaluation", evaluation, f"choose {' or '.join(EVALUATIONS)}")
    advice = "weights in 4 bits are not shared out by trainer=fsdp; take quant=none, or trainer=ddp"
    need(cfg.quant == "none", "quant", cfg.quant, advice)
    precision, advice = cfg.trainer.precision, "trainer=fsdp scales no loss, as float16 needs it; take bf16-mixed"
    need(precision != "16-mixed", "trainer.precision", precision, advice)


def _precision(precision: str, accelerator: str) -> None:
    advice = "what learns and the rotary frequencies would be rounded too (1.7 rad off at position 1500 in bfloat16)"
    for half, dtype in (("bf16", "bfloat16"), ("16", "float16")):
        instead = f"{advice}; {half}-mixed with model.dtype={dtype} holds only the frozen weights so"
        need(precision != f"{half}-true", "trainer.precision", precision, instead)
    advice = "weights are read, saved and evaluated in float32 at most (model.dtype); take 32-true"
    need(precision != "64-true", "trainer.precision", precision, advice)
    need(precision in PRECISIONS, "trainer.precision", precision, f"one of {', '.join(PRECISIONS)}")
    need(precision != "16-mixed" or accelerator != "cpu", "trainer.precision", precision, NO_HALF_ON_CPU)


def refuse_half_on_cpu(trainer: TrainerConf) -> None:
    """Raise `DocvlmError` where `trainer.accelerator=auto` will find only a CPU for `trainer.precision=16-mixed`."""
    import torch  # 2 s, and a training has it by then

    elsewhere = torch.cuda.is_available() or torch.backends.mps.is_available()
    unfit = trainer.precision == "16-mixed" and trainer.accelerator == "auto" and not elsewhere
    need(not unfit, "trainer.precision", trainer.precision, NO_HALF_ON_CPU)


def _halves(dtype: str, precision: str) -> None:
    """Frozen weights in 16 bits decide what is computed in, and only 16-mixed scales the loss as float16 needs."""
    advice = f"frozen weights in model.dtype={dtype} are computed in it; take bf16-mixed"
    need(precision != "16-mixed" or dtype != "bfloat16", "trainer.precision", precision, advice)
    advice = f"small gradients vanish in it with trainer.precision={precision}; take 16-mixed (on a GPU), or bfloat16"
    need(dtype != "float16" or precision == "16-mixed", "model.dtype", dtype, advice)
