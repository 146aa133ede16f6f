"""The commands that made what is reported, put together from the overrides that Hydra kept with every run."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from docvlm.reporting.inputs.gather import Inputs, Sweep


def of_sweep(sweep: Sweep) -> str:
    """`python -m docvlm.train … -m` with every value that was swept, in the order of the cells."""
    cells = [overrides(Path(sweep.folder) / str(row["cell"])) for row in sweep.rows]
    words = []
    for key in dict.fromkeys(word.partition("=")[0] for cell in cells for word in cell):
        values = [word.partition("=")[2] for cell in cells for word in cell if word.partition("=")[0] == key]
        words.append(f"{key}={','.join(dict.fromkeys(values))}")
    return _command("train", [*words, "-m"])


def of_folder(verb: str, folder: Path) -> str | None:
    """The command whose folder this is; None where Hydra kept nothing."""
    words = overrides(folder)
    return _command(verb, words) if words else None


def overrides(folder: Path) -> list[str]:
    """The words of the command line that made this folder, as Hydra kept them; [] where it kept none."""
    from omegaconf import OmegaConf

    file = folder / ".hydra" / "overrides.yaml"
    return [str(word) for word in OmegaConf.load(file)] if file.exists() else []


def all_of(inputs: Inputs, report: Sequence[str]) -> list[str]:
    """Sweeps, single runs, evaluations, the report: each command once, in the order in which they must run."""
    swept = {cell.resolve() for sweep in inputs.sweeps for cell in Path(sweep.folder).iterdir() if cell.is_dir()}
    single = [run.folder.root for run in inputs.chosen if run.folder.root.resolve() not in swept]
    lines = [of_sweep(sweep) for sweep in inputs.sweeps]
    lines += [line for folder in single if (line := of_folder("train", folder))]
    lines += [line for folder in inputs.evaluations if (line := of_folder("evaluate", folder))]
    return [*dict.fromkeys(lines), _command("report", report)]


def _command(verb: str, words: Sequence[str]) -> str:
    return " ".join(["python", "-m", f"docvlm.{verb}", *map(_word, words)])


def _word(word: str) -> str:
    """Quoted where a shell would read more into it than Hydra; a list of plain words needs no quotes in bash."""
    plain = all(c.isalnum() or c in "_-./=,[]:+~@" for c in word)
    return word if plain else shlex.quote(word)
