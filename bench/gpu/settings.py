"""What the sections share: where they run, on how many pages, and the ways of batching that are compared."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import torch
from torch import Tensor

from bench.gpu.models import Sheet, asked
from docvlm.data.example import Example
from docvlm.vlms.base import VLM
from docvlm.vlms.codec import Stored
from docvlm.vlms.feature_store import FeatureStore

Variant = Literal["plain sequences", "shared pages", "shared pages, stored features"]
PLAIN: Variant = "plain sequences"
SHARED: Variant = "shared pages"
STORED: Variant = "shared pages, stored features"
VARIANTS = (PLAIN, SHARED, STORED)
TEXT = 48  # tokens of a question with its template and answer, about


@dataclass(frozen=True)
class Settings:
    """Of one call. `tokens`: page tokens of each page; `budget`: body tokens of a micro-batch, about."""

    device: torch.device
    tiny: bool
    mixed: tuple[int, ...]
    equal: tuple[int, ...]
    questions: int
    budget: int
    most_pages: int
    repeats: int
    new_tokens: int

    @classmethod
    def full(cls, device: torch.device) -> Settings:
        """DocVQA-like pages of 1 000 to 2 500 tokens in no order, and as many of one size; 4 questions each."""
        mixed = (1500, 2500, 1000, 1900, 1200, 2300, 1700, 2100)
        return cls(device, False, mixed, (1500,) * 8, 4, 16_384, 32, 5, 12)

    @classmethod
    def small(cls, device: torch.device) -> Settings:
        """The same code in seconds on a CPU."""
        return cls(device, True, (12, 20), (12,), 2, 128, 1, 1, 3)


def micro_batches(pages: list[Sheet], questions: int, budget: int, variant: Variant) -> list[list[Example]]:
    """Whole pages in their order, cut so that the padded rows of a batch hold about `budget` tokens at most."""
    groups: list[list[Sheet]] = [[]]
    for page in pages:
        group = [*groups[-1], page]
        longest = max(sheet.rows * sheet.columns for sheet in group)
        row = longest + (TEXT if variant == PLAIN else questions * TEXT)
        rows = len(group) * (questions if variant == PLAIN else 1)
        if rows * row > budget and groups[-1]:
            groups.append([page])
        else:
            groups[-1] = group
    return [asked(group, questions) for group in groups]


@contextmanager
def store(vlm: VLM) -> Iterator[Stored]:
    """A feature store that goes when the section ends, for features in the model's own dtype."""
    with TemporaryDirectory() as folder:
        try:
            yield Stored(FeatureStore(Path(folder), 2**36), vlm.dtype, vlm.dtype, whole=not vlm.prefix)
        finally:
            vlm.codec.stored = None


def batch_of(vlm: VLM, examples: list[Example], variant: Variant, stored: Stored) -> dict[str, Tensor]:
    """A training batch as a data loader would bring it; with stored features where `encode` has stored them."""
    vlm.codec.stored = stored if variant == STORED else None
    return vlm.codec.train_batch(examples) if variant == PLAIN else vlm.codec.packed_batch(examples)


def encode(vlm: VLM, examples: list[Example], stored: Stored) -> None:
    """Put the features of the pages into the store, where they are not there yet."""
    batch = batch_of(vlm, examples, STORED, stored)
    if "digests" in batch:
        with torch.no_grad(), vlm.autocast():
            vlm.page_features(moved(batch, vlm.device))
        stored.store.flush()


def moved(batch: dict[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """On the device; not waited for where the batch is in pinned memory."""
    return {name: tensor.to(device, non_blocking=True) for name, tensor in batch.items()}


def pinned(batch: dict[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """As a data loader with `pin_memory` would leave it."""
    return {name: tensor.pin_memory() for name, tensor in batch.items()} if device.type == "cuda" else batch
