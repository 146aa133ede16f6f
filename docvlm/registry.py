"""Families, benchmarks and metrics by name, those of one's own included.

One record says all that differs from one to the next and is not code. docvlm's own stand beside what they describe;
one's own come from a module that calls `register` when it is imported. It is named in the config, by
`extensions=[docvlm_ext.receipts]` (only below `docvlm_ext.`, so that no config can import whatever it likes), or by a
package's entry point of the group `docvlm.extensions`. Yaml files lie in a folder `conf/` beside the modules.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from docvlm.errors import DocvlmError

PREFIX = "docvlm_ext."
GROUP = "docvlm.extensions"
_loaded: list[str] = []


class Named(Protocol):
    """What a registry holds."""

    @property
    def name(self) -> str:
        """The word of the command line."""


T = TypeVar("T", bound=Named)


class Registry(Mapping[str, T], Generic[T]):
    """Records by name, in the order they were registered. `key` is what an error says of an unknown name."""

    def __init__(self, key: str, records: Iterable[T]) -> None:
        self.key = key
        self._records: dict[str, T] = {}
        for record in records:
            self.register(record)

    def register(self, record: T) -> T:
        """Add a record. Raises `DocvlmError` for a name that another record has."""
        if self._records.setdefault(record.name, record) != record:
            raise DocvlmError(f"{self.key}={record.name}: registered twice; give one of them another name")
        return record

    def __getitem__(self, name: str) -> T:
        """The record. Raises `DocvlmError` naming the choices."""
        if name not in self:
            advice = f"choose one of {', '.join(self)}, or name the module that registers it in extensions"
            raise DocvlmError(f"{self.key}={name}: not known; {advice}")
        return self._records[name]

    def __contains__(self, name: object) -> bool:
        """Whether there is one, in an installed package too."""
        if name not in self._records:
            load(())
        return name in self._records

    def __iter__(self) -> Iterator[str]:
        return iter(self._records)

    def __len__(self) -> int:
        return len(self._records)


def load(modules: Iterable[str]) -> None:
    """Import the modules that a config names and those of installed packages. Raises `DocvlmError` naming one."""
    for module in modules:
        if not module.startswith(PREFIX):
            raise DocvlmError(f"extensions={module}: only modules below {PREFIX.rstrip('.')} are imported")
        _import(module, f"extensions={module}")
        if module not in _loaded:
            _loaded.append(module)
    for point in _points(tuple(sys.path)):
        _import(point.module, f"entry point {point.name} of {GROUP}")


def loaded() -> list[str]:
    """The modules that were named so far: what a saved model records, so that it can be read again."""
    return list(_loaded)


def advice(modules: Iterable[str]) -> str:
    """What to do about a name that is not known, in what was made with the extensions `modules`."""
    names = list(modules)
    if not names:
        return "install the package that registers it, or name its module in extensions"
    flags, imports = " ".join(f"--extensions {name}" for name in names), ", ".join(names)
    return f"add extensions=[{','.join(names)}] (docvlm-predict, docvlm-app: {flags}; Python: import {imports})"


def config_folders() -> list[Path]:
    """The folders `conf/` of `docvlm_ext` and of installed packages with an entry point. Nothing is imported."""
    tops = [PREFIX.rstrip("."), *(point.module.partition(".")[0] for point in _points(tuple(sys.path)))]
    found = []
    for top in dict.fromkeys(tops):
        spec = find_spec(top)
        places = spec.submodule_search_locations if spec is not None else None
        found += [folder for place in places or () if (folder := Path(place).resolve() / "conf").is_dir()]
    return found


@cache
def _points(path: tuple[str, ...]) -> list[EntryPoint]:
    """The entry points of the packages on `path`, which is `sys.path`; to look for them takes 16 ms."""
    return list(entry_points(group=GROUP))


def _import(module: str, where: str) -> None:
    try:
        import_module(module)
    except ModuleNotFoundError as error:
        raise DocvlmError(f"{where}: no module {error.name}; is its folder on PYTHONPATH?") from error
