"""Which examples make up which batch, on which rank: pure functions of (seed, epoch), so that a run can stop anywhere.

Both samplers yield whole batches of indices (the loader has `batch_size=None`). They are `DistributedSampler`s so that
Lightning knows ranks are taken care of and does not put its own in front, which would repeat examples.

    training    one shuffled order an epoch, questions about the same pages side by side so that they can share them.
                By count: cut into global batches, and rank r takes the r-th piece of each:
                1 process x 4 and 2 processes x 2 see the same examples in the same step.
                By tokens: filled up to a budget (`batching`), dealt out to ranks; equally many each epoch
    evaluation  longest first, cut into batches, batches dealt out to ranks; every example exactly once

Where pages are streamed both go through windows of row groups (`windows`), in training in another order each epoch.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from torch.utils.data import DataLoader, Dataset, DistributedSampler, get_worker_info

from docvlm import process
from docvlm.data.loading.ahead import Ahead, Need
from docvlm.data.loading.batching import Lengths, by_tokens, cut_to
from docvlm.data.loading.windows import Homes
from docvlm.errors import DocvlmError

if TYPE_CHECKING:
    from docvlm.data.example import Example


def epoch_order(
    parts: Sequence[tuple[int, float]], seed: int, epoch: int, groups: Sequence[int] | None = None
) -> np.ndarray:
    """Indices of one training epoch. `parts`: (number of examples, passes over them) of each stretch of the list.

    1.5 passes are every example once and a seeded half of them, another half each epoch, once more. Examples of one of
    the `groups` (a number for each example: those who share their pages) stay side by side; groups are shuffled, and
    so are the examples within one. Without groups every example is its own.
    """
    random = np.random.Generator(np.random.PCG64([seed, epoch]))
    passes_of: list[tuple[np.ndarray, np.ndarray]] = []  # (indices, their groups) of each pass over a part
    start = 0
    for size, passes in parts:
        indices = np.arange(start, start + size)
        own = indices if groups is None else np.asarray(groups)[indices]
        for share in [1.0] * math.floor(passes) + [passes % 1]:
            order = _grouped(indices, own, random)[: round(share * size)]
            passes_of.append((order, order if groups is None else np.asarray(groups)[order]))
        start += size
    if not passes_of:
        return np.arange(0)
    indices = np.concatenate([order for order, _ in passes_of])
    visits = np.concatenate([np.full(len(order), number) for number, (order, _) in enumerate(passes_of)])
    apart = np.concatenate([own for _, own in passes_of]) * len(passes_of) + visits  # a group once a pass
    return indices[_grouped(np.arange(len(indices)), apart, random)]


def _grouped(indices: np.ndarray, groups: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """`indices` shuffled, those of one group side by side."""
    names, group = np.unique(groups, return_inverse=True)
    return indices[np.lexsort((random.permutation(len(indices)), random.permutation(len(names))[group]))]


class TrainBatches(DistributedSampler):
    """Batches of indices of one rank, for the epoch last set; `resume` makes that epoch start later.

    `batch_size` counts examples; with `batch_tokens` batches are filled by `lengths` instead. `epochs`: how many there
    will be, since every one of them must have as many batches as the one that needs most. `homes`: of examples whose
    pages are streamed.
    """

    def __init__(
        self,
        dataset: Dataset[Any],
        batch_size: int | None,
        seed: int,
        *,
        parts: Sequence[tuple[int, float]],
        groups: Sequence[int] | None = None,
        batch_tokens: int | None = None,
        lengths: Lengths | None = None,
        epochs: int = 1,
        num_replicas: int = 1,
        rank: int = 0,
        homes: Homes | None = None,
    ) -> None:
        super().__init__(dataset, num_replicas=num_replicas, rank=rank, shuffle=True, seed=seed)
        self.batch_size = batch_size
        self.parts, self.groups, self.homes = tuple(parts), groups, homes
        self.batch_tokens, self.lengths = batch_tokens, lengths
        self.start = 0
        if batch_tokens is not None:
            most = max(len(self._filled(epoch)) for epoch in range(max(epochs, 1)))
            self._steps = math.ceil(most / num_replicas)

    def set_epoch(self, epoch: int) -> None:
        if epoch != self.epoch:
            self.epoch, self.start = epoch, 0

    def resume(self, epoch: int, batches: int) -> None:
        """Let `epoch` begin after its first `batches` batches."""
        self.epoch, self.start = epoch, batches

    def __iter__(self) -> Iterator[Any]:
        steps = self._by_count() if self.batch_tokens is None else self._by_tokens()
        return (step[self.rank].tolist() for step in itertools.islice(steps, self.start, None))

    def __len__(self) -> int:
        if self.batch_tokens is not None:
            return self._steps
        assert self.batch_size is not None
        drawn = sum(math.floor(passes) * size + round((passes % 1) * size) for size, passes in self.parts)
        return math.ceil(drawn / (self.batch_size * self.num_replicas))

    def needs(self) -> tuple[list[Need], int]:
        """The row groups of what is left of the epoch, with the step of each, and the bytes of a window of them.

        A page that is kept by itself needs none.
        """
        if self.homes is None:
            return [], 0
        found: dict[int, int] = {}
        steps = self._by_count() if self.batch_tokens is None else self._by_tokens()
        for step, batches in itertools.islice(enumerate(steps), self.start, None):
            for home in self.homes.of[np.concatenate(batches)]:
                found.setdefault(int(home), step)
        places = {home: self.homes.places[home] for home in found if home >= 0}
        return [(found[home], page) for home, page in places.items() if not page.single], self.homes.limit

    def _windows(self, epoch: int) -> list[np.ndarray]:
        """The order of an epoch: in one piece, or as windows of row groups where pages are streamed."""
        order = epoch_order(self.parts, self.seed, epoch, self.groups)
        return [order] if self.homes is None else self.homes.ordered(order, self._grouping(), self.seed, epoch)

    def _grouping(self) -> np.ndarray:
        return np.arange(sum(size for size, _ in self.parts)) if self.groups is None else np.asarray(self.groups)

    def _by_count(self) -> Iterator[list[np.ndarray]]:
        assert self.batch_size is not None
        order, everyone = np.concatenate(self._windows(self.epoch)), self.batch_size * self.num_replicas
        for step in range(len(self)):
            batch = order[step * everyone : (step + 1) * everyone]
            # The last batch may be short: each rank still needs a share, or its collectives would hang.
            batch = np.concatenate([batch, np.resize(order, max(0, self.num_replicas - len(batch)))])
            yield np.array_split(batch, self.num_replicas)

    def _filled(self, epoch: int) -> list[np.ndarray]:
        assert self.batch_tokens is not None and self.lengths is not None
        random = np.random.Generator(np.random.PCG64([self.seed, epoch, self.batch_tokens]))
        filled = (
            by_tokens(order, self._grouping(), self.lengths, self.batch_tokens, random)
            for order in self._windows(epoch)  # no batch is of two windows: their pages are not here together
        )
        return [batch for window in filled for batch in window]

    def _by_tokens(self) -> Iterator[list[np.ndarray]]:
        everyone = self._steps * self.num_replicas
        batches = cut_to(self._filled(self.epoch), everyone)
        batches += batches[: everyone - len(batches)]
        for step in range(self._steps):
            yield batches[step * self.num_replicas : (step + 1) * self.num_replicas]


class EvalBatches(DistributedSampler):
    """Batches of indices of one rank, longest examples first; over all ranks every index comes exactly once.

    Ranks have equally many batches, but for one where there are fewer examples than that takes. With `homes` examples
    come window after window of row groups, the longest first within each.
    """

    def __init__(
        self,
        dataset: Dataset[Any],
        batch_size: int,
        *,
        lengths: Sequence[tuple[int, ...]],
        num_replicas: int = 1,
        rank: int = 0,
        homes: Homes | None = None,
    ) -> None:
        super().__init__(dataset, num_replicas=num_replicas, rank=rank, shuffle=False)
        order = sorted(range(len(lengths)), key=lambda index: lengths[index], reverse=True)
        if homes is not None:
            window = homes.windows(range(len(homes.sizes)))
            order.sort(key=lambda index: int(window[homes.of[index]]) if homes.of[index] >= 0 else -1)
        pieces = min(math.ceil(len(order) / (batch_size * num_replicas)) * num_replicas, len(order))
        batches = np.array_split(np.array(order, dtype=np.int64), pieces) if order else []
        self.batches = [batch.tolist() for batch in batches][rank::num_replicas]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


class Batches(Dataset[Any]):
    """A list of examples that is indexed by whole batches."""

    def __init__(self, examples: Sequence[Example], encode: Callable[[Sequence[Example]], Any]) -> None:
        self.examples = examples
        self.encode = encode

    def __getitem__(self, indices: Sequence[int]) -> Any:
        examples = [self.examples[index] for index in indices]
        if get_worker_info() is None:
            return self.encode(examples)
        try:
            return self.encode(examples)
        except DocvlmError as error:
            return error  # `PageLoader` raises it in the main process

    def __len__(self) -> int:
        return len(self.examples)


class PageLoader(DataLoader):
    """A loader whose workers hand a `DocvlmError` over as it is; torch would bury its one line in a traceback."""

    def __iter__(self) -> Any:
        for batch in super().__iter__():
            if isinstance(batch, DocvlmError):
                raise batch
            yield batch


class ResumableLoader(PageLoader):
    """A loader that can say where in the epoch it is, and go on there (Lightning stores it in the checkpoint)."""

    sampler: TrainBatches

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._given = 0

    def __iter__(self) -> Any:
        self._given = self.sampler.start
        batches = super().__iter__()
        needs, limit = self.sampler.needs()
        if not needs or process.local_rank():  # processes of one machine share what one of them fetches
            yield from self._counted(batches, None)
        else:
            with Ahead(needs, limit) as ahead:
                yield from self._counted(batches, ahead)

    def _counted(self, batches: Iterator[Any], ahead: Ahead | None) -> Iterator[Any]:
        for batch in batches:
            self._given += 1
            if ahead is not None:
                ahead.reach(self._given)
            yield batch

    def state_dict(self) -> dict[str, int]:
        """Epoch, and how many of its batches were handed out."""
        return {"epoch": self.sampler.epoch, "batches": self._given}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.sampler.resume(state["epoch"], state["batches"])
        self._given = state["batches"]
