"""Whether two pages are one page again: a second look at pairs whose perceptual hashes are close.

A hash sees layout, and the forms of one office or the receipts of one shop share theirs. So a pair goes through the
prefilter first: small, cut as their hashes fit best, do the patches of the one come again on the other about where
they should? What passes is registered: patches are found by normalised cross-correlation, and an affine map is fitted
to where they were found, which takes rescaling, cropping and skew out. Then the two are compared cell by cell at a size
at which letters are still apart. A copy agrees nearly everywhere; another form with the same letterhead does not where
it was filled in. `bench/audit.py` measures it all; `SAME` and `LIKE` in `docvlm.data.leakage.audit` come from there.

Cost on one core: about a millisecond a pair where the prefilter tells them apart at a glance, else up to some 50 ms. No
torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from scipy.fft import irfft2, next_fast_len, rfft2  # imagehash, which finds the pairs, needs scipy too

from docvlm.data.leakage import prefilter
from docvlm.data.leakage.prefilter import INK, WHOLE, Margins, cut, field, may_match, patch_moments, resized, wanted

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

FINE = 800  # longest side in pixels at which registered pages are compared
COARSE = 320  # longest side at which patches are looked for
PATCH = 32  # side of such a patch
PATCHES = 48  # at most so many are looked for, spread over the page
REACH = 0.08  # how far a patch may have moved, as a share of the longest side: a crop of 3 % and a skew of 1° at once
CELL = 16  # side of what is compared: two or three letters
ALIKE = 0.6  # correlation from which two cells show the same
APART = 0.6  # agreement at half size below which the full size is not looked at
TOLERANCE = 2.0  # pixels by which a patch may miss the map and still count for it
TRIALS = 300  # triples of patches the map is guessed from


def sketch(page: Image.Image) -> Image.Image:
    """What is compared of a page: grey, at most `FINE` pixels long. Half a megabyte at most."""
    grey = page.convert("L")
    scale = FINE / max(grey.size)
    return grey if scale >= 1 else resized(grey, (round(grey.width * scale), round(grey.height * scale)))


def agreement(one: Image.Image, other: Image.Image, margins: tuple[Margins, Margins] = (WHOLE, WHOLE)) -> float:
    """Share of the inked cells that show the same on two sketches, once these lie over each other.

    `margins` of each page are what to take off for the prefilter. 0 where it tells them apart, and where they cannot be
    registered: nothing on them, or too little in common.
    """
    return agreements(one, [(other, margins, False)])[0]


Other = tuple[Image.Image, tuple[Margins, Margins], bool]
"""A sketch, its margins and those of what it is compared with, and whether only a copy counts."""


def agreements(one: Image.Image, others: Sequence[Other]) -> list[float]:
    """`agreement` of one page with each of several others; where only a copy counts, 0 for most that are none."""
    likely = _likely(one, others)
    # a turned page may hash best with a wrong margin
    again = [n for n, (_, margins, _) in enumerate(others) if not likely[n] and margins != (WHOLE, WHOLE)]
    whole = [(others[n][0], (WHOLE, WHOLE), others[n][2]) for n in again]
    for number, found in zip(again, _likely(one, whole), strict=True):
        likely[number] = found
    return [_registered(one, other) if may else 0.0 for (other, _, _), may in zip(others, likely, strict=True)]


def _likely(one: Image.Image, others: Sequence[Other]) -> list[bool]:
    """Whether the prefilter lets each pair pass."""
    found = [False] * len(others)
    alike: dict[tuple[Margins, bool], list[int]] = {}
    for number, (_, (own, _), copies) in enumerate(others):
        alike.setdefault((own, copies), []).append(number)
    for (own, copies), numbers in alike.items():
        looked_for = wanted(cut(one, own))
        fields = [field(cut(others[n][0], others[n][1][1]), looked_for.size) for n in numbers]
        limits = prefilter.COPIES if copies else prefilter.LIKENESS
        for number, may in zip(numbers, may_match(looked_for, fields, limits), strict=True):
            found[number] = bool(may)
    return found


def _registered(one: Image.Image, other: Image.Image) -> float:
    placed = _registration(one, other)
    if placed is None:
        return 0.0
    scale = min(1.0, max(other.size) / max(one.size))  # a copy made smaller has nothing to compare beyond its own size
    width, height = one.width * scale, one.height * scale
    half = _agreement_at((round(width / 2), round(height / 2)), one, other, placed)
    return half if half < APART else _agreement_at((round(width), round(height)), one, other, placed)


def _registration(one: Image.Image, other: Image.Image) -> Floats | None:
    """The affine map (2 x 3) from places on `one` to places on `other`, both in shares of the sides.

    Found on small pages, then mended on larger ones, where what is left to move is little.
    """
    first = _map(one, other, COARSE, REACH)
    if first is None:
        return None
    longest = min(FINE, max(one.size), max(other.size))
    scale = min(1.0, longest / max(one.size))
    over, _ = _over(other, (round(one.width * scale), round(one.height * scale)), first)
    rest = _map(one, over, longest, 3 * TOLERANCE / COARSE)
    if rest is None:
        return None
    return first @ np.vstack([rest, [0, 0, 1]])


def _map(one: Image.Image, other: Image.Image, longest: int, reach: float) -> Floats | None:
    scale = min(1.0, longest / max(one.size), longest / max(other.size))
    size = (max(PATCH, round(one.width * scale)), max(PATCH, round(one.height * scale)))
    page, there = (np.asarray(resized(image, size), dtype=np.float64) for image in (one, other))
    corners = _inked(page)
    if len(corners) < 3:
        return None
    shifts, found = _best_shifts(page, there, corners, max(2, round(reach * max(size))))
    return _robust_map((corners + PATCH / 2) / size, shifts / size, found, TOLERANCE / max(size))


def _inked(page: Floats) -> Floats:
    """Upper left corners (x, y) of patches that hold something, `PATCHES` at most."""
    step = PATCH // 2
    mean, square = patch_moments(page, step)
    rows, columns = np.nonzero(square - mean**2 >= INK**2)
    corners = np.stack([columns * step, rows * step], 1).astype(float)
    if len(corners) <= PATCHES:
        return corners
    return corners[np.linspace(0, len(corners) - 1, PATCHES).round().astype(int)]


def _best_shifts(page: Floats, there: Floats, corners: Floats, reach: int) -> tuple[Floats, Floats]:
    """Where each patch of `page` is found on `there`: shift (x, y) in pixels, and the correlation it has there."""
    padded = np.pad(there - there.mean(), reach, mode="edge").astype(np.float32)  # half the time of float64
    places = corners.astype(int)
    patches = np.stack([page[y : y + PATCH, x : x + PATCH] for x, y in places]).astype(np.float32)
    patches -= patches.mean((1, 2), keepdims=True)
    side, span = PATCH + 2 * reach, 2 * reach + 1
    fields = np.stack([padded[y : y + side, x : x + side] for x, y in places])
    length = next_fast_len(side, real=True)
    spectrum = rfft2(fields, (length, length)) * np.conj(rfft2(patches, (length, length)))
    product = irfft2(spectrum, (length, length))[:, :span, :span]
    energy = np.maximum(_sums(padded**2) - _sums(padded) ** 2 / PATCH**2, PATCH**2 * (INK / 2) ** 2)  # paper fits all
    strength = np.stack([energy[y : y + span, x : x + span] for x, y in places])
    correlation = product / np.sqrt(strength * (patches**2).sum((1, 2))[:, None, None])
    flat = correlation.reshape(len(correlation), -1)
    y, x = np.divmod(flat.argmax(1), span)
    return np.stack([x, y], 1) - float(reach), flat.max(1)


def _sums(page: np.ndarray) -> Floats:
    """Sums over every PATCH x PATCH window of a page."""
    total = np.pad(page.cumsum(0, dtype=np.float64).cumsum(1), ((1, 0), (1, 0)))
    windows: Floats = total[PATCH:, PATCH:] - total[:-PATCH, PATCH:] - total[PATCH:, :-PATCH] + total[:-PATCH, :-PATCH]
    return windows


def _robust_map(places: Floats, shifts: Floats, found: Floats, tolerance: float) -> Floats:
    """The affine map most patches agree on (RANSAC, then least squares over those that do)."""
    rows = np.column_stack([places, np.ones(len(places))])
    triples = np.random.default_rng(0).integers(0, len(places), (TRIALS, 3))
    guesses = _fitted(rows[triples], shifts[triples], np.ones((TRIALS, 3)))
    errors = np.abs(rows @ guesses - shifts).max(2)
    agreed = ((errors <= tolerance) * found.clip(0)).sum(1)
    solution = guesses[agreed.argmax()]
    for _ in range(3):
        close = np.abs(rows @ solution - shifts).max(1) <= tolerance
        weights = (found.clip(0) * close)[None]
        solution = _fitted(rows[None], shifts[None], weights)[0]
    moved: Floats = solution.T + np.eye(2, 3)
    return moved


def _fitted(rows: Floats, shifts: Floats, weights: Floats) -> Floats:
    """Weighted least squares for many sets at once, held a little to "no turn": patches in one line leave it open."""
    weighted = rows * weights[..., None]
    hold = np.diag([1e-3, 1e-3, 1e-6])
    solved = np.linalg.solve(np.swapaxes(weighted, 1, 2) @ rows + hold, np.swapaxes(weighted, 1, 2) @ shifts)
    return np.asarray(solved, dtype=np.float64)


def _agreement_at(size: tuple[int, int], one: Image.Image, other: Image.Image, placed: Floats) -> float:
    size = (max(CELL, size[0]), max(CELL, size[1]))
    over, covered = _over(other, size, placed)
    pixels = [np.asarray(image, dtype=np.float32) for image in (resized(one, size), over, covered)]
    return _same_cells(pixels[0], pixels[1], pixels[2] > 0)


def _over(other: Image.Image, size: tuple[int, int], placed: Floats) -> tuple[Image.Image, Image.Image]:
    """`other` laid over a page of this size, and where it covers it."""
    scale = max(size) / max(other.size)
    there = other if scale >= 1 else resized(other, (round(other.width * scale), round(other.height * scale)))
    # Pillow asks where a pixel of the result comes from: pixels of the page → shares → pixels of `there`
    matrix = placed * [1 / size[0], 1 / size[1], 1] * np.array([[there.width], [there.height]])
    coefficients = tuple(float(value) for value in matrix.ravel())
    paper = Image.new("L", there.size, 255)
    return (
        there.transform(size, Image.Transform.AFFINE, coefficients, Image.Resampling.BICUBIC),
        paper.transform(size, Image.Transform.AFFINE, coefficients),
    )


def _same_cells(page: np.ndarray, over: np.ndarray, covered: np.ndarray) -> float:
    """Share of cells with ink on either page that correlate, a pixel to any side allowed."""
    inside = _cells(covered).all(2)
    own, power = _centred(page)
    padded = np.pad(over, 1, mode="edge")
    best = np.full(own.shape[:2], -1.0, dtype=np.float32)
    floor = CELL**2 * (INK / 3) ** 2
    for dy, dx in np.ndindex(3, 3):
        moved, strength = _centred(padded[dy : dy + page.shape[0], dx : dx + page.shape[1]])
        if (dy, dx) == (1, 1):
            inked = inside & (np.maximum(power, strength) >= (INK * CELL) ** 2)
        product = np.einsum("ijk,ijk->ij", own, moved)
        np.maximum(best, product / np.sqrt(np.maximum(power, floor) * np.maximum(strength, floor)), out=best)
    return float((best[inked] >= ALIKE).mean()) if inked.any() else 0.0


def _centred(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    cells = _cells(pixels)
    cells = cells - cells.mean(2, keepdims=True)
    return cells, np.einsum("ijk,ijk->ij", cells, cells)


def _cells(pixels: np.ndarray) -> np.ndarray:
    """Rows x columns x the pixels of a cell; what is left over at the right and below is left out."""
    rows, columns = pixels.shape[0] // CELL, pixels.shape[1] // CELL
    whole = pixels[: rows * CELL, : columns * CELL]
    return whole.reshape(rows, CELL, columns, CELL).swapaxes(1, 2).reshape(rows, columns, CELL * CELL)
