"""Which formats a run is exported to: those that were asked for, or all that it and this machine can have."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Protocol, cast

from docvlm.config.export import FORMATS
from docvlm.errors import DocvlmError

if TYPE_CHECKING:
    from pathlib import Path

    from docvlm.exporting.source import Source


class Format(Protocol):
    """A module of a format. `NEEDS`: the package that quantised it, which reading it back needs as well."""

    NEEDS: str

    def missing(self, source: Source) -> str | None: ...
    def write(self, source: Source, folder: Path) -> None: ...


def module(word: str) -> Format:
    """The module of a format."""
    return cast("Format", import_module(f"docvlm.exporting.{word}"))


def chosen(asked: Sequence[str] | None, source: Source) -> tuple[list[str], dict[str, str]]:
    """The formats to make, in the order of `FORMATS`, and why the others are left out where nobody asked for them.

    Raises `DocvlmError` for one that was asked for and cannot be made, before anything is written.
    """
    reasons = {word: why for word in asked or FORMATS if (why := module(word).missing(source)) is not None}
    if asked is not None and reasons:
        word, why = next(iter(reasons.items()))
        raise DocvlmError(f"formats={word}: {source.run.folder.root}: {why}")
    return [word for word in FORMATS if word in (asked or FORMATS) and word not in reasons], reasons
