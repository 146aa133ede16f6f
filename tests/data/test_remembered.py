"""Pages on a mount (`data.streaming=true` with files): looked at once, and again where a file is another one."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from docvlm.data.benchmarks.docvqa import DocVQA
from docvlm.data.benchmarks.folder import Folder
from docvlm.data.loading.datamodule import BenchmarkDataModule
from docvlm.data.sources import remembered
from docvlm.errors import DocvlmError
from tests.data.test_loaders import own_pages
from tests.data.test_originals import rrc_docvqa
from tests.support.pdfs import with_text


def spoilt(path: Path) -> None:
    """Other bytes in a file of the same size and time: who reads it, finds no image."""
    about = path.stat()
    path.write_bytes(bytes(about.st_size))
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))


def own(folder: Path) -> BenchmarkDataModule:
    """Own pages: 40 images, a PDF of two pages, and one page of a TIFF."""
    own_pages(folder)
    (folder / "two.pdf").write_bytes(with_text(["one", "two"]))
    Image.new("L", (20, 30)).save(folder / "fax.tif", save_all=True, append_images=[Image.new("L", (30, 20), 9)])
    with (folder / "qa.jsonl").open("a") as file:
        file.write('\n{"image": ["two.pdf", "fax.tif#page=2"], "question": "?", "answers": ["7"]}')
    return Folder(str(folder), streaming=True, cache_folder=str(folder.parent / "kept"))


def download(folder: Path) -> BenchmarkDataModule:
    """An original download, whose pages are known by their names."""
    rrc_docvqa(folder, "documents")
    return DocVQA(str(folder), streaming=True, cache_folder=str(folder.parent / "kept"))


@pytest.mark.parametrize("made", [own, download])
def test_a_second_start_reads_no_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: Callable[[Path], BenchmarkDataModule]
) -> None:
    monkeypatch.setattr(remembered, "AT_ONCE", 7)
    first = made(tmp_path / "set")
    before = first.fingerprint()
    plain: Any = type(first)(str(tmp_path / "set"))
    assert before == plain.fingerprint()
    for path in (tmp_path / "set").rglob("*"):
        if path.suffix in (".png", ".pdf", ".tif", ".jpg"):
            spoilt(path)
    again: Any = type(first)(str(tmp_path / "set"), streaming=True, cache_folder=str(tmp_path / "kept"))
    assert again.fingerprint() == before
    with pytest.raises(DocvlmError, match="rows are bad"):  # as who reads them finds
        type(first)(str(tmp_path / "set")).fingerprint()


def test_a_file_that_is_another_one_is_read_again(tmp_path: Path) -> None:
    before = own(tmp_path / "set").fingerprint()
    Image.new("L", (9, 9), 77).save(tmp_path / "set" / "3.png")
    spoilt(tmp_path / "set" / "4.png")
    os.utime(tmp_path / "set" / "4.png")
    data = Folder(str(tmp_path / "set"), streaming=True, cache_folder=str(tmp_path / "kept"))
    assert data.fingerprint() != before and [bad.kind for bad in data.quarantine.rejected] == ["image not an image"]
    sizes = [e.pages[0].size for e in (*data.train, *data.val, *data.test) if e.question_id == "3"]  # type: ignore[attr-defined]
    assert sizes == [(9, 9)]


def test_what_was_found_before_a_start_was_killed_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembered, "AT_ONCE", 10)
    data, read = own(tmp_path / "set"), remembered.Remembered.pages
    count = 0

    def die(*arguments: Any) -> Any:
        nonlocal count
        count += 1
        if count == 26:
            raise KeyboardInterrupt
        return read(*arguments)

    monkeypatch.setattr(remembered.Remembered, "pages", die)
    with pytest.raises(KeyboardInterrupt):
        data.setup()
    monkeypatch.undo()
    for number in range(20):
        spoilt(tmp_path / "set" / f"{number}.png")
    again = Folder(str(tmp_path / "set"), streaming=True, cache_folder=str(tmp_path / "kept"))
    again.setup()
    assert not again.quarantine.rejected
