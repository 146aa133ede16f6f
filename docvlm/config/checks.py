"""Values that are of the right type and still impossible: found before a folder is made or a weight is loaded.

Every message names the key, the value and what to do. What only the weights can tell (a LoRA target that matches no
module) is found by `docvlm.vlms.trainable`; what only the data can tell by `docvlm.data`.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docvlm import registry
from docvlm.config.schema import (
    AuditConfig,
    BenchmarkConfig,
    BudgetConf,
    DataConf,
    EvaluateConfig,
    LoraConf,
    ModelConf,
    TrainConfig,
    TrainerConf,
)
from docvlm.config.schema_export import ExportConfig
from docvlm.config.schema_report import ReportConfig
from docvlm.errors import DocvlmError
from docvlm.metrics import METRICS
from docvlm.vlms.families import FAMILIES, PIXELS, SIDES, Family

ALLOWED_TARGETS = ("docvlm.", registry.PREFIX, "torch.optim.", "lightning.pytorch.")
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")
NO_HALF_ON_CPU = "a CPU does not train in float16, and Lightning would take bf16-mixed without a word; take it yourself"
DTYPES = ("float32", "bfloat16", "float16")
SPLITS = ("test", "val")
SWITCH = ("on", "off")
QUANTS = ("none", "4bit")
AUDITS = ("auto", "stop", "drop", "off")


def check(
    cfg: TrainConfig | EvaluateConfig | AuditConfig | BenchmarkConfig | ExportConfig | ReportConfig,
    *,
    sweep: bool = False,
) -> None:
    """Raise `DocvlmError` for the first impossible value. `sweep`: the config is one cell of `-m`."""
    if isinstance(cfg, ReportConfig):
        from docvlm.config.checks_report import report

        report(cfg, sweep=sweep)
        return
    targets(dataclasses.asdict(cfg))
    _model(cfg.model)
    _revision(cfg)
    need(cfg.packing in SWITCH, "packing", cfg.packing, "choose on or off")
    need(0 <= cfg.seed < 2**32, "seed", cfg.seed, "choose one from 0 to 4294967295")
    if isinstance(cfg, AuditConfig):
        _data(cfg.data, "data")
        return
    if isinstance(cfg, ExportConfig):
        from docvlm.config.checks_export import export

        export(cfg)
        return
    if not (isinstance(cfg, EvaluateConfig) and cfg.endpoint is not None and cfg.budget == BudgetConf()):
        _budget(cfg.budget, FAMILIES[cfg.model.family])
    if isinstance(cfg, TrainConfig):
        _train(cfg, sweep=sweep)
    elif isinstance(cfg, BenchmarkConfig):
        _benchmark(cfg)
    else:
        _evaluate(cfg)


def check_data(data: DataConf, key: str) -> None:
    """The same for one benchmark's data, where only a run says which benchmark it is."""
    _data(data, key)


def targets(values: Any, path: str = "") -> None:
    """Refuse a `_target_` outside `ALLOWED_TARGETS`: instantiating calls it, whatever it is."""
    for key, target in _targets(values, path):
        need(
            isinstance(target, str) and target.startswith(ALLOWED_TARGETS),
            f"{key}._target_".lstrip("."),
            target,
            f"only targets that begin with {', '.join(ALLOWED_TARGETS)} are called",
        )


def _targets(values: Any, path: str) -> Iterator[tuple[str, Any]]:
    items = values.items() if isinstance(values, dict) else enumerate(values) if isinstance(values, list) else ()
    for key, value in items:
        if key == "_target_":
            yield path, value
        yield from _targets(value, f"{path}.{key}".lstrip("."))


def need(condition: bool, key: str, value: object, remedy: str) -> None:
    """Raise `DocvlmError` naming key, value and remedy unless `condition` holds."""
    if not condition:
        raise DocvlmError(f"{key}={value}: {remedy}")


