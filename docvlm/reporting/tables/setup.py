"""Tables of what stands behind the numbers: data, training set-up, evaluation protocol, machines and versions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from docvlm.data.benchmark import Benchmark, of_label
from docvlm.files import read_json, shown
from docvlm.metrics import METRICS
from docvlm.reporting.inputs.scored import GENERATED, OWN, kind
from docvlm.reporting.naming import adapter, name
from docvlm.reporting.tables.scores import RUN
from docvlm.runs.finished import Run
from docvlm.tables import Column, Table

_SCHEDULES = {"docvlm.training.optim.warmup_cosine": "warm-up, then cosine"}


def data(runs: Sequence[Run]) -> Table | None:
    """Source, samples by split, type, total, terms and the leakage audit of every data set that a run learned from."""
    seen: dict[str, Run] = {run.manifest["data"]["fingerprint"]: run for run in runs}
    if not seen:
        return None
    columns = (
        Column("benchmark", "data", kind="text"),
        Column("source", "source", kind="text"),
        Column("type", "type", kind="text"),
        Column("train", "train"),
        Column("val", "val"),
        Column("test", "test"),
        Column("total", "total questions"),
        Column("quarantined", "quarantined"),
        Column("terms", "terms", kind="text"),
        Column("audit", "train and evaluation apart", kind="text"),
        Column("fingerprint", "fingerprint", kind="text"),
        RUN,
    )
    notes = ["Val selects epochs and runs, test reports. A limit counts questions and takes whole documents."]
    return Table("data", "Data", columns, [_data(run) for run in seen.values()], notes)


def _data(run: Run) -> dict[str, Any]:
    about, label = run.manifest["data"], run.manifest["data"]["benchmark"]
    counts = about["questions"]
    base = of_label(label.split("+")[0])
    drawn = kind(label) == GENERATED
    return {
        "benchmark": label,
        "source": about["source"],
        "type": ("own pages" if base is None else base.pages) + (", drawn" if drawn else ""),
        **counts,
        "total": sum(counts.values()),
        "quarantined": about["quarantined"],
        "terms": _terms(label, base),
        "audit": audited(about),
        "fingerprint": about["fingerprint"][:12],
        "run": shown(run.folder.root),
    }


def _terms(label: str, base: Benchmark | None) -> str | None:
    if kind(label) == GENERATED:
        return "Apache-2.0, drawn by docvlm"
    if kind(label) == OWN:
        return "yours"
    return None if base is None else base.licence


def audited(about: Mapping[str, Any]) -> str:
    """What the leakage audit before a run found, in words; runs of older versions were not audited."""
    if "audit" not in about or about["audit"]["mode"] == "off":
        return "not audited"
    found = about["audit"]
    pairs = sum(sum(kinds.values()) for kinds in found["overlaps"].values())
    if not pairs:
        return f"audited, no overlap among {sum(found['pages'].values())} pages"
    out = found["dropped"]
    return f"audited, {pairs} pairs; {out['documents']} documents ({out['questions']} questions) left out of train"


def training(runs: Sequence[Run]) -> Table | None:
    """Model configuration and training set-up of the reported runs, a column each."""
    if not runs:
        return None
    columns = [Column("key", "setting", kind="text")]
    columns += [Column(f"run{i}", name(run.family, run), kind="text") for i, run in enumerate(runs)]
    settings = [_settings(run) for run in runs]
    rows = [
        {"key": key, **{f"run{i}": found[key] for i, found in enumerate(settings)}}
        for key in dict.fromkeys(key for found in settings for key in found)
    ]
    return Table("training", "Model configuration and training set-up", columns, rows)


def _settings(run: Run) -> dict[str, str]:
    made, conf, learned = run.manifest, run.manifest["config"], run.manifest["trainable"]
    optim, trainer, cost = conf["optim"], conf["trainer"], run.result["cost"]
    batch, chosen = conf["data"]["batch_size"], run.result["selection"]
    size = f"{batch} questions" if batch is not None else f"{conf['data']['batch_tokens']} tokens with padding"
    target = str(optim["scheduler"]["_target_"])
    schedule = _SCHEDULES[target] if target in _SCHEDULES else target
    optimizer = str(optim["optimizer"]["_target_"]).rpartition(".")[2]
    budget = ", ".join(f"{key} {value}" for key, value in made["budget"].items() if value is not None)
    return {
        "base checkpoint": f"{run.base} ({made['checkpoint']['fingerprint']})",
        "trained on": run.trained_on,
        "adapter": _adapter(learned),
        "target modules": _targets(run),
        "vision tower frozen": (
            f"{learned['vision_frozen_blocks_percent']:.0f} % of blocks, "
            f"{learned['vision_frozen_parameters_percent']:.0f} % of parameters"
        ),
        "decoder frozen": f"{learned.get('language_frozen_blocks_percent', 0.0):.0f} % of blocks",
        "trainable parameters": f"{learned['parameters']:,} of {learned['total']:,} ({learned['percent']:.2f} %)",
        "epochs": f"{cost['epochs']} of at most {trainer['max_epochs']} ({cost['steps']} steps)",
        "reported epoch": f"{chosen['epoch']}, by {chosen['metric' if chosen['by'] == 'score' else 'by']} on val",
        "batch": f"{size} x {trainer['accumulate_grad_batches']} accumulated",
        "optimizer": f"{optimizer}, weight decay {optim['weight_decay']:g}, clip {trainer['gradient_clip_val']}",
        "learning rate": f"{optim['lr']:g} language, {optim['vision_lr']:g} vision",
        "schedule": f"{schedule}; warm-up {optim['warmup']:g} of all steps",
        "precision": str(trainer["precision"]),
        "page budget": budget,
        "seed": str(made["seed"]),
        "time": f"{cost['seconds'] / 60:.1f} min, of it training {cost['train_seconds'] / 60:.1f} min",
        "peak memory": f"{cost['peak_memory_mb']:.0f} MB",
        "machine": _machine(made["hardware"]),
        "run": shown(run.folder.root),
    }


def _adapter(learned: Mapping[str, Any]) -> str:
    if not learned["lora_r"]:
        return "none: in full"
    return f"{adapter(learned)}, rank {learned['lora_r']}, alpha {learned['lora_alpha']:g}"


def _targets(run: Run) -> str:
    """What PEFT's own record beside the weights names; a pattern is cut down to the names in it."""
    file = run.folder.best / "adapter_config.json"
    if not run.manifest["trainable"]["lora_r"]:
        return "none"
    if not file.exists():
        return str(run.manifest["config"]["lora"]["target_modules"] or "the family's own")
    found = read_json(file)["target_modules"]
    names = found if isinstance(found, list) else found.rpartition("(")[2].rstrip(")").split("|")
    return ", ".join(names)


