"""The page budget in the terms that a checkpoint's own image processor knows, and how many tokens a page becomes.

Processors bound a page in one of four ways: by pixels (`min_pixels`, `max_pixels`), by its longer side
(`longest_edge`), by the tiles it is cut into (`max_tiles`), or not at all, because every page is read at one size. A
budget in other terms than the processor's is refused; what is not given is the checkpoint's own. Names of attributes
are those of Transformers 5.17 to 5.23.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

from docvlm.errors import DocvlmError
from docvlm.vlms.codec import Budget


@dataclass(frozen=True, slots=True)
class Limit:
    """One term of a budget: its key, its value in an image processor, and how another is put there."""

    key: str
    value: int
    put: Callable[[int], None]


def limits(images: Any) -> dict[str, Limit]:
    """The terms in which an image processor bounds a page, by their keys in `budget`."""
    found = [*_areas(images), *_tiles(images)]
    return {limit.key: limit for limit in found}


def apply(images: Any, budget: Budget) -> Budget:
    """Put a budget into an image processor; what it leaves open is filled in with the processor's own.

    Raises `DocvlmError` for a term that the processor does not know, or limits that cannot both hold.
    """
    known = limits(images)
    for field in fields(budget):
        value = getattr(budget, field.name)
        if value is not None and field.name not in known:
            ways = ", ".join(f"budget.{key} (now {limit.value})" for key, limit in known.items())
            advice = f"it knows {ways}" if ways else "it reads every page at one size, so there is nothing to set"
            raise DocvlmError(f"budget.{field.name}={value}: {type(images).__name__} has no such limit; {advice}")
    resolved = replace(budget, **{k: limit.value for k, limit in known.items() if getattr(budget, k) is None})
    least, most = resolved.min_pixels, resolved.max_pixels
    if least is not None and most is not None and not 0 < least <= most:
        raise DocvlmError(f"budget.min_pixels={least}, budget.max_pixels={most}: they must be above 0 and rise")
    for key, limit in known.items():
        value = getattr(resolved, key)
        if value < 1:
            raise DocvlmError(f"budget.{key}={value}: 1 or more")
        if value != limit.value:
            limit.put(value)
    return resolved


def described(images: Any) -> str:
    """The limits in words, such as `longest_edge=2048`."""
    known = limits(images)
    if known:
        return ", ".join(f"{key}={limit.value}" for key, limit in known.items())
    size = _sides(images, "crop_size") or _sides(images)
    return f"one size, {size['height']} x {size['width']}" if "height" in size else f"one size, {size}"


def _sides(images: Any, name: str = "size") -> dict[str, int]:
    """What an image processor holds under `name`, without the keys that are not set; empty where it has none."""
    size = getattr(images, name, None)
    return {} if size is None else {key: int(value) for key, value in dict(size).items() if value is not None}


def _areas(images: Any) -> list[Limit]:
    """`size` where it holds areas or a longest edge; Qwen's and Zhipu's name areas as if they were edges."""
    size = _sides(images)

    def put(key: str) -> Callable[[int], None]:
        def change(value: int) -> None:
            images.size = {**_sides(images), key: value}

        return change

    if getattr(images, "patch_size", None) is not None and size.get("shortest_edge") and size.get("longest_edge"):
        areas = {"shortest_edge": "min_pixels", "longest_edge": "max_pixels"}
        return [Limit(key, int(size[name]), put(name)) for name, key in areas.items()]
    if size.get("longest_edge"):
        return [Limit("longest_edge", int(size["longest_edge"]), put("longest_edge"))]
    return []


def _tiles(images: Any) -> list[Limit]:
    if getattr(images, "image_grid_pinpoints", None):
        return [_grid(images)]
    split = getattr(images, "crop_to_patches", False) or getattr(images, "do_image_splitting", False)
    for name in ("max_tiles", "max_patches"):
        value = getattr(images, name, None)
        if split and isinstance(value, int):
            return [_counted(images, name, value)]
    return []


def _counted(images: Any, name: str, value: int) -> Limit:
    least = name.replace("max", "min")

    def put(tiles: int) -> None:
        setattr(images, name, tiles)
        if isinstance(getattr(images, least, None), int):
            setattr(images, least, min(getattr(images, least), tiles))

    return Limit("max_tiles", value, put)


def _grid(images: Any) -> Limit:
    """Sizes that a page is brought to, each some tiles: those of more tiles than allowed are taken away."""
    sides = _sides(images)
    side = sides["height"] if "height" in sides else sides["shortest_edge"]

    def tiles(size: list[int]) -> int:
        return math.ceil(size[0] / side) * math.ceil(size[1] / side)

    def put(most: int) -> None:
        images.image_grid_pinpoints = [size for size in images.image_grid_pinpoints if tiles(size) <= most]

    return Limit("max_tiles", max(tiles(size) for size in images.image_grid_pinpoints), put)
