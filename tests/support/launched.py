"""A sweep as a command whose cells do `work`, with what the launching process found when they had ended."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from docvlm.config import Job, TrainConfig, verb
from docvlm.runs.folder import put_off

Work = Callable[[TrainConfig, Job], float]


class Ended:
    """What the launching process did at the end, where it says that `unfinished` cells are: files by cell."""

    def __init__(self, unfinished: int = 0) -> None:
        self.folders: list[Path] = []
        self.found: dict[str, set[str]] = {}
        self.unfinished = unfinished

    def __call__(self, folder: Path) -> int:
        self.folders.append(folder)
        cells = [cell for cell in folder.iterdir() if cell.name.isdigit()]
        self.found = {cell.name: {file.name for file in cell.iterdir()} for cell in cells}
        return self.unfinished

    def __reduce__(self) -> tuple[type[Ended], tuple[int]]:
        return Ended, (self.unfinished,)  # cells are pickled with their command


def failed(job: Job, reason: str) -> None:
    """Leave word of a cell's failure."""
    (job.folder / "failed.txt").write_text(reason)


def command(work: Work, ended: Ended, *words: str) -> int:
    """The exit code of the command with these words."""
    main = verb("train", TrainConfig, after_sweep=ended, on_failure=failed, on_put_off=put_off)(work)
    try:
        main(list(words))
    except SystemExit as end:
        return int(end.code or 0)
    return 0
