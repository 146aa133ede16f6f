"""`python -m bench`: measure section by section, print each cell as soon as it is measured, write if asked.

Files are written after every cell, so that a suite which is stopped in its second hour has lost one. A cell that fails
is reported with its traceback and the rest goes on; the command then ends with 1.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import datasets
from transformers.utils import logging

from bench import (
    chart,
    chat,
    clock,
    decoder,
    documents,
    evaluation,
    florence,
    growth,
    metrics,
    seeds,
    sweep,
    table,
    training,
)
from bench.suite import Cell, Row, Section, Suite

MODULES = (training, decoder, evaluation, documents, florence, chat, sweep, seeds, growth, metrics)
SECTIONS = [module.SECTION for module in MODULES]
DOCS = Path(__file__).resolve().parents[1] / "docs" / "results"


def main(arguments: list[str] | None = None) -> int:
    """Run the suite. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--full", action="store_true", help="every cell, not only the central ones")
    parser.add_argument("--write", action="store_true", help="write benchmarks.json, .md and .svg")
    parser.add_argument("--only", nargs="+", choices=[section.name for section in SECTIONS], help="these sections")
    parser.add_argument(
        "--cells",
        nargs="+",
        default=[],
        metavar="WORD",
        help="of these, the cells that a function measures, and with what: frozen_tower 2048 DocVQA",
    )
    parser.add_argument("--steps", type=int, default=5, help="timed steps a variant (default 5)")
    parser.add_argument("--size", choices=("mid", "tiny"), default="mid", help="tiny: the path, not the figures")
    parser.add_argument("--clock", choices=clock.CLOCKS, default="wall", help="processor: on a machine with other work")
    parser.add_argument("--docs", type=Path, default=DOCS, help="the folder that --write writes to")
    options = parser.parse_args(arguments)
    if options.write and options.clock != "wall":
        parser.error(f"--clock {options.clock}: what --write writes is wall time; drop one of the two")
    clock.choose(options.clock)
    _quiet()
    chosen = [section for section in SECTIONS if not options.only or section.name in options.only]
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        suite = Suite(Path(folder), options.size, options.full, options.steps)
        known = [_words(cell) for section in chosen for cell in section.cells(suite)]
        if options.cells and not any(words >= set(options.cells) for words in known):
            said = " ".join(options.cells)
            choices = ", ".join(sorted(set().union(*known)))
            parser.error(f"--cells {said}: no cell has all of it; words are {choices} (and more with --full)")
        failed = 0
        for section in chosen:
            computes = section.computes + f", {options.clock} time" * (options.clock != "wall")
            docs = options.docs if options.write else None
            failed += _measured(replace(section, computes=computes), suite, options.cells, docs)
    print(f"\n{time.perf_counter() - began:.0f} s in all{f'; {failed} cells failed' if failed else ''}")
    return 1 if failed else 0


def _words(cell: Cell) -> set[str]:
    """What a cell is chosen by: the function that measures it, and what that is called with."""
    return {cell.func.__name__, *map(str, cell.args[1:])}


def _measured(section: Section, suite: Suite, chosen: Sequence[str], docs: Path | None) -> int:
    """Print, and write to `docs`, the rows of a section as they come. Returns how many of its cells failed."""
    cells = [cell for cell in section.cells(suite) if _words(cell) >= set(chosen)]
    where = table.place(table.measured_on(suite, section.computes), timed=False)
    shown = f"{section.note} {where}\n\n{table.head(section)}"
    none = "None of its cells: --full, or another --cells."
    print(f"\n## {section.title}\n\n{shown if cells else none}", flush=True)
    rows: list[Row] = []
    failures = 0
    for cell in cells:
        began = time.perf_counter()
        try:
            measured = cell()
        except Exception:  # noqa: BLE001  # whatever it is, the cells before and after it are worth having
            traceback.print_exc()
            failures += 1
            continue
        rows += measured
        print(*(table.line(section, row) for row in measured), sep="\n", flush=True)
        if docs is not None:
            results = table.write({section.name: rows}, SECTIONS, suite, docs, keep=bool(chosen))
            chart.draw(results, SECTIONS, docs / "benchmarks.svg")
        print(f"({measured[0]['cell']}: {time.perf_counter() - began:.0f} s)", file=sys.stderr, flush=True)
    return failures


def _quiet() -> None:
    """Leave out what libraries say about their own future, and bars that would cut the tables."""
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    datasets.disable_progress_bars()
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"(transformers|trl)\.")
    warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")


if __name__ == "__main__":
    sys.exit(main())
