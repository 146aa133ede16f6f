"""What a run ran on: packages, hardware, git commit, and the most memory it held.

Memory on a GPU is what torch allocated at most; on a CPU it is the process's peak resident set, which Linux lets a
process reset (`/proc/self/clear_refs`), so that each cell of a sweep reports its own.
"""

from __future__ import annotations

import os
import platform
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

PACKAGES = (
    "torch", "transformers", "peft", "lightning", "datasets", "tokenizers", "safetensors", "hydra-core", "omegaconf",
    "numpy", "pillow", "torchvision", "pypdfium2", "rapidfuzz", "qwen-vl-utils", "liger-kernel", "bitsandbytes",
)  # fmt: skip
PIXELS = ("pillow", "qwen-vl-utils", "torchvision", "transformers")
"""What decodes, resizes and normalises a page: another version may move its pixels by some grey levels."""
_MB = 1 << 20
_STATUS = Path("/proc/self/status")


def versions() -> dict[str, str]:
    """Version of Python, docvlm and every package that can move a number; "absent" where one is not installed."""
    found = {"python": platform.python_version()}
    for name in ("docvlm", *PACKAGES):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    return found


def hardware(accelerator: str) -> dict[str, Any]:
    """Name of the processor, cores this process may use, memory, and the GPUs where `accelerator` is "cuda"."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    found: dict[str, Any] = {
        "accelerator": accelerator,
        "processor": _processor(),
        "cores": cores,
        "threads": torch.get_num_threads(),
        "memory_mb": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // _MB,
        "system": f"{platform.system()} {platform.machine()}",
    }
    if accelerator == "cuda":
        gpus = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
        found["gpus"] = [{"name": gpu.name, "memory_mb": gpu.total_memory // _MB} for gpu in gpus]
        found["cuda"] = torch.version.cuda
    return found


def name(accelerator: str) -> str:
    """What a timing depends on, in words: the GPU, or the processor and its threads."""
    if accelerator == "cuda":
        return torch.cuda.get_device_name()
    return f"{_processor()}, {torch.get_num_threads()} threads"


def git_commit() -> str | None:
    """Commit of the checkout this package lies in, with "+changes" where files differ; None outside a checkout."""
    here = Path(__file__).resolve().parent
    command = ["git", "-C", str(here)]
    try:
        # An installed wheel may lie below someone else's repository: only a repository that tracks this file counts.
        tracked = subprocess.run([*command, "ls-files", "--error-unmatch", __file__], capture_output=True, timeout=20)
        if tracked.returncode != 0:
            return None
        head = subprocess.run([*command, "rev-parse", "HEAD"], capture_output=True, text=True, timeout=20)
        changes = subprocess.run(
            [*command, "status", "--porcelain", "--untracked-files=no"], capture_output=True, text=True, timeout=20
        )
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return None
    if head.returncode != 0:  # a repository without a commit
        return None
    return head.stdout.strip() + ("+changes" if changes.stdout.strip() else "")


_before = 0.0  # peak of this run up to the last `measured_peak`, which starts a new one


def reset_peak_memory() -> None:
    """Start a new peak, so that a cell of a sweep does not report the one before it."""
    global _before
    _before = 0.0
    _reset()


@contextmanager
def measured_peak(accelerator: str) -> Iterator[list[float]]:
    """Afterwards the list holds the peak of what happened within, in MiB. The run's own peak goes on counting."""
    global _before
    _before = peak_memory_mb(accelerator)
    _reset()
    peak: list[float] = []
    yield peak
    peak.append(_peak(accelerator))


def peak_memory_mb(accelerator: str) -> float:
    """Peak since `reset_peak_memory` in MiB: of the GPU that fills most, or of this process."""
    return max(_before, _peak(accelerator))


def memory_mb(accelerator: str) -> float:
    """What is held now, in MiB: allocated on the current GPU, or resident in this process."""
    if accelerator == "cuda":
        return round(torch.cuda.memory_allocated() / _MB, 1)
    return _status("VmRSS") if _STATUS.exists() else _peak(accelerator)


def _reset() -> None:
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    clear = Path("/proc/self/clear_refs")
    if os.access(clear, os.W_OK):
        clear.write_text("5")  # proc(5): 5 resets the peak resident set size


def _peak(accelerator: str) -> float:
    if accelerator == "cuda":
        return round(max(torch.cuda.max_memory_allocated(i) for i in range(torch.cuda.device_count())) / _MB, 1)
    if _STATUS.exists():
        return _status("VmHWM")
    unit = 1 if sys.platform == "darwin" else 1024  # getrusage counts bytes on macOS, KiB elsewhere
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / _MB, 1)


def _status(field: str) -> float:
    """A field of /proc/self/status, which counts KiB, in MiB."""
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(f"{field}:"))
    return round(int(line.split()[1]) / 1024, 1)


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
