"""What the README promises: its commands compose, its targets and links exist, its tree is the tree."""

from __future__ import annotations

import re
import shlex
from importlib.util import find_spec
from pathlib import Path

import pytest

from docvlm.config import AuditConfig, BenchmarkConfig, EvaluateConfig, ExportConfig, ReportConfig, TrainConfig
from docvlm.config.compose import rehearse

YOURS = ("my_invoices", "/data/DocVQA", "/models/my-qwen", "answers.jsonl", "DIR", "outputs/<time>")
"""What stands for a path of the reader's own."""
SCHEMAS = {
    "train": TrainConfig,
    "evaluate": EvaluateConfig,
    "audit": AuditConfig,
    "benchmark": BenchmarkConfig,
    "export": ExportConfig,
    "report": ReportConfig,
}


@pytest.fixture(scope="module")
def readme(root: Path) -> str:
    return (root / "README.md").read_text(encoding="utf-8")


def blocks(readme: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", readme, flags=re.DOTALL)


def test_every_hydra_command_composes_and_passes_the_checks(readme: str, tmp_path: Path) -> None:
    found = 0
    for name in YOURS:
        readme = re.sub(rf"={re.escape(name)}(?=\s)", f"={tmp_path}", readme)
    for name in ("baseline.jsonl", "answers.jsonl"):
        (tmp_path / name).touch()
    readme = readme.replace("[baseline.jsonl,answers.jsonl]", f"[{tmp_path}/baseline.jsonl,{tmp_path}/answers.jsonl]")
    for line in "\n".join(blocks(readme, "bash")).splitlines():
        words = shlex.split(line, comments=True)
        if words[:2] != ["python", "-m"]:
            continue
        verb, overrides = words[2].removeprefix("docvlm."), words[3:]
        sweep = "-m" in overrides
        rehearse(verb, SCHEMAS[verb], [word for word in overrides if word != "-m"], sweep=sweep)
        found += 1
    assert found >= 10


def test_the_commands_of_the_page_on_sweeps_compose(root: Path) -> None:
    page = (root / "docs" / "guide" / "sweeps.md").read_text(encoding="utf-8").replace("\\\n", " ")
    commands = re.findall(r"^(?:\w+=\d )?python -m docvlm\.train ([^#&\n]*)", page, flags=re.MULTILINE)
    assert len(commands) >= 7
    for command in commands:
        words = [word for word in shlex.split(command) if word != "-m"]
        if find_spec("optuna") or not {"experiment=search", "hydra/sweeper=optuna"} & set(words):
            rehearse("train", TrainConfig, words, sweep="-m" in shlex.split(command))


def test_every_make_target_exists(readme: str, root: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (root / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    named = set(re.findall(r"(?:^|`)make ([a-z-]+)", readme, flags=re.MULTILINE))
    assert {"demo", "test", "setup", "eval", "check"} <= named <= targets


def test_every_link_and_picture_exists(root: Path) -> None:
    for page in [root / "README.md", *sorted((root / "docs").rglob("*.md"))]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_tree_names_every_module_and_no_other(readme: str, root: Path) -> None:
    tree = next(block for block in blocks(readme, "text") if "docvlm/" in block)
    listed, folders = set(), [""]
    for line in tree[tree.index("\ndocvlm/") + 1 :].splitlines():
        name = line.split()[0]
        depth = (len(line) - len(line.lstrip())) // 2
        if depth == 0 and name != "docvlm/":
            break
        folders[depth:] = [name] if name.endswith("/") else []
        if name.endswith(".py"):
            listed.add("".join(folders[:depth]) + name)
    modules = {str(p.relative_to(root)) for p in (root / "docvlm").rglob("*.py") if p.name != "__init__.py"}
    assert listed == modules
