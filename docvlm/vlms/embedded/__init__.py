"""The embedded checkpoints: each family in miniature, trained to read by the recipe in this folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from docvlm.errors import DocvlmError
from docvlm.version import __version__


@dataclass(frozen=True)
class Weights:
    """A version of a family's embedded weights. `docvlm` is the last version of docvlm that ships them."""

    version: int
    docvlm: str


WEIGHTS = {
    "qwen2vl": {"22a164486430795e": Weights(1, "0.1.0")},
    "florence2": {"036e7958fedea917": Weights(1, "0.1.0")},
}
"""Every version there has been, by its fingerprint (`docvlm.vlms.checkpoint.fingerprint`): runs record theirs."""


def checkpoint(family: str) -> Path:
    """The folder of a family's embedded checkpoint, in Transformers format."""
    folder = Path(__file__).parent / family
    if not (folder / "config.json").is_file():
        raise DocvlmError(
            f"model.checkpoint=embedded: there is no embedded checkpoint for family {family!r} in {folder}"
        )
    return folder


def named(family: str, fingerprint: str) -> str:
    """A version of a family's embedded weights in words, as `version 1 of the embedded qwen2vl weights`."""
    if fingerprint not in WEIGHTS[family]:
        return f"embedded {family} weights with fingerprint {fingerprint}"
    return f"version {WEIGHTS[family][fingerprint].version} of the embedded {family} weights"


def another(family: str, wanted: str, here: str, made_by: str | None) -> str:
    """What to tell a user whose run needs the weights `wanted` where those `here` are installed (fingerprints).

    `made_by` is the version of docvlm that made the run, as far as it is known.
    """
    known = WEIGHTS[family]
    holder = known[wanted].docvlm if wanted in known else made_by
    other = "the docvlm that made it" if holder is None else f"docvlm {holder}"
    shipped = f"version {known[here].version}" if here in known else f"weights with fingerprint {here}"
    return (
        f"trained on {named(family, wanted)}, which {other} has, but docvlm {__version__} has {shipped};"
        f" use {other} for it, or train it again"
    )


def holds(checkpoint: str | Path) -> bool:
    """Whether a checkpoint's folder is one of these."""
    return Path(checkpoint).resolve().is_relative_to(Path(__file__).resolve().parent)
