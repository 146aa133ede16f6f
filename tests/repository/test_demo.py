"""The demo: its commands in turn, each in a process of its own, until one fails."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from docvlm import demo


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to be in, and commands that take no time."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(demo, "COMMANDS", ("report output=one", "evaluate run=nowhere scale=tiny", "report output=two"))
    return tmp_path


def test_the_first_that_fails_ends_it(small: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        demo.main([])
    assert ended.value.code == 1
    out, err = capfd.readouterr()
    assert out.index("$ python -m docvlm.report output=one") < out.index("written: one/index.html")
    assert out.index("written: one/index.html") < out.index("$ python -m docvlm.evaluate run=nowhere scale=tiny")
    assert err.startswith("error: run=nowhere") and err.count("\n") == 1
    assert (small / "one" / "index.html").exists() and not (small / "two").exists()


def test_what_ends_the_demo_ends_its_command(tmp_path: Path) -> None:
    code = (
        "import os, time; from docvlm import demo, report; demo._load = lambda: None; demo.COMMANDS = ('report',) * 2;"
        "report.main = lambda words: (print('pid', os.getpid(), flush=True), time.sleep(60)); demo.main([])"
    )
    demo = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert demo.stdout is not None
    with demo:
        pid = next(int(line.split()[1]) for line in demo.stdout if line.startswith("pid"))
        demo.terminate()
        try:
            assert demo.wait(timeout=10) == 128 + signal.SIGTERM
            with pytest.raises(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        finally:
            demo.kill()
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def test_a_platform_that_cannot_fork_starts_them(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[list[str]] = []

    def run(command: list[str]) -> subprocess.CompletedProcess[bytes]:
        started.append(command)
        return subprocess.CompletedProcess(command, 3 if "nowhere" in command[3] else 0)

    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(SystemExit) as ended:
        demo.main([])
    assert ended.value.code == 3
    assert started == [
        [sys.executable, "-m", "docvlm.report", "output=one"],
        [sys.executable, "-m", "docvlm.evaluate", "run=nowhere", "scale=tiny"],
    ]


def test_it_takes_no_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    demo.main(["--help"])
    assert capsys.readouterr().out.startswith("The demo: both ablations")
    with pytest.raises(SystemExit, match=r"error: scale=full: the demo takes no arguments"):
        demo.main(["scale=full"])
