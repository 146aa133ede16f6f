"""How the leakage audit grows with the number of pages: time and memory, each size in its own process.

    python -m bench.audit_growth --pages 1000 4000

Pages are drawn, a tenth each is val and test, and none is known before; the second audit finds every page in the cache
of hashes. Opening a page costs the same whatever their number. Pairs of pages grow with its square: their hashes are
compared by one product of matrices, and those that come close are opened and looked at.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from docvlm.data.example import Example
from docvlm.data.generated import documents
from docvlm.data.leakage.audit import Audit, audit
from docvlm.data.leakage.hash_cache import HashCache
from docvlm.machine import peak_memory_mb, reset_peak_memory

SHARES = {"train": 0.8, "val": 0.1, "test": 0.1}
HEAD = "| pages | pairs looked at | overlaps | s | CPU s | × linear (CPU) | s again | peak MB |\n" + "|---" * 8 + "|"
KINDS = ("docvqa", "chartqa", "infovqa")
"""Benchmarks that pages are drawn like, in turn."""


@dataclass(frozen=True)
class Grown:
    """What the audit of so many pages took."""

    pages: int
    compared: int  # pairs looked at
    overlaps: int
    seconds: float
    cpu_seconds: float
    again_seconds: float  # with every page in the cache
    peak_mb: float  # above what the process held before


def splits(pages: int) -> dict[str, list[Example]]:
    """Drawn documents of one page each, one question a page."""
    made: dict[str, list[Example]] = {}
    for split, share in SHARES.items():
        each = round(pages * share / len(KINDS))
        drawn = [documents(kind, split, each, "tiny", 0) for kind in KINDS]
        made[split] = [document[0] for kind in drawn for document in kind]
    return made


def cpu_seconds() -> float:
    """Of this process and of those it has started and waited for."""
    return sum(os.times()[:4])


def measured(pages: int, folder: Path) -> Grown:
    """Audit so many pages twice."""
    made = splits(pages)
    others = {name: examples for name, examples in made.items() if name != "train"}
    reset_peak_memory()
    before = peak_memory_mb("cpu")
    began, used = time.perf_counter(), cpu_seconds()
    found: Audit = audit(made["train"], others, HashCache(folder), say=lambda line: None)
    seconds, cpu = time.perf_counter() - began, cpu_seconds() - used
    began = time.perf_counter()
    audit(made["train"], others, HashCache(folder), say=lambda line: None)
    again = time.perf_counter() - began
    count = sum(found.pages.values())
    return Grown(count, found.compared, len(found.overlaps), seconds, cpu, again, peak_memory_mb("cpu") - before)


def main() -> None:
    """Print a Markdown table, a row a size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=int, nargs="+", default=[1000, 4000])
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        with tempfile.TemporaryDirectory(prefix="audit-") as folder:
            print(json.dumps(asdict(measured(options.one, Path(folder)))))
        return
    print(HEAD)
    first: Grown | None = None
    for count in options.pages:
        command = [sys.executable, "-m", "bench.audit_growth", "--one", str(count)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        one = Grown(**json.loads(done.stdout.splitlines()[-1]))
        first = first or one
        ratio = (one.cpu_seconds / one.pages) / (first.cpu_seconds / first.pages)
        print(
            f"| {one.pages} | {one.compared} | {one.overlaps} | {one.seconds:.1f} | {one.cpu_seconds:.1f} | {ratio:.2f}"
            f" | {one.again_seconds:.1f} | {one.peak_mb:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
