"""Targets under the names they had up to 0.1: configs of one's own name them, and fingerprints of runs hold them.

`docvlm.data` had its modules in one folder then. Old names are understood for one release; fingerprints spell all names
as they were, so that a run of before is found.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

_ONCE = "docvlm.data."
_ROOMS = ("docvlm.data.benchmarks.", "docvlm.data.loading.")


def current(values: Any) -> Any:
    """The same config with every `_target_` under today's name."""
    return _each(values, _to_today)


def as_first_spelled(values: Any) -> Any:
    """The same config with every `_target_` under the name it had first, for fingerprints."""
    return _each(values, _to_first)


def _each(values: Any, spell: Any) -> Any:
    if isinstance(values, list):
        return [_each(value, spell) for value in values]
    if not isinstance(values, dict):
        return values
    return {
        key: spell(value) if key == "_target_" and isinstance(value, str) else _each(value, spell)
        for key, value in values.items()
    }


def _to_today(target: str) -> str:
    module = target.removeprefix(_ONCE).partition(".")[0]
    if not target.startswith(_ONCE) or not module.isidentifier() or find_spec(_ONCE + module) is not None:
        return target
    return next((room + target.removeprefix(_ONCE) for room in _ROOMS if find_spec(room + module)), target)


def _to_first(target: str) -> str:
    room = next((room for room in _ROOMS if target.startswith(room)), None)
    return target if room is None else _ONCE + target.removeprefix(room)