def _machine(hardware: Mapping[str, Any]) -> str:
    chip = hardware["accelerator"] if hardware["accelerator"] != "cpu" else hardware["processor"]
    return f"{chip}, {hardware['cores']} cores, {hardware['memory_mb'] / 1024:.0f} GB, {hardware['system']}"


def versions(runs: Sequence[Run]) -> Table | None:
    """Commit and package versions, a column for each set that occurs among the runs."""
    sets: dict[tuple[Any, ...], Run] = {}
    for run in runs:
        sets.setdefault((run.manifest["git_commit"], *run.manifest["versions"].items()), run)
    if not sets:
        return None
    columns = [Column("key", "package", kind="text")]
    columns += [Column(f"run{i}", shown(run.folder.root), kind="text") for i, run in enumerate(sets.values())]
    keys = dict.fromkeys(key for run in sets.values() for key in run.manifest["versions"])
    rows = [{"key": "git commit", **{f"run{i}": run.manifest["git_commit"] for i, run in enumerate(sets.values())}}]
    for key in keys:
        found = {f"run{i}": run.manifest["versions"] for i, run in enumerate(sets.values())}
        rows.append({"key": key, **{column: made[key] if key in made else None for column, made in found.items()}})
    return Table("versions", "Versions", columns, rows, ("Other runs with the same versions have no column.",))


def protocol() -> Table:
    """How scores come about, whatever the run."""
    columns = (Column("key", "what", kind="text"), Column("value", "how", kind="text"))
    rows = [
        ("metrics", "; ".join(f"{metric.label}: {metric.source}" for metric in METRICS.values())),
        ("mean", "over questions, every question once; never a mean of batch means"),
        (
            "interval",
            "95 %, bootstrap over documents (Wilson with the effective sample size where few or all are right)",
        ),
        ("difference", "paired on the same questions, resampled over documents; Holm over a family of comparisons"),
        ("baseline", "the checkpoint the run started from, with the same pixels, prompt and decoding"),
        ("selection", "epochs, checkpoints and runs by val; test is only reported"),
        ("decoding", "greedy, one short answer, cut at `max_new_tokens`"),
    ]
    return Table("protocol", "Evaluation protocol", columns, [{"key": key, "value": value} for key, value in rows])
