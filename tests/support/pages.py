"""Pages under docs/ as something that runs: their files are written, their commands executed in this process."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module, invalidate_caches
from pathlib import Path

import pytest

from docvlm import registry
from docvlm.data.benchmarks import BENCHMARKS
from docvlm.metrics import METRICS

_BLOCK = re.compile(r"^(?:`(docvlm_ext/\S+|\w+\.jsonl)`\n\n)?```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def apply(page: Path, folder: Path) -> list[str]:
    """Write the files of a page into `folder`, and return its commands, one a line."""
    commands: list[str] = []
    for title, language, body in _BLOCK.findall(page.read_text(encoding="utf-8")):
        if title:
            (folder / title).parent.mkdir(parents=True, exist_ok=True)
            (folder / title).write_text(body, encoding="utf-8")
        elif language == "bash":
            commands += body.splitlines()
    return commands


def run(command: str) -> None:
    """`python -m docvlm.VERB …` in this process; `$(…)` is asked of a shell."""
    said = re.sub(r"\$\((.*?)\)", _from_shell, command)
    python, flag, module, *words = shlex.split(said)
    assert (python, flag) == ("python", "-m"), command
    import_module(module).main(words)


def _from_shell(found: re.Match[str]) -> str:
    return subprocess.check_output(found[1], shell=True, text=True).strip()


@contextmanager
def one_s_own(folder: Path) -> Iterator[None]:
    """`folder` on the path of modules; what is registered meanwhile is forgotten afterwards."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        patch.setattr(registry, "_loaded", [])
        for records in (BENCHMARKS, METRICS):
            patch.setattr(records, "_records", dict(records._records))
        try:
            yield
        finally:
            for name in [name for name in sys.modules if name.partition(".")[0] == "docvlm_ext"]:
                del sys.modules[name]
            invalidate_caches()
