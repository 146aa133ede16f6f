"""Every yaml in conf/, by walking the folder: it composes, its values pass the checks, and what it names is built."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from docvlm import build
from docvlm.config import CONF_DIR, VERBS, ModelVerbConfig, TrainConfig
from docvlm.config.compose import load
from docvlm.data.benchmarks import BENCHMARKS
from docvlm.errors import DocvlmError
from docvlm.vlms.families import FAMILIES

ROOT_FILES = {name: schema for name, schema in VERBS.items() if issubclass(schema, ModelVerbConfig)}
TABLES = {"prices"}  # read by their own reader, not composed
WITHOUT_SCALE = {name: schema for name, schema in VERBS.items() if name not in ROOT_FILES}
GROUPS = sorted(folder.name for folder in CONF_DIR.iterdir() if folder.is_dir() and folder.name != "local")
CHOICES = [(file.parent.name, file.stem) for group in GROUPS for file in sorted((CONF_DIR / group).glob("*.yaml"))]


def test_the_groups_are_the_ones_the_design_names() -> None:
    expected = {"model", "scale", "lora_rank", "freeze_level", "data", "optim", "trainer", "logger", "callbacks"}
    assert expected | {"experiment", "hydra"} == set(GROUPS)
    assert {file.stem for file in CONF_DIR.glob("*.yaml")} == set(ROOT_FILES | WITHOUT_SCALE) | TABLES
    assert not [f for f in CONF_DIR.rglob("*") if f.is_file() and f.suffix != ".yaml"], "Hydra reads only .yaml"


@pytest.mark.parametrize("name", sorted(VERBS))
def test_a_verb_has_one_word(name: str) -> None:
    assert VERBS[name].__module__ == f"docvlm.config.{name}" and find_spec(f"docvlm.{name}") is not None


@pytest.mark.parametrize("name", sorted(ROOT_FILES))
@pytest.mark.parametrize("scale", ["tiny", "full"])
def test_root_files_pass_their_own_checks(name: str, scale: str) -> None:
    load(name, ROOT_FILES[name], [f"scale={scale}"]).check()


@pytest.mark.parametrize("name", sorted(WITHOUT_SCALE))
def test_root_files_without_a_scale_pass_their_own_checks(name: str) -> None:
    load(name, WITHOUT_SCALE[name]).check()


@pytest.mark.parametrize("group, choice", CHOICES, ids=[f"{g}={c}" for g, c in CHOICES])
def test_every_choice_composes_and_builds(group: str, choice: str, tmp_path: Path) -> None:
    if choice == "search":
        pytest.importorskip("optuna", reason="needs the extra: pip install 'docvlm[optuna]'")
    overrides = [f"{group}={choice}", "offline=true"] + ([] if group == "scale" else ["scale=tiny"])
    if choice == "folder":
        (tmp_path / "qa.jsonl").write_text('{"image": "a.png", "question": "?", "answers": ["a"]}\n', encoding="utf-8")
        overrides.append(f"data.source={tmp_path}")
    if group == "data" and choice in BENCHMARKS and not BENCHMARKS[choice].generator and choice != "folder":
        overrides.append("data.source=hub")  # nothing is drawn in its schema
    if group == "model" and FAMILIES[choice].embedded is None:
        overrides.append("model.checkpoint=user/name")
    config = load("train", TrainConfig, overrides)
    config.check()
    builder = BUILDERS[group]
    if builder is not None:
        builder(config, tmp_path)


def _data(config: TrainConfig, folder: Path) -> None:
    module = build.datamodule(config.data)
    assert type(module).__module__ == config.data._target_.rpartition(".")[0]
    assert config.data.name == type(module).__module__.rpartition(".")[2], "CLI word = file = module"


def _optim(config: TrainConfig, folder: Path) -> None:
    import torch

    weight = torch.nn.Parameter(torch.ones(2))
    optimizer = build.optimizer(config.optim)([{"params": [weight], "lr": config.optim.lr}])
    scheduler = build.scheduler(config.optim)(optimizer, total=10)
    rates = []
    for _ in range(10):
        rates.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    assert max(rates) == pytest.approx(config.optim.lr) and rates[-1] < max(rates)


def _loggers(config: TrainConfig, folder: Path) -> None:
    loggers = build.loggers(config.logger, folder, group="sweep")
    assert len(loggers) == len(config.logger) > 0
    assert all(Path(str(logger.save_dir)) == folder for logger in loggers)


def _callbacks(config: TrainConfig, folder: Path) -> None:
    assert len(build.callbacks(config.callbacks)) == len(config.callbacks)


def _strategy(config: TrainConfig, folder: Path) -> None:
    from lightning.pytorch.strategies import Strategy

    assert isinstance(build.strategy(config.trainer), (str, Strategy))


def _family(config: TrainConfig, folder: Path) -> None:
    from docvlm.vlms import load_family

    vlm = load_family(config.model.family)
    assert vlm.family == config.model.family and set(config.model.by_scale) == {"tiny", "full"}
    assert config.model.family == vlm.__module__.split(".")[-2], "CLI word = file = folder"


BUILDERS: dict[str, Any] = {
    "data": _data,
    "optim": _optim,
    "logger": _loggers,
    "callbacks": _callbacks,
    "trainer": _strategy,
    "model": _family,
    # values only: nothing to build
    **dict.fromkeys(["scale", "lora_rank", "freeze_level", "experiment", "hydra"]),
}


def test_a_callback_set_to_null_is_left_out() -> None:
    config = load("train", TrainConfig, ["scale=tiny", "callbacks.early_stopping=null"])
    assert build.callbacks(config.callbacks) == []


def test_build_refuses_what_the_checks_would_refuse() -> None:
    """A config that did not come through a verb, as from a downloaded run, is not executed either."""
    with pytest.raises(DocvlmError, match=r"inner._target_=os.system"):
        build.instantiate(
            {"_target_": "docvlm.errors.DocvlmError", "inner": {"_target_": "os.system", "command": "true"}}
        )
    with pytest.raises(DocvlmError, match=r"_target_=subprocess.run"):
        build.instantiate({"_target_": "subprocess.run", "args": ["true"]})
