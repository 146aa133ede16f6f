"""What other readers of a checkpoint take from its `config.json`, and what they do not.

A reader that was written for the published checkpoints of an architecture knows the fields that those have, and has a
constant for everything else: vLLM, OpenVINO GenAI and older releases of Transformers turn the positions of a vision
tower with a theta of 10 000 whatever a newer config says. They then answer nonsense without a message. So the config is
read twice, once with the fields of the published checkpoints only, and what differs is listed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from docvlm.vlms.families import FAMILIES

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

    from docvlm.exporting.source import Source

_NOT_COMPUTED = {"dtype", "transformers_version", "pad_token_id", "use_cache", "initializer_range", "_name_or_path"}
"""Fields that move no number of an answer: storage, versions, batches, caches, where training began."""
_ABSENT = object()


def unknown(config: PreTrainedConfig, published: Sequence[str]) -> dict[str, tuple[Any, Any]]:
    """Fields of `config` that a reader who knows only those `published` takes otherwise: its value, and theirs.

    `published` are dotted names.
    """
    ours = dict(_leaves(config.to_dict()))
    known = {name: value for name, value in ours.items() if name in published}
    theirs = dict(_leaves(type(config).from_dict(_nested(known)).to_dict()))
    found = {name: (value, theirs.get(name, _ABSENT)) for name, value in ours.items()}
    return {
        name: (mine, None if other is _ABSENT else other)
        for name, (mine, other) in found.items()
        if mine != other and mine is not None and name.rpartition(".")[2] not in _NOT_COMPUTED
    }


def refused(source: Source) -> str | None:
    """Why a whole model of this run is not the same elsewhere, in one line; None where it is, or was allowed."""
    config, published = source.config, FAMILIES[source.record["family"]].published
    if config.model_type not in published:
        return None
    found = unknown(config, published[config.model_type]).items()
    named = [f"{name}={mine} (elsewhere {theirs})" for name, (mine, theirs) in found if name not in source.allowed]
    if not named:
        return None
    return (
        f"its config.json has fields that the published checkpoints have not, {', '.join(named)}: readers that do not"
        " know them answer otherwise without a word; allow_fields=[…] names those that may stay"
    )


def _leaves(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value


def _nested(leaves: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in leaves.items():
        *parents, last = name.split(".")
        place = found
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    return found
