"""How soon each verb says something, and what it takes in all: this tree against another commit, by turns.

    python -m bench.startup --against HEAD~1 --rounds 5

Every command is as small as it can be, so that most of it is imports. The first useful line is the first on either
stream that is not the scale's. Medians of wall seconds to that line and of CPU seconds in all, with their ratios; the
files are in memory, since each command has run once before it is timed.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

SMALL = ("scale=tiny", "scale.limit_train=16", "scale.limit_val=8", "scale.limit_test=8")
HEAD = "| verb | first line s | before | × | CPU s | before | × |\n" + "|---" * 7 + "|"


@dataclass(frozen=True)
class Taken:
    """One command: wall seconds to its first useful line, CPU seconds in all."""

    first: float
    cpu: float


def verbs(folder: Path) -> dict[str, list[str]]:
    """A small command of each verb. The run of the first is what the others are about."""
    run = str(folder / "run")
    page = str(folder / "page.png")
    return {
        "train": [
            "docvlm.train",
            "model=qwen2vl",
            "lora.r=8",
            "trainer.max_steps=2",
            *SMALL,
            f"hydra.run.dir={run}",
            "rerun=true",
        ],
        "evaluate": ["docvlm.evaluate", f"run={run}", *SMALL[:1], SMALL[3], "rerun=true"],
        "benchmark": ["docvlm.benchmark", f"run={run}", "scale=tiny", "pages=2", "max_batch=1"],
        "export": ["docvlm.export", f"run={run}", "scale=tiny", "formats=[adapter]"],
        "predict": ["docvlm.predict", "--run", run, "--question", "What is the total?", page],
        "audit": ["docvlm.audit", *SMALL],
        "report": ["docvlm.report", f"output={folder / 'report'}"],
    }


def timed(tree: Path, words: list[str], folder: Path) -> Taken:
    """Run one command on the modules of a tree. Raises `CalledProcessError` where it fails."""
    env = dict(os.environ, PYTHONPATH=str(tree), PYTHONUNBUFFERED="1", HF_HUB_OFFLINE="1")
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    before, start, first = os.times(), time.perf_counter(), None
    command = [sys.executable, "-m", *words]
    with subprocess.Popen(
        command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if first is None and line.strip() and not line.startswith("scale="):
                first = time.perf_counter() - start
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return Taken(time.perf_counter() - start if first is None else first, cpu)


def main() -> None:
    """Check the other commit out, run each verb in both trees by turns, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", required=True, help="commit to compare with")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--verbs", nargs="+", help="of them only these (and train, whose run they are about)")
    flags = parser.parse_args()
    here = Path(__file__).resolve().parents[1]
    with tempfile.TemporaryDirectory(prefix="bench-") as made:
        folder, other = Path(made), Path(made) / "before"
        git = ["git", "-C", str(here), "worktree"]
        subprocess.run([*git, "add", "--quiet", "--detach", str(other), flags.against], check=True)
        try:
            _compare(here, other, folder, flags.rounds, flags.verbs)
        finally:
            subprocess.run([*git, "remove", "--force", str(other)], check=True)


def _compare(here: Path, other: Path, folder: Path, rounds: int, chosen: list[str] | None) -> None:
    from docvlm.data.generated import documents

    documents("docvqa", "test", 1, "tiny", 0)[0][0].pages[0].open().save(folder / "page.png")
    commands = {name: words for name, words in verbs(folder).items() if chosen is None or name in ("train", *chosen)}
    print(HEAD)
    for name, words in commands.items():
        taken: dict[Path, list[Taken]] = {here: [], other: []}
        for number in range(rounds + 1):
            for tree, times in taken.items():
                one = timed(tree, words, folder)
                if number:
                    times.append(one)
        print(_row(name, taken[here], taken[other]), flush=True)


def _row(name: str, now: list[Taken], before: list[Taken]) -> str:
    cells = [name]
    for field in ("first", "cpu"):
        new, old = (statistics.median(getattr(one, field) for one in times) for times in (now, before))
        cells += [f"{new:.2f}", f"{old:.2f}", f"{new / old:.2f}"]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
