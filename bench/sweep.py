"""The rank ablation as a whole, by its command: three ranks, three epochs, every evaluation, the first encoding.

`python -m docvlm.train ... lora.r=16,32,64 -m` on a folder of drawn pages, as it is by default, after the same
ablation by TRL's trainer (`bench.peer_sweep`) and after the command with `packing=off features=off`: each pair one
after the other, in a cell of its own. Wall time of the process: start-up, reading, writing checkpoints and reports are
in all of them. A random model answers nothing right, which costs the same. The pages are few, so fixed costs weigh more
than in a real sweep: 24 to train on take TRL three quarters of an hour, 12 against packing=off a quarter. What is that
long is not taken again when the host of a shared machine takes the processors away, but the default after it is, until
the host took about as much from both (`clock.alike_disturbed`); how much it took stands beside them.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from bench import clock, pages, precision
from bench.suite import Cell, Column, Row, Section, Suite, each

RANKS, EPOCHS, QUESTIONS, NEW_TOKENS = (16, 32, 64), 3, 4, 12
TRL, PLAIN, DEFAULT = "TRL SFTTrainer, one by one", "packing=off features=off", "default"
ROOT = Path(__file__).resolve().parents[1]


def cells(suite: Suite) -> list[Cell]:
    """In the full suite: fixed costs fill a sweep that is short enough for the central one."""
    small, middle, _ = suite.tokens
    sizes = [(middle,), (small,)] if suite.full else []
    return each(against_trl, suite, sizes if find_spec("trl") else []) + each(against_plain, suite, sizes)


def against_trl(suite: Suite, tokens: int) -> list[Row]:
    """The sweep by TRL's trainer, then by default."""
    return pair(suite, tokens, TRL, 24)


def against_plain(suite: Suite, tokens: int) -> list[Row]:
    """The sweep by the command with everything off, then by default."""
    return pair(suite, tokens, PLAIN, 12)


def pair(suite: Suite, tokens: int, plain: str, documents: int) -> list[Row]:
    """The sweep by `plain`, then by default, on so many pages to train on."""
    mid = suite.size == "mid"
    counts = {"train": documents, "val": 2, "test": 2} if mid else {"train": 2, "val": 1, "test": 1}
    folder = suite.folder / f"sweep-{tokens}-{'trl' if plain == TRL else 'plain'}"
    own_pages(folder / "pages", tokens, counts, suite.preset)
    first = partial(peer, suite, folder, tokens) if plain == TRL else partial(command, suite, folder, tokens, plain)
    second = partial(command, suite, folder, tokens, DEFAULT)
    taken = {plain: clock.watched(partial(clock.seconds, first))}
    taken[DEFAULT] = clock.alike_disturbed(partial(clock.seconds, second), taken[plain][0])
    cell = f"{tokens} tokens, {QUESTIONS} questions a page, {counts['train']} pages"
    return [
        {
            "cell": f"{cell}, against {plain}",
            "variant": name,
            "seconds": seconds,
            "lost": 100 * lost,
            "ratio": taken[plain][1] / seconds,
        }
        for name, (lost, seconds) in taken.items()
    ]


def own_pages(folder: Path, tokens: int, counts: dict[str, int], preset: str) -> None:
    """A folder of own pages with the splits' sizes in pages."""
    drawn = iter(pages.of_tokens(folder, tokens, [QUESTIONS] * sum(counts.values()), preset))
    lines = [
        {
            "image": Path(example.pages[0].name).name,
            "question": example.question,
            "answers": list(example.answers),
            "split": split,
        }
        for split, count in counts.items()
        for _ in range(count)
        for example in next(drawn)
    ]
    (folder / "qa.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def command(suite: Suite, folder: Path, tokens: int, name: str) -> None:
    """Run one of docvlm's sweeps. Raises `RuntimeError` where it fails or trains nothing."""
    budget = pages.budget(tokens)
    where = folder / ("plain" if name == PLAIN else "default")
    shutil.rmtree(where, ignore_errors=True)  # taken again: the first encoding is part of it
    arguments = [
        *(sys.executable, "-m", "docvlm.train", "-m", "model=qwen2vl", "data=folder", "scale=tiny"),
        *(
            f"lora.r={','.join(map(str, RANKS))}",
            f"trainer.max_epochs={EPOCHS}",
            "model.attn=sdpa",
            f"model.dtype={str(precision.DTYPE).removeprefix('torch.')}",
        ),
        *(f"model.checkpoint={suite.checkpoint('qwen2vl')}", f"data.source={folder / 'pages'}"),
        *(f"budget.min_pixels={budget.min_pixels}", f"budget.max_pixels={budget.max_pixels}"),
        *(f"data.max_new_tokens={NEW_TOKENS}", "data.batch_size=4", "data.eval_batch_size=4", "offline=true"),
        *(
            "trainer.accelerator=cpu",
            f"trainer.precision={'bf16-mixed' if precision.HALF else '32-true'}",
            "callbacks=none",
        ),
        *(f"hydra.sweep.dir={where}", f"features_folder={where / 'features'}"),
        "rerun=true",  # both are the same runs by their fingerprints: the second would reuse the first one's results
        *(name.split() if name == PLAIN else ()),
    ]
    if "reused" in finished(arguments):
        raise RuntimeError(f"a cell was reused, which takes no time: {' '.join(arguments)}")


def peer(suite: Suite, folder: Path, tokens: int) -> None:
    """Run the ablation as one writes it with TRL. Raises `RuntimeError` where it fails or pages are of another size."""
    budget, (rows, columns) = pages.budget(tokens), pages.grid(tokens)
    arguments = [
        *(sys.executable, "-m", "bench.peer_sweep", f"--checkpoint={suite.checkpoint('qwen2vl')}"),
        *(f"--pages={folder / 'pages'}", f"--out={folder / 'trl'}", f"--epochs={EPOCHS}"),
        *(f"--min-pixels={budget.min_pixels}", f"--max-pixels={budget.max_pixels}"),
        *(f"--new-tokens={NEW_TOKENS}", "--ranks", *map(str, RANKS)),
    ]
    if f"{rows * columns} tokens a page" not in (shown := finished(arguments)).splitlines():
        raise RuntimeError(f"pages should have {rows * columns} tokens: {' '.join(arguments)}\n{shown[-2000:]}")


def finished(arguments: list[str]) -> str:
    """Standard output of a command. Raises `RuntimeError` with the end of its output where it fails."""
    done = subprocess.run(arguments, cwd=ROOT, env=os.environ | {"HF_HUB_OFFLINE": "1"}, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments)}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    return done.stdout


SECTION = Section(
    name="sweep",
    title="A sweep as a whole",
    note=(
        f"Ranks {', '.join(map(str, RANKS))}, {EPOCHS} epochs each, with the evaluations before and after every epoch"
        " and on test, the first encoding included; wall time of the command. × is the time of the first of a pair"
        " over this one's."
    ),
    columns=(
        Column("cell", "sweep"),
        Column("variant", "settings"),
        Column("seconds", "whole command, s", ".0f"),
        Column("lost", "taken by the host, %", ".1f"),
        Column("ratio", "×", ".1f"),
    ),
    cells=cells,
    drawn=(DEFAULT,),
    computes=precision.NAME,
)
