"""Config → objects: the only place that calls `hydra.utils.instantiate`.

Every `_target_` is checked against the allowed prefixes again here, since instantiating is calling. Lists and dicts
arrive as Python's own (`_convert_="all"`); a field of a data module that is None is left to the default of its class.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docvlm.config import DataConf, OptimConf, TrainerConf, renamed
from docvlm.config.base import targets
from docvlm.errors import DocvlmError

if TYPE_CHECKING:
    from lightning.pytorch.callbacks import Callback
    from lightning.pytorch.loggers import Logger
    from lightning.pytorch.strategies import Strategy

    from docvlm.data.loading.datamodule import DocumentDataModule


def instantiate(values: dict[str, Any], key: str = "") -> Any:
    """Call the `_target_` of `values` with the rest, and so on inwards. Raises `DocvlmError` for other prefixes."""
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate as hydra_instantiate

    values = renamed.current(values)
    targets(values, key)
    try:
        return hydra_instantiate(values, _convert_="all")
    except InstantiationException as error:
        if isinstance(error.__cause__, DocvlmError):
            raise error.__cause__ from None  # what the user did wrong, without Hydra's wrapping
        raise


def datamodule(conf: DataConf) -> DocumentDataModule:
    """The benchmark's data module, without a codec."""
    values = _keywords(dataclasses.asdict(conf))
    if conf.parts is not None:
        values["parts"] = {name: _keywords(part) for name, part in conf.parts.items()}
        values["weights"] = {name: weight for name, weight in (conf.weights or {}).items() if name in conf.parts}
    return instantiate(values, "data")


def _keywords(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def optimizer(conf: OptimConf) -> Callable[..., Any]:
    """A partial that lacks the parameter groups, each with its learning rate."""
    return instantiate(conf.optimizer, "optim.optimizer")


def scheduler(conf: OptimConf) -> Callable[..., Any]:
    """A partial that lacks the optimizer and `total`, the number of optimizer steps."""
    return instantiate(conf.scheduler, "optim.scheduler")


def callbacks(conf: dict[str, Any]) -> list[Callback]:
    """The callbacks in the order of their names in the config; a name set to null is left out."""
    return [instantiate(values, f"callbacks.{name}") for name, values in conf.items() if values is not None]


def loggers(conf: dict[str, Any], save_dir: Path, group: str | None = None) -> list[Logger]:
    """The loggers, writing under `save_dir`; `group` is the sweep that a run belongs to."""
    partials = {name: instantiate(values, f"logger.{name}") for name, values in conf.items() if values is not None}
    return [
        partial(save_dir=str(save_dir), **({"group": group} if name == "wandb" else {}))
        for name, partial in partials.items()
    ]


def strategy(conf: TrainerConf) -> Strategy | str:
    """Lightning's word for a strategy as it is, or the strategy object a `_target_` names."""
    return instantiate(conf.strategy, "trainer.strategy") if isinstance(conf.strategy, dict) else conf.strategy
