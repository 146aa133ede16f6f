"""What a scanner does to a page: a slight turn, blur, grey paper, speckle and sensor noise.

Half of the pages are clean, as born-digital documents are. Cost: some 60 ms for a page of 1 200 x 1 600 pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from docvlm.data.generated.values import Values


@dataclass(frozen=True, slots=True)
class Scan:
    """Turn in degrees, blur radius in pixels, grey of paper (255 = clean), specks, standard deviation of noise."""

    turn: float
    blur: float
    paper: int
    specks: int
    noise: float
    seed: int

    @classmethod
    def of(cls, values: Values) -> Scan:
        """Clean for half of the pages; otherwise lightly or, for one in eight, badly scanned."""
        level, rng = values.pick((0, 0, 0, 0, 1, 1, 1, 2)), values.rng
        seed = rng.getrandbits(32)
        if level == 0:
            return cls(0.0, 0.0, 255, 0, 0.0, seed)
        if level == 1:
            return cls(
                rng.uniform(-0.6, 0.6), rng.uniform(0, 0.6), rng.randint(238, 252), rng.randint(0, 80), 3.0, seed
            )
        return cls(
            rng.uniform(-1.2, 1.2), rng.uniform(0.6, 1.1), rng.randint(212, 238), rng.randint(150, 600), 9.0, seed
        )


def scan(page: Image.Image, settings: Scan) -> Image.Image:
    """The scanned page: same size, RGB."""
    if settings.paper == 255:
        return page
    rng = np.random.default_rng(settings.seed)
    if settings.turn:
        page = page.rotate(
            settings.turn, resample=Image.Resampling.BICUBIC, fillcolor=page.getpixel((2, page.height - 3))
        )
    if settings.blur:
        page = page.filter(ImageFilter.GaussianBlur(settings.blur))
    width, height = page.size
    light = np.linspace(1.0, rng.uniform(0.94, 1.0), height, dtype=np.float32)[:, None] * settings.paper / 255
    light = np.broadcast_to(light, (height, width)).copy()
    light += rng.standard_normal((height, width), dtype=np.float32) * (settings.noise / 255)
    for x, y in zip(
        rng.integers(2, width - 4, settings.specks), rng.integers(2, height - 4, settings.specks), strict=True
    ):
        side = int(rng.integers(1, 4))
        light[y : y + side, x : x + side] *= rng.uniform(0.2, 0.7)
    pixels = np.asarray(page, dtype=np.float32) * light[:, :, None]
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
