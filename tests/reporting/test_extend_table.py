"""`docs/extend/table.md`: the change it describes, applied as it stands there to a copy of the package, and run."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)


@pytest.fixture
def blocks(root: Path) -> list[tuple[str, str, str]]:
    """Every block of the page: its language, its title, its text."""
    return BLOCK.findall((root / "docs" / "extend" / "table.md").read_text(encoding="utf-8"))


def run(command: list[str], folder: Path, package: Path) -> str:
    """Standard output of a command that has `package` in front of its path."""
    environment = os.environ | {"PYTHONPATH": str(package), "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_table_of_ones_own(root: Path, tmp_path: Path, blocks: list[tuple[str, str, str]]) -> None:
    package = tmp_path / "package"
    unneeded = shutil.ignore_patterns("__pycache__", "*.safetensors")
    shutil.copytree(root / "docvlm", package / "docvlm", ignore=unneeded)
    shutil.copytree(root / "conf", package / "conf")
    shutil.copytree(root / "docs", package / "docs", ignore=lambda folder, names: {n for n in names if "." not in n})
    for _, title, text in blocks:
        if title.startswith("docvlm/"):
            (package / title).write_text(text, encoding="utf-8")
    (change,) = [text for language, _, text in blocks if language == "diff"]
    subprocess.run(["git", "apply", "-"], cwd=package, input=change, text=True, encoding="utf-8", check=True)
    rows = [
        {"question_id": i, "document": f"p{i // 2}", "benchmark": "docvqa", "question": "?", "prediction": said,
         "answers": ["17", "seventeen"]}
        for i, said in enumerate(["17", "it is seventeen", "1", "17"])
    ]  # fmt: skip
    (tmp_path / "answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (command,) = [text.split() for language, _, text in blocks if language == "bash"]
    run([sys.executable, *command[1:]], tmp_path, package)
    folder = tmp_path / "outputs" / "report"
    with (folder / "tables" / "answer-lengths.csv").open(newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert (row["benchmark"], row["run"]) == ("docvqa", "answers.jsonl")
    assert [float(row[name]) for name in ("said", "wanted", "longer")] == [5.0, 2.0, 0.25]
    assert float(row["longer_low"]) <= 0.25 <= float(row["longer_high"])
    assert "How long the answers are" in (folder / "tables" / "answer-lengths.tex").read_text(encoding="utf-8")
    sections = (folder / "report.md").read_text(encoding="utf-8").split("\n## ")
    assert [part.split("\n")[0] for part in sections if "How long the answers are" in part] == ["Failures"]


def test_the_example_prints_what_the_page_says(root: Path, tmp_path: Path, blocks: list[tuple[str, str, str]]) -> None:
    (example,) = [text for _, title, text in blocks if title == "example.py"]
    (expected,) = [text for language, _, text in blocks if language == "text"]
    (tmp_path / "example.py").write_text(example, encoding="utf-8")
    assert run([sys.executable, "example.py"], tmp_path, root) == expected
