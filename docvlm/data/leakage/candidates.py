"""Which pairs of pages are worth a second look, without going through all pairs.

Pages meet where they share a detail (`details`). One that many pages have, such as a word of a form, says nothing of
two of them, and would make every pair of them meet. So pages meet at a detail where at most `FEW` details of one side
are like it. Where more are, they meet at more of its signs, in `LEVELS`; where more are like it in all of these too,
each page of train meets the first `FIRST` evaluated ones. A page of the larger side therefore meets at most `MOST` x
`FEW` others on average, whatever the pages are: time and memory grow with the pages and not with their pairs.

A pair of pages is worth a look where

    it met      at `MET` details and `MET_SHARE` of the rarer ones (`rare`: those at which it could); or it is among the
                `FIRST` that share most of the common ones; or the same question has the same answer on both
    its hashes  are `BITS_APART` bits apart at most
    again       `AGAIN` of the details of each are on the other about where they were, also of those that are rare

The last is what tells two fillings of one form apart. Where both are asked the same, `AGAIN_ASKED` of all details is
enough (`Candidates.whole` says which it is). Pages of the same pixels are one page here. What is found is exactly what
this says of all pairs (tests/data/test_leakage_candidates.py); what it costs in copies is measured
(docs/results/benchmarks.md).
"""

from __future__ import annotations

from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from docvlm.data.leakage.details import GRID, MOST, PLACE, again
from docvlm.data.leakage.table import PageTable, Parts
from docvlm.errors import DocvlmError

BITS_APART = 24  # of 144: hashes this close are looked at
FEW = 32  # pages of one side at most that have a detail at which pages meet
FIRST = 8  # evaluated pages that a page of train meets where more have it
LEVELS = (18, 24, 30)  # signs by which a detail is known, the first that few pages share
CELLS = 6  # columns and rows of a page in which a detail is known
MET = 2  # details at which a pair meets
MET_SHARE = 0.12  # of the rare details of the page that has fewer; copies reach 0.14
AGAIN = 0.62  # copies reach 0.65, charts that are cropped 0.5
AGAIN_ASKED = 0.5  # where the same question has the same answer on both
AT_ONCE = 1 << 19  # details that are sorted at a time, about: 4 MB
MEETINGS = 1 << 18  # that are counted at a time
LOOKED = 32  # pairs whose details are compared at a time: 10 MB
READ = 1024  # pages whose details are read at a time
BLOCK = 2048  # pages of train whose meetings are summed up at a time
OWNER = 21  # bits that number the pages of a side
SLOT = 7  # bits that number the details of a page
_CELL = 6  # bits
_VOTES = 24  # bits
_WIDE = GRID // CELLS
_MIXED = 0x9E3779B1  # spreads keys that differ little over the parts
Rare = tuple[np.ndarray, np.ndarray]  # pages x details, for each side
Asked = tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Candidates:
    """Pairs of pages by number, in the order of the pages of train. `whole`: rare details are there again too."""

    ours: np.ndarray
    theirs: np.ndarray
    bits: np.ndarray
    whole: np.ndarray
    met: int  # pairs whose details were compared


