"""Leakage: the pairs that are looked at are those that the rules say of all pairs, and grow with the pages only."""

from __future__ import annotations

import tracemalloc
from collections import Counter
from collections.abc import Iterator
from itertools import product

import numpy as np
import pytest

from docvlm.data.example import Example
from docvlm.data.generated import documents
from docvlm.data.leakage import audit as audit_room
from docvlm.data.leakage import candidates as room
from docvlm.data.leakage import hash_cache, table
from docvlm.data.leakage.audit import LIKE, SAME, audit
from docvlm.data.leakage.candidates import Candidates, candidates
from docvlm.data.leakage.details import FLIPPED, MOST, PLACE, SHIFT
from docvlm.data.leakage.hashes import PageHash, distances, margins, page_hash
from docvlm.data.leakage.parallel import parallel_each
from docvlm.data.leakage.registration import agreement, sketch
from docvlm.data.leakage.table import PageTable
from docvlm.data.pages import BytesPage
from docvlm.errors import DocvlmError
from tests.support.audit_pages import COPIES, drawn, encoded

NOTHING = np.empty(0, np.uint64), np.empty(0, np.int64)
Limits = dict[str, int]
SMALL: Limits = {"FEW": 3, "FIRST": 2, "AT_ONCE": 200, "BLOCK": 10, "MEETINGS": 64, "LOOKED": 8, "READ": 16}
"""Limits that a few dozen pages reach."""


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SMALL.items():
        monkeypatch.setattr(room, name, value)


def code(signs: int, column: int, row: int) -> int:
    return signs << 2 * PLACE | column << PLACE | row


def page(rng: np.random.Generator, number: int, common: list[int], own: int) -> PageHash:
    """A page of a form: details that nearly all to nearly none have, at times with another sign, and its own."""
    there = [one for place, one in enumerate(common, 1) if rng.random() < 1.5 * place / len(common)]
    kept = [one ^ (int(rng.random() < 0.3) << int(rng.integers(12, 48))) for one in there]
    new = [code(int(rng.integers(1 << 36)), *(int(n) for n in rng.integers(1, 48, 2))) for _ in range(own)]
    codes = np.unique(np.array([*kept, *new][:MOST], dtype=np.uint64))
    bits = rng.random(144) < (0.5 if number % 5 == 0 else 0.03)
    digits = tuple(np.packbits(bits ^ (rng.random(144) < 0.02)).tobytes().hex() for _ in range(6))
    return PageHash(f"{number:032x}", digits, details=codes.astype("<u8").tobytes())


def form(rng: np.random.Generator, count: int, size: int = 40, own: int = 20) -> list[PageHash]:
    common = [code(int(rng.integers(1 << 36)), *(int(n) for n in rng.integers(1, 48, 2))) for _ in range(size)]
    return [page(rng, number, common, int(rng.integers(own + 1))) for number in range(count)]


def found(pages: list[PageHash], train: int, asked: room.Asked = (NOTHING, NOTHING)) -> Candidates:
    with PageTable(len(pages)) as known:
        for number, one in enumerate(pages):
            known.put(number, one)
        numbers = np.arange(len(pages))
        return candidates(known, numbers[:train], numbers[train:], asked)


def codes(one: PageHash) -> list[int]:
    return [int(n) for n in np.frombuffer(one.details, "<u8")]


def key(one: int, level: int) -> tuple[int, int, int]:
    signs, column, row = one >> 2 * PLACE, one >> PLACE & 63, one & 63
    return signs & (1 << level) - 1, column // 8, row // 8


def again(one: PageHash, other: PageHash) -> list[bool]:
    """Which details of the one are on the other."""

    def beside(a: int, b: int) -> bool:
        return (
            (a >> 12 ^ b >> 12).bit_count() <= FLIPPED
            and abs((a >> 6 & 63) - (b >> 6 & 63)) <= SHIFT
            and abs((a & 63) - (b & 63)) <= SHIFT
        )

    return [any(beside(a, b) for b in codes(other)) for a in codes(one)]


