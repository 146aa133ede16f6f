"""Composed config → checked dataclasses: resolvers, the merge onto the schema, and the plain values verbs receive."""

from __future__ import annotations

import ctypes.util
from typing import Any, TypeVar

from omegaconf import DictConfig, OmegaConf

T = TypeVar("T")


def detect_scale() -> str:
    """`full` where torch sees a CUDA device, else `tiny`. torch (2 s) is imported only where a driver is."""
    if ctypes.util.find_library("cuda") is None and ctypes.util.find_library("amdhip64") is None:
        return "tiny"
    import torch

    return "full" if torch.cuda.is_available() else "tiny"


def _by_rank(r: Any, with_adapter: Any, without: Any) -> Any:
    return without if r == 0 else with_adapter


def register_resolvers() -> None:
    """Make `${docvlm.…:}` known to OmegaConf. Harmless when repeated: a sweep runs many jobs in one process."""
    OmegaConf.register_new_resolver("docvlm.scale", detect_scale, replace=True, use_cache=False)
    OmegaConf.register_new_resolver("docvlm.by_rank", _by_rank, replace=True)


def typed(cfg: DictConfig, schema: type[T]) -> T:
    """Merge onto `schema`, resolve every interpolation, and return plain read-only dataclasses."""
    merged = OmegaConf.merge(OmegaConf.structured(schema), cfg)
    value = OmegaConf.to_object(merged)
    assert isinstance(value, schema)
    return value
