"""Leakage: each kind of overlap is found where it was planted, nothing else is, and nothing is looked at twice."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image

from docvlm import data
from docvlm.data import generated, leakage
from docvlm.data.example import Example
from docvlm.data.generated import DrawnPage, documents
from docvlm.data.leakage import hash_cache, hashes, prefilter, registration
from docvlm.data.leakage.audit import Audit, audit
from docvlm.data.leakage.hash_cache import HashCache
from docvlm.data.pages import FilePage
from docvlm.errors import DocvlmError
from tests.support.audit_pages import COPIES, Folder, annotated, cropped, drawn, jpeg

REAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "receipts"


@pytest.fixture
def pages(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "pages").fill()


def kinds(found: Audit) -> list[tuple[str, str]]:
    return [(overlap.kind, overlap.split) for overlap in found.overlaps]


def test_pages_of_their_own_do_not_overlap(pages: Folder) -> None:
    found = pages.audited()
    assert found.overlaps == [] and found.unreadable == []
    assert found.questions == found.pages == {"train": 2, "val": 2, "test": 2}


def test_generated_splits_do_not_overlap() -> None:
    """Pages of one layout and other words are what a false alarm would come from."""
    some = [[e for d in documents("docvqa", split, 40, "tiny", 0) for e in d] for split in ("train", "val")]
    found = audit(some[0], {"val": some[1]})
    assert found.overlaps == [] and found.compared > 0, "some hashes are close: it was the second look that decided"


def test_one_document_in_two_splits(pages: Folder) -> None:
    pages.add("train", "a.png", drawn(50), {"doc_id": "contract-7"})
    pages.add("test", "b.png", drawn(51), {"doc_id": "contract-7"})
    (overlap,) = pages.audited().overlaps
    assert (overlap.kind, overlap.split, overlap.train) == ("document", "test", "contract-7")


def test_an_id_of_another_benchmark_is_another_document() -> None:
    one, other = (
        Example("q", "?", ("a",), "7", (DrawnPage("docvqa", "train", index, "tiny", 0),), name)
        for index, name in ((1, "docvqa"), (2, "infovqa"))
    )
    assert audit([one], {"val": [other]}).overlaps == []


def test_the_same_pixels_under_another_name_and_format(pages: Folder) -> None:
    pages.add("train", "a.png", drawn(50))
    pages.add("val", "b.bmp", drawn(50))
    (overlap,) = pages.audited().overlaps
    assert (overlap.kind, overlap.split) == ("pixels", "val")
    assert overlap.page.name.endswith("a.png") and overlap.other.name.endswith("b.bmp")


def test_copies_with_loss_are_near(pages: Folder) -> None:
    """Each way of copying on two pages, with pages of the same layouts around them."""
    for number, (name, copied) in enumerate(COPIES.items()):
        for index in (50 + number, 60 + number):
            pages.add("train", f"{name}-{index}.png", drawn(index))
            pages.add("test", f"{name}-{index}.bmp", copied(drawn(index)))
    overlaps = pages.audited().overlaps
    found = {(o.kind, o.split, Path(o.train).stem) for o in overlaps if Path(o.train).stem == Path(o.evaluated).stem}
    stems = {f"{name}-{index + n}" for n, name in enumerate(COPIES) for index in (50, 60)}
    assert found == {("near", "test", stem) for stem in stems} and len(overlaps) == len(stems)


def test_the_same_question_and_answer_on_a_page_much_like_it(pages: Folder) -> None:
    """A copy that was written on: too different to be the page for sure, and asked the same."""
    asked = {"question": "What is the Total?", "answers": ["12.50"]}
    pages.add("train", "a.png", drawn(61), asked)
    pages.add("test", "b.png", annotated(61), {"question": "what is the total", "answers": ["12.50."]})
    (overlap,) = pages.audited().overlaps
    assert (overlap.kind, overlap.asked) == ("question", (("What is the Total?", "12.50"),))


def test_a_question_answered_otherwise_tells_two_pages_apart(pages: Folder) -> None:
    """Receipts of one shop agree on its name, not on the total."""
    name = {"question": "Who is it?", "answers": ["Tan"]}
    pages.add("train", "a.png", drawn(61), name, {"question": "Total?", "answers": ["12.50"]})
    pages.add("test", "b.png", annotated(61), name, {"question": "Total?", "answers": ["12.60"]})
    assert pages.audited().overlaps == []


def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of pages as they are opened from now on."""
    names: list[str] = []
    original = FilePage.open

    def counted(page: FilePage) -> Image.Image:
        names.append(page.name)
        return original(page)

    monkeypatch.setattr(FilePage, "open", counted)
    return names


