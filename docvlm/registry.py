"""Families, benchmarks and metrics by name, those of one's own included.

One record says all that differs from one to the next and is not code. docvlm's own stand beside what they describe;
one's own come from a module that calls `register` when it is imported. It is named in the config, by
`extensions=[docvlm_ext.receipts]` (only below `docvlm_ext.`, so that no config can import whatever it likes), or by a
package's entry point of the group `docvlm.extensions`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from importlib.metadata import entry_points
from typing import Generic, Protocol, TypeVar

from docvlm.errors import DocvlmError

PREFIX = "docvlm_ext."
GROUP = "docvlm.extensions"


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
        if name not in self._records:
            advice = f"choose one of {', '.join(self)}, or name the module that registers it in extensions"
            raise DocvlmError(f"{self.key}={name}: not known; {advice}")
        return self._records[name]

    def __contains__(self, name: object) -> bool:
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
    for point in entry_points(group=GROUP):
        _import(point.module, f"entry point {point.name} of {GROUP}")


def _import(module: str, where: str) -> None:
    try:
        import_module(module)
    except ModuleNotFoundError as error:
        raise DocvlmError(f"{where}: no module {error.name}; is its folder on PYTHONPATH?") from error
