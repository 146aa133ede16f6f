"""What was found of pages in files, kept between starts by path, size and time of the file (`data.streaming=true`).

A start looks at the header and the end of every page, and of own pages at every byte. Where pages lie on a mount that
fetches what is read, that is the whole set at every start; here it is once. A file that cannot be read is none of what
is kept: it is looked at again, as is one whose size or time has changed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from docvlm.data.pages import FilePage, StoredPage
from docvlm.data.pdf import PdfPage
from docvlm.data.streaming.kept import Kept
from docvlm.writing import encodable

AT_ONCE = 500  # files that are written together: what a start that is killed loses
_SCHEMA = "CREATE TABLE IF NOT EXISTS files (path TEXT, asked TEXT, state TEXT, pages TEXT, UNIQUE (path, asked))"
_KINDS: dict[str, type[FilePage] | type[PdfPage]] = {"file": FilePage, "pdf": PdfPage}
Read = Callable[[Path, Sequence[int] | None], tuple[StoredPage, ...]]


class Remembered:
    """The pages of files, kept in `folder`. `save` writes what is new."""

    def __init__(self, folder: Path) -> None:
        self._kept = Kept(folder, "files", _SCHEMA)
        self._new: list[tuple[str, str, str, str]] = []
        self._known: dict[tuple[str, str], tuple[str, str]] | None = None

    def pages(self, path: Path, numbers: Sequence[int] | None, read: Read) -> tuple[StoredPage, ...]:
        """The pages of a file that `read` would give. Raises what it does."""
        key = (str(path.absolute()), f"{read.__name__} {'' if numbers is None else list(numbers)}")
        try:
            about = path.stat()
        except OSError:
            return read(path, numbers)  # which says what is wrong
        state = f"{about.st_size} {about.st_mtime_ns}"
        found = self._all().get(key)
        if found is not None and found[0] == state:
            return _pages(str(path), json.loads(found[1]))
        pages = read(path, numbers)
        if (text := _text(pages)) is not None and encodable(key[0]):
            self._all()[key] = (state, text)
            self._new.append((*key, state, text))
            if len(self._new) >= AT_ONCE:
                self.save()
        return pages

    def save(self) -> None:
        """Write what is new. Raises `DocvlmError` if it cannot be written."""
        if self._new:
            self._kept.write("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?)", self._new)
            self._new = []

    def _all(self) -> dict[tuple[str, str], tuple[str, str]]:
        if self._known is None:
            rows = self._kept.rows("SELECT path, asked, state, pages FROM files")
            self._known = {(path, asked): (state, pages) for path, asked, state, pages in rows}
        return self._known


def _text(pages: Sequence[StoredPage]) -> str | None:
    """Pages without their path; None where they are no files."""
    names = {kind: name for name, kind in _KINDS.items()}
    if any(type(page) not in names for page in pages):
        return None
    return json.dumps([[names[type(page)], page.number, page.size, page.digest] for page in pages])  # type: ignore[index]


def _pages(path: str, said: list[Any]) -> tuple[StoredPage, ...]:
    return tuple(
        _KINDS[kind](path=path, number=number, size=None if size is None else (size[0], size[1]), digest=digest)
        for kind, number, size, digest in said
    )
