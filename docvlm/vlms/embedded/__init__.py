"""The embedded checkpoints: each family in miniature, trained to read by the recipe in this folder."""

from __future__ import annotations

from pathlib import Path

from docvlm.errors import DocvlmError


def checkpoint(family: str) -> Path:
    """The folder of a family's embedded checkpoint, in Transformers format."""
    folder = Path(__file__).parent / family
    if not (folder / "config.json").is_file():
        raise DocvlmError(
            f"model.checkpoint=embedded: there is no embedded checkpoint for family {family!r} in {folder}"
        )
    return folder


def holds(checkpoint: str | Path) -> bool:
    """Whether a checkpoint's folder is one of these."""
    return Path(checkpoint).resolve().is_relative_to(Path(__file__).resolve().parent)
