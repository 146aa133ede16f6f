"""The prefilter: can two pages be one page? Most pairs whose hashes are close are told apart by it, at small size.

A few patches of the one are looked for on the other, about where they stand once both are cut as their hashes fit best
(`hashes.margins`). Three quarters of them must be found. `bench/audit.py` counts how many pairs that ends, and whether
a copy is among them; what passes is registered (`registration`). Cost: 1 ms a pair.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

Margins = tuple[float, float, float, float]  # left, top, right, bottom, in shares of the sides
WHOLE: Margins = (0.0, 0.0, 0.0, 0.0)
LONGEST = 160  # longest side in pixels of what is looked at
PATCH = 16  # side of its patches
PATCHES = 16  # how many of them, the strongest
ROOM = 5  # pixels by which they may be elsewhere: a crop that no margin fits, and a skew of 1°
PASSED = 0.65  # correlation that three quarters of the patches must reach; copies reach 0.73
INK = 12.0  # standard deviation of grey levels from which a patch, or a cell, holds something


def cut(page: Image.Image, margins: Margins) -> Image.Image:
    """A page without its margins."""
    left, top, right, bottom = margins
    width, height = page.size
    return page.crop(
        (round(width * left), round(height * top), round(width * (1 - right)), round(height * (1 - bottom)))
    )


def may_match(one: Image.Image, other: Image.Image) -> bool:
    """Whether two pages, in grey, may be one: a page that says no is no copy."""
    scale = min(1.0, LONGEST / max(one.size))
    size = (max(PATCH, round(one.width * scale)), max(PATCH, round(one.height * scale)))
    page, there = (np.asarray(resized(image, size), dtype=np.float32) for image in (one, other))
    places = _strongest(page)
    if not len(places):
        return True  # nothing to tell them apart by
    patches = np.stack([page[y : y + PATCH, x : x + PATCH] for x, y in places])
    patches -= patches.mean((1, 2), keepdims=True)
    side = PATCH + 2 * ROOM
    padded = np.pad(there, ROOM, mode="edge")
    fields = np.stack([padded[y : y + side, x : x + side] for x, y in places])
    windows = np.lib.stride_tricks.sliding_window_view(fields, (PATCH, PATCH), (1, 2))
    flat = windows.reshape(len(places), -1, PATCH**2)
    flat = flat - flat.mean(2, keepdims=True)
    strength = np.maximum(np.einsum("nwp,nwp->nw", flat, flat), (PATCH * INK / 3) ** 2)
    power = np.maximum((patches**2).sum((1, 2)), 1.0)
    product = (flat @ patches.reshape(len(places), -1, 1))[..., 0]
    found = (product / np.sqrt(strength * power[:, None])).max(1)
    return float(np.quantile(found, 0.25)) >= PASSED


def _strongest(page: np.ndarray) -> np.ndarray:
    """Corners (x, y) of patches to look for: of those with most contrast, every fourth; none that is blank.

    A small receipt on a large sheet has few; noise of the paper is found nowhere again.
    """
    mean, square = patch_moments(page, PATCH // 2)
    contrast = (square - mean**2).ravel()
    order = np.sort(np.argsort(-contrast, kind="stable")[: min(4 * PATCHES, int((contrast >= (INK / 2) ** 2).sum()))])
    chosen = order[np.linspace(0, len(order) - 1, min(PATCHES, len(order))).round().astype(int)]
    rows, columns = np.divmod(chosen, mean.shape[1])
    return np.stack([columns, rows], 1) * (PATCH // 2)


def patch_moments(page: np.ndarray, step: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and mean square of every patch of four tiles, `step` pixels apart."""
    down, across = page.shape[0] // step, page.shape[1] // step
    tiles = page[: down * step, : across * step].reshape(down, step, across, step)
    mean, square = (
        (t[:-1, :-1] + t[1:, :-1] + t[:-1, 1:] + t[1:, 1:]) / 4 for t in (tiles.mean((1, 3)), (tiles**2).mean((1, 3)))
    )
    return mean, square


def resized(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """A page of this size, averaged where it shrinks: a sampled letter would depend on where the samples fall."""
    size = (max(1, size[0]), max(1, size[1]))
    smaller = size[0] <= image.width and size[1] <= image.height
    return image.resize(size, Image.Resampling.BOX if smaller else Image.Resampling.BICUBIC)
