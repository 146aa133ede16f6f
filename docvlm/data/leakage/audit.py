"""Leakage: whether a document that is evaluated is also learned from.

Train is compared with every evaluation split by

    document   the same document id in the same benchmark
    pixels     the same decoded pixels, whatever the file is called and however it is compressed
    near       the same page cropped, scaled, turned or compressed anew (perceptual hash, then `registration.agreement`)
    question   a page much like another, on which the same question has the same answer and none has another

The limits are measured (`bench/audit.py`, docs/results/benchmarks.md): `BITS_APART` leaves hardly a copy out, `SAME`
lets hardly a pair of receipts of one shop through. Pure functions of the examples but for the cache of hashes. Cost:
each page is opened once, pages of pairs whose hashes are close about once more (streamed ones in the order in which
they lie); nothing is opened where nothing has changed. Look-alikes are looked at pair by pair, so that time grows with
the square of their number.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from docvlm.data.example import Example, Page
from docvlm.data.leakage import registration
from docvlm.data.leakage.hash_cache import HashCache, page_hashes
from docvlm.data.leakage.hashes import PageHash, distances, margins
from docvlm.data.leakage.parallel import parallel_map
from docvlm.data.leakage.prefilter import Margins
from docvlm.data.leakage.stand_ins import StandIns
from docvlm.metrics.text import squad_normalise

KINDS = ("document", "pixels", "near", "question")
BITS_APART = 24  # of 144: hashes this close are looked at
SAME = 0.97  # agreement from which two pages are one
LIKE = 0.85  # agreement from which questions decide
Pair = tuple[Page, Page]
TOGETHER = 16  # pages that a process compares at a time with those like them
SEVERAL = 64  # pages that one is compared with at once
HELD = 64 << 20  # bytes of sketches of pages in memory, half a megabyte each at most


@dataclass(frozen=True)
class Overlap:
    """A document of train that an evaluation split has too, with the pages that show it; by id, the first of each.

    `bits` is the distance of the hashes (of 144), `agreement` the share of the page that shows the same; both None
    where they were not needed. `asked`: questions with their answer that stand on both sides.
    """

    kind: str
    split: str
    train: str
    evaluated: str
    benchmark: str
    page: Page
    other: Page
    bits: int | None = None
    agreement: float | None = None
    asked: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        by_id = self.kind == "document"
        one, other = (self.train, self.evaluated) if by_id else (self.page.name, self.other.name)
        return f"{self.kind}: {one} (train) = {other} ({self.split})"


@dataclass(frozen=True)
class Unreadable:
    """A page that cannot be decoded, and how many questions need it."""

    split: str
    page: str
    reason: str
    questions: int


@dataclass(frozen=True)
class Audit:
    """What was found. `questions`, `documents` and `pages` count each split."""

    overlaps: list[Overlap]
    unreadable: list[Unreadable]
    questions: dict[str, int]
    documents: dict[str, int]
    pages: dict[str, int]
    compared: int = 0  # pairs of pages whose hashes were close
    leaking_questions: int = 0  # of train, on documents that an evaluation split has too

    @property
    def leaking(self) -> set[tuple[str, str]]:
        """(benchmark, document) of train that must not be learned from."""
        return {(overlap.benchmark, overlap.train) for overlap in self.overlaps}

    def counts(self) -> dict[tuple[str, str], int]:
        """Overlaps by (split, kind)."""
        return dict(Counter((overlap.split, overlap.kind) for overlap in self.overlaps))


def audit(
    train: Sequence[Example],
    evaluated: Mapping[str, Sequence[Example]],
    cache: HashCache | None = None,
    say: Callable[[str], None] = print,
) -> Audit:
    """Compare train with each evaluation split. `cache` remembers pages between calls and is saved."""
    splits = {"train": train, **evaluated}
    placed = {name: _Placed(examples) for name, examples in splits.items()}
    pages = list(dict.fromkeys(page for split in placed.values() for page in split.on))
    found = dict(zip(pages, page_hashes(pages, cache, say), strict=True))
    overlaps: list[Overlap] = []
    compared = 0
    with StandIns(say) as stand_ins:
        for name in evaluated:
            overlaps += _same_ids(placed["train"], placed[name], name)
            for close in _close(placed["train"], placed[name], found):
                compared += len(close)
                alike = [pair for pair, bits in close.items() if bits is not None]
                shares = _agreements(alike, found, cache, say, stand_ins)
                for pair, bits in close.items():
                    share = shares[pair] if bits is not None else None
                    overlaps += _judged(placed["train"], placed[name], name, pair, bits, share)
                if cache is not None:
                    cache.save()  # what has been looked at is kept, wherever this is stopped
    if cache is not None:
        cache.save()
    leaking = {(overlap.benchmark, overlap.train) for overlap in overlaps}
    return Audit(
        sorted(overlaps, key=lambda o: (KINDS.index(o.kind), o.split, -(o.agreement or 1.0), o.train)),
        [bad for name, split in placed.items() for bad in split.unreadable(name, found)],
        {name: len(examples) for name, examples in splits.items()},
        {name: len(split.documents) for name, split in placed.items()},
        {name: len(split.on) for name, split in placed.items()},
        compared,
        sum((example.benchmark, example.document) in leaking for example in train),
    )


class _Placed:
    """A split by document and by page."""

    def __init__(self, examples: Sequence[Example]) -> None:
        self.documents: dict[tuple[str, str], Example] = {}
        self.on: dict[Page, list[Example]] = {}  # not by name: two sources may use one name for two pages
        for example in examples:
            self.documents.setdefault((example.benchmark, example.document), example)
            for page in example.pages:
                self.on.setdefault(page, []).append(example)

    def unreadable(self, split: str, found: Mapping[Page, PageHash]) -> list[Unreadable]:
        return [
            Unreadable(split, page.name, found[page].error, len(asked))
            for page, asked in self.on.items()
            if found[page].error
        ]


def _same_ids(train: _Placed, other: _Placed, split: str) -> list[Overlap]:
    both = [(mine, other.documents[name]) for name, mine in train.documents.items() if name in other.documents]
    return [
        Overlap("document", split, mine.document, theirs.document, mine.benchmark, mine.pages[0], theirs.pages[0])
        for mine, theirs in both
    ]


def _close(train: _Placed, other: _Placed, found: Mapping[Page, PageHash]) -> Iterator[dict[Pair, int | None]]:
    """Pairs of pages worth a second look, some pages of train at a time, with the distance of their hashes.

    None where the pixels are the same. Look-alikes are many: their pairs are never all in memory.
    """
    ours, theirs = ([page for page in split.on if not found[page].error] for split in (train, other))
    if not ours or not theirs:
        return
    for start, block in distances([found[page] for page in ours], [found[page] for page in theirs]):
        pairs: dict[Pair, int | None] = {}
        for row, column in np.argwhere(block <= BITS_APART):
            one, another = ours[start + row], theirs[column]
            equal = found[one].pixels == found[another].pixels
            pairs[one, another] = None if equal else int(block[row, column])
        yield pairs


def _agreements(
    pairs: Sequence[Pair],
    found: Mapping[Page, PageHash],
    cache: HashCache | None,
    say: Callable[[str], None],
    stand_ins: StandIns,
) -> dict[Pair, float]:
    """How far the pages of each pair agree, from `cache` where it knows."""
    shares: dict[Pair, float] = {}
    if cache is not None:
        known = cache.agreements((found[one], found[other]) for one, other in pairs)
        shares = {pair: known[both] for pair in pairs if (both := (found[pair[0]], found[pair[1]])) in known}
    looks: dict[Page, list[tuple[Page, tuple[Margins, Margins]]]] = {}
    for one, other in _neighbours([pair for pair in pairs if pair not in shares]):
        looks.setdefault(one, []).append((other, margins(found[one], found[other])))
    of = stand_ins.of(page for one, others in looks.items() for page in (one, *(other for other, _ in others)))
    asked = [(of[one], [(of[other], cuts) for other, cuts in others]) for one, others in looks.items()]
    compared = parallel_map(_compared, asked, say, "pages to compare with those like them", TOGETHER)
    _sketch.clear()
    new = {
        (one, other): share
        for (one, others), agreed in zip(looks.items(), compared, strict=True)
        for (other, _), share in zip(others, agreed, strict=True)
    }
    if cache is not None:
        cache.add_agreements({(found[one], found[other]): share for (one, other), share in new.items()})
    return shares | new


def _neighbours(pairs: Sequence[Pair]) -> list[Pair]:
    """The pairs, those of pages that are linked by pairs beside each other: each page is then opened about once."""
    number: dict[Page, int] = {}
    for pair in pairs:
        for page in pair:
            number.setdefault(page, len(number))
    if not number:
        return []
    ends = np.array([[number[one], number[other]] for one, other in pairs])
    links = coo_array((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(len(number), len(number)))
    group = connected_components(links, directed=False)[1]
    return sorted(pairs, key=lambda pair: (group[number[pair[0]]], number[pair[0]], number[pair[1]]))


def _compared(look: tuple[Page, Sequence[tuple[Page, tuple[Margins, Margins]]]]) -> list[float]:
    """How far a page agrees with each of some others."""
    one, others = look
    sketch = _sketch(one)
    return [
        share
        for start in range(0, len(others), SEVERAL)
        for share in registration.agreements(
            sketch, [(_sketch(other), cuts) for other, cuts in others[start : start + SEVERAL]]
        )
    ]


class _Sketches:
    """What is compared of pages, kept while `HELD` bytes hold it."""

    def __init__(self) -> None:
        self._of: OrderedDict[Page, Image.Image] = OrderedDict()
        self._bytes = 0

    def __call__(self, page: Page) -> Image.Image:
        if page in self._of:
            self._of.move_to_end(page)
            return self._of[page]
        self._of[page] = sketch = registration.sketch(page.open())
        self._bytes += sketch.width * sketch.height
        while self._bytes > HELD and len(self._of) > 1:
            _, oldest = self._of.popitem(last=False)
            self._bytes -= oldest.width * oldest.height
        return sketch

    def clear(self) -> None:
        """Keep none."""
        self._of.clear()
        self._bytes = 0


_sketch = _Sketches()


def _judged(
    train: _Placed, other: _Placed, split: str, pair: Pair, bits: int | None, share: float | None
) -> list[Overlap]:
    """The overlap of two pages, one for each pair of documents they stand in; empty where they are two pages."""
    judged = []
    for mine in _documents(train.on[pair[0]]):
        for theirs in _documents(other.on[pair[1]]):
            asked, contradicted = _asked(mine, theirs)
            kind = "pixels" if share is None else "near" if share >= SAME else ""
            if not kind and share is not None and share >= LIKE and asked and not contradicted:
                kind = "question"
            if kind:
                names = (mine[0].document, theirs[0].document, mine[0].benchmark)
                judged.append(Overlap(kind, split, *names, *pair, bits, share, asked))
    return judged


def _documents(examples: Iterable[Example]) -> list[list[Example]]:
    grouped: dict[tuple[str, str], list[Example]] = {}
    for example in examples:
        grouped.setdefault((example.benchmark, example.document), []).append(example)
    return list(grouped.values())


def _asked(mine: Sequence[Example], theirs: Sequence[Example]) -> tuple[tuple[tuple[str, str], ...], bool]:
    """Questions (with their answer) that both ask and answer alike, and whether one is answered otherwise.

    Receipts of one shop agree on the shop's name and address; only a copy agrees on everything that is asked of both.
    """
    answers = {squad_normalise(example.question): example for example in theirs}
    both = [(e, answers[q]) for e in mine if (q := squad_normalise(e.question)) in answers]
    alike = [_normalised(one) & _normalised(other) for one, other in both]
    asked = tuple((one.question, one.target) for (one, _), same in zip(both, alike, strict=True) if same)
    return asked, not all(alike)


def _normalised(example: Example) -> set[str]:
    return {squad_normalise(answer) for answer in example.answers}
