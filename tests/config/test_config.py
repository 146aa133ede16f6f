"""The composed config: what the defaults are, what the words of the command line change, which values are refused.

Run alone: pytest tests/config/test_config.py
"""

from __future__ import annotations

from dataclasses import FrozenInstanceError, asdict
from functools import cache
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf, open_dict

from docvlm.config import CONF_DIR, BenchmarkConfig, EvaluateConfig, ExportConfig, TrainConfig
from docvlm.config import compose as composing
from docvlm.config.base import VerbConfig
from docvlm.config.compose import load, rehearse
from docvlm.errors import DocvlmError


def train(*overrides: str) -> TrainConfig:
    return load("train", TrainConfig, list(overrides))


def evaluate(*overrides: str) -> EvaluateConfig:
    return load("evaluate", EvaluateConfig, list(overrides))


def test_family_defaults_are_the_published_ones() -> None:
    qwen, florence = train("model=qwen2vl"), train("model=florence2")
    assert (qwen.lora.r, qwen.freeze) == (16, 100)
    assert (florence.lora.r, florence.freeze) == (0, 100)
    assert qwen.lora.alpha is None, "2 * r unless it is given"


@pytest.mark.parametrize("cuda, name", [(False, "tiny"), (True, "full")])
def test_auto_scale_follows_the_machine(monkeypatch: pytest.MonkeyPatch, cuda: bool, name: str) -> None:
    import torch

    monkeypatch.setattr(composing.ctypes.util, "find_library", lambda word: word if word == "cuda" else None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    assert train().scale.name == name
    assert train("scale=tiny").scale.name == "tiny", "what is said outweighs what is found"


def test_a_driver_is_what_decides_whether_torch_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(composing.ctypes.util, "find_library", lambda word: None)
    monkeypatch.setitem(__import__("sys").modules, "torch", None)  # importing it would raise
    assert composing.detect_scale() == "tiny"


LOADED: list[tuple[str, type[VerbConfig], str, str]] = [
    ("train", TrainConfig, "model=chat model.checkpoint=my/Reader", "checkpoint my/Reader, "),
    ("train", TrainConfig, "model=chat model.checkpoint=my/Reader,../other", "checkpoint my/Reader, ../other, "),
    ("train", TrainConfig, "model.checkpoint=a,b", "checkpoint a, b, "),
    ("evaluate", EvaluateConfig, "model=chat checkpoint=my/Reader", "checkpoint my/Reader, "),
    ("evaluate", EvaluateConfig, "checkpoint=my/Qwen", "checkpoint my/Qwen, "),
    ("evaluate", EvaluateConfig, "", "checkpoint embedded, "),
    ("evaluate", EvaluateConfig, "run=.", ""),
    ("benchmark", BenchmarkConfig, "model=chat checkpoint=my/Reader", "checkpoint my/Reader, "),
    ("benchmark", BenchmarkConfig, "best=true", ""),
    ("export", ExportConfig, "run=.", ""),
]  # fmt: skip


@pytest.mark.parametrize(("verb", "schema", "words", "checkpoint"), LOADED)
def test_the_first_line_names_the_checkpoint_that_is_loaded(
    verb: str, schema: type[VerbConfig], words: str, checkpoint: str
) -> None:
    line = rehearse(verb, schema, ["scale=tiny", *words.split()], sweep="," in words).line
    assert line == f"scale=tiny (as you said): {checkpoint}pages from generated. scale=full overrides it."


@pytest.mark.parametrize("words", [["checkpoint=embedded"], [], ["checkpoint="]])
def test_a_family_without_a_checkpoint_of_its_own_wants_one_named(words: list[str]) -> None:
    with pytest.raises(DocvlmError, match=r"model\.checkpoint=(embedded|''): .*a folder or a hub id"):
        rehearse("evaluate", EvaluateConfig, ["scale=tiny", "model=chat", *words], sweep=False)


def test_scale_chooses_checkpoint_pages_budget_and_precision() -> None:
    tiny, full = train("scale=tiny"), train("scale=full")
    assert (tiny.model.checkpoint, tiny.data.source, tiny.data.preset) == ("embedded", "generated", "tiny")
    assert (full.model.checkpoint, full.data.source) == ("Qwen/Qwen2-VL-2B-Instruct", "hub")
    assert full.trainer.precision == "bf16-mixed"
    assert tiny.budget.max_pixels is not None and full.budget.max_pixels is not None
    assert tiny.budget.max_pixels < full.budget.max_pixels
    assert train("scale=full", "model=florence2", "model.size=large").model.checkpoint.endswith("large-ft")
    assert train("model.checkpoint=/some/where").model.checkpoint == "/some/where"


def test_learning_rate_is_lower_where_the_language_side_learns_in_full() -> None:
    assert train("lora.r=16").optim.lr > train("lora.r=0").optim.lr
    assert train("lora.r=0", "optim.lr=0.5").optim.lr == 0.5


def test_presets_and_experiments_win_over_the_root_file() -> None:
    """`_self_` stands first in the defaults list; were it last, train.yaml would silently undo these."""
    assert train("lora_rank=r64").lora.r == 64
    assert train("freeze_level=f33").freeze == 33
    assert train("experiment=freeze", "model=qwen2vl").lora.r == 0
    assert train("lora_rank=r64", "lora.r=8").lora.r == 8, "and the command line wins over presets"


def test_yaml_reads_exponents_as_numbers() -> None:
    assert isinstance(train().optim.optimizer["eps"], float)


def test_config_is_plain_and_read_only() -> None:
    config = train("callbacks.early_stopping.patience=7")
    assert type(config.callbacks) is dict and type(config.optim.optimizer["betas"]) is list
    assert asdict(config)["callbacks"]["early_stopping"]["patience"] == 7
    with pytest.raises(FrozenInstanceError, match="read-only"):
        config.lora.r = 4
    with pytest.raises(AttributeError):
        config.lora.rank  # noqa: B018 - a mistyped key must raise, not be None


def test_mixture_passes_its_limits_and_source_to_the_parts() -> None:
    parts = train("data=mix", "data.source=hub", "data.limit_train=7", "data.revision=v2").data.parts
    assert parts is not None and set(parts) == {"docvqa", "chartqa", "infovqa"}
    assert {(part["limit_train"], part["source"], part["revision"]) for part in parts.values()} == {(7, "hub", "v2")}


@cache
def composed(name: str, *groups: str) -> DictConfig:
    """Composing takes a third of a second, so values are changed on a composed config. (`scale=tiny`: no torch.)"""
    composing.prepare_hydra()
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        return compose(name, ["scale=tiny", *groups])


def refusal(name: str, schema: type[TrainConfig] | type[EvaluateConfig], overrides: str) -> str:
    words = overrides.split()
    groups = [word for word in words if word.partition("=")[0] in ("model", "data", "trainer")]
    values = OmegaConf.from_dotlist([word.lstrip("+") for word in words if word not in groups])
    with open_dict(composed(name, *groups).copy()) as config, pytest.raises(DocvlmError) as caught:
        composing.typed(OmegaConf.merge(config, values), schema).check()
    return str(caught.value)


HALF = "trainer.precision=16-mixed optim.optimizer.fused=false"
REFUSED = [
    ("freeze=120", "freeze=120", "0 to 100"),
    ("freeze=-1", "freeze=-1", "0 to 100"),
    ("freeze=nan", "freeze=nan", "0 to 100"),
    ("freeze_language=100", "freeze_language=100", "0 to 99"),
    ("freeze_language=-1", "freeze_language=-1", "0 to 99"),
    ("model=florence2 freeze_language=33", "freeze_language=33", "no decoder whose blocks read the page"),
    ("lora.r=-1", "lora.r=-1", "language side learn in full"),
    ("lora.alpha=0", "lora.alpha=0", "2 * lora.r"),
    ("lora.dropout=1", "lora.dropout=1", "below 1"),
    ("lora.target_modules=[]", "lora.target_modules=[]", "null"),
    ("lora.r=0 lora.use_dora=true", "lora.r=0", "lora.use_dora"),
    ("lora.r=0 lora.target_modules=[q_proj]", "lora.r=0", "lora.target_modules"),
    ("quant=8bit", "quant=8bit", "none or 4bit"),
    ("quant=4bit lora.r=0", "lora.r=0", "quant=none"),
    ("quant=4bit trainer.accelerator=cpu", "trainer.accelerator=cpu", "CUDA device"),
    ("model.family=blip", "model.family=blip", "qwen2vl"),
    ("model.dtype=int8", "model.dtype=int8", "float32"),
    ("model.checkpoint=''", "model.checkpoint=''", "embedded"),
    ("budget.min_pixels=10000000", "budget.min_pixels=10000000", "budget.max_pixels"),
    ("budget.max_pixels=null", "budget.max_pixels=None", "qwen2vl needs it"),
    ("budget.height=96", "budget.height=96", "takes budget.min_pixels"),
    ("model=florence2 budget.width=0", "budget.width=0", "above 0"),
    ("model=florence2 budget.max_pixels=9", "budget.max_pixels=9", "takes budget.height"),
    ("budget.jpeg_quality=0", "budget.jpeg_quality=0", "lmms-eval: 85"),
    ("model=florence2 budget.jpeg_quality=85", "budget.jpeg_quality=85", "set null"),
    ("packing=maybe", "packing=maybe", "on or off"),
    ("model.attn=flash_attention_2", "model.attn=flash_attention_2", "packing=off"),
    ("features=maybe", "features=maybe", "auto, on or off"),
    ("features_limit_gb=0", "features_limit_gb=0", "features=off"),
    ("seed=-1", "seed=-1", "from 0"),
    ("data=folder", "data.source=None", "qa.jsonl"),
    ("data.source=/no/such", "data.source=/no/such", "no such file or folder"),
    ("data.batch_size=0", "data.batch_size=0", "1 or more"),
    ("data.batch_size=null", "data.batch_size=None", "give one of it and data.batch_tokens=None"),
    ("data.batch_tokens=900", "data.batch_size=8", "give one of it and data.batch_tokens=900"),
    ("data.batch_size=null data.batch_tokens=0", "data.batch_tokens=0", "1 or more"),
    ("data.limit_val=0", "data.limit_val=0", "null for all"),
    ("data.val_fraction=1.5", "data.val_fraction=1.5", "share"),
    ("data.preset=huge", "data.preset=huge", "tiny or full"),
    ("data.languages=[xx]", "data.languages=[xx]", "en, ko, zh, ja, de, ar, hi"),
    ("data.languages=[ko,ko]", "data.languages=[ko,ko]", "each once"),
    ("data=chartqa data.languages=[ko]", "data.languages=[ko]", "drawn in: en"),
    ("data.languages=[ko] data.source=hub", "data.languages=[ko]", "only with data.source=generated"),
    ("data.revision=abc data.source=.", "data.revision=abc", "only data sets of the hub"),
    ("data.revision=abc data.source=generated", "data.revision=abc", "only data sets of the hub"),
    ("data.revision='' data.source=hub", "data.revision=''", "commit, branch or tag"),
    ("data.num_workers=-1", "data.num_workers=-1", "0 or more"),
    ("data=mix data.weights.docvqa=0", "data.weights.docvqa=0", "above 0"),
    ("data=mix +data.weights.docvq=1", "data.weights.docvq=1", "docvqa"),
    ("optim.lr=0", "optim.lr=0", "above 0"),
    ("optim.vision_lr=-1", "optim.vision_lr=-1", "freeze=100"),
    ("optim.warmup=1", "optim.warmup=1", "share"),
    ("optim.weight_decay=-1", "optim.weight_decay=-1", "0 or more"),
    ("trainer.max_epochs=0", "trainer.max_epochs=0", "docvlm.evaluate"),
    ("trainer.max_steps=0", "trainer.max_steps=0", "-1"),
    ("trainer.devices=0", "trainer.devices=0", "-1 for all"),
    ("trainer.precision=16-mixed", "optim.optimizer.fused=True", "set false"),
    ("trainer.precision=bf16-true", "trainer.precision=bf16-true", "bf16-mixed with model.dtype=bfloat16"),
    ("trainer.precision=16-true", "trainer.precision=16-true", "16-mixed with model.dtype=float16"),
    ("trainer.precision=64-true", "trainer.precision=64-true", "take 32-true"),
    ("trainer.precision=transformer-engine", "trainer.precision=transformer-engine", "one of 32-true, bf16-mixed"),
    (f"{HALF} trainer.accelerator=cpu", "trainer.precision=16-mixed", "take bf16-mixed"),
    (f"{HALF} model.dtype=bfloat16", "trainer.precision=16-mixed", "computed in it; take bf16-mixed"),
    ("model.dtype=float16 trainer.precision=32-true", "model.dtype=float16", "take 16-mixed"),
    ("model.dtype=float16 trainer.precision=bf16-mixed", "model.dtype=float16", "or bfloat16"),
    ("trainer.precision=8", "trainer.precision=8", "bf16-mixed"),
    ("trainer=fsdp quant=4bit", "quant=4bit", "take quant=none"),
    (f"trainer=fsdp {HALF}", "trainer.precision=16-mixed", "trainer=fsdp scales no loss"),
    ("trainer=fsdp trainer.strategy.evaluation=both", "trainer.strategy.evaluation=both", "gathered or sharded"),
    ("trainer.strategy=fsdp", "trainer.strategy=fsdp", "take trainer=fsdp"),
    (
        "trainer=ddp trainer.strategy._target_=lightning.pytorch.strategies.ModelParallelStrategy",
        "trainer.strategy=lightning.pytorch.strategies.ModelParallelStrategy",
        "take trainer=fsdp",
    ),
    ("trainer.accumulate_grad_batches=0", "trainer.accumulate_grad_batches=0", "1 or more"),
    ("trainer.gradient_clip_val=0", "trainer.gradient_clip_val=0", "null"),
    ("optim.optimizer._target_=os.system", "optim.optimizer._target_=os.system", "torch.optim."),
    ("+callbacks.x._target_=subprocess.run", "callbacks.x._target_=subprocess.run", "docvlm."),
    ("data._target_=docvlm_evil.Data", "data._target_=docvlm_evil.Data", "docvlm."),
]


@pytest.mark.parametrize("overrides, value, remedy", REFUSED, ids=[row[0] for row in REFUSED])
def test_impossible_values_are_refused_with_key_value_and_remedy(overrides: str, value: str, remedy: str) -> None:
    message = refusal("train", TrainConfig, overrides)
    assert message.startswith(value) and remedy in message and "\n" not in message


def test_a_sweep_takes_one_device_a_cell() -> None:
    train("trainer=ddp").check()
    with pytest.raises(DocvlmError, match=r"trainer.devices=-1: one device a cell .*torchrun"):
        train("trainer=ddp").check_cell(1, 1)
    train("trainer=ddp", "trainer.devices=2").check_cell(1, 2)  # a launcher starts both
    for wrong in ("trainer.devices=4", "trainer.num_nodes=2"):
        with pytest.raises(DocvlmError, match=f"{wrong}: the launcher starts 2 processes on each of 1 nodes"):
            train("trainer=ddp", "trainer.devices=2", wrong).check_cell(1, 2)


@pytest.mark.parametrize(
    "overrides, message",
    [
        ("run=/no/such", "run=/no/such: there is no such"),
        ("predictions=/no/such.jsonl", "predictions=/no/such.jsonl: there is no such"),
        ("benchmarks=[]", "name at least one of docvqa"),
        ("benchmarks=[docvq]", "benchmarks=docvq: choose from docvqa"),
        ("benchmarks=[docvqa,docvqa]", "only once"),
        ("benchmarks=[folder]", "data.folder.source=None"),
        ("split=train", "split=train: test reports"),
        ("limit=0", "limit=0"),
        ("best=true checkpoint=embedded", "not both"),
    ],
)
def test_evaluate_refuses_too(overrides: str, message: str) -> None:
    assert message in refusal("evaluate", EvaluateConfig, overrides)


def test_a_path_is_a_source(tmp_path: Path) -> None:
    train("data=folder", f"data.source={tmp_path}").check()
    evaluate("benchmarks=[folder]", f"data.folder.source={tmp_path}").check()
