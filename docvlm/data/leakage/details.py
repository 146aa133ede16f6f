"""Details of a page: what stands where on it, in codes that a copy has again and another filling of a form has not.

A hash of a whole page sees its layout. Details see its words: up to `MOST` places where the page, small, differs most
from what is around it, each with the signs of the low frequencies of the patch there. A place is found by the page
itself, so a code survives crops, skews and new encodings that move it. Copies made in all ways of `bench.audit` have
0.65 of their details again where they were about (`SHIFT`, `FLIPPED`), cropped charts 0.5.

A code is 64 bits: 16 unused, `SIGNS` signs, 6 bits for the column of `GRID` it lies in and 6 for the row. Cost: 1.4 ms
a page on one core, 768 bytes. A page without ink has none, and a strip more than 13 times as long as wide.
"""

from __future__ import annotations

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter, uniform_filter

from docvlm.data.leakage.prefilter import resized

MOST = 96  # details of a page, those that stand out most
LONGEST = 320  # longest side in pixels of the page they are taken from: a copy of another size has the same
BLUR = 2.0  # pixels: noise and JPEG's blocks go
AROUND = 11  # pixels: side of what a place is compared with
FAINT = 2.0  # grey levels by which it must differ
PATCH = 24  # pixels: side of what is described, sampled `SAMPLES` x `SAMPLES` times
SAMPLES = 8
SIGNS = 36  # frequencies whose signs are kept, the lowest first
GRID = 48  # columns and rows in which places are counted
PLACE = 6  # bits of a column, and of a row
SHIFT = 2  # columns or rows by which a detail may be elsewhere: 4 % of the page
FLIPPED = 3  # signs that may differ
EDGE = 10.0  # curvature along what stands out over that across it: what is drawn further is a line, and has no place
FLAT = 0.1  # of a patch's contrast: what a frequency must exceed, or noise would choose the signs of plain patches


def _frequencies() -> list[tuple[int, int]]:
    """(down, across) of the frequencies, the lowest first; those below 5 on both sides come before finer ones."""
    every = [(down, across) for down in range(SAMPLES) for across in range(SAMPLES) if down + across]
    coarse = [one for one in every if max(one) < 5 and sum(one) <= 5]
    ordered = sorted(every, key=lambda one: (one not in coarse, sum(one), abs(one[0] - one[1]), one))
    return ordered[:SIGNS]


def _waves() -> np.ndarray:
    """The samples of each frequency, as columns."""
    places = (2 * np.arange(SAMPLES) + 1) / (2 * SAMPLES)
    cosines = np.cos(np.pi * np.arange(SAMPLES)[:, None] * places)
    columns = [np.outer(cosines[down], cosines[across]).ravel() for down, across in _frequencies()]
    return np.stack(columns, 1).astype(np.float32)


_WAVES = _waves()
_SAMPLED = np.round((np.arange(SAMPLES) - (SAMPLES - 1) / 2) * PATCH / SAMPLES - 0.5).astype(int)


def details(grey: Image.Image) -> np.ndarray:
    """The codes of a page in grey, in ascending order; none where nothing stands on it."""
    scale = LONGEST / max(grey.size)
    page = np.asarray(resized(grey, (round(grey.width * scale), round(grey.height * scale))), dtype=np.float32)
    smooth = gaussian_filter(page, BLUR, truncate=2.5)
    contrast = smooth - uniform_filter(smooth, AROUND)
    down, across = _places_of(contrast)
    rows, columns = down[:, None] + _SAMPLED, across[:, None] + _SAMPLED
    patches = smooth[rows[:, :, None], columns[:, None, :]].reshape(len(down), SAMPLES * SAMPLES)
    waves = patches @ _WAVES
    over = waves > FLAT * np.linalg.norm(waves, axis=1, keepdims=True)
    signs = over.astype(np.uint64) << np.arange(SIGNS, dtype=np.uint64)
    place = (across * GRID // page.shape[1]) << PLACE | down * GRID // page.shape[0]
    return np.unique(signs.sum(1, dtype=np.uint64) << np.uint64(2 * PLACE) | place.astype(np.uint64))


def _places_of(contrast: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of what stands out most, that on lines last: it is found again anywhere along them."""
    strength = np.abs(contrast)
    edge = PATCH // 2
    inside = np.zeros(strength.shape, dtype=bool)
    inside[edge:-edge, edge:-edge] = True
    y, x = np.nonzero(inside & (strength > FAINT) & (strength == _highest(_highest(strength).T).T))
    here = contrast[y, x]
    along = contrast[y, x + 2] + contrast[y, x - 2] - 2 * here
    down = contrast[y + 2, x] + contrast[y - 2, x] - 2 * here
    turn = (contrast[y + 2, x + 2] + contrast[y - 2, x - 2] - contrast[y + 2, x - 2] - contrast[y - 2, x + 2]) / 4
    determinant = along * down - turn**2
    spot = (along + down) ** 2 * EDGE < determinant * (EDGE + 1) ** 2  # as SIFT does
    best = np.lexsort((-strength[y, x], ~spot))[:MOST]
    return y[best], x[best]


def _highest(values: np.ndarray) -> np.ndarray:
    """The highest of 7 values across, around each but those near the edges; a tenth of the time of scipy's filter."""
    found = values.copy()
    if values.shape[1] >= 7:
        two = np.maximum(values[:, :-1], values[:, 1:])
        four = np.maximum(two[:, :-2], two[:, 2:])
        found[:, 3:-3] = np.maximum(four[:, :-3], four[:, 3:])
    return found


def again(one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which details of pages stand on others beside them, and which of the others' on them.

    Both are pairs x `MOST` codes; 0 where a page has fewer, which stands nowhere. Returns two arrays like them.
    """
    near = np.uint8(2 * SHIFT)
    beside = True
    for ours, theirs in zip(_places(one), _places(other), strict=True):
        beside = beside & ((ours[:, :, None] + np.uint8(SHIFT)) - theirs[:, None, :] <= near)  # below 0 is far above
    pair, which = np.divmod(np.flatnonzero(beside), one.shape[1] * other.shape[1])
    ours, theirs = np.divmod(which, other.shape[1])
    codes = one[pair, ours], other[pair, theirs]
    flipped = np.bitwise_count((codes[0] ^ codes[1]) >> np.uint64(2 * PLACE))
    same = (flipped <= FLIPPED) & (codes[0] != 0) & (codes[1] != 0)
    found = np.zeros(one.shape, dtype=bool), np.zeros(other.shape, dtype=bool)
    found[0][pair[same], ours[same]] = True
    found[1][pair[same], theirs[same]] = True
    return found


def _places(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Column and row of each detail."""
    side = np.uint64((1 << PLACE) - 1)
    return (codes >> np.uint64(PLACE) & side).astype(np.uint8), (codes & side).astype(np.uint8)