def test_an_unchanged_data_set_is_not_opened_again(
    pages: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied = pages.add("train", "a.png", drawn(50))
    pages.add("test", "b.png", jpeg(drawn(50)))
    names = opened(monkeypatch)
    first = pages.audited(HashCache(tmp_path / "store"))
    assert len(set(names)) == 8 and len(names) <= 10, "each page once, those of a pair once more"
    names.clear()
    assert pages.audited(HashCache(tmp_path / "store")) == first and names == []
    drawn(51).save(copied)
    assert pages.audited(HashCache(tmp_path / "store")).overlaps == []
    assert set(names) == {str(copied)}


def test_hashes_of_another_decoder_are_not_read(pages: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pages.add("train", "a.png", drawn(50))
    pages.audited(HashCache(tmp_path / "store"))
    names, real = opened(monkeypatch), importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "99.0" if name == "pillow" else real(name))
    pages.audited(HashCache(tmp_path / "store"))
    assert names, "what an older Pillow decoded was believed"


def test_a_page_without_a_hash_of_its_bytes_is_known_by_its_file(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    drawn(50).save(path)
    before = hashes.key(FilePage(str(path)))
    assert before == hashes.key(FilePage(str(path))) and before is not None
    os.utime(path, (1, 1))
    assert hashes.key(FilePage(str(path))) != before


def test_two_processes_share_a_store_and_a_damaged_one_is_begun_anew(pages: Folder, tmp_path: Path) -> None:
    one, other = HashCache(tmp_path / "store"), HashCache(tmp_path / "store")
    found = {name: hashes.page_hash(drawn(index)) for name, index in (("a", 50), ("b", 51))}
    one.add_hashes({"a": found["a"]})
    other.add_hashes({"b": found["b"]})
    one.save()
    other.save()
    assert HashCache(tmp_path / "store").hashes(["a", "b"]) == found
    (file,) = (tmp_path / "store").iterdir()
    for damage in (b"no database", file.read_bytes()[:5000] + bytes(4000)):
        file.write_bytes(damage)
        with pytest.warns(UserWarning, match=r"damaged .* opened again"):
            assert HashCache(tmp_path / "store").hashes(["a", "b"]) == {}
    assert pages.audited(HashCache(tmp_path / "store")).overlaps == []
    assert len(list((tmp_path / "store").iterdir())) == 1


WRITER = """
import sys
from pathlib import Path
from docvlm.data.leakage.hash_cache import HashCache
from docvlm.data.leakage.hashes import PageHash

who, folder = sys.argv[1], Path(sys.argv[2])
print("ready", flush=True)
sys.stdin.readline()
for index in range(40):
    cache, page = HashCache(folder), PageHash(f"{who}{index}", ("00",))
    cache.add_hashes({page.pixels: page})
    cache.add_agreements({(page, page): index / 40})
    cache.save()
"""


def test_what_two_processes_write_at_once_is_all_there(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITER]
    writers = [
        subprocess.Popen([*command, who, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for who in "ab"
    ]
    for writer in writers:
        assert writer.stdout is not None and writer.stdout.readline() == "ready\n"
    for writer in writers:
        writer.communicate("\n", timeout=120)
    written = {f"{who}{i}": hashes.PageHash(f"{who}{i}", ("00",)) for who in "ab" for i in range(40)}
    cache = HashCache(tmp_path)
    assert cache.hashes(written) == written
    assert len(cache.agreements((page, page) for page in written.values())) == 80


def test_the_oldest_entries_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hash_cache, "LIMIT", 3)
    monkeypatch.setattr(hash_cache, "PAIRS_LIMIT", 4)
    for index in range(5):
        cache, page = HashCache(tmp_path), hashes.PageHash(str(index), ("00",))
        cache.add_hashes({page.pixels: page})
        cache.add_agreements({(page, page): 0.5})
        cache.save()
    known = HashCache(tmp_path)
    assert list(known.hashes(map(str, range(5)))) == ["2", "3", "4"]
    assert len(known.agreements((page, page) for page in (hashes.PageHash(str(i)) for i in range(5)))) == 4


@pytest.mark.parametrize("room", [data, leakage, generated])
def test_another_revision_is_not_read(room: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    def known() -> tuple[str, str | None]:
        hashes._drawing_code.cache_clear()
        return hash_cache.recipe(), hashes.key(DrawnPage("docvqa", "train", 0, "tiny", 0))

    before = known()
    monkeypatch.setattr(room, "REVISION", room.REVISION + 1)
    changed = [one != other for one, other in zip(before, known(), strict=True)]
    assert changed == ([False, True] if room is generated else [True, False])
    hashes._drawing_code.cache_clear()


def test_a_store_that_cannot_be_used_says_so(pages: Folder, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DocvlmError, match=r"features_folder: .* cannot be read"):
        HashCache(tmp_path / "file" / "store")
    store = HashCache(tmp_path / "store")
    (tmp_path / "store").write_text("")
    with pytest.raises(DocvlmError, match=r"features_folder: .* cannot be (read|written)"):
        pages.audited(store)


@pytest.mark.skipif(not REAL.is_dir(), reason=f"{REAL} is not here: real pages are not part of the repository")
def test_the_receipts_known_to_be_one_are_found() -> None:
    def asked(name: str) -> Example:
        return Example(name, "?", (name,), name, (FilePage(str(REAL / "images" / f"{name}.jpg")),), "folder")

    found = audit([asked("277"), asked("000")], {"test": [asked("452"), asked("002")]})
    assert [(o.kind, o.train, o.evaluated) for o in found.overlaps] == [("pixels", "277", "452")]


def may_match(one: Image.Image, *others: Image.Image) -> list[bool]:
    looked_for = prefilter.wanted(one)
    return prefilter.may_match(looked_for, [prefilter.field(other, looked_for.size) for other in others]).tolist()


def test_the_prefilter_tells_nearly_all_pages_of_one_layout_apart() -> None:
    """What keeps the first audit of a run short; a page as its hash would cut it still passes."""
    drawings = [drawn(index).convert("L") for index in range(0, 60, 5)]
    passed = [may_match(one, *drawings[:number]) for number, one in enumerate(drawings) if number]
    assert sum(map(sum, passed)) <= sum(map(len, passed)) / 20
    for page in drawings:
        margins = hashes.margins(hashes.page_hash(page), hashes.page_hash(cropped(page)))
        assert margins == (hashes.WINDOWS[1], prefilter.WHOLE)
        assert may_match(prefilter.cut(page, margins[0]), cropped(page)) == [True]


def test_pages_beside_each_other_are_looked_at_as_alone() -> None:
    drawings = [drawn(index).convert("L") for index in range(0, 60, 5)]
    one, others = drawings[0], [jpeg(drawings[0]).convert("L"), *drawings[1:], jpeg(drawn(0)).convert("L")]
    alone = [may_match(one, other)[0] for other in others]
    assert may_match(one, *others) == alone and alone[0] and alone[-1] and not all(alone)
    whole = (prefilter.WHOLE, prefilter.WHOLE)
    cuts = [(hashes.WINDOWS[1], prefilter.WHOLE), whole, (prefilter.WHOLE, hashes.WINDOWS[2])] * len(others)
    looks = [(other, cut, False) for other, cut in zip(others, cuts, strict=False)]
    agreed = registration.agreements(one, looks)
    assert agreed == [registration.agreement(one, other, cut) for other, cut, _ in looks]
    only = registration.agreements(one, [(other, cut, True) for other, cut, _ in looks])
    assert all(strict in (0, share) for strict, share in zip(only, agreed, strict=True)) and only[0] == agreed[0] > 0.97


def test_a_small_receipt_on_a_large_sheet_passes_the_prefilter() -> None:
    """The noise of its paper is found nowhere on the copy, and must not count."""
    sheet = Image.effect_noise((800, 1200), 4).point(lambda grey: grey + 110)
    sheet.paste(drawn(0).convert("L"), (250, 300))
    assert may_match(sheet, jpeg(sheet).convert("L")) == [True]
    blank = Image.new("L", (800, 1200), "white")
    assert may_match(blank, blank) == [True], "nothing tells them apart; registration says that nothing makes them one"
    assert registration.agreement(blank, blank) == 0
