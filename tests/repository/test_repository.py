"""The repository itself: what it must hold, what it must not, and the wheel that is built from it."""

from __future__ import annotations

import ast
import importlib
import os
import pkgutil
import re
import subprocess
import sys
import sysconfig
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

import docvlm

VERBS = ["train", "evaluate", "audit", "predict", "benchmark", "report", "export", "app", "sweep", "demo"]
WITH_GRADIO = ("docvlm.serving.app.page", "docvlm.serving.app.theme")
LONGEST_FUNCTION = 80
LARGEST_FILE = 1 << 20  # bytes; the embedded checkpoints apart


@pytest.fixture(scope="module")
def tracked(root: Path) -> list[Path]:
    """The files git knows."""
    if not (root / ".git").exists():
        pytest.skip("not a git checkout")
    names = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, text=True, check=True).stdout
    return [root / name for name in names.split("\0") if name and (root / name).exists()]


def test_the_top_level_is_what_the_design_says(root: Path) -> None:
    files = "Makefile pyproject.toml constraints.txt mkdocs.yml README.md LICENSE CHANGELOG.md .ci/run"
    names = ["conf", "docvlm", "tests", "docs", *files.split()]
    assert [name for name in names if not (root / name).exists()] == []
    assert os.access(root / ".ci" / "run", os.X_OK)


def test_every_module_imports() -> None:
    names = [module.name for module in pkgutil.walk_packages(docvlm.__path__, "docvlm.")]
    assert {f"docvlm.{verb}" for verb in VERBS} <= set(names)
    for name in names:
        if not name.endswith("__main__") and (name not in WITH_GRADIO or find_spec("gradio")):
            importlib.import_module(name)


def test_functions_stay_small(tracked: list[Path]) -> None:
    sources = {file: file.read_text(encoding="utf-8") for file in tracked if file.suffix == ".py"}
    functions = {
        f"{file}:{node.name}": (node.end_lineno or 0) - node.lineno + 1
        for file, text in sources.items()
        for node in ast.walk(ast.parse(text))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    }
    assert {name: length for name, length in functions.items() if length > LONGEST_FUNCTION} == {}


def test_only_embedded_checkpoints_are_large(tracked: list[Path]) -> None:
    large = [file for file in tracked if file.stat().st_size > LARGEST_FILE]
    assert [str(file) for file in large if "docvlm/vlms/embedded" not in file.as_posix()] == []
    assert all(file.stat().st_size <= 12e6 for file in large)


EVERYWHERE = {
    "a path of one machine": r"(?<![\w.])/(?:work|farm|root|home/\w+)/",
    "a package registry's host": r"(?:pypi|pythonhosted)\.org",
}
IN_THE_PACKAGE = {
    "code out of a checkpoint": r"trust_remote_code\s*=\s*True",
    "a pickle": r"\bpickle\.load|\btorch\.load\((?!.*weights_only=True)",
    "a silent default of a config": r"\bcfg\.get\(",
    "every error caught": r"except\s*:|except (?:Base)?Exception",
}


@pytest.mark.parametrize("what", EVERYWHERE | IN_THE_PACKAGE)
def test_no_file_holds(what: str, tracked: list[Path], root: Path) -> None:
    texts = [f for f in tracked if f.suffix in {".py", ".yaml", ".toml", ".txt", ".md", ""} and f != Path(__file__)]
    if what in IN_THE_PACKAGE:
        texts = [file for file in texts if file.is_relative_to(root / "docvlm")]
    pattern = re.compile((EVERYWHERE | IN_THE_PACKAGE)[what])
    found = [
        f"{file}:{number}: {line.strip()[:80]}"
        for file in texts
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
        if pattern.search(line)
    ]
    assert found == []


def test_only_build_instantiates(tracked: list[Path]) -> None:
    sources = [file for file in tracked if file.suffix == ".py" and file != Path(__file__)]
    assert [file.name for file in sources if "hydra.utils" in file.read_text(encoding="utf-8")] == ["build.py"]


def test_make_help_lists_every_target(root: Path) -> None:
    text = (root / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^\.PHONY: (.*)$", text, re.MULTILINE)[0].split())
    shown = subprocess.run(["make", "help"], cwd=root, capture_output=True, text=True, check=True).stdout
    assert set(re.findall(r"^  make (\S+)", shown, re.MULTILINE)) == targets


def test_constraints_hold_every_requirement(root: Path) -> None:
    text = (root / "pyproject.toml").read_text(encoding="utf-8")
    required = re.findall(r'^  "([a-z][a-z0-9-]*)[>=<]', text, re.MULTILINE)
    pinned = re.findall(r"^([a-z0-9-]+)==", (root / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    assert len(required) > 15 and sorted(set(required) - set(pinned)) == []


@pytest.mark.slow
def test_a_wheel_works_in_another_folder(root: Path, tmp_path: Path) -> None:
    """Built from the checkout, put into a fresh environment (on top of this one's packages), run from elsewhere."""
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}

    def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(list(map(str, command)), cwd=tmp_path, env=clean, capture_output=True, text=True)

    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path, root)
    (wheel,) = tmp_path.glob("docvlm-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names} == {"docvlm", wheel.name.rsplit("-", 3)[0] + ".dist-info"}
    packed = {name.removeprefix("docvlm/") for name in names if name.startswith("docvlm/conf/")}
    conf = {file.relative_to(root).as_posix() for file in (root / "conf").rglob("*.yaml")}
    assert packed == {name for name in conf if not name.startswith("conf/local/")}
    assert "docvlm/docs/published.yaml" in names
    templates = {file.name for file in (root / "docvlm" / "reporting" / "templates").iterdir()}
    assert templates and {f"docvlm/reporting/templates/{name}" for name in templates} <= set(names)
    assert {f"docvlm/serving/app/templates/{name}" for name in ("page.css", "answers.html.j2")} <= set(names)
    assert "docvlm/data/leakage/templates/audit.html.j2" in names
    for family in ("qwen2vl", "florence2"):
        assert f"docvlm/vlms/embedded/{family}/model.safetensors" in names

    run(sys.executable, "-m", "venv", "--without-pip", tmp_path / "env")
    python = tmp_path / "env" / "bin" / "python"
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").stdout.strip())
    zipfile.ZipFile(wheel).extractall(site)
    (site / "packages.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")
    where = run(python, "-c", "import docvlm.config as c; print(c.CONF_DIR)").stdout.strip()
    assert Path(where) == site / "docvlm" / "conf"
    read = "from docvlm.reporting.inputs import published; print(published.DEFAULT, len(published.read()))"
    file, count = run(python, "-c", read).stdout.split()
    assert Path(file) == site / "docvlm" / "docs" / "published.yaml" and int(count) > 50
    for verb in VERBS:
        done = run(python, "-m", f"docvlm.{verb}", "--help")
        assert done.returncode == 0 and "docvlm" in done.stdout, done.stderr
    entry = (next(site.glob("docvlm-*.dist-info")) / "entry_points.txt").read_text(encoding="utf-8")
    assert sorted(re.findall(r"^docvlm-(\w+) = docvlm\.\1:main$", entry, re.MULTILINE)) == sorted(VERBS)
    shown = run(python, "-m", "docvlm.train", "--cfg", "job", "model=florence2")
    assert shown.returncode == 0 and "family: florence2" in shown.stdout
