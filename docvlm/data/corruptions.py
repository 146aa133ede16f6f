"""What a scanner, a copier or a mail gateway does to a page: noise, blur, JPEG, skew, low resolution, four severities.

The idea of fixed severities, and of judging a model by its mean over them, is that of Hendrycks and Dietterich 2019
(arXiv 1903.12261). Levels are in physical terms relative to the page's own width, so that one severity means the same
at any resolution; on A4 a thousandth of the width is 0.2 mm. What is random is drawn from the page's pixels, the name
and the severity, so every process and every model sees the same corrupted page.

Pillow and numpy do it. Augraphy, the library for worn paper, was looked at: it draws from the global random states of
Python and numpy, its strengths have no units, and it would bring 13 packages (OpenCV, numba, scikit-learn among them);
albumentations brings OpenCV for the same five operations. About 2 ms for a small page of 280 x 168 pixels, 0.1 s for
one of 1 200 x 1 600.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageFilter

from docvlm.errors import DocvlmError

if TYPE_CHECKING:
    from docvlm.data.example import Example, Page

SEVERITIES = (1, 2, 3, 4)
REVISION = 1
"""Counted up when a definition below changes, so that answers to the old pages are not taken for answers to the new."""

GRAINS = 1000  # across the page's width: noise has this grain where a page has more pixels
DUST = 0.02  # share of black grains over the strength of the noise: 0.1 to 0.6 % of the page
SCANNED_AT = 300  # dpi that a page is taken to have, where its resolution is lowered


@dataclass(frozen=True, slots=True)
class Corruption:
    """One way to spoil a page: `levels` are the strengths of the severities 1 to 4 in `unit`, mildest first."""

    title: str
    unit: str
    levels: tuple[float, float, float, float]
    definition: str
    apply: Callable[[Image.Image, float, np.random.Generator], Image.Image]


def _noise(page: Image.Image, level: float, rng: np.random.Generator) -> Image.Image:
    across = min(page.width, GRAINS)
    grains = (max(1, round(page.height * across / page.width)), across)
    field = rng.standard_normal(grains, dtype=np.float32) * np.float32(255 * level / 100)
    field[rng.random(grains) < DUST * level / 100] = -255
    grey = np.asarray(Image.fromarray(field).resize(page.size, Image.Resampling.BICUBIC))
    return Image.fromarray(np.clip(np.asarray(page, np.float32) + grey[:, :, None], 0, 255).astype(np.uint8))


def _blur(page: Image.Image, level: float, rng: np.random.Generator) -> Image.Image:
    return page.filter(ImageFilter.GaussianBlur(page.width * level / 1000))


def _jpeg(page: Image.Image, level: float, rng: np.random.Generator) -> Image.Image:
    stream = BytesIO()
    page.save(stream, "JPEG", quality=int(level))
    return Image.open(stream).convert("RGB")


def _skew(page: Image.Image, level: float, rng: np.random.Generator) -> Image.Image:
    """The canvas grows and takes the colour of the margin, so that nothing is cut off."""
    pixels = np.asarray(page)
    margin = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    paper = tuple(int(value) for value in np.median(margin, axis=0))
    turn = float(rng.choice([-level, level]))
    return page.rotate(turn, Image.Resampling.BICUBIC, expand=True, fillcolor=paper)


def _dpi(page: Image.Image, level: float, rng: np.random.Generator) -> Image.Image:
    """Back at its own size: what is legible is lowered, not the number of tokens a model spends on the page."""
    coarse = [max(1, round(side * level / SCANNED_AT)) for side in page.size]
    return page.resize(coarse, Image.Resampling.BOX).resize(page.size, Image.Resampling.BICUBIC)


CORRUPTIONS = {
    "noise": Corruption(
        "scan noise", "% of white", (5, 10, 20, 30),
        "grey noise of this standard deviation, a grain a thousandth of the width, and black dust on 0.1 to 0.6 %",
        _noise,
    ),
    "blur": Corruption(
        "blur", "‰ of width", (1, 2, 3, 5),
        "Gaussian, sigma as a share of the page's width (on A4: 0.2, 0.4, 0.6, 1.1 mm)",
        _blur,
    ),
    "jpeg": Corruption(
        "JPEG", "quality", (40, 20, 10, 5),
        "saved and read again at this quality of libjpeg, colour at half the resolution",
        _jpeg,
    ),
    "skew": Corruption(
        "skew", "degrees", (1, 2, 5, 10),
        "turned to either side; the canvas grows in the colour of the margin, so nothing is cut off",
        _skew,
    ),
    "dpi": Corruption(
        "low resolution", "dpi", (200, 150, 100, 75),
        "a page taken to be scanned at 300 dpi, averaged down to this and brought back to its size",
        _dpi,
    ),
}  # fmt: skip
"""Every corruption by the word that chooses it."""


def corrupt(page: Image.Image, name: str, severity: int) -> Image.Image:
    """`page` (RGB) after the corruption `name` at `severity`; 0 gives the page as it is.

    RGB again and of the same size, but for skew, whose canvas grows. The same pixels give the same result in every
    process. Raises `DocvlmError` for another name or severity.
    """
    if name not in CORRUPTIONS:
        raise DocvlmError(f"corruptions={name}: choose from {', '.join(CORRUPTIONS)}")
    if severity == 0:
        return page
    if severity not in SEVERITIES:
        raise DocvlmError(f"severities={severity}: from 1, mild, to {SEVERITIES[-1]}")
    corruption = CORRUPTIONS[name]
    return corruption.apply(page, corruption.levels[severity - 1], _random(page, name, severity))


def _random(page: Image.Image, name: str, severity: int) -> np.random.Generator:
    digest = hashlib.blake2b(page.tobytes(), digest_size=16)
    digest.update(repr((page.size, page.mode, name, severity, REVISION)).encode())
    return np.random.default_rng(int.from_bytes(digest.digest(), "big"))


@dataclass(frozen=True, slots=True)
class CorruptedPage:
    """A page that is corrupted when it is opened; it travels to a worker as a name and two words."""

    page: Page
    corruption: str
    severity: int

    @property
    def name(self) -> str:
        """The page's own name with what was done to it."""
        return f"{self.page.name} ({self.corruption} {self.severity})"

    def open(self) -> Image.Image:
        """Open the page and corrupt it. Raises what opening the page raises."""
        return corrupt(self.page.open(), self.corruption, self.severity)


def corrupted(examples: Sequence[Example], name: str, severity: int) -> list[Example]:
    """The same questions on corrupted pages."""
    return on_pages(examples, lambda page: CorruptedPage(page, name, severity))


def on_pages(examples: Sequence[Example], change: Callable[[Page], Page]) -> list[Example]:
    """The same questions on changed pages. Questions of one page share the changed one, so it is still opened once."""
    changed: dict[Page, Page] = {}
    for page in (page for example in examples for page in example.pages):
        if page not in changed:
            changed[page] = change(page)
    return [replace(example, pages=tuple(changed[page] for page in example.pages)) for example in examples]
