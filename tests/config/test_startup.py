"""What a command does not need is not imported before it is asked for, and is all there when it is."""

from __future__ import annotations

import ctypes.util
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import gc, sys
from docvlm import startup

with startup.libraries():
    assert not gc.isenabled()
    import lightning.pytorch
    import peft
    from docvlm.metrics.torch import StringMetric

assert gc.isenabled() and gc.get_freeze_count() > 100_000
names = ("torchmetrics.functional", "torchmetrics.classification", "scipy.signal", "bitsandbytes.nn")
print("HEAVY", [name for name in names if name in sys.modules])

import torchmetrics
from torchmetrics import Metric, MeanMetric
assert issubclass(StringMetric, Metric) and issubclass(MeanMetric, Metric) and Metric is torchmetrics.metric.Metric
assert torchmetrics.functional.text.char_error_rate(["ab"], ["ac"]) == 0.5
assert not hasattr(torchmetrics, "no_such_metric") and torchmetrics.__version__.count(".") == 2

if "bitsandbytes" in sys.modules:  # where it is installed
    import bitsandbytes as bnb
    from peft.import_utils import is_bnb_4bit_available
    assert bnb.nn.Linear4bit.__name__ == "Linear4bit" and is_bnb_4bit_available()
"""


def _run(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)


def test_what_is_not_used_waits_until_they_are_asked_for() -> None:
    """And nanobind calls nothing a leak at the end, as it would what is still frozen then.

    bitsandbytes may say a line of its own: where a processor has avx512_bf16, that the package `kernels` is missing.
    """
    done = _run(PROGRAM)
    assert done.stdout == "HEAVY []\n"
    assert "leak" not in done.stderr


def test_reports_and_cards_are_written_without_torch() -> None:
    done = _run(
        "import sys\nimport docvlm.report\nfrom docvlm.reporting.card import card\n"
        "from docvlm.reporting.inputs.gather import gather\nfrom docvlm.reporting.page import render, sections\n"
        "print(sorted({'torch', 'transformers', 'lightning'} & set(sys.modules)))"
    )
    assert done.stdout == "[]\n"


SCRIPT = """
import atexit, logging, logging.handlers, sys, threading, time
from docvlm import startup

class Freed:
    def __del__(self):
        print("freed by the interpreter")

kept = Freed()
kept.itself = kept  # garbage, which the interpreter looks for at its end

def main():
    atexit.register(print, "asked to be called")
    memory = logging.handlers.MemoryHandler(10, target=logging.StreamHandler(sys.stdout))
    logging.getLogger().addHandler(memory)
    logging.getLogger().warning("logged")
    sys.stdout.write("not a whole line, ")
    {last}

startup.script(main)()
print("never")
"""


@pytest.mark.parametrize(
    ("last", "status", "freed"),
    [
        ("pass", 0, False),
        ("raise SystemExit(3)", 3, False),
        ("raise SystemExit('why')", 1, True),
        ("raise ValueError('why')", 1, True),
        ("threading.Thread(target=lambda: (time.sleep(0.3), print('thread done'))).start()", 0, True),
        ("sys.modules['coverage'] = sys  # as under `coverage run`", 0, True),
    ],
)
def test_a_program_ends_at_once_and_loses_nothing(last: str, status: int, freed: bool) -> None:
    """What was asked for at the end is done, in any case; only where nobody needs it longer is nothing freed."""
    done = subprocess.run([sys.executable, "-c", SCRIPT.format(last=last)], capture_output=True, text=True)
    assert done.returncode == status, done.stderr
    assert done.stdout.startswith("not a whole line, ") and "never" not in done.stdout
    assert "asked to be called" in done.stdout and "logged" in done.stdout
    assert ("freed by the interpreter" in done.stdout) == freed
    assert ("why" in done.stderr) == ("why" in last) and ("thread done" in done.stdout) == ("thread done" in last)


PROGRAM_FILE = """
import ctypes, sys
from docvlm import startup

class Freed:
    def __del__(self):
        ctypes.CDLL(None).puts(b"freed by the interpreter")

kept = Freed()
kept.itself = kept

def main():
    print("said")
    ctypes.CDLL(None).puts(b"said by a library in C")

if __name__ == "__main__":
    startup.script(main)()
"""


def _program(folder: Path, words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """What a shell makes of `words` with the program above as `program.py`, `-m program`; its streams are buffered."""
    (folder / "program.py").write_text(PROGRAM_FILE, encoding="utf-8")
    others = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    return subprocess.run(
        f"{shlex.quote(sys.executable)} {words}",
        shell=True,
        cwd=folder,
        capture_output=True,
        text=True,
        env=others | {"PYTHONPATH": os.pathsep.join(map(str, [folder, *sys.path]))} | environment,
    )


@pytest.mark.parametrize(
    "words", ["program.py", "-m program", "-c 'import program; program.startup.script(program.main)()'"]
)
def test_what_a_library_in_c_printed_is_not_lost(words: str, tmp_path: Path) -> None:
    done = _program(tmp_path, words)
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(done.stdout.splitlines()) == ["said", "said by a library in C"]


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_a_program_whose_streams_are_closed_ends_well(closed: str, tmp_path: Path) -> None:
    """Python has None in their place."""
    done = _program(tmp_path, f"program.py {closed}")
    assert (done.returncode, done.stderr) == (0, "")


def test_who_called_a_program_goes_on(tmp_path: Path) -> None:
    """As a notebook's `%run -m` calls it, and a profiler that writes down what it saw (Python 3.12 hides that one)."""
    calls = "import runpy; runpy.run_module('program', run_name='__main__', alter_sys=True); print('goes on')"
    done = _program(tmp_path, f'-c "{calls}"')
    assert (done.returncode, done.stderr) == (0, "")
    assert "goes on" in done.stdout and "freed by the interpreter" in done.stdout
    assert _program(tmp_path, "-m cProfile -o seen -m program").returncode == 0
    assert (tmp_path / "seen").exists()


@pytest.mark.parametrize("name", ["LD_PRELOAD", "CUDA_INJECTION64_PATH"])
def test_a_library_that_was_loaded_first_sees_the_end(name: str, tmp_path: Path) -> None:
    """Such profilers write at C's `exit`, which only the interpreter calls."""
    library = ctypes.util.find_library("m")
    assert library is not None
    done = _program(tmp_path, "program.py", **{name: library})
    assert (done.returncode, done.stderr) == (0, "") and "freed by the interpreter" in done.stdout


def test_the_commands_are_such_programs(root: Path) -> None:
    """As `python -m docvlm.VERB` and as the program that is installed."""
    text = (root / "pyproject.toml").read_text(encoding="utf-8")
    for verb in ("train", "evaluate", "benchmark", "export", "predict", "audit", "demo"):
        source = (root / "docvlm" / f"{verb}.py").read_text(encoding="utf-8")
        assert source.endswith('script = startup.script(main)\n\nif __name__ == "__main__":\n    script()\n')
        assert f'docvlm-{verb} = "docvlm.{verb}:script"' in text
