"""One's own modules: which are imported, from where, and what a name that nobody registered leads to."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from docvlm import registry
from docvlm.config import (
    AuditConfig,
    BenchmarkConfig,
    EvaluateConfig,
    ExportConfig,
    ReportConfig,
    TrainConfig,
)
from docvlm.config.compose import load
from docvlm.errors import DocvlmError
from docvlm.runs.identity import _deciding
from docvlm.vlms import FAMILIES

VERBS = [
    ("train", TrainConfig), ("evaluate", EvaluateConfig), ("audit", AuditConfig), ("benchmark", BenchmarkConfig),
    ("export", ExportConfig), ("report", ReportConfig),
]  # fmt: skip
RECORD = """
from dataclasses import replace
from docvlm.vlms.families import FAMILIES
FAMILIES.register(replace(FAMILIES["qwen2vl"], name="{name}"))
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder from which modules are imported; what they register goes with the test."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(FAMILIES, "_records", dict(FAMILIES._records))
    monkeypatch.setattr(registry, "_loaded", [])
    known = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - known:
        if name.partition(".")[0] in ("docvlm_ext", "installed_family"):
            del sys.modules[name]


def module(folder: Path, path: str, name: str) -> None:
    folder.joinpath(path).parent.mkdir(parents=True, exist_ok=True)
    folder.joinpath(path).write_text(RECORD.format(name=name), encoding="utf-8")


def test_a_named_module_registers_and_is_remembered(here: Path) -> None:
    module(here, "docvlm_ext/mine.py", "mine")
    assert "mine" not in FAMILIES
    registry.load(["docvlm_ext.mine", "docvlm_ext.mine"])
    assert FAMILIES["mine"].label == FAMILIES["qwen2vl"].label and registry.loaded() == ["docvlm_ext.mine"]


@pytest.mark.parametrize("name", ["os", "docvlm_extra.mine", "docvlm_ext", "subprocess"])
def test_modules_elsewhere_are_not_imported(here: Path, name: str) -> None:
    with pytest.raises(DocvlmError, match=rf"extensions={name}: only modules below docvlm_ext are imported"):
        registry.load([name])


def test_a_module_that_is_not_there_is_one_line(here: Path) -> None:
    with pytest.raises(DocvlmError, match=r"extensions=docvlm_ext\.gone: no module docvlm_ext; is its folder on"):
        registry.load(["docvlm_ext.gone"])


def test_two_records_of_one_name_are_an_error(here: Path) -> None:
    module(here, "docvlm_ext/mine.py", "florence2")
    with pytest.raises(DocvlmError, match=r"model\.family=florence2: registered twice; give one of them another name"):
        registry.load(["docvlm_ext.mine"])


def test_an_installed_package_registers_by_its_entry_point(here: Path) -> None:
    module(here, "installed_family/__init__.py", "installed")
    about = here / "installed_family-1.0.dist-info"
    about.mkdir()
    about.joinpath("METADATA").write_text("Metadata-Version: 2.1\nName: installed-family\nVersion: 1.0\n")
    about.joinpath("entry_points.txt").write_text("[docvlm.extensions]\ninstalled = installed_family\n")
    here.joinpath("installed_family/conf/model").mkdir(parents=True)
    here.joinpath("installed_family/conf/model/installed.yaml").write_text(
        "defaults: [qwen2vl, _self_]\nfamily: installed\n"
    )
    config = load("train", TrainConfig, ["model=installed", "scale=tiny"])
    assert "installed_family" not in sys.modules, "to find a yaml imports nothing"
    config.check()
    assert "installed" in FAMILIES and not registry.loaded()


@pytest.mark.parametrize(("name", "schema"), VERBS)
def test_a_local_file_says_it_once_for_every_verb(here: Path, name: str, schema: type[Any]) -> None:
    module(here, "docvlm_ext/mine.py", "mine")
    local = here / "docvlm_ext" / "conf" / "local" / "default.yaml"
    local.parent.mkdir(parents=True)
    local.write_text("# @package _global_\nextensions: [docvlm_ext.mine]\n")
    assert load(name, schema).extensions == ["docvlm_ext.mine"]
    assert load(name, schema, ["extensions=[]"]).extensions == []


def test_an_unknown_name_lists_the_choices_and_the_way_out() -> None:
    with pytest.raises(DocvlmError, match=r"model\.family=gpt: not known; choose one of qwen2vl, florence2, chat, or name"):
        FAMILIES["gpt"]


@pytest.mark.parametrize(
    ("modules", "line"),
    [
        ([], "install the package that registers it, or name its module in extensions"),
        (
            ["docvlm_ext.a", "docvlm_ext.b"],
            "add extensions=[docvlm_ext.a,docvlm_ext.b] (docvlm-predict, docvlm-app: --extensions docvlm_ext.a"
            " --extensions docvlm_ext.b; Python: import docvlm_ext.a, docvlm_ext.b)",
        ),
    ],
)
def test_advice_can_be_pasted(modules: list[str], line: str) -> None:
    assert registry.advice(modules) == line


def test_extensions_make_no_other_run() -> None:
    """What they register is in the model, the data and the version of the code."""
    assert "extensions" not in _deciding(dataclasses.asdict(load("train", TrainConfig, ["scale=tiny"])))
