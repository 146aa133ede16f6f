"""The embedded checkpoints: families in miniature, trained to read.

The recipe is in `pretraining/` of the repository, beside the package.
"""

from __future__ import annotations

from pathlib import Path

from docvlm.errors import DocvlmError
from docvlm.version import __version__
from docvlm.vlms.families import FAMILIES, Miniature


def checkpoint(family: str) -> Path:
    """The folder of a family's embedded checkpoint, in Transformers format. Raises `DocvlmError` where it has none."""
    folder = _miniature(family).folder
    if not (folder / "config.json").is_file():
        raise DocvlmError(
            f"model.checkpoint=embedded: there is no embedded checkpoint for family {family!r} in {folder}"
        )
    return folder


def named(family: str, fingerprint: str) -> str:
    """A version of a family's embedded weights in words, as `version 1 of the embedded qwen2vl weights`."""
    if fingerprint not in _miniature(family).weights:
        return f"embedded {family} weights with fingerprint {fingerprint}"
    return f"version {_miniature(family).weights[fingerprint].version} of the embedded {family} weights"


def another(family: str, wanted: str, here: str, made_by: str | None) -> str:
    """What to tell a user whose run needs the weights `wanted` where those `here` are installed (fingerprints).

    `made_by` is the version of docvlm that made the run, as far as it is known.
    """
    known = _miniature(family).weights
    holder = known[wanted].docvlm if wanted in known else made_by
    other = "the docvlm that made it" if holder is None else f"docvlm {holder}"
    shipped = f"version {known[here].version}" if here in known else f"weights with fingerprint {here}"
    return (
        f"trained on {named(family, wanted)}, which {other} has, but docvlm {__version__} has {shipped};"
        f" use {other} for it, or train it again"
    )


def holds(checkpoint: str | Path) -> bool:
    """Whether a checkpoint's folder is one of these."""
    folders = [one.embedded.folder for one in FAMILIES.values() if one.embedded is not None]
    return any(Path(checkpoint).resolve() == folder.resolve() for folder in folders)


def _miniature(family: str) -> Miniature:
    found = FAMILIES[family].embedded
    if found is None:
        raise DocvlmError(f"model.checkpoint=embedded: family {family!r} has no embedded checkpoint; name another")
    return found
