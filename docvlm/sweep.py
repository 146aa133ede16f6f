"""State of a sweep: what each of its cells came to or is at, and the table so far.

    python -m docvlm.sweep multirun/2026-01-31_12-00-00-000000            the state now
    python -m docvlm.sweep multirun/2026-01-31_12-00-00-000000 --follow   until no cell is being trained

Everything comes from what the cells left in their folders, so that it can be asked while they are trained, anywhere
that sees the folder, and after the launching command is gone. Exits with 1 where a cell has ended unfinished.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

from docvlm.writing import one_line_errors

POLL = 10.0  # seconds


@one_line_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Say the state, again where it changes with `--follow`, then the table."""
    flags = _flags(argv)
    from docvlm.reporting.sweeps import state, sweep  # not for --help

    cells = state.cells(flags.folder)
    print(state.said(cells), flush=True)
    while flags.follow and any(cell.live for cell in cells):
        time.sleep(flags.every)
        before, cells = cells, state.cells(flags.folder)
        for line in state.news(before, cells):
            print(line, flush=True)
    sweep.summarise(flags.folder)
    if any(cell.ended and not cell.finished for cell in cells):
        raise SystemExit(1)


def _flags(argv: Sequence[str] | None) -> argparse.Namespace:
    about, _, rest = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        "docvlm.sweep", description=about, epilog=rest, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="folder of the sweep: multirun/<time>")
    parser.add_argument("--follow", action="store_true", help="print what changes until no cell is being trained")
    parser.add_argument("--every", type=float, default=POLL, metavar="SECONDS", help=f"how often to look ({POLL:g})")
    return parser.parse_args(argv)


if __name__ == "__main__":
    main()
