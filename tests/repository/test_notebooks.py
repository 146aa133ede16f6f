"""The notebooks, cell by cell in a fresh interpreter, on a run of each kind they read: no cell fails, each prints."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.runs import finished


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ablation", "failures"])
def test_a_notebook_runs_from_top_to_bottom(name: str, root: Path, tmp_path: Path) -> None:
    (tmp_path / "outputs").mkdir()
    (tmp_path / "outputs" / "whole").symlink_to(finished(), target_is_directory=True)
    cells = json.loads((root / "notebooks" / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    assert len(code) > 2 and not any(cell.get("outputs") for cell in cells), "committed without outputs"
    script = tmp_path / "notebook.py"
    script.write_text("\n\n".join(code), encoding="utf-8")
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "docvqa-generated" in done.stdout or "epoch" in done.stdout