def _train(cfg: TrainConfig, *, sweep: bool) -> None:
    need(0 <= cfg.freeze <= 100, "freeze", f"{cfg.freeze:g}", "a percentage of the vision tower's blocks, 0 to 100")
    _lora(cfg.lora)
    _quant(cfg)
    _data(cfg.data, "data")
    packed_flash = cfg.packing == "on" and FAMILIES[cfg.model.family].branches and "flash" in cfg.model.attn
    advice = "FlashAttention takes no mask of branches; use sdpa, or packing=off"
    need(not packed_flash, "model.attn", cfg.model.attn, advice)
    advice = "stop (an overlap ends the run), drop (takes it out of train), auto (by the source) or off"
    need(cfg.audit in AUDITS, "audit", cfg.audit, advice)
    need(cfg.features in ("auto", *SWITCH), "features", cfg.features, "choose auto, on or off")
    need(cfg.features_limit_gb > 0, "features_limit_gb", cfg.features_limit_gb, "above 0; features=off stores nothing")
    optim = cfg.optim
    need(optim.lr > 0, "optim.lr", optim.lr, "a learning rate is above 0")
    need(optim.vision_lr > 0, "optim.vision_lr", optim.vision_lr, "above 0; freeze=100 keeps the tower as it is")
    need(optim.weight_decay >= 0, "optim.weight_decay", optim.weight_decay, "0 or more")
    need(0 <= optim.warmup < 1, "optim.warmup", optim.warmup, "the share of all steps that warms up: 0 to below 1")
    fused = bool(optim.optimizer.get("fused")) and cfg.trainer.precision == "16-mixed"
    advice = "trainer.precision=16-mixed must unscale gradients before they are clipped; set false, or take bf16-mixed"
    need(not fused, "optim.optimizer.fused", True, advice)
    _trainer(cfg.trainer, sweep=sweep)
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


def _model(model: ModelConf) -> None:
    known = f"choose one of {', '.join(sorted(FAMILIES))}, or name the module that registers it in extensions"
    need(model.family in FAMILIES, "model.family", model.family, known)
    need(model.dtype in DTYPES, "model.dtype", model.dtype, f"choose one of {', '.join(DTYPES)}")
    need(bool(model.checkpoint), "model.checkpoint", "''", "a folder, a hub id, or the word embedded")


def _revision(cfg: TrainConfig | EvaluateConfig | AuditConfig | BenchmarkConfig | ExportConfig) -> None:
    """A revision is of the hub: neither a folder nor what else a command may evaluate has one."""
    revision = cfg.model.revision
    if revision is None:
        return
    need(bool(revision.strip()), "model.revision", "''", "a branch, tag or commit, or null for the main branch")
    for key in ("run", "best", "endpoint", "predictions"):
        given = getattr(cfg, key, None)
        advice = f"{key}={given} brings its own weights; drop one of the two"
        need(not given, "model.revision", revision, advice)
    need(not isinstance(cfg, ExportConfig), "model.revision", revision, "a run brings its own; drop it")
    name = cfg.checkpoint if isinstance(cfg, EvaluateConfig | BenchmarkConfig) else None
    name = name or cfg.model.checkpoint
    local = name == "embedded" or Path(name).expanduser().exists()
    need(not local, "model.revision", revision, f"{name} is not on the hub, so it has none; drop it, or give a hub id")


def _budget(budget: BudgetConf, family: Family) -> None:
    own, other = family.budget, SIDES if family.budget == PIXELS else PIXELS
    for key in own:
        value = getattr(budget, key)
        need(value is not None and value > 0, f"budget.{key}", value, f"{family.name} needs it: a number above 0")
    for key in other:
        value = getattr(budget, key)
        need(value is None, f"budget.{key}", value, f"{family.name} takes budget.{own[0]} and budget.{own[1]} instead")
    quality = budget.jpeg_quality
    advice = f"{family.label}'s pages do not go through JPEG in any harness; set null"
    need(quality is None or family.jpeg, "budget.jpeg_quality", quality, advice)
    advice = "a quality from 1 to 100 (lmms-eval: 85), or null for pages as they are"
    need(quality is None or 1 <= quality <= 100, "budget.jpeg_quality", quality, advice)
    if own == PIXELS and budget.min_pixels is not None and budget.max_pixels is not None:
        advice = f"must not be above budget.max_pixels={budget.max_pixels}"
        need(budget.min_pixels <= budget.max_pixels, "budget.min_pixels", budget.min_pixels, advice)


