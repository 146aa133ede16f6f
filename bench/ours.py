"""Optimizer steps of docvlm: batch, loss, backward pass, update, through the codec and model that training uses.

What a run adds around them (Lightning's loop, logging) costs milliseconds and is in the sweep's figures, not here.
`stored` reads the pages' features from a store that `fill` has filled, as every epoch but the first does; `prefilled`
likewise what the decoder's frozen blocks made of the pages.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from bench import precision
from bench.clock import gradients, seconds
from bench.peers import LEARNING_RATE
from docvlm.data.example import Example
from docvlm.vlms.base import VLM
from docvlm.vlms.codec import Stored
from docvlm.vlms.feature_store import FeatureStore

LIMIT = 2**33  # bytes of a store; nothing is dropped here


class Learner:
    """A model with its optimizer; the ways to take a step share it, and compute in `precision.DTYPE`."""

    def __init__(self, vlm: VLM, steps: Sequence[Sequence[Example]], folder: Path) -> None:
        self.vlm, self.steps = vlm, steps
        self.store = FeatureStore(folder, LIMIT)
        self._prefills = FeatureStore(folder / f"prefill-{len(vlm.frozen_layers)}", LIMIT)
        self._stored: dict[tuple[torch.dtype, bool], Stored] = {}  # they remember pages' digests, as they do in a run
        learning = [parameter for parameter in vlm.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.AdamW(learning, lr=LEARNING_RATE, weight_decay=0.0, fused=True)

    def step(self, number: int, *, packed: bool, stored: bool = False, prefilled: bool = False) -> float:
        """Take one optimizer step. Returns its seconds, from examples to updated weights."""
        self._use(precision.DTYPE, stored, prefilled)
        return seconds(lambda: self._step(self.steps[number % len(self.steps)], packed))

    def exact(self, *, packed: bool, stored: bool = False, prefilled: bool = False) -> tuple[float, dict[str, Tensor]]:
        """Loss (nats a token) and gradients of step 0 in float32."""
        self._use(torch.float32, stored, prefilled)
        loss, tokens = self.vlm.loss(self._batch(self.steps[0], packed))
        (loss / tokens).backward()
        return loss.item() / tokens, gradients(self.vlm.net)

    def fill(self) -> None:
        """Store the features of all pages: in `precision.DTYPE` for the steps, those of step 0 in float32 too."""
        for steps, dtype in ((self.steps, precision.DTYPE), (self.steps[:1], torch.float32)):
            self._use(dtype, True, bool(self.vlm.frozen_layers))
            for examples in steps:
                with torch.no_grad(), torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
                    make = self.vlm.loss if self.vlm.frozen_layers else self.vlm.page_features
                    make(self.vlm.codec.packed_batch(examples))
        self.store.flush()
        self._prefills.flush()

    def _use(self, dtype: torch.dtype, stored: bool, prefilled: bool) -> None:
        """Let batches come from the stores of what was computed in `dtype`, or from pixels."""
        self.vlm.codec.stored = self._kept(dtype, self.store) if stored else None
        self.vlm.codec.prefilled = self._kept(dtype, self._prefills) if prefilled else None

    def _kept(self, dtype: torch.dtype, store: FeatureStore) -> Stored:
        return self._stored.setdefault((dtype, store is self.store), Stored(store, dtype, dtype))

    def _step(self, examples: Sequence[Example], packed: bool) -> None:
        batch = self._batch(examples, packed)
        with precision.autocast():
            loss, tokens = self.vlm.loss(batch)
        (loss / tokens).backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def _batch(self, examples: Sequence[Example], packed: bool) -> dict[str, Tensor]:
        return self.vlm.codec.packed_batch(examples) if packed else self.vlm.codec.train_batch(examples)
