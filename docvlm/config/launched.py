"""What the launching process knows of a sweep under every launcher: its folder, and which cells it asked for.

Cells may be trained in other processes, on other machines: what they did is in their folders, and nothing of it in this
process. Hydra tells its callbacks of a sweep in the process that launches it.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from docvlm.config import marks
from docvlm.config.compose import basic
from docvlm.config.job import CELLS, Job
from docvlm.errors import DocvlmError
from docvlm.files import write_json

_REQUEST = (
    *("partition", "timeout_min", "max_num_timeout", "nodes", "tasks_per_node", "gpus_per_node", "cpus_per_task"),
    *("mem_gb", "array_parallelism"),
)  # keys of submitit's launchers, in the words of sbatch
BASIC = f"{BasicLauncher.__module__}.{BasicLauncher.__qualname__}"


@dataclass
class Outcome:
    """What the cells of a command leave for its end: their sweeps, errors that were printed, cells to come back to.

    `launcher`: the class that trains them in processes that tell this one nothing; "" where it is docvlm's own.
    """

    sweeps: set[Path] = field(default_factory=set)
    failures: list[BaseException] = field(default_factory=list)
    put_off: list[tuple[Any, Job]] = field(default_factory=list)
    launcher: str = ""


class Launched(Callback):
    """Notes the sweep that begins, and leaves `cells.json` in its folder. Hydra makes it, without arguments.

    `until_the_end` is closed when the command ends: until then others see that somebody may begin cells.
    """

    outcome: ClassVar[Outcome] = Outcome()
    until_the_end: ClassVar[ExitStack] = ExitStack()

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Before any cell is launched."""
        hydra = config.hydra
        folder = Path(hydra.runtime.cwd, str(hydra.sweep.dir))
        self.outcome.sweeps.add(folder)
        try:
            self.until_the_end.enter_context(marks.lives(folder))
        except DocvlmError as error:  # Hydra makes a warning of it, and goes on
            print(f"error: {error}", file=sys.stderr, flush=True)
            raise SystemExit(1) from error
        target = str(hydra.launcher._target_)
        self.outcome.launcher = "" if target == BASIC else target.rpartition(".")[2]
        if self.outcome.launcher == "SlurmLauncher":
            from docvlm.config import slurm, submitted  # what they import is an extra

            submitted.use(slurm.QueueLauncher, target, self.outcome.failures)
        elif self.outcome.launcher == "LocalLauncher":
            from docvlm.config import submitted

            submitted.use(submitted.ChildrenLauncher, target, self.outcome.failures)
        if asked := {key: hydra.launcher[key] for key in _REQUEST if hydra.launcher.get(key) is not None}:
            print(f"a cell asks for {' '.join(f'{key}={value}' for key, value in asked.items())}", flush=True)
        if not basic(hydra.sweeper):  # an optimiser chooses a cell after those before it
            return
        swept = [f"{key}={value}" for key, value in (hydra.sweeper.params or {}).items()]
        words = OverridesParser.create().parse_overrides([*swept, *map(str, hydra.overrides.task)])
        (cells,) = BasicSweeper.split_arguments(words, None)
        write_json(folder / CELLS, {"cells": cells})