def _data(data: DataConf, key: str) -> None:
    from docvlm.data.benchmarks import BENCHMARKS

    own = data.name in BENCHMARKS and not BENCHMARKS[data.name].hub
    need(
        bool(data.source),
        f"{key}.source",
        data.source,
        "say where the pages are: hub, generated, or a folder"
        if not own
        else "give your own folder, which holds qa.jsonl or qa.csv and the images",
    )
    repository = not own and re.fullmatch(r"[\w.-]+/[\w.-]+", str(data.source))
    if data.source not in ("hub", "generated") and not repository:  # the benchmark knows its repositories
        need(
            Path(str(data.source)).expanduser().exists(),
            f"{key}.source",
            data.source,
            "there is no such file or folder; give hub, generated, or a path that exists",
        )
    if data.revision is not None:
        need(bool(data.revision.strip()), f"{key}.revision", "''", "a commit, branch or tag of the data set, or null")
        remote = data.source == "hub" or (repository and not Path(str(data.source)).exists())
        advice = f"only data sets of the hub have revisions, and {key}.source={data.source} is none; leave it out"
        need(bool(remote), f"{key}.revision", data.revision, advice)
    need(data.preset in ("tiny", "full"), f"{key}.preset", data.preset, "choose tiny or full")
    need(0 <= data.val_fraction < 1, f"{key}.val_fraction", data.val_fraction, "a share from 0 to below 1")
    need(data.num_workers >= 0, f"{key}.num_workers", data.num_workers, "0 or more processes")
    both = (data.batch_size is None) == (data.batch_tokens is None)
    advice = f"give one of it and {key}.batch_tokens={data.batch_tokens}, and null for the other"
    need(not both, f"{key}.batch_size", data.batch_size, advice)
    for name in ("batch_size", "batch_tokens", "eval_batch_size", "limit_train", "limit_val", "limit_test"):
        value = getattr(data, name)
        need(value is None or value >= 1, f"{key}.{name}", value, "1 or more" + ", or null for all" * ("limit" in name))
    for name, weight in (data.weights or {}).items():
        left_out = name in BENCHMARKS and weight == 1  # the yaml's own weight of a part that ~data.parts.NAME left out
        known = name in (data.parts or {}) or left_out
        need(known, f"{key}.weights.{name}", weight, f"the parts are {', '.join(data.parts or {})}")
        need(weight > 0, f"{key}.weights.{name}", weight, f"above 0; ~{key}.parts.{name} leaves a part out")


def _trainer(trainer: TrainerConf, *, sweep: bool) -> None:
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
    if sweep:
        advice = (
            "one device a cell in a sweep, since every rank would start the sweep again; "
            "run the cells one by one with torchrun, or use trainer.devices=1"
        )
        need(trainer.devices == 1, "trainer.devices", trainer.devices, advice)
        need(trainer.num_nodes == 1, "trainer.num_nodes", trainer.num_nodes, advice)


def _precision(precision: str, accelerator: str) -> None:
    advice = "what learns and the rotary frequencies would be rounded too (1.7 rad off at position 1500 in bfloat16)"
    for half, dtype in (("bf16", "bfloat16"), ("16", "float16")):
        instead = f"{advice}; {half}-mixed with model.dtype={dtype} holds only the frozen weights so"
        need(precision != f"{half}-true", "trainer.precision", precision, instead)
    advice = "weights are read, saved and evaluated in float32 at most (model.dtype); take 32-true"
    need(precision != "64-true", "trainer.precision", precision, advice)
    need(precision in PRECISIONS, "trainer.precision", precision, f"one of {', '.join(PRECISIONS)}")
    need(precision != "16-mixed" or accelerator != "cpu", "trainer.precision", precision, NO_HALF_ON_CPU)


def _halves(dtype: str, precision: str) -> None:
    """Frozen weights in 16 bits decide what is computed in, and only 16-mixed scales the loss as float16 needs."""
    advice = f"frozen weights in model.dtype={dtype} are computed in it; take bf16-mixed"
    need(precision != "16-mixed" or dtype != "bfloat16", "trainer.precision", precision, advice)
    advice = f"small gradients vanish in it with trainer.precision={precision}; take 16-mixed (on a GPU), or bfloat16"
    need(dtype != "float16" or precision == "16-mixed", "model.dtype", dtype, advice)


