"""The audit of streamed pages finds what it finds on a copy; a row group is fetched once to hash, once to compare."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import pyarrow.parquet as pq
import pytest
from datasets import Dataset

from docvlm.data.benchmarks.docvqa import DocVQA
from docvlm.data.generated import documents
from docvlm.data.leakage import audit as audit_room
from docvlm.data.leakage.audit import Audit, audit
from docvlm.data.leakage.hash_cache import HashCache, hashing
from docvlm.data.streaming import remote
from docvlm.locks import lock
from tests.support.audit_pages import encoded
from tests.support.hub_schemas import DOCVQA
from tests.support.ranges import serving

PAGES = 24


def shard(folder: Path, split: str, pages: Sequence[bytes]) -> None:
    """A question about each page, in row groups of four."""
    blank = {"question_types": ["form"], "docId": 0, "ucsf_document_page_no": "1", "data_split": split}
    rows = [
        {
            "questionId": f"{split}{number}", "question": f"What is {number} of {split}?", "answers": ["1"],
            "image": {"bytes": page, "path": None}, "ucsf_document_id": f"{split}{number}", **blank,
        }
        for number, page in enumerate(pages)
    ]  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    table = Dataset.from_list(rows, features=DOCVQA).data.table
    pq.write_table(table, folder / f"{split}-00000-of-00001.parquet", row_group_size=4)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Pages of train, and their copies with loss in reverse to report on: pairs lie far from each other."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(remote, "GAP", 0)
    drawn = [document[0].pages[0].open() for document in documents("docvqa", "train", PAGES, "tiny", 0)]
    shard(tmp_path / "set" / "DocVQA", "train", [encoded(image, "PNG") for image in drawn])
    copies = [encoded(image, "JPEG", quality=70) for image in reversed(drawn)]
    shard(tmp_path / "set" / "DocVQA", "validation", copies)
    return tmp_path / "set"


def abandoned(kept: Path) -> list[Path]:
    """What killed processes leave in a cache folder."""
    left = [kept / "sketches-killed" / "0.png", kept / "shards" / "key.arrow.part"]
    for path in left:
        path.parent.mkdir(parents=True)
        path.write_bytes(b"half")
    (kept / "sketches-in-use").mkdir()
    return left


def overlaps(found: Audit) -> list[tuple[Any, ...]]:
    return sorted((one.kind, one.train, one.evaluated, one.bits, one.agreement) for one in found.overlaps)


def test_an_audit_of_streamed_pages_finds_what_that_of_a_copy_finds(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied = DocVQA(str(folder), val_fraction=0.0)
    expected = overlaps(audit(copied.train, {"test": copied.test}))
    assert len(expected) >= PAGES // 2 and {kind for kind, *_ in expected} == {"near"}
    cache, left = HashCache(tmp_path / "hashes"), abandoned(tmp_path / "kept")
    with serving(folder) as given, lock(tmp_path / "kept" / "sketches-in-use" / "owner.lock"):
        data = DocVQA(
            given.url,
            streaming=True,
            cache_folder=str(tmp_path / "kept"),
            cache_gb=4.2e-4,
            window_gb=1e-5,
            val_fraction=0.0,
        )
        data.gate(None, hashing(cache))
        data.setup()
        for pack in (tmp_path / "kept").glob("*.pack"):
            pack.unlink()
        given.clear()
        opened: list[list[tuple[str, int]]] = []
        agreements = audit_room._agreements
        monkeypatch.setattr(
            audit_room, "_agreements", lambda *a: (opened.append([g[:2] for g in given.asked]), agreements(*a))[1]
        )
        assert overlaps(audit(data.train, {"test": data.test}, cache)) == expected
        assert opened == [[]]  # nothing was fetched to be hashed
        asked = [(name, start) for name, start, _ in given.asked]
        assert 0 < len(asked) == len(set(asked)) <= 2 * PAGES // 4
    assert not [path for path in left if path.exists()]
    assert [path.name for path in (tmp_path / "kept").glob("sketches-*")] == ["sketches-in-use"]
