"""Yaml files and overrides → checked dataclasses, and where the running job writes: all that is asked of Hydra."""

from __future__ import annotations

import ctypes.util
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from hydra import compose, initialize_config_dir
from hydra._internal.hydra import Hydra  # Hydra 1.3 has no public way to say the mode
from hydra.core.config_loader import ConfigLoader
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from docvlm import registry
from docvlm.config.base import CONF_DIR, VerbConfig
from docvlm.config.data_groups import with_groups
from docvlm.config.job import Job
from docvlm.config.literal import as_typed, quoted
from docvlm.config.precision import precision
from docvlm.errors import DocvlmError

C = TypeVar("C", bound=VerbConfig)


def detect_scale() -> str:
    """`full` where torch sees a CUDA device, else `tiny`. torch (2 s) is imported only where a driver is."""
    if ctypes.util.find_library("cuda") is None and ctypes.util.find_library("amdhip64") is None:
        return "tiny"
    import torch

    return "full" if torch.cuda.is_available() else "tiny"


def jobs(checkpoint: str) -> int:
    """How many cells of a sweep to train beside each other: of embedded weights one a core that the command may use.

    1 for other weights, which fill all cores and may fill the memory; on a GPU; and where processes cannot be forked.
    `OMP_NUM_THREADS` is a limit, as for torch.
    """
    if checkpoint != "embedded" or sys.platform != "linux" or detect_scale() == "full":
        return 1
    limit = os.environ.get("OMP_NUM_THREADS", "")
    found = len(os.sched_getaffinity(0))
    return min(found, int(limit)) if limit.isdigit() else found


def _by_rank(r: Any, with_adapter: Any, without: Any) -> Any:
    return without if r == 0 else with_adapter


class YamlOfExtensions(SearchPathPlugin):
    """Lets Hydra find the files in `conf/` beside one's own modules, behind docvlm's."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Add the folders that there are."""
        for folder in registry.config_folders():
            search_path.append("docvlm extensions", f"file://{folder}")


def prepare_hydra() -> None:
    """Make `${docvlm.…:}` known to OmegaConf and yaml of extensions to Hydra. Harmless when repeated."""
    Plugins.instance().register(YamlOfExtensions)
    OmegaConf.register_new_resolver("docvlm.scale", detect_scale, replace=True)
    OmegaConf.register_new_resolver("docvlm.precision", precision, replace=True)
    OmegaConf.register_new_resolver("docvlm.jobs", jobs, replace=True)
    OmegaConf.register_new_resolver("docvlm.home", os.path.expanduser, replace=True)
    OmegaConf.register_new_resolver("docvlm.by_rank", _by_rank, replace=True)


def typed(cfg: DictConfig, schema: type[C]) -> C:
    """Merge onto `schema`, resolve every interpolation, and return plain read-only dataclasses."""
    value = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(schema), cfg))
    assert isinstance(value, schema)
    return value


def load(name: str, schema: type[C], overrides: list[str] | None = None) -> C:
    """The config a verb would get for these overrides, unchecked. For code without a command line, also in a verb."""
    prepare_hydra()
    hydra = GlobalHydra.instance()
    running = hydra.hydra  # the verb's own: Hydra knows one at a time
    hydra.clear()
    try:
        with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
            return typed(compose(name, with_groups(name, as_typed(overrides or [], schema))), schema)
    finally:
        GlobalHydra.instance().hydra = running


@dataclass(frozen=True)
class Rehearsal:
    """What to print before a command runs (which scale; "" for a verb without one), and the overrides it runs with.

    `mode` is what the config says of one run or a sweep; None where it leaves that to `-m`.
    """

    line: str
    overrides: list[str]
    mode: RunMode | None


def rehearse(name: str, schema: type[C], overrides: list[str], *, sweep: bool) -> Rehearsal:
    """Compose and check before Hydra makes a folder.

    In a sweep, what all cells share must be right, and the swept keys must exist with values of the right type in the
    first cell. An impossible value in one cell fails that cell only.
    """
    prepare_hydra()
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        parsed = OverridesParser.create(_loader()).parse_overrides(overrides)
        shared = [o.input_line for o in parsed if not o.is_sweep_override() and o.input_line is not None]
        swept = [f"{o.get_key_element()}={_first(o)}" for o in parsed if o.is_sweep_override()]
        shared += [_checkpoints(o) for o in parsed if o.key_or_group == "model.checkpoint" and o.is_choice_sweep()]
        for o in parsed:
            if o.key_or_group == "seeds" and o.is_sweep_override():
                raise DocvlmError(f"{o.input_line}: one whole number, how many seeds every cell is trained with")
        full = compose(name, shared, return_hydra_config=True)
        sweep = sweep or full.hydra.mode == RunMode.MULTIRUN
        _maximises(full.hydra.sweeper)
        config = typed(_without_hydra(full), schema)
        registry.load(config.extensions)
        config.check(sweep=sweep)
        if sweep:
            config.check_cell(*processes(full.hydra.launcher))
        if swept:  # or this would be the config above once more
            typed(compose(name, shared + swept if sweep else overrides), schema)
    seeded = _with_seeds(parsed, config.seed_list, full.hydra.sweeper) if config.seed_list else overrides
    return Rehearsal(config.scale_line(full.hydra.runtime.choices), seeded, full.hydra.mode)