def _evaluate(cfg: EvaluateConfig) -> None:
    from docvlm.config.checks_endpoint import endpoint

    given = [key for key in ("run", "checkpoint", "endpoint", "predictions") if getattr(cfg, key) is not None]
    given += ["best"] * cfg.best
    need(len(given) <= 1, given[-1] if given else "", "…", f"give one of {' and '.join(given)}, not both")
    lone = cfg.against is not None and cfg.predictions is None
    need(
        not lone, "against", cfg.against, "it is the baseline of predictions=FILE; with a run the baseline is its base"
    )
    endpoint(cfg)
    for key in ("run", "predictions", "against"):
        path = getattr(cfg, key)
        need(path is None or Path(path).expanduser().exists(), key, path, "there is no such file or folder")
    need(bool(cfg.benchmarks), "benchmarks", "[]", f"name at least one of {', '.join(cfg.data)}")
    for benchmark in cfg.benchmarks:
        need(benchmark in cfg.data, "benchmarks", benchmark, f"choose from {', '.join(cfg.data)}")
        _data(cfg.data[benchmark], f"data.{benchmark}")
    repeated = len(set(cfg.benchmarks)) < len(cfg.benchmarks)
    need(not repeated, "benchmarks", cfg.benchmarks, "name each only once")
    need(cfg.metric is None or cfg.metric in METRICS, "metric", cfg.metric, f"choose from {', '.join(METRICS)}")
    need(cfg.split in SPLITS, "split", cfg.split, "test reports a score, val selects an epoch")
    need(cfg.limit is None or cfg.limit >= 1, "limit", cfg.limit, "1 or more questions, or null for all")
    for key in ("robustness", "controls"):
        asks = getattr(cfg, key) and cfg.predictions is not None
        need(not asks, key, "true", "it shows a model other pages; predictions=FILE holds answers and no model")
    _corruptions(cfg)


def _corruptions(cfg: EvaluateConfig) -> None:
    from docvlm.data.corruptions import CORRUPTIONS, SEVERITIES

    every = f"{SEVERITIES[0]} to {SEVERITIES[-1]}"
    for key, given, known, names in (
        ("corruptions", cfg.corruptions, tuple(CORRUPTIONS), ", ".join(CORRUPTIONS)),
        ("severities", cfg.severities, SEVERITIES, f"{every}; the clean pages are always there"),
    ):
        need(bool(given), key, "[]", f"name at least one of {names}")
        for value in given:
            need(value in known, key, value, f"choose from {names}")
        need(len(set(given)) == len(given), key, given, "name each only once")
    most = cfg.robustness_limit
    need(most is None or most >= 1, "robustness_limit", most, "1 or more questions, or null for all")


def _benchmark(cfg: BenchmarkConfig) -> None:
    given = [key for key in ("run", "checkpoint") if getattr(cfg, key) is not None] + ["best"] * cfg.best
    need(len(given) <= 1, given[-1] if given else "", "…", f"give one of {' and '.join(given)}, not both")
    for key, paths in (("run", [cfg.run]), ("prices", [cfg.prices]), ("measured", cfg.measured)):
        for path in paths:
            need(path is None or Path(path).expanduser().exists(), key, path, "there is no such file or folder")
    need(
        cfg.benchmark is None or cfg.benchmark in cfg.data, "benchmark", cfg.benchmark, f"one of {', '.join(cfg.data)}"
    )
    if cfg.benchmark is not None:
        _data(cfg.data[cfg.benchmark], f"data.{cfg.benchmark}")
    for budget in cfg.budgets or []:
        advice = "give pixels as in budgets=[1003520,501760], or height x width as in budgets=[768x768,384x384]"
        need(re.fullmatch(r"[1-9]\d*(x[1-9]\d*)?", budget) is not None, "budgets", budget, advice)
    need(cfg.budgets != [], "budgets", "[]", "name one or more, or null for the model's own, a half and a quarter")
    repeated = len(set(cfg.budgets or [])) < len(cfg.budgets or [])
    need(not repeated, "budgets", cfg.budgets, "name each only once")
    batch = cfg.batch == "auto" or re.fullmatch(r"[1-9]\d*", cfg.batch) is not None
    need(batch, "batch", cfg.batch, "a number of questions of 1 or more, or auto for the largest that fits")
    for key in ("pages", "warmup", "max_batch"):
        need(getattr(cfg, key) >= 1, key, getattr(cfg, key), "1 or more")
    limit = cfg.memory_limit_gb
    need(limit is None or limit > 0, "memory_limit_gb", limit, "above 0, or null for the machine's own")
    need(cfg.split in SPLITS, "split", cfg.split, "test reports a score, val selects an epoch")
    need(cfg.limit is None or cfg.limit >= 1, "limit", cfg.limit, "1 or more questions, or null for all")
