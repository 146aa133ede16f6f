"""The environment of ms-swift, in the user's cache. `python -m bench.swift` makes it, once."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

PINS = Path(__file__).with_name("requirements.txt")


class CannotCompare(Exception):
    """The environment is not there or cannot be made."""


def folder() -> Path:
    """Where the environment with these pins is or would be."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "docvlm" / f"swift-{hashlib.sha256(PINS.read_bytes()).hexdigest()[:8]}"


def python() -> Path | None:
    """Its interpreter; None where there is no whole environment."""
    return folder() / "bin" / "python" if (folder() / "made").exists() else None


def make() -> Path:
    """Make it where it is not there. Returns its folder. Raises `CannotCompare` where packages cannot be had."""
    home = folder()
    if python() is not None:
        return home
    shutil.rmtree(home, ignore_errors=True)  # half of one
    if subprocess.run([sys.executable, "-m", "venv", str(home)]).returncode:
        raise CannotCompare(f"{sys.executable} -m venv {home} failed: see above")
    interpreter = home / "bin" / "python"
    uv = shutil.which("uv", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
    pip = [uv, "pip", "install", "--python", str(interpreter)] if uv else [str(interpreter), "-m", "pip", "install"]
    if subprocess.run([*pip, "--no-deps", "--requirement", str(PINS)]).returncode:
        raise CannotCompare(f"{PINS} cannot be installed with Python {sys.version.split()[0]}")
    (home / "made").touch()
    return home
