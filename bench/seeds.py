"""Three seeds a cell beside one: what a sweep that can tell settings apart costs more than one that cannot.

The rank ablation of `make demo` on the embedded checkpoint, three cells one after another (`jobs=1`, all threads for
each), and nine cells, three seeds a rank, as the command takes them by default: beside each other, one a core. Same
questions, same epochs, pages encoded before; the two take turns, and wall time and processor time are of the whole
command. On a machine that others use as well only the second means much: nine cells beside each other have as many
processes as there are cores, and the scheduler gives each its share.
"""

from __future__ import annotations

import resource
import statistics
import sys
from functools import partial
from pathlib import Path

from bench import clock, precision
from bench.suite import Cell, Column, Row, Section, Suite, each
from bench.sweep import finished

ROUNDS = 2
THREE, NINE = "three cells, jobs=1", "nine cells, three seeds a rank"
_WORDS = {THREE: ("jobs=1",), NINE: ("seed=0,1,2",)}
_SMALL = ("data.limit_train=8", "data.limit_val=4", "data.limit_test=4", "trainer.max_epochs=1")


def cells(suite: Suite) -> list[Cell]:
    """In the full suite."""
    return each(against_one_seed, suite, [()] if suite.full else [])


def against_one_seed(suite: Suite) -> list[Row]:
    """Medians of the rounds."""
    folder = suite.folder / "seeds"
    _sweep(suite, folder, ("lora.r=16", "jobs=1"))  # encodes the pages
    taken: dict[str, list[tuple[float, float, float]]] = {name: [] for name in _WORDS}
    for _ in range(ROUNDS if suite.size == "mid" else 1):
        for name, words in _WORDS.items():
            before = _processor_seconds()
            lost, seconds = clock.watched(partial(clock.seconds, partial(_sweep, suite, folder, words)))
            taken[name].append((seconds, _processor_seconds() - before, 100 * lost))
    middle = {name: [statistics.median(part) for part in zip(*rounds, strict=True)] for name, rounds in taken.items()}
    wall, processor, _ = middle[THREE]
    return [
        {
            "cell": "ranks 16, 32, 64 of the embedded Qwen2-VL",
            "variant": name,
            "seconds": seconds,
            "processor": used,
            "lost": lost,
            "ratio": seconds / wall,
            "processor_ratio": used / processor,
        }
        for name, (seconds, used, lost) in middle.items()
    ]


def _sweep(suite: Suite, folder: Path, words: tuple[str, ...]) -> None:
    more = () if suite.size == "mid" else _SMALL
    ranks = () if any(word.startswith("lora.r=") for word in words) else ("lora.r=16,32,64",)
    where = (f"hydra.sweep.dir={folder}/runs", f"features_folder={folder}/features", "rerun=true", "offline=true")
    command = (sys.executable, "-m", "docvlm.train", "-m", "model=qwen2vl", "scale=tiny")
    finished([*command, *ranks, *words, *more, *where])


def _processor_seconds() -> float:
    """Of all processes that this one began and that have ended, theirs included."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


SECTION = Section(
    name="seeds",
    title="Three seeds a cell",
    note=(
        f"`lora.r=16,32,64` on the embedded Qwen2-VL, 1 400 questions, 2 epochs; {ROUNDS} rounds in turn, medians;"
        " pages encoded before. Ratios are to the three cells."
    ),
    columns=(
        Column("cell", "sweep"),
        Column("variant", "cells"),
        Column("seconds", "whole command, s", ".0f"),
        Column("processor", "processor, s", ".0f"),
        Column("lost", "taken by the host, %", ".1f"),
        Column("ratio", "wall ×", ".2f"),
        Column("processor_ratio", "processor ×", ".2f"),
    ),
    cells=cells,
    computes=precision.NAME,
)
