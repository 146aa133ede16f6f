"""How the leakage audit grows with the number of pages: time and memory, each size in its own process.

    python -m bench.audit_growth --pages 1000 4000 16000
    python -m bench.audit_growth --pages 1000 4000 --kind form

A tenth of the pages each is val and test, and none is known before; the second audit finds every page in the cache of
hashes. `mixed` pages are drawn like those of three benchmarks; `form` is one drawn page, filled in five places with
lines of others: its pages all look alike, and every pair of them is close. `hashing` is what opening and hashing took,
`comparing` all the rest: it alone could grow with the square of the pages.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from docvlm.data.example import Example, Page
from docvlm.data.generated import documents
from docvlm.data.leakage import audit as audit_room
from docvlm.data.leakage.audit import Audit, audit
from docvlm.data.leakage.hash_cache import HashCache, page_hashes
from docvlm.data.leakage.hashes import PageHash
from docvlm.data.pages import FilePage
from docvlm.machine import peak_memory_mb, reset_peak_memory

SHARES = {"train": 0.8, "val": 0.1, "test": 0.1}
KINDS = ("docvqa", "chartqa", "infovqa")
"""Benchmarks that pages are drawn like, in turn."""
FILLINGS = 5  # places in which a form is filled in
LINE = 14  # pixels
COLUMNS = ("pages", "met", "overlaps", "hashing, CPU s", "comparing, CPU s", "× linear", "s", "s again", "peak MB")
HEAD = f"| {' | '.join(COLUMNS)} |\n" + "|---" * len(COLUMNS) + "|"


@dataclass(frozen=True)
class Grown:
    """What the audit of so many pages took."""

    pages: int
    compared: int  # pairs whose details were compared
    overlaps: int
    seconds: float
    cpu_seconds: float
    hashing_seconds: float  # of CPU
    again_seconds: float  # with every page in the cache
    peak_mb: float  # above what the process held before


def mixed(pages: int, folder: Path) -> dict[str, list[Example]]:
    """Drawn documents of one page each, one question a page."""
    made: dict[str, list[Example]] = {}
    for split, share in SHARES.items():
        each = round(pages * share / len(KINDS))
        drawn = [documents(kind, split, each, "tiny", 0) for kind in KINDS]
        made[split] = [document[0] for kind in drawn for document in kind]
    return made


def form(pages: int, folder: Path) -> dict[str, list[Example]]:
    """Fillings of one form, as files in a folder, asked for their numbers."""
    rng = np.random.default_rng(0)
    source = [document[0].pages[0].open().convert("L") for document in documents("docvqa", "train", 200, "tiny", 0)]
    made: dict[str, list[Example]] = {}
    for split, share in SHARES.items():
        made[split] = []
        for number in range(round(pages * share)):
            file = folder / f"{split}-{number}.png"
            filled(source, rng).save(file)
            made[split].append(
                Example(file.stem, "Which number?", (file.stem,), file.stem, (FilePage(str(file)),), "form")
            )
    return made


def filled(source: Sequence[Image.Image], rng: np.random.Generator) -> Image.Image:
    """The first page, with lines of others in `FILLINGS` places."""
    page = source[0].copy()
    for place in range(FILLINGS):
        other = source[int(rng.integers(len(source)))]
        top = int(rng.integers(0, other.height - LINE))
        line = other.crop((0, top, min(other.width, page.width) // 2, top + LINE))
        page.paste(line, (page.width // 4 + 10 * (place % 2), int(page.height * (0.15 + 0.16 * place))))
    return page


SETS = {"mixed": mixed, "form": form}


def cpu_seconds() -> float:
    """Of this process and of those it has started and waited for."""
    return sum(os.times()[:4])


class Hashing:
    """`page_hashes`, timed."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self, pages: Sequence[Page], cache: HashCache | None, say: object) -> Iterator[tuple[int, PageHash]]:
        began = cpu_seconds()
        yield from page_hashes(pages, cache, lambda line: None)
        self.seconds = cpu_seconds() - began


def measured(kind: str, pages: int, folder: Path) -> Grown:
    """Audit so many pages twice."""
    made = SETS[kind](pages, folder)
    others = {name: examples for name, examples in made.items() if name != "train"}
    hashing = Hashing()
    audit_room.page_hashes = hashing  # type: ignore[assignment]
    reset_peak_memory()
    before = peak_memory_mb("cpu")
    began, used = time.perf_counter(), cpu_seconds()
    found: Audit = audit(made["train"], others, HashCache(folder), say=lambda line: None)
    seconds, cpu, hashed = time.perf_counter() - began, cpu_seconds() - used, hashing.seconds
    peak = peak_memory_mb("cpu") - before
    began = time.perf_counter()
    audit(made["train"], others, HashCache(folder), say=lambda line: None)
    again = time.perf_counter() - began
    return Grown(sum(found.pages.values()), found.compared, len(found.overlaps), seconds, cpu, hashed, again, peak)


def main() -> None:
    """Print a Markdown table, a row a size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=int, nargs="+", default=[1000, 4000, 16000])
    parser.add_argument("--kind", choices=tuple(SETS), default="mixed", help="of pages")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        with tempfile.TemporaryDirectory(prefix="audit-") as folder:
            print(json.dumps(asdict(measured(options.kind, options.one, Path(folder)))))
        return
    print(HEAD)
    first: Grown | None = None
    for count in options.pages:
        command = [sys.executable, "-m", "bench.audit_growth", "--kind", options.kind, "--one", str(count)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        one = Grown(**json.loads(done.stdout.splitlines()[-1]))
        first = first or one
        ratio = (one.cpu_seconds / one.pages) / (first.cpu_seconds / first.pages)
        print(
            f"| {one.pages} | {one.compared} | {one.overlaps} | {one.hashing_seconds:.1f}"
            f" | {one.cpu_seconds - one.hashing_seconds:.1f} | {ratio:.2f} | {one.seconds:.1f}"
            f" | {one.again_seconds:.1f} | {one.peak_mb:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
