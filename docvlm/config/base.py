"""What every part of the config stands on: where `conf/` is, read-only dataclasses, and checks that name key and value.

The yaml files in `conf/` hold the defaults and say why; the dataclasses of this folder hold names, types and what makes
a value impossible. A composed config becomes plain dataclasses before a verb sees it (`docvlm.config.compose`):
interpolations resolved, types checked, read-only, no OmegaConf container left that could leak into a library. `None`
means "the callee's own default".

Values that are of the right type and still impossible are found before a folder is made or a weight is loaded. Every
message names the key, the value and what to do. What only the weights can tell (a LoRA target that matches no module)
is found by `docvlm.vlms.trainable`; what only the data can tell by `docvlm.data`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import FrozenInstanceError, dataclass
from pathlib import Path
from typing import Any

from docvlm import registry
from docvlm.errors import DocvlmError

_PACKAGE = Path(__file__).resolve().parents[1]
# In a wheel `conf/` travels inside the package, in a checkout it stands beside it.
CONF_DIR: Path = next(d for d in (_PACKAGE / "conf", _PACKAGE.parent / "conf") if d.is_dir())
ALLOWED_TARGETS = ("docvlm.", registry.PREFIX, "torch.optim.", "lightning.pytorch.")
SPLITS = ("test", "val")
SWITCH = ("on", "off")


def choices_of(group: str) -> list[str]:
    """What a group of the config can be: files of `conf/`, and those beside one's own modules."""
    folders = (CONF_DIR, *registry.config_folders())
    return sorted({file.stem for folder in folders for file in (folder / group).glob("*.yaml")})


class ReadOnly:
    """Attributes can be set once, by the constructor: OmegaConf cannot merge onto a class with `frozen=True`."""

    def __setattr__(self, name: str, value: object) -> None:
        if name in self.__dict__:
            raise FrozenInstanceError(f"the config is read-only: cannot set {name}={value!r}")
        super().__setattr__(name, value)


@dataclass
class VerbConfig(ReadOnly, ABC):
    """Everything that one verb can be told. `extensions`: modules of one's own (`docvlm.registry`)."""

    extensions: list[str]

    @abstractmethod
    def check(self, *, sweep: bool = False) -> None:
        """Raise `DocvlmError` for the first impossible value. `sweep`: the config is one cell of `-m`."""

    def check_cell(self, nodes: int, tasks: int) -> None:
        """Raise `DocvlmError` where the config cannot be a cell whose launcher starts `tasks` processes a node."""

    @property
    def seed_list(self) -> list[int]:
        """The seeds that every cell of a sweep is trained with; [] where the command sweeps none, or says them."""
        return []

    def scale_line(self, choices: Mapping[str, str]) -> str:
        """The line that says which scale was taken and why, "" for a verb without one. `choices`: of Hydra's groups."""
        return ""


def need(condition: bool, key: str, value: object, remedy: str) -> None:
    """Raise `DocvlmError` naming key, value and remedy unless `condition` holds."""
    if not condition:
        raise DocvlmError(f"{key}={value}: {remedy}")


def targets(values: Any, path: str = "") -> None:
    """Refuse a `_target_` outside `ALLOWED_TARGETS`: instantiating calls it, whatever it is."""
    for key, target in _targets(values, path):
        need(
            isinstance(target, str) and target.startswith(ALLOWED_TARGETS),
            f"{key}._target_".lstrip("."),
            target,
            f"only targets that begin with {', '.join(ALLOWED_TARGETS)} are called",
        )


def _targets(values: Any, path: str) -> Iterator[tuple[str, Any]]:
    items = values.items() if isinstance(values, dict) else enumerate(values) if isinstance(values, list) else ()
    for key, value in items:
        if key == "_target_":
            yield path, value
        yield from _targets(value, f"{path}.{key}".lstrip("."))
