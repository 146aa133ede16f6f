"""The prefilter: can two pages be one page? Nearly all pairs whose hashes are close are told apart by it, small.

Patches of the one are looked for on the other, about where they stand once both are cut as their hashes fit best
(`hashes.margins`). First a glance: three quarters of the 16 strongest must be found. Then all patches that hold ink:
what was filled in on a form covers little of it, so that the worst found of them tell two forms of an office apart
(`LEAST`). `bench/audit.py` counts how many pairs that ends, and whether a copy is among them; what passes is registered
(`registration`).

One page is compared with many at once: what they share is prepared once, and a pair is left as soon as too many patches
are missing. Cost: some 0.8 ms a pair, 10 ms where the glance does not tell them apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

Margins = tuple[float, float, float, float]  # left, top, right, bottom, in shares of the sides
WHOLE: Margins = (0.0, 0.0, 0.0, 0.0)
LONGEST = 160  # longest side in pixels of what is looked at
PATCH = 16  # side of its patches
PATCHES = 16  # how many of them are glanced at, of the strongest
INKED = 64  # how many of those with ink are looked for, spread over the page
ROOM = 5  # pixels by which they may be elsewhere: a crop that no margin fits, and a skew of 1°
SHIFTS = 2 * ROOM + 1
SIDE = PATCH + 2 * ROOM  # of the part of the other page in which a patch is looked for
Least = tuple[tuple[float, float], ...]
"""Shares of the patches, and the correlation that all but such a share must reach."""
GLANCE: Least = ((0.25, 0.65),)  # copies reach 0.73
LEAST: Least = ((0.15, 0.56), (0.2, 0.61))  # copies reach 0.72 and 0.74, receipts that agree to 0.85 0.585 and 0.64
LIKENESS = (GLANCE, LEAST)
COPIES: tuple[Least, Least] = (((0.25, 0.68),), ((0.15, 0.64), (0.2, 0.67)))
"""The same two where only a copy counts: 886 copies reach 0.686, 0.662 and 0.7."""
TOGETHER = 6  # patches looked for before it is asked which pages are left
BESIDE = 8  # pages that are looked at beside each other: what they take stays in a processor's cache
INK = 12.0  # standard deviation of grey levels from which a patch, or a cell, holds something
GREY = 128.0  # taken off before squares are summed: float32 has 7 digits


def cut(page: Image.Image, margins: Margins) -> Image.Image:
    """A page without its margins."""
    left, top, right, bottom = margins
    width, height = page.size
    return page.crop(
        (round(width * left), round(height * top), round(width * (1 - right)), round(height * (1 - bottom)))
    )


@dataclass(frozen=True)
class Wanted:
    """What is looked for of a page: how large it is looked at, the page so, and corners (x, y) of its patches.

    `strong` are those of the glance, `inked` all that hold ink, or `INKED` of them.
    """

    size: tuple[int, int]
    page: np.ndarray
    strong: np.ndarray
    inked: np.ndarray


def wanted(one: Image.Image) -> Wanted:
    """What to look for of a page, in grey."""
    scale = min(1.0, LONGEST / max(one.size))
    size = (max(PATCH, round(one.width * scale)), max(PATCH, round(one.height * scale)))
    page = np.asarray(resized(one, size), dtype=np.float32)
    mean, square = patch_moments(page, PATCH // 2)
    contrast = square - mean**2
    rows, columns = np.nonzero(contrast >= INK**2)
    inked = np.stack([columns, rows], 1) * (PATCH // 2)
    return Wanted(size, page, _strongest(contrast), inked[_spread(len(inked), INKED)])


def field(other: Image.Image, size: tuple[int, int]) -> np.ndarray:
    """Where a page of this size is looked for on another: that, at this size, with some room around it, in bytes."""
    return np.pad(np.asarray(resized(other, size)), ROOM, mode="edge")


def may_match(one: Wanted, fields: Sequence[np.ndarray], limits: tuple[Least, Least] = LIKENESS) -> np.ndarray:
    """Whether a page may be one with each of some others (their fields at its size): one that says no is no copy."""
    left = np.arange(len(fields))
    passed = np.ones(len(fields), dtype=bool)
    for corners, least in zip((one.strong, one.inked), limits, strict=True):
        for start in range(0, len(left), BESIDE):
            some = left[start : start + BESIDE]
            passed[some] = _found(one.page, corners, np.stack([fields[number] for number in some]), least)
        left = np.flatnonzero(passed)
    return passed


def _found(page: np.ndarray, corners: np.ndarray, fields: np.ndarray, least: Least) -> np.ndarray:
    """Whether enough of the patches at these corners are found on each of the fields; no patch, nothing to miss."""
    count, left = len(corners), np.arange(len(fields))
    passed = np.ones(len(fields), dtype=bool)
    if not count:
        return passed
    correlations = np.empty((len(fields), count), dtype=np.float32)
    # so many below a limit put the quantile below it, whatever the others are
    too_many = [(int(share * (count - 1)) + 2, limit) for share, limit in least]
    spread = np.argsort(np.arange(count) % max(1, count // TOGETHER), kind="stable")  # of all parts of the page
    for start in range(0, count, TOGETHER):
        some = spread[start : start + TOGETHER]
        correlations[np.ix_(left, some)] = _best(page, corners[some], fields[left])
        seen = correlations[np.ix_(left, spread[: start + TOGETHER])]
        lost = np.any([(seen < limit).sum(1) >= many for many, limit in too_many], axis=0)
        passed[left[lost]] = False
        left = left[~lost]
        if not len(left):
            return passed
    for share, limit in least:
        passed[left] &= np.quantile(correlations[left], share, axis=1) >= limit
    return passed


def _best(page: np.ndarray, corners: np.ndarray, fields: np.ndarray) -> np.ndarray:
    """The highest correlation (fields x corners) of the patches there with what stands near on each of the fields.

    Sums over windows are sums of rows: those of the field times those of the patch are one product of matrices, of
    which what belongs together lies on diagonals.
    """
    x, y = corners.T.astype(int)
    inside, around = np.arange(PATCH), np.arange(SIDE)
    patches = page[(y[:, None] + inside)[:, :, None], (x[:, None] + inside)[:, None, :]]
    patches = patches - patches.mean((1, 2), keepdims=True)
    near = fields[:, (y[:, None] + around)[:, :, None], (x[:, None] + around)[:, None, :]] - np.float32(GREY)
    many = near.shape[:2]  # fields x corners
    rows = np.lib.stride_tricks.sliding_window_view(near, PATCH, axis=3).reshape(*many, SIDE * SHIFTS, PATCH)
    products = (rows @ patches.transpose(0, 2, 1)).reshape(*many, SIDE, SHIFTS, PATCH)
    *which, of_row, of_shift, of_line = products.strides
    diagonals = np.lib.stride_tricks.as_strided(
        products, (*many, SHIFTS, SHIFTS, PATCH), (*which, of_row, of_shift, of_row + of_line)
    )
    moments = np.stack([rows.sum(3), np.einsum("fcrp,fcrp->fcr", rows, rows)])
    summed = moments.reshape(2, *many, SIDE, SHIFTS).cumsum(3, dtype=np.float64)
    summed[..., PATCH:, :] -= summed[..., :-PATCH, :].copy()
    total, square = summed[..., PATCH - 1 :, :]
    strength = np.maximum(square - total**2 / PATCH**2, (PATCH * INK / 3) ** 2)
    power = np.maximum((patches**2).sum((1, 2)), 1.0)[:, None, None]
    best: np.ndarray = (diagonals.sum(4) / np.sqrt(strength * power)).max((2, 3))
    return best


def _strongest(contrast: np.ndarray) -> np.ndarray:
    """Corners (x, y) of patches to glance at: of those with most contrast, every fourth; none that is blank.

    A small receipt on a large sheet has few; noise of the paper is found nowhere again.
    """
    flat = contrast.ravel()
    order = np.sort(np.argsort(-flat, kind="stable")[: min(4 * PATCHES, int((flat >= (INK / 2) ** 2).sum()))])
    chosen = order[_spread(len(order), PATCHES)]
    rows, columns = np.divmod(chosen, contrast.shape[1])
    return np.stack([columns, rows], 1) * (PATCH // 2)


def _spread(count: int, most: int) -> np.ndarray:
    """Numbers below `count`, `most` of them at most, evenly spread."""
    return np.linspace(0, count - 1, min(most, count)).round().astype(int)


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
