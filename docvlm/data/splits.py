"""Splits and limits that never cut a document in two.

Documents are ordered by a hash of (seed, document), not by a shuffle of the list: the order does not depend on which
other documents there are, so a page added to a folder moves no other page from train to test.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from docvlm.data.example import Example
from docvlm.errors import DocvlmError


def documents(examples: Sequence[Example]) -> dict[str, list[Example]]:
    """Examples by document, both in the order given."""
    grouped: dict[str, list[Example]] = {}
    for example in examples:
        grouped.setdefault(example.document, []).append(example)
    return grouped


def shuffled(examples: Sequence[Example], seed: int) -> list[list[Example]]:
    """Whole documents in seeded order."""
    grouped = documents(examples)
    return [grouped[document] for document in sorted(grouped, key=lambda document: _rank(seed, document))]


def holdout(examples: Sequence[Example], fraction: float, seed: int) -> tuple[list[Example], list[Example]]:
    """(rest, held): whole documents are held until they have `fraction` of the questions.

    Any fraction above 0 holds at least one document and leaves at least one, where there are two. Both keep the given
    order. Raises `DocvlmError` if the fraction is not within 0 and 1.
    """
    if not 0 <= fraction <= 1:
        raise DocvlmError(f"data.val_fraction={fraction}: a share of the questions must lie between 0 and 1")
    groups = shuffled(examples, seed)
    held: set[str] = set()
    count = 0
    for group in groups if fraction else []:
        if count >= fraction * len(examples) or (fraction < 1 and len(held) == len(groups) - 1):
            break
        held.add(group[0].document)
        count += len(group)
    return [e for e in examples if e.document not in held], [e for e in examples if e.document in held]


def limit(examples: Sequence[Example], count: int | None, seed: int) -> list[Example]:
    """At most `count` questions as whole documents in seeded order; never fewer than one document unless `count` is 0.

    None takes all. The given order is kept. Raises `DocvlmError` for a negative count.
    """
    if count is None or count >= len(examples):
        return list(examples)
    if count < 0:
        raise DocvlmError(
            f"data.limit={count}: a number of questions cannot be negative; take 0 or more, or null for all"
        )
    kept = fitting(shuffled(examples, seed), count)
    names = {group[0].document for group in kept}
    return [example for example in examples if example.document in names]


def fitting(groups: Sequence[list[Example]], count: int) -> list[list[Example]]:
    """Documents taken in order while their questions fit into `count`; the first is taken if none fits."""
    kept: list[list[Example]] = []
    room = count
    for group in groups:
        if len(group) <= room:
            kept.append(group)
            room -= len(group)
    return kept or list(groups[: min(count, 1)])


def _rank(seed: int, document: str) -> bytes:
    return hashlib.blake2b(f"{seed}\0{document}".encode(errors="surrogatepass"), digest_size=16).digest()