def by_pairs(pages: list[PageHash], train: int) -> tuple[dict[tuple[int, int], bool], int]:
    """What the rules in `candidates` say, pair by pair: whether rare details are again there too; how many met."""
    entries = [(n < train, n, slot, one) for n, p in enumerate(pages) for slot, one in enumerate(codes(p))]
    rare: dict[int, set[int]] = {n: set() for n in range(len(pages))}
    votes: Counter[tuple[int, int]] = Counter()
    common: Counter[tuple[int, int]] = Counter()
    for level in room.LEVELS:
        sides: dict[tuple[int, int, int], tuple[list[tuple[int, int]], list[tuple[int, int]]]] = {}
        for ours, n, slot, one in entries:
            sides.setdefault(key(one, level), ([], []))[not ours].append((n, slot))
        few = {k for k, (one, other) in sides.items() if min(len(one), len(other)) <= room.FEW}
        for k in few:
            votes.update((a, b) for (a, _), (b, _) in product(*sides[k]))
            for n, slot in [*sides[k][0], *sides[k][1]]:
                rare[n].add(slot)
        entries = [entry for entry in entries if key(entry[3], level) not in few]
    for k, (one, other) in sides.items():
        if k not in few:
            common.update((a, b) for a, _ in one for b, _ in sorted(other)[: room.FIRST])
    (_, block), *_ = distances(pages[:train], pages[train:])
    close = {(a, b) for a, b in product(range(train), range(train, len(pages))) if block[a, b - train] <= 24}
    met = {
        (a, b)
        for (a, b), count in votes.items()
        if count >= max(room.MET, room.MET_SHARE * min(len(rare[a]), len(rare[b])))
    }
    for a in range(train):
        most = sorted((-count, b) for (one, b), count in common.items() if one == a and (a, b) in close)
        met |= {(a, b) for count, b in most[: room.FIRST] if -count >= room.MET}
    said = {}
    for a, b in met & close:
        here = again(pages[a], pages[b]), again(pages[b], pages[a])
        share = min(sum(side) / len(side) for side in here)
        shares = [
            sum(side[slot] for slot in rare[n]) / len(rare[n]) if rare[n] else 1.0
            for n, side in zip((a, b), here, strict=True)
        ]
        if share >= room.AGAIN_ASKED:
            said[a, b] = min(share, *shares) >= room.AGAIN
    return said, len(met & close)


@pytest.mark.parametrize("seed", range(8))
def test_what_is_found_is_what_the_rules_say_of_every_pair(seed: int, small: None) -> None:
    rng = np.random.default_rng(seed)
    pages = form(rng, 48, own=(20, 50)[seed % 2])
    for number in range(0, 24, 4):  # copies, of which a sign has flipped
        flipped = [one ^ (int(rng.random() < 0.3) << 40) for one in codes(pages[number])]
        details = np.array(flipped, "<u8").tobytes()
        pages.append(PageHash(f"{100 + number:032x}", pages[number].hashes, details=details))
    said, met = by_pairs(pages, 24)
    got = found(pages, 24)
    pairs = dict(zip(zip(got.ours.tolist(), got.theirs.tolist(), strict=True), got.whole.tolist(), strict=True))
    assert pairs == said and got.met == met < 24 * 30
    assert sum(said.values()) >= 4 and not all(said.values()), "copies, and fillings that are none"
    (_, block), *_ = distances(pages[:24], pages[24:])
    assert got.bits.tolist() == [block[a, b - 24] for a, b in pairs]


@pytest.fixture(scope="module")
def hashed() -> list[tuple[BytesPage, PageHash]]:
    """Drawn pages, and copies of some in every way."""
    images = [drawn(number) for number in range(60)]
    images += [document[0].pages[0].open() for document in documents("chartqa", "train", 20, "tiny", 0)]
    images += [copy(images[number]) for number, copy in enumerate(list(COPIES.values()) * 2)]
    return [(BytesPage(str(n), encoded(image), digest=str(n)), page_hash(image)) for n, image in enumerate(images)]


@pytest.mark.parametrize("seed", range(4))
def test_an_audit_finds_what_looking_at_every_close_pair_finds(
    hashed: list[tuple[BytesPage, PageHash]], seed: int
) -> None:
    order = np.random.default_rng(seed).permutation(len(hashed)).tolist()
    ours, theirs = ([hashed[n] for n in some] for some in (order[:60], order[60:]))
    asked = [[Example(p.name, "Which?", (p.name,), p.name, (p,), "folder") for p, _ in side] for side in (ours, theirs)]
    (_, block), *_ = distances([one for _, one in ours], [one for _, one in theirs])
    expected = set()
    for a, b in np.argwhere(block <= room.BITS_APART).tolist():
        (one, first), (other, second) = ours[a], theirs[b]
        shares = agreement(sketch(one.open()), sketch(other.open()), margins(first, second))
        if first.pixels == second.pixels or shares >= SAME:
            expected.add((one.name, other.name))
    result = audit(asked[0], {"val": asked[1]})
    assert {(o.train, o.evaluated) for o in result.overlaps} == expected and len(expected) >= 3


