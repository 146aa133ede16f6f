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

import hashlib
from array import array
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, product

import numpy as np
from PIL import Image
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from docvlm.data.example import Example, Page
from docvlm.data.leakage import registration
from docvlm.data.leakage.candidates import FEW, FIRST, candidates
from docvlm.data.leakage.hash_cache import HashCache, page_hashes
from docvlm.data.leakage.hashes import margins
from docvlm.data.leakage.parallel import parallel_map
from docvlm.data.leakage.prefilter import Margins
from docvlm.data.leakage.stand_ins import StandIns
from docvlm.data.leakage.table import PageTable
from docvlm.metrics.text import squad_normalise

KINDS = ("document", "pixels", "near", "question")
SAME = 0.97  # agreement from which two pages are one
LIKE = 0.85  # agreement from which questions decide
Pair = tuple[Page, Page]
TOGETHER = 16  # pages that a process compares at a time with those like them
LOOKS = 8192  # pairs of pages that are looked at before what was found is kept
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
    every = dict.fromkeys(page for split in placed.values() for page in split.on)
    pages = {page: number for number, page in enumerate(every)}
    overlaps: list[Overlap] = []
    compared = 0
    with PageTable(len(pages)) as table, StandIns(say) as stand_ins:
        for number, one in page_hashes(list(pages), cache, say):
            table.put(number, one)
        if cache is not None:
            cache.save()
        known = _Known(pages, table)
        for name in evaluated:
            overlaps += _same_ids(placed["train"], placed[name], name)
            found = _Close(known, placed["train"], placed[name])
            compared += found.count
            for looks in found.looks():
                shares = _agreements(
                    {look.pair: look.copies for look in looks if look.bits is not None}, known, cache, say, stand_ins
                )
                for look in looks:
                    for pair in look.shown:
                        share = shares.get(look.pair)
                        overlaps += _judged(placed["train"], placed[name], name, pair, look.bits, share)
                if cache is not None:
                    cache.save()  # what has been looked at is kept, wherever this is stopped
    leaking = {(overlap.benchmark, overlap.train) for overlap in overlaps}
    return Audit(
        sorted(overlaps, key=lambda o: (KINDS.index(o.kind), o.split, -(o.agreement or 1.0), o.train)),
        [bad for name, split in placed.items() for bad in split.unreadable(name, known)],
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

    def unreadable(self, split: str, known: _Known) -> list[Unreadable]:
        errors = {page: known.table.errors.get(known.numbers[page]) for page in self.on} if known.table.errors else {}
        return [Unreadable(split, page.name, error, len(self.on[page])) for page, error in errors.items() if error]


def _same_ids(train: _Placed, other: _Placed, split: str) -> list[Overlap]:
    both = [(mine, other.documents[name]) for name, mine in train.documents.items() if name in other.documents]
    return [
        Overlap("document", split, mine.document, theirs.document, mine.benchmark, mine.pages[0], theirs.pages[0])
        for mine, theirs in both
    ]


class _Known:
    """What is known of every page, by its number. `contents`: the first page that has the same pixels."""

    def __init__(self, numbers: dict[Page, int], table: PageTable) -> None:
        self.numbers, self.table = numbers, table
        self.pages = list(numbers)
        self.contents = table.contents()

    def readable(self, split: _Placed) -> np.ndarray:
        """The numbers of the pages of a split that can be decoded."""
        numbers = np.fromiter((self.numbers[page] for page in split.on), np.int64, len(split.on))
        return numbers[self.table.known[numbers]]


@dataclass(frozen=True)
class _Look:
    """Two pages that are compared, with the distance of their hashes, and the pairs of pages of which they show that.

    `bits` is None where the pixels are the same, and nothing is compared. `copies`: nothing is asked of any of these
    pairs that would make less than a copy an overlap.
    """

    pair: Pair
    bits: int | None
    shown: Sequence[Pair]
    copies: bool = False


class _Close:
    """Pages of train and of another split that are worth a second look; `count` pairs whose hashes are close."""

    def __init__(self, known: _Known, train: _Placed, other: _Placed) -> None:
        self._known, self._train, self._other = known, train, other
        self._ours, self._theirs = (_Contents(known, split) for split in (train, other))
        ours, theirs = self._ours.contents, self._theirs.contents
        self._same = np.intersect1d(ours, theirs)
        self._found = candidates(known.table, ours, theirs, (self._ours.asked(), self._theirs.asked()))
        self.count = self._found.met + len(self._same)

    def looks(self) -> Iterator[list[_Look]]:
        """What to look at, `LOOKS` at a time: look-alikes are many, and their pairs never all in memory."""
        each = self._each()
        while some := list(islice(each, LOOKS)):
            yield some

    def _each(self) -> Iterator[_Look]:
        pages = self._known.pages
        for content in self._same.tolist():
            yield _Look((pages[content], pages[content]), None, self._pairs(content, content))
        found = self._found
        columns = (found.ours.tolist(), found.theirs.tolist(), found.bits.tolist(), found.whole.tolist())
        for ours, theirs, bits, whole in zip(*columns, strict=True):
            every = self._pairs(ours, theirs)
            alike = [pair for pair in every if self._asked_alike(pair)]
            if whole or alike:  # else two fillings of one form
                yield _Look((pages[ours], pages[theirs]), bits, every if whole else alike, not alike)

    def _pairs(self, ours: int, theirs: int) -> list[Pair]:
        """The pages of two contents; where both have more than `FEW`, each of train with the first of the others."""
        one, other = self._ours.pages(ours), self._theirs.pages(theirs)
        if min(len(one), len(other)) > FEW:
            other = other[:FIRST]
        return [(mine, its) for mine in one for its in other]

    def _asked_alike(self, pair: Pair) -> bool:
        both = product(_documents(self._train.on[pair[0]]), _documents(self._other.on[pair[1]]))
        return any(asked and not contradicted for asked, contradicted in (_asked(*one) for one in both))


class _Contents:
    """The contents of a split's pages, each once, in ascending order."""

    def __init__(self, known: _Known, split: _Placed) -> None:
        self._known, self._split = known, split
        self._numbers = known.readable(split)
        self._of = known.contents[self._numbers]
        self._order = np.argsort(self._of, kind="stable")
        self.contents, self._starts = np.unique(self._of[self._order], return_index=True)

    def pages(self, content: int) -> list[Page]:
        """The pages of this content."""
        place = int(np.searchsorted(self.contents, content))
        stop = self._starts[place + 1] if place + 1 < len(self._starts) else len(self._order)
        numbers = self._numbers[self._order[self._starts[place] : stop]]
        return [self._known.pages[number] for number in numbers.tolist()]

    def asked(self) -> tuple[np.ndarray, np.ndarray]:
        """A code for each question with each of its answers, and the place of its page in `contents`."""
        codes, places = array("Q"), array("q")
        where = np.searchsorted(self.contents, self._of).tolist()
        for number, place in zip(self._numbers.tolist(), where, strict=True):
            examples = self._split.on[self._known.pages[number]]
            found = {(squad_normalise(e.question), answer) for e in examples for answer in _normalised(e)}
            codes.extend(_code(*one) for one in found)
            places.extend([place] * len(found))
        return np.frombuffer(codes, np.uint64), np.frombuffer(places, np.int64)


def _code(question: str, answer: str) -> int:
    said = hashlib.blake2b(f"{question}\0{answer}".encode(errors="surrogatepass"), digest_size=8)
    return int.from_bytes(said.digest(), "little")


def _agreements(
    pairs: Mapping[Pair, bool],
    known: _Known,
    cache: HashCache | None,
    say: Callable[[str], None],
    stand_ins: StandIns,
) -> dict[Pair, float]:
    """How far the pages of each pair agree, from `cache` where it knows. `pairs` say whether only a copy counts."""
    found = {page: known.table.hash_of(known.numbers[page]) for pair in pairs for page in pair}
    shares: dict[Pair, float] = {}
    if cache is not None:
        for copies in (False, True):
            named = {(found[one], found[other]): (one, other) for (one, other), only in pairs.items() if only == copies}
            shares |= {named[both]: share for both, share in cache.agreements(named, copies).items()}
    looks: dict[Page, list[tuple[Page, tuple[Margins, Margins], bool]]] = {}
    for one, other in _neighbours([pair for pair in pairs if pair not in shares]):
        looks.setdefault(one, []).append((other, margins(found[one], found[other]), pairs[one, other]))
    of = stand_ins.of(page for one, others in looks.items() for page in (one, *(other for other, *_ in others)))
    asked = [(of[one], [(of[other], cuts, only) for other, cuts, only in others]) for one, others in looks.items()]
    compared = parallel_map(_compared, asked, say, "pages to compare with those like them", TOGETHER)
    _sketch.clear()
    new = {
        (one, other): share
        for (one, others), agreed in zip(looks.items(), compared, strict=True)
        for (other, *_), share in zip(others, agreed, strict=True)
    }
    if cache is not None:
        for copies in (False, True):
            some = {(found[one], found[other]): new[one, other] for one, other in new if pairs[one, other] == copies}
            cache.add_agreements(some, copies)
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


def _compared(look: tuple[Page, Sequence[tuple[Page, tuple[Margins, Margins], bool]]]) -> list[float]:
    """How far a page agrees with each of some others."""
    one, others = look
    sketch = _sketch(one)
    return [
        share
        for start in range(0, len(others), SEVERAL)
        for share in registration.agreements(
            sketch, [(_sketch(other), cuts, only) for other, cuts, only in others[start : start + SEVERAL]]
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
