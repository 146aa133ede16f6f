"""Where the figures go, and how time and memory are taken.

A row is printed and `bench-gpu.json` is rewritten as soon as it is measured, so a call that is cut off loses only the
row it was at. Times are medians of whole steps between two synchronisations; memory is what the allocator held at most
above what was there before.
"""

from __future__ import annotations

import gc
import json
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from docvlm import machine

GB = 1e9
PEAKS = {
    "H200": 989e12,
    "H100 80GB HBM3": 989e12,
    "H100 PCIe": 756e12,
    "A100": 312e12,
}
"""Dense bf16 FLOP/s by the vendor's data sheets (half of the figure that is given with sparsity)."""


def peak_flops(name: str) -> float | None:
    """Of the GPU called `name`, or None where it is not in the table."""
    return next((peak for part, peak in PEAKS.items() if part in name), None)


class Deadline:
    """A moment by which something should have ended."""

    def __init__(self, seconds: float) -> None:
        self.end = time.perf_counter() + seconds

    def left(self) -> float:
        """Seconds until then; negative afterwards."""
        return self.end - time.perf_counter()


class Report:
    """Tables as Markdown on the standard output and as JSON in `folder`."""

    def __init__(self, folder: Path, facts: dict[str, Any]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "bench-gpu.json"
        self.facts: dict[str, Any] = facts
        self.tables: list[dict[str, Any]] = []

    def table(self, title: str, columns: Sequence[str]) -> None:
        """Begin a table."""
        self.tables.append({"title": title, "columns": list(columns), "rows": []})
        print(f"\n{title}\n\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}", flush=True)

    def row(self, *values: Any) -> None:
        """Add a row to the last table; None is an empty cell."""
        table = self.tables[-1]
        assert len(values) == len(table["columns"])
        table["rows"].append(dict(zip(table["columns"], values, strict=True)))
        print(f"| {' | '.join(_cell(value) for value in values)} |", flush=True)
        self._write()

    def note(self, name: str, value: Any) -> None:
        """Record something that is no row."""
        self.facts[name] = value
        self._write()

    def _write(self) -> None:
        part = self.path.with_suffix(".part")
        part.write_text(json.dumps(self.facts | {"tables": self.tables}, indent=1) + "\n")
        part.replace(self.path)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def synchronize(device: torch.device) -> None:
    """Wait for the work that was queued."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds(step: Callable[[], Any], device: torch.device, repeats: int, deadline: Deadline) -> float:
    """Median duration of `step` after one call to warm up; fewer repeats, but one, where the time runs out."""
    return median(lambda: once(step, device), repeats, deadline)


def once(step: Callable[[], Any], device: torch.device) -> float:
    """Duration of `step`, between two synchronisations."""
    synchronize(device)
    began = time.perf_counter()
    step()
    synchronize(device)
    return time.perf_counter() - began


def median(timed: Callable[[], float], repeats: int, deadline: Deadline) -> float:
    """Of what `timed` returns, after one call to warm up; fewer repeats, but one, where the time runs out."""
    timed()
    found: list[float] = []
    while not found or (len(found) < repeats and deadline.left() > found[-1]):
        found.append(timed())
    return statistics.median(found)


class Memory:
    """Most memory held since this was made, above what was held then, in GB (CUDA's allocator, or resident set)."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        free(device)
        machine.reset_peak_memory()
        self.before = self._peak()

    def above(self) -> float:
        """So far."""
        return self._peak() - self.before

    def _peak(self) -> float:
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device) / GB
        return machine.peak_memory_mb("cpu") * 2**20 / GB


def free(device: torch.device) -> None:
    """Give back what nothing holds any more."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
