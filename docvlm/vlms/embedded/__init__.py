"""The embedded checkpoints: families in miniature, trained to read by the recipe in this folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from docvlm.errors import DocvlmError
from docvlm.vlms.families import FAMILIES, Miniature, imported


def checkpoint(family: str) -> Path:
    """The folder of a family's embedded checkpoint, in Transformers format. Raises `DocvlmError` where it has none."""
    folder = _miniature(family).folder
    if not (folder / "config.json").is_file():
        raise DocvlmError(
            f"model.checkpoint=embedded: there is no embedded checkpoint for family {family!r} in {folder}"
        )
    return folder


def holds(checkpoint: str | Path) -> bool:
    """Whether a checkpoint's folder is one of these."""
    folders = [one.embedded.folder for one in FAMILIES.values() if one.embedded is not None]
    return any(Path(checkpoint).resolve() == folder.resolve() for folder in folders)


def untrained(family: str) -> tuple[Any, Any]:
    """A randomly initialised miniature, and its processor."""
    return imported(_miniature(family).build)()


def batcher(family: str) -> type[Any]:
    """What makes the recipe's batches, of a model or its config and a processor."""
    kind: type[Any] = imported(_miniature(family).batch)
    return kind


def _miniature(family: str) -> Miniature:
    found = FAMILIES[family].embedded
    if found is None:
        raise DocvlmError(f"model.checkpoint=embedded: family {family!r} has no embedded checkpoint; name another")
    return found
