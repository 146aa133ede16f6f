"""State of a sweep: what each of its cells came to or is at, and the table so far.

    python -m docvlm.sweep multirun/2026-01-31_12-00-00-000000            the state now
    python -m docvlm.sweep multirun/2026-01-31_12-00-00-000000 --follow   until no cell lives

Everything comes from what the cells left in their folders, from locks that end with their processes, and from Slurm's
queue where it has their jobs. So it can be asked while they are trained, anywhere that sees the folder, and after the
launching command is gone. Exits with 1 where a cell has ended unfinished, and names the command that goes on with it.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from docvlm.writing import one_line_errors

if TYPE_CHECKING:
    from docvlm.reporting.sweeps.state import Cell

POLL = 10.0  # seconds


@one_line_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Say the state, again where it changes with `--follow`, then the table."""
    flags = _flags(argv)
    from docvlm.reporting.sweeps import state, sweep  # not for --help

    jobs = state.jobs(flags.folder)
    cells = state.cells(flags.folder, jobs)
    if jobs.trouble:
        print(f"warning: {jobs.trouble}", file=sys.stderr, flush=True)
    print(state.said(cells), flush=True)
    if flags.follow:
        cells = _followed(flags.folder, flags.every, cells)
    sweep.summarise(flags.folder)
    if any(cell.ended and not cell.finished for cell in cells):
        if command := sweep.the_same_command(flags.folder):
            print(f"\nwhat is missing: {command}", flush=True)
        raise SystemExit(1)


def _followed(folder: Path, every: float, cells: list[Cell]) -> list[Cell]:
    """The cells when all have finished, or none has lived at two looks: a result may be seen later than an end."""
    from docvlm.reporting.sweeps import state

    looks = 0
    while looks < 2 and not all(cell.finished for cell in cells):
        time.sleep(every)
        before, cells = cells, state.cells(folder, state.jobs(folder))
        for line in state.news(before, cells):
            print(line, flush=True)
        looks = 0 if any(cell.live for cell in cells) else looks + 1
    return cells


def _flags(argv: Sequence[str] | None) -> argparse.Namespace:
    about, _, rest = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        "docvlm.sweep", description=about, epilog=rest, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="folder of the sweep: multirun/<time>")
    parser.add_argument("--follow", action="store_true", help="print what changes until no cell lives")
    parser.add_argument("--every", type=float, default=POLL, metavar="SECONDS", help=f"how often to look ({POLL:g})")
    return parser.parse_args(argv)


if __name__ == "__main__":
    main()
