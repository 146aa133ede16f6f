"""The order in which streamed pages are visited: row groups in a seeded shuffle, mixed within windows that fit a cache.

A cell of a parquet file comes with its whole row group, so an order that jumps about would fetch each row group again
and again. Here row groups are shuffled, taken together while they fit a window, and an epoch reads window after window;
within a window its order is the order it always has. So every row group is fetched about once an epoch, and the order
is still a function of seed, epoch and data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from docvlm.data.streaming.page import StreamedPage

if TYPE_CHECKING:
    from docvlm.data.example import Example

_STREAM = 2  # beside (seed, epoch): the numbers of the order itself are others


@dataclass(frozen=True)
class Homes:
    """Where examples are at home: the number of the row group of each one's first page, -1 where it is not streamed.

    `sizes` are the bytes of each row group, `places` a page in it; `limit` the bytes of a window.
    """

    of: np.ndarray
    sizes: tuple[int, ...]
    places: tuple[StreamedPage, ...]
    limit: int

    def windows(self, homes: Sequence[int]) -> np.ndarray:
        """The window of each home, where they are visited in this order: taken together while they fit `limit`."""
        found, window, full = np.zeros(len(self.sizes), dtype=np.int64), 0, 0
        for home in homes:
            if full and full + self.sizes[home] > self.limit:
                window, full = window + 1, 0
            found[home] = window
            full += self.sizes[home]
        return found

    def ordered(self, order: np.ndarray, groups: np.ndarray, seed: int, epoch: int) -> list[np.ndarray]:
        """An epoch's order as windows, one after the other; examples of a group stay side by side.

        What is not streamed is spread over the windows as their examples are.
        """
        random = np.random.Generator(np.random.PCG64([seed, epoch, _STREAM]))
        window = self.windows(random.permutation(len(self.sizes)).tolist())
        first = np.r_[True, np.diff(groups[order]) != 0] if len(order) else np.zeros(0, dtype=bool)
        run = np.cumsum(first) - 1  # the number of each example's group in the order
        home = self.of[order[first]]
        streamed = home >= 0
        number = np.where(streamed, window[np.maximum(home, 0)], 0)
        if streamed.any() and not streamed.all():
            number[~streamed] = random.choice(number[streamed], int((~streamed).sum()))
        windows = number[run]
        return [order[windows == one] for one in range(int(windows.max()) + 1)] if len(order) else []


def homes_of(examples: Sequence[Example], limit: int) -> Homes | None:
    """Where examples are at home; None where no page of them is streamed."""
    number: dict[tuple[str, int], int] = {}
    places: list[StreamedPage] = []
    of = np.full(len(examples), -1, dtype=np.int64)
    for place, example in enumerate(examples):
        page = example.pages[0]
        if isinstance(page, StreamedPage):
            home = number.setdefault((page.shard.key, page.group), len(number))
            if home == len(places):
                places.append(page)
            of[place] = home
    sizes = tuple(page.shard.sizes[page.group] for page in places)
    return Homes(of, sizes, tuple(places), limit) if places else None