@contextmanager
def mode_known(mode: RunMode | None) -> Iterator[None]:
    """Tell Hydra `hydra.mode`: to find it, Hydra would compose the whole config once more (0.16 s)."""
    asks = Hydra.get_mode
    Hydra.get_mode = lambda *_, **__: mode  # type: ignore[method-assign]
    try:
        yield
    finally:
        Hydra.get_mode = asks  # type: ignore[method-assign]


def _with_seeds(parsed: list[Override], seeds: list[int], sweeper: DictConfig) -> list[str]:
    """The overrides with `seed=a,b,c` in place of `seeds=3`. Last, so that a setting's seeds are trained in a row."""
    word = f"seeds={len(seeds)}"
    if not basic(sweeper):
        raise DocvlmError(
            f"{word}: Optuna chooses a cell by the score of those before it, with one seed each;"
            f" search without seeds, then train the settings it found with {word}"
        )
    swept = [o.input_line for o in parsed if o.key_or_group == "seed" and o.is_sweep_override()]
    swept += [f"seed={sweeper.params['seed']}"] if "seed" in (sweeper.get("params") or {}) else []
    if swept:
        raise DocvlmError(f"{word}: {swept[0]} says already which seeds every cell gets; give one of the two")
    others = [o.input_line for o in parsed if o.key_or_group not in ("seed", "seeds") and o.input_line is not None]
    return [*others, f"seed={','.join(map(str, seeds))}"]


def basic(sweeper: DictConfig) -> bool:
    """Whether the cells of a sweep are all combinations of the values given, and no optimiser chooses them."""
    return str(sweeper._target_).endswith(".BasicSweeper")


def _checkpoints(swept: Override) -> str:
    """All of them as one name, for the first line: the default, which some families have none of, is not loaded."""
    return f"model.checkpoint={quoted(', '.join(swept.sweep_string_iterator()))}"


def _first(swept: Override) -> str:
    """A value of a swept key, as one would type it."""
    value = swept.value()
    return str(value.start) if isinstance(value, IntervalSweep) else next(swept.sweep_string_iterator())


def _maximises(sweeper: DictConfig) -> None:
    """Optuna's sweeper minimises unless told otherwise, and would hand back the worst run."""
    if "direction" in sweeper and getattr(sweeper.direction, "name", sweeper.direction) != "maximize":
        direction = getattr(sweeper.direction, "name", sweeper.direction)
        raise DocvlmError(
            f"hydra.sweeper.direction={direction}: the objective is the score on val, of which more is better;"
            " give hydra.sweeper.direction=maximize"
        )


def _loader() -> ConfigLoader:
    hydra = GlobalHydra.instance().hydra
    assert hydra is not None
    return hydra.config_loader


def processes(launcher: DictConfig) -> tuple[int, int]:
    """Nodes of a cell, and processes that its launcher starts on each."""
    return int(launcher.get("nodes") or 1), int(launcher.get("tasks_per_node") or 1)


def cell_processes() -> tuple[int, int]:
    """`processes` of the cell that is running now."""
    return processes(HydraConfig.get().launcher)


def _without_hydra(cfg: DictConfig) -> DictConfig:
    return OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"])


def job() -> Job:
    """The folder and the sweep of the job that is running now, and where earlier runs and sweeps lie."""
    hydra = HydraConfig.get()
    runs, sweep = (Path(hydra.runtime.cwd, folder) for folder in (hydra.run.dir, hydra.sweep.dir))
    overrides, folder = tuple(hydra.overrides.task), Path(hydra.runtime.output_dir)
    own = Job(folder, overrides, runs=runs.parent, sweeps=sweep.parent)
    if hydra.mode != RunMode.MULTIRUN:
        return own
    # an optimiser needs each score before the next cell
    return replace(own, sweep=sweep, number=int(hydra.job.num), wait=not basic(hydra.sweeper))
