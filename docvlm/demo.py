"""The demo: both ablations on the embedded checkpoints, evaluation, latency and cost, the report. A CPU is enough.

python -m docvlm.demo

Nothing is downloaded. Each command stands above what it prints, as one would type it. The same command again reuses
what is there under outputs/ and multirun/.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from types import FrameType
from typing import cast

from docvlm import startup
from docvlm.errors import SIGNALS

COMMANDS = (
    "train model=qwen2vl lora.r=16,32,64 seeds=3 scale=tiny -m",
    "train model=florence2 freeze=0,33,66,100 scale=tiny -m",
    "evaluate best=true baseline=true benchmarks=[docvqa,chartqa,infovqa] scale=tiny",
    "benchmark best=true pages=20 max_batch=8 scale=tiny",
    "report",
)


def main(argv: Sequence[str] | None = None) -> None:
    """Run all commands, one after another. The first that fails ends the demo with its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments:
        print(__doc__)
        if not {"-h", "--help"} & set(arguments):
            raise SystemExit(f"error: {arguments[0]}: the demo takes no arguments; give them to one of its commands")
        return
    if sys.platform == "linux":
        _load()
    for command in COMMANDS:
        print(f"\n$ python -m docvlm.{command}", flush=True)
        if code := _forked(command) if sys.platform == "linux" else _started(command):
            raise SystemExit(code)


def _load() -> None:
    """Import what the commands need, once; each runs in a fork of this process, which has computed nothing."""
    with startup.libraries():
        for name in ("training.run", "training.fit", "training.final_test", "evaluation.subjects", "timing.latency"):
            importlib.import_module(f"docvlm.{name}")


def _forked(command: str) -> int:
    """The exit code of a command, in a fork of this process, to which signals go on.

    A terminal sends Ctrl-C to both by itself, so here it is ignored.
    """
    process = multiprocessing.get_context("fork").Process(target=_run, args=(command,))
    before = {number: signal.getsignal(number) for number in SIGNALS}
    process.start()

    def hand_on(number: int, frame: FrameType | None) -> None:
        if process.is_alive():
            os.kill(cast("int", process.pid), number)

    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN if number == signal.SIGINT else hand_on)
    try:
        process.join()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    code = process.exitcode or 0
    return code if code >= 0 else 128 - code  # by a signal, as shells say it


def _run(command: str) -> None:
    verb, *words = command.split()
    importlib.import_module(f"docvlm.{verb}").main(words)


def _started(command: str) -> int:
    """The exit code of a command in a process of its own."""
    verb, *words = command.split()
    return subprocess.run([sys.executable, "-m", f"docvlm.{verb}", *words]).returncode


script = startup.script(main)

if __name__ == "__main__":
    script()