def work(count: int, monkeypatch: pytest.MonkeyPatch) -> tuple[int, int, int]:
    """Pairs whose hashes are compared, pairs whose details are, and the bytes it takes at most, for fillings."""
    pages, compared = form(np.random.default_rng(count), count, own=10), []
    close = PageTable.close
    monkeypatch.setattr(PageTable, "close", lambda self, a, b, most: compared.append(len(a)) or close(self, a, b, most))
    with PageTable(count) as known:
        for number, one in enumerate(pages):
            known.put(number, one)
        tracemalloc.start()
        got = candidates(known, np.arange(count * 4 // 5), np.arange(count * 4 // 5, count), (NOTHING, NOTHING))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    monkeypatch.setattr(PageTable, "close", close)
    return sum(compared), got.met, peak


def test_fillings_of_one_form_take_time_and_memory_by_the_page(small: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "AT_ONCE", 1 << 14)
    monkeypatch.setattr(room, "BLOCK", 200)
    few, many = work(500, monkeypatch), work(2000, monkeypatch)
    assert few[0] > 2000 and few[1] > 500, "there is something to look at"
    for one, other in zip(few[:2], many[:2], strict=True):
        assert other <= 5 * one, "four times the pages"
    assert (many[2] - few[2]) / 1500 < 1000, "bytes a page"


def test_a_page_that_many_have_is_found_in_every_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    """No detail is rare where a blank form has been scanned over and over; each is looked for with the first others."""
    monkeypatch.setattr(room, "FEW", 4)
    image = drawn(3)
    pages = [
        BytesPage(f"{split}{quality}", encoded(image, "JPEG", quality=quality))
        for split, first in (("a", 50), ("b", 51))
        for quality in range(first, first + 24, 2)
    ]
    examples = [Example(p.name, "?", (p.name,), p.name, (p,), "folder") for p in pages]
    result = audit(examples[:12], {"val": examples[12:]})
    assert {overlap.train for overlap in result.overlaps} == {e.document for e in examples[:12]}
    assert len(result.overlaps) >= 12 * 4


def test_pages_of_the_same_pixels_are_listed_by_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_room, "FEW", 4)
    monkeypatch.setattr(audit_room, "FIRST", 2)
    content = encoded(drawn(3))
    examples = [
        Example(str(n), "?", (str(n),), str(n), (BytesPage(str(n), content, digest=str(n)),), "folder")
        for n in range(20)
    ]
    few = audit(examples[:10], {"val": examples[10:14]})
    assert len(few.overlaps) == 40
    many = audit(examples[:10], {"val": examples[10:]})
    assert len(many.overlaps) == 10 * 2 and len(many.leaking) == 10


def test_a_page_without_ink_is_found_by_its_pixels_only() -> None:
    blank = PageHash("0" * 32, ("00" * 18,) * 6)
    other = PageHash("1" * 32, ("00" * 18,) * 6)
    assert len(found([blank, other], 1).ours) == 0


def test_the_same_question_and_answer_link_pages(small: None) -> None:
    """Fillings of one form whose common details do not bring them together."""
    rng = np.random.default_rng(0)
    pages = form(rng, 60, size=70, own=20)
    before = found(pages, 30)
    pairs = set(zip(before.ours.tolist(), before.theirs.tolist(), strict=True))
    missing = next(
        (a, b) for a in range(1, 30) for b in range(31, 60) if a % 5 and b % 5 and (a, b) not in pairs
    )  # every fifth has another hash
    asked = (np.array([7], np.uint64), np.array([missing[0]])), (np.array([7], np.uint64), np.array([missing[1] - 30]))
    after = found(pages, 30, asked)
    assert set(zip(after.ours.tolist(), after.theirs.tolist(), strict=True)) - pairs == {missing}


def test_more_pages_than_are_numbered_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "OWNER", 3)
    with pytest.raises(DocvlmError, match=r"9 pages in one split, 8 at most; give the data in parts"):
        found(form(np.random.default_rng(0), 10), 9)


def test_details_that_cannot_be_written_are_one_line(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table.tempfile, "tempdir", f"{tmp_path}/none")
    with pytest.raises(DocvlmError, match=r"TMPDIR: .*/none: cannot be written"):
        PageTable(3)


def test_hashes_are_kept_as_they_are_made(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """An audit that is killed while it opens pages goes on where it was."""
    monkeypatch.setattr(hash_cache, "SAVED", 4)
    cache = hash_cache.HashCache(hash_cache.Path(str(tmp_path)))
    pages = [BytesPage(str(n), encoded(drawn(n)), digest=str(n)) for n in range(6)]
    seen: Iterator[tuple[int, PageHash]] = hash_cache.page_hashes(pages, cache)
    for _ in range(5):
        next(seen)
    known = hash_cache.HashCache(hash_cache.Path(str(tmp_path))).hashes(f"bytes:{n}" for n in range(6))
    assert list(known) == [f"bytes:{n}" for n in range(4)]
    assert [n for n, _ in hash_cache.page_hashes(pages, cache)] == list(range(6))


def test_work_in_other_processes_comes_in_order_and_only_a_few_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("docvlm.data.leakage.parallel.WORTH", 0.0)
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {0, 1})
    taken: list[int] = []

    def things() -> Iterator[int]:
        for number in range(200):
            taken.append(number)
            yield -number

    said: list[str] = []
    results = parallel_each(abs, things(), 200, said.append, "numbers", 4)
    assert [next(results) for _ in range(20)] == list(range(20)) and len(taken) < 100
    assert list(results) == list(range(20, 200)) and len(said) == 1


def test_likeness_below_a_copy_is_looked_at_where_it_is_asked() -> None:
    assert LIKE < SAME and room.AGAIN_ASKED < room.AGAIN
