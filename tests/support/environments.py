"""Environments beside the one of the tests: with an extra that is not installed, or without torch."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import requires
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def extra(name: str) -> list[str]:
    """What `docvlm[name]` brings, also where docvlm was installed before it had that extra."""
    found = [line.partition(";")[0] for line in requires("docvlm") or [] if re.search(rf"extra == .{name}.", line)]
    if not found:
        lines = (ROOT / "pyproject.toml").read_text(encoding="utf-8").splitlines()
        (line,) = [line for line in lines if line.startswith(f"{name} = [")]
        found = re.findall(r'"([^"]+)"', line.partition("#")[0])
    return [one.strip() for one in found]


def environment(folder: Path, wanted: Sequence[str], sees: str | None = None) -> Path:
    """The interpreter of a new environment with these packages, and those of the folder that it `sees`."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    if sees is not None:
        (site,) = folder.glob("lib/python*/site-packages")
        (site / "seen.pth").write_text(f"{sees}\n")
    python = folder / "bin" / "python"
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *wanted]
    tried = subprocess.run([*install, "--dry-run"], capture_output=True, text=True)
    if tried.returncode:
        pytest.skip(f"pip cannot get {' '.join(wanted)}: {tried.stderr.strip().splitlines()[-1]}")
    subprocess.run(install, check=True)
    return python


def kept(name: str, wanted: Sequence[str], sees: str | None = None) -> Path:
    """As `environment`, in the user's cache: made once for these packages and this interpreter."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    key = hashlib.sha256(repr((sys.executable, sorted(wanted), sees)).encode()).hexdigest()[:8]
    folder = cache / "docvlm" / f"{name}-{key}"
    if not (folder / "made").exists():
        shutil.rmtree(folder, ignore_errors=True)  # half of one
        environment(folder, wanted, sees)
        (folder / "made").touch()
    return folder / "bin" / "python"


def ran(python: Path, *words: str, where: Path, path: bool = True) -> subprocess.CompletedProcess[str]:
    """A command in a folder; `path`: with this checkout in its path."""
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {"HF_HUB_OFFLINE": "1"}
    if path:
        clean["PYTHONPATH"] = str(ROOT)
    return subprocess.run([str(python), *words], capture_output=True, text=True, cwd=where, env=clean)
