"""Pages shared by their questions: one row a document, its pages first, then each question and answer as a branch.

In a decoder the pages come before the question, so what it computes on them does not depend on it: k questions need the
pages once. Every branch sees the pages and itself, not its siblings, and its positions restart right after the pages;
losses and gradients are those of k separate sequences (tests/data), the savings are in docs/LOG.md. Only
rows and masks are made here. A family whose encoder mixes page and question shares the tower's output.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from docvlm.data.example import Example

IGNORED = -100
PADDING = -1  # segment of a padded position; 0 is the pages, 1, 2, ... are the branches


@dataclass(frozen=True, slots=True)
class Branch:
    """One question after the pages: token ids up to the answer, and the answer's with its end token."""

    prompt: list[int]
    answer: list[int]


def by_pages(examples: Sequence[Example]) -> list[list[Example]]:
    """Examples that ask about the same pages together; documents and questions in the order they first come in."""
    groups: dict[tuple[object, ...], list[Example]] = {}
    for example in examples:
        groups.setdefault(example.pages, []).append(example)
    return list(groups.values())


def pack(rows: Sequence[tuple[list[int], Sequence[Branch]]], pad: int) -> dict[str, Tensor]:
    """(ids of the pages, branches) of each document as tensors (B x T).

    Padded on the left before the pages and on the right after the branches, so that the branches of all rows begin in
    one column. `input_ids`; `labels`, -100 everywhere but on answers; `segments`, which branch a position belongs to;
    `offsets`, its place in that branch, 0 on the pages.
    """
    flat = []
    split = max(len(prefix) for prefix, _ in rows)
    for prefix, branches in rows:
        before = split - len(prefix)
        ids, labels, offsets = [pad] * before + prefix, [IGNORED] * split, [0] * split
        segments = [PADDING] * before + [0] * len(prefix)
        for number, branch in enumerate(branches, start=1):
            ids += branch.prompt + branch.answer
            labels += [IGNORED] * len(branch.prompt) + branch.answer
            length = len(branch.prompt) + len(branch.answer)
            segments += [number] * length
            offsets += range(length)
        flat.append((ids, labels, segments, offsets))
    longest = max(len(ids) for ids, *_ in flat)
    names, fill = ("input_ids", "labels", "segments", "offsets"), (pad, IGNORED, PADDING, 0)
    return {
        name: torch.tensor([row[place] + [blank] * (longest - len(row[place])) for row in flat])
        for place, (name, blank) in enumerate(zip(names, fill, strict=True))
    }


def only_learned(batch: dict[str, Tensor], examples: Sequence[Example], learned: Sequence[bool]) -> dict[str, Tensor]:
    """A labelled batch of `examples`, packed or not, with labels on those alone of which `learned` says so."""
    labels = batch["labels"].clone()
    if "segments" not in batch:  # a row a question
        labels[~torch.tensor(learned)] = IGNORED
        return batch | {"labels": labels}
    place = {
        id(example): (row, branch)
        for row, group in enumerate(by_pages(examples))
        for branch, example in enumerate(group, 1)
    }
    for example, kept in zip(examples, learned, strict=True):
        row, branch = place[id(example)]
        if not kept:
            labels[row, batch["segments"][row] == branch] = IGNORED
    return batch | {"labels": labels}


def questions(batch: dict[str, Tensor]) -> int:
    """How many questions a training batch asks, packed or not."""
    return int(batch["segments"].amax(dim=1).sum()) if "segments" in batch else len(batch["labels"])


def split_of(segments: Tensor) -> int:
    """The column in which the branches of packed rows begin."""
    return int((segments > 0).any(dim=0).int().argmax())


def positions(prefix: Tensor, segments: Tensor, offsets: Tensor) -> Tensor:
    """M-RoPE positions (3 x B x T) of packed rows from those of their pages (3 x B x P): branches start after them."""
    split = prefix.shape[2]
    pages = segments[:, :split] == 0
    first = prefix.masked_fill(~pages, 0).amax(dim=(0, 2)) + 1
    branches = (first[:, None] + offsets[:, split:]).expand(3, -1, -1)
    return torch.cat([prefix, branches], dim=2)
