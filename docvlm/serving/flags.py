"""Flags that commands of plain flags share: which model answers, and in whose wording it is asked."""

from __future__ import annotations

import argparse
from pathlib import Path

from docvlm import registry
from docvlm.data.benchmarks import BENCHMARKS, DEFAULT
from docvlm.vlms import FAMILIES


def add_model(parser: argparse.ArgumentParser) -> None:
    """`--run`, or `--checkpoint` with `--family`, and what goes with them. `check_model` checks that they fit."""
    weights = parser.add_mutually_exclusive_group(required=True)
    weights.add_argument("--run", type=Path, metavar="DIR", help="what docvlm.train left, or a folder of saved weights")
    weights.add_argument("--checkpoint", metavar="NAME", help="a folder, a hub id, or the word embedded; with --family")
    parser.add_argument("--family", metavar="NAME", help=f"whose checkpoint it is: {', '.join(FAMILIES)}, or your own")
    parser.add_argument(
        "--extensions",
        action="append",
        default=[],
        metavar="MODULE",
        help="a module below docvlm_ext that registers a family or benchmark of yours; give it once a module",
    )
    parser.add_argument("--base", metavar="NAME", help="the checkpoint the run started from, where it has moved since")
    parser.add_argument(
        "--benchmark",
        metavar="NAME",
        help=f"whose wording follows the question: {', '.join(BENCHMARKS)}, or your own; default the run's,"
        f" {DEFAULT.name} where there is none",
    )
    parser.add_argument("--max-new-tokens", type=positive, metavar="N", help="longest answer; default the benchmark's")
    parser.add_argument("--offline", action="store_true", help="use nothing from the network")


def check_model(parser: argparse.ArgumentParser, flags: argparse.Namespace) -> None:
    """Import the extensions; end with exit code 2 and a line where the flags of `add_model` do not fit each other."""
    registry.load(flags.extensions)
    if flags.family is not None and flags.family not in FAMILIES:
        parser.error(f"argument --family: invalid choice: {flags.family!r} (choose from {', '.join(FAMILIES)})")
    if flags.benchmark is not None and flags.benchmark not in BENCHMARKS:
        parser.error(f"argument --benchmark: invalid choice: {flags.benchmark!r} (choose from {', '.join(BENCHMARKS)})")
    if flags.checkpoint is not None and flags.family is None:
        parser.error("--checkpoint needs --family")
    if flags.run is not None and flags.family is not None:
        parser.error("--family goes with --checkpoint; a run knows its own")
    if flags.base is not None and flags.run is None:
        parser.error("--base goes with --run")


def positive(text: str) -> int:
    """A whole number of 1 or more, for argparse."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text}: give a number of 1 or more")
    return int(text)
