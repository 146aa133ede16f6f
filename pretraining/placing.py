"""Where a page lies in its frame: a little smaller, turned and off the character grid, as a scan lies on glass.

Drawn pages put two characters in each vision token, exactly. A model that has seen no others reads nothing once a page
is two pixels off (docs/LOG.md), and every page that is resized or turned is. Nothing is cut: what a turn needs, the
scale gives. The frame keeps its size, which is what compiled training steps need. About 1 ms a page.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random

import numpy as np
from PIL import Image

SMALLEST = 0.78  # of the page's own size, each side for itself
TURN = 2.0  # degrees to either side
OVER = (1.5, 4.0)  # pixels beyond the frame, x and y: the blank borders of the outermost characters


@dataclass(frozen=True)
class Placement:
    """Scales of width and height, degrees counter-clockwise, and the centre's way from the frame's, in pixels."""

    across: float
    down: float
    turn: float
    right: float
    below: float

    @classmethod
    def drawn(cls, rng: Random, size: tuple[int, int], strength: float) -> Placement:
        """A placement of a page of `size` (width, height); `strength` 0 leaves it where it is, 1 is the full range."""
        width, height = size
        turn = rng.uniform(-TURN, TURN) * strength
        sine, cosine = abs(math.sin(math.radians(turn))), math.cos(math.radians(turn))
        # the largest scale at which the turned page fits its own frame
        fits = min(width / (width * cosine + height * sine), height / (width * sine + height * cosine))
        across, down = (fits * rng.uniform(1 - (1 - SMALLEST) * strength, 1) for _ in size)
        room = (
            width - (across * width * cosine + down * height * sine),
            height - (across * width * sine + down * height * cosine),
        )
        right, below = (
            rng.uniform(-1, 1) * (max(free, 0.0) / 2 + over * strength) for free, over in zip(room, OVER, strict=True)
        )
        return cls(across, down, turn, right, below)

    def applied(self, page: Image.Image) -> Image.Image:
        """The page so placed in a frame of its own size; what is bare takes the colour of its margin."""
        sine, cosine = math.sin(math.radians(self.turn)), math.cos(math.radians(self.turn))
        middle_x, middle_y = page.width / 2, page.height / 2
        # Pillow asks for the way back: from the frame's coordinates to the page's
        a, b = cosine / self.across, -sine / self.across
        d, e = sine / self.down, cosine / self.down
        x, y = middle_x + self.right, middle_y + self.below
        way = (a, b, middle_x - a * x - b * y, d, e, middle_y - d * x - e * y)
        pixels = np.asarray(page)
        margin = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
        paper = tuple(int(value) for value in np.median(margin, axis=0))
        return page.transform(page.size, Image.Transform.AFFINE, way, Image.Resampling.BICUBIC, fillcolor=paper)