class _Met:
    """Pairs (place in one side, place in the other) and at how many details each met, in a file without a name.

    They are summed up for `BLOCK` pages of the one side at a time.
    """

    def __init__(self, table: PageTable, ours: np.ndarray, theirs: np.ndarray) -> None:
        self._table, self._ours, self._theirs = table, ours, theirs
        self._kept = Parts(1 + len(ours) // BLOCK)

    def add(self, one: np.ndarray, other: np.ndarray) -> None:
        """Count meetings; those of pages whose hashes are not close are forgotten."""
        pairs, votes = np.unique(one << OWNER | other, return_counts=True)
        first, second = pairs >> OWNER, pairs & ((1 << OWNER) - 1)
        close = self._table.close(self._ours[first], self._theirs[second], BITS_APART)
        first, second, votes = first[close], second[close], votes[close]
        self._kept.add(first // BLOCK, ((first % BLOCK << OWNER | second) << _VOTES | votes).astype(np.uint64))

    def block(self, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Place in the one side, place in the other, number of meetings, in this order, for a block of the one side."""
        kept = self._kept.part(number).astype(np.int64)
        pairs, place = np.unique(kept >> _VOTES, return_inverse=True)
        votes = np.bincount(place, kept & ((1 << _VOTES) - 1), len(pairs)).astype(np.int64)
        return (pairs >> OWNER) + number * BLOCK, pairs & ((1 << OWNER) - 1), votes

    def close(self) -> None:
        """Give the file back."""
        self._kept.close()


def candidates(table: PageTable, ours: np.ndarray, theirs: np.ndarray, asked: Asked) -> Candidates:
    """Pairs of these pages of train and these evaluated ones that are worth a look; pages of different pixels only.

    `asked`: codes of questions with their answer and the places of their pages in `ours`, and the same for `theirs`.
    """
    for side in (ours, theirs):
        if len(side) >> OWNER:
            raise DocvlmError(f"audit: {len(side)} pages in one split, {1 << OWNER} at most; give the data in parts")
    rare: Rare = np.zeros((len(ours), MOST), dtype=bool), np.zeros((len(theirs), MOST), dtype=bool)
    with ExitStack() as files:
        met, common, linked = (files.enter_context(closing(_Met(table, ours, theirs))) for _ in range(3))
        parts = 1 + int(table.counts[ours].sum(dtype=np.int64) + table.counts[theirs].sum(dtype=np.int64)) // AT_ONCE
        one, other = (files.enter_context(closing(_dealt(table, side, parts))) for side in (ours, theirs))
        for part in range(parts):
            _meet(np.sort(one.part(part)), np.sort(other.part(part)), rare, met, common)
        _meet_by_question(asked, linked)
        found = [
            _compared(table, ours, theirs, rare, _worth(rare, met.block(n), common.block(n), linked.block(n)))
            for n in range(1 + len(ours) // BLOCK)
        ]
    ours, theirs, bits, whole = (
        np.concatenate([getattr(one, name) for one in found]) for name in ("ours", "theirs", "bits", "whole")
    )
    return Candidates(ours, theirs, bits, whole, sum(one.met for one in found))


Met = tuple[np.ndarray, np.ndarray, np.ndarray]


def _worth(rare: Rare, met: Met, common: Met, linked: Met) -> tuple[np.ndarray, np.ndarray]:
    """The pairs of a block that met at details enough, or at common ones most often, or by their questions."""
    first, second, votes = met
    fewer = np.minimum(rare[0].sum(1)[first], rare[1].sum(1)[second])
    enough = votes >= np.maximum(MET, np.ceil(MET_SHARE * fewer))
    some = ((first[enough], second[enough]), _most(*common), linked[:2])
    pairs = np.unique(np.concatenate([one << OWNER | other for one, other in some]))
    return pairs >> OWNER, pairs & ((1 << OWNER) - 1)


def _dealt(table: PageTable, pages: np.ndarray, parts: int) -> Parts:
    """The details of pages as entries, those that share a first level in one part.

    An entry is 64 bits: what a detail is known by, the place of its page, its number on it.
    """
    dealt = Parts(parts)
    for start in range(0, len(pages), READ):
        entries = _entries(table.details(pages[start : start + READ]), start)
        first = entries >> np.uint64(OWNER + SLOT + LEVELS[-1] - LEVELS[0])
        dealt.add((first * np.uint64(_MIXED) >> np.uint64(16)) % np.uint64(parts), entries)
    return dealt


def _entries(codes: np.ndarray, first: int) -> np.ndarray:
    row, slot = np.nonzero(codes)
    owner = (row + first).astype(np.uint64) << np.uint64(SLOT) | slot.astype(np.uint64)
    return _known(codes[row, slot]) << np.uint64(OWNER + SLOT) | owner


def _known(codes: np.ndarray) -> np.ndarray:
    """What details are known by: signs and cell of the first level at the top, then the signs of each level."""
    one = np.uint64(1)
    signs = codes >> np.uint64(2 * PLACE)
    side = np.uint64((1 << PLACE) - 1)
    column, row = codes >> np.uint64(PLACE) & side, codes & side
    wide = np.uint64(_WIDE)
    known = (signs & (one << np.uint64(LEVELS[0])) - one) << np.uint64(_CELL) | column // wide * np.uint64(
        CELLS
    ) + row // wide
    for before, level in pairwise(LEVELS):
        more = np.uint64(level - before)
        known = known << more | signs >> np.uint64(before) & (one << more) - one
    return known


@dataclass(frozen=True)
class _Runs:
    """Where the same keys stand beside each other: key, first place and number of each run."""

    keys: np.ndarray
    starts: np.ndarray
    counts: np.ndarray

    def over(self, each: np.ndarray) -> np.ndarray:
        """A value of each run, at each place."""
        return np.repeat(each, self.counts)


def _runs(keys: np.ndarray) -> _Runs:
    new = np.ones(len(keys), dtype=bool)
    new[1:] = keys[1:] != keys[:-1]
    starts = np.flatnonzero(new)
    return _Runs(keys[starts], starts, np.diff(starts, append=len(keys)))


def _both(one: _Runs, other: _Runs) -> tuple[np.ndarray, np.ndarray]:
    """For each run of the one, how often the other has its key, and where that begins."""
    if not len(other.keys):
        return np.zeros(len(one.keys), np.int64), np.zeros(len(one.keys), np.int64)
    place = np.minimum(np.searchsorted(other.keys, one.keys), len(other.keys) - 1)
    return np.where(other.keys[place] == one.keys, other.counts[place], 0), other.starts[place]


def _owner(entries: np.ndarray) -> np.ndarray:
    return (entries >> np.uint64(SLOT) & np.uint64((1 << OWNER) - 1)).astype(np.int64)


def _meet(one: np.ndarray, other: np.ndarray, rare: Rare, met: _Met, common: _Met) -> None:
    """Count the meetings at sorted entries of both sides, and note which are `rare`."""
    sides = [one, other]
    for level in LEVELS:
        shift = np.uint64(OWNER + SLOT + LEVELS[-1] - level)
        runs = [_runs(side >> shift) for side in sides]
        (theirs, at), (ours, _) = _both(*runs), _both(*runs[::-1])
        few = [np.minimum(run.counts, across) <= FEW for run, across in zip(runs, (theirs, ours), strict=True)]
        chosen = [run.over(some) for run, some in zip(runs, few, strict=True)]
        for side, here, noted in zip(sides, chosen, rare, strict=True):
            noted[_owner(side[here]), (side[here] & np.uint64((1 << SLOT) - 1)).astype(np.int64)] = True
        _count(met, sides[0], runs[0].over(np.where(few[0], theirs, 0)), runs[0].over(at), sides[1])
        sides = [side[~here] for side, here in zip(sides, chosen, strict=True)]
    runs = [_runs(side >> np.uint64(OWNER + SLOT)) for side in sides]
    theirs, at = _both(*runs)
    _count(common, sides[0], runs[0].over(np.minimum(theirs, FIRST)), runs[0].over(at), sides[1])


def _count(met: _Met, one: np.ndarray, counts: np.ndarray, starts: np.ndarray, other: np.ndarray) -> None:
    """Count meetings of each entry with so many of the other side, from a start on."""
    here = np.flatnonzero(counts)
    ends = np.cumsum(counts[here])
    for cut in np.split(here, np.searchsorted(ends, np.arange(MEETINGS, ends[-1] if len(ends) else 0, MEETINGS))):
        if not len(cut):
            continue
        many = counts[cut]
        beside = np.arange(many.sum()) - np.repeat(np.cumsum(many) - many, many)
        met.add(np.repeat(_owner(one[cut]), many), _owner(other[np.repeat(starts[cut], many) + beside]))


def _meet_by_question(asked: Asked, linked: _Met) -> None:
    """Count the meetings at questions with their answer that few pages of one side have."""
    (codes, owners), (others, theirs) = asked
    order, across = np.argsort(codes, kind="stable"), np.argsort(others, kind="stable")
    runs, beside = _runs(codes[order]), _runs(others[across])
    counts, at = _both(runs, beside)
    few = np.where(np.minimum(runs.counts, counts) <= FEW, counts, 0)
    one, other = (side.astype(np.uint64) << np.uint64(SLOT) for side in (owners[order], theirs[across]))
    _count(linked, one, runs.over(few), runs.over(at), other)


def _most(first: np.ndarray, second: np.ndarray, votes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each page of train the `FIRST` evaluated ones that it met most often, at `MET` details at least."""
    order = np.lexsort((second, -votes, first))
    runs = _runs(first[order])
    rank = np.arange(len(order)) - runs.over(runs.starts)
    kept = order[(rank < FIRST) & (votes[order] >= MET)]
    return first[kept], second[kept]


def _compared(
    table: PageTable, ours: np.ndarray, theirs: np.ndarray, rare: Rare, pairs: tuple[np.ndarray, np.ndarray]
) -> Candidates:
    """Those pairs of which each page has `AGAIN_ASKED` of its details on the other."""
    first, second = pairs
    share, of_rare = np.empty(len(first)), np.empty(len(first))
    for start in range(0, len(first), LOOKED):
        some = slice(start, start + LOOKED)
        codes = table.details(ours[first[some]]), table.details(theirs[second[some]])
        found = again(*codes)
        noted = rare[0][first[some]], rare[1][second[some]]
        share[some] = np.minimum(*(_share(here, code != 0, 0.0) for here, code in zip(found, codes, strict=True)))
        of_rare[some] = np.minimum(*(_share(here, there, 1.0) for here, there in zip(found, noted, strict=True)))
    kept = (share >= AGAIN_ASKED) & (ours[first] != theirs[second])  # a page that stands on both sides is no pair
    one, other = ours[first[kept]], theirs[second[kept]]
    return Candidates(one, other, table.bits(one, other), np.minimum(share, of_rare)[kept] >= AGAIN, len(first))


def _share(found: np.ndarray, of: np.ndarray, empty: float) -> np.ndarray:
    """How many of some details of each page were found; `empty` for a page that has none of them."""
    count = of.sum(1)
    return np.where(count, (found & of).sum(1) / np.maximum(count, 1), empty)
