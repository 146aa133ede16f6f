"""Sketches of streamed pages on disk while pages are compared: pairs come in no order that a cache would hold."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from filelock import FileLock, Timeout

from docvlm.data.example import Page
from docvlm.data.leakage import registration
from docvlm.data.leakage.parallel import parallel_map
from docvlm.data.pages import FilePage
from docvlm.data.streaming.packs import shared_lock
from docvlm.data.streaming.page import StreamedPage
from docvlm.locks import lock
from docvlm.writing import written

_PREFIX, _OWNER = "sketches-", "owner.lock"
TOGETHER = 16  # pages that a process sketches at a time, about those of a row group


class StandIns:
    """For streamed pages, files that show what is compared of them; other pages stand for themselves.

    The files (0.1 MB a page, about) lie in the folder of the row groups until the block ends; those of a process that
    was killed go when the next one makes its own. Each page is opened once, in the order of row groups. A sketch is its
    own sketch, so nothing else comes of it.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._made: dict[Page, Page] = {}
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._owned: FileLock | None = None  # as long as this process lives, also where it is killed

    def __enter__(self) -> StandIns:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._folder is not None and self._owned is not None:
            self._owned.release()
            self._folder.cleanup()

    def of(self, pages: Iterable[Page]) -> dict[Page, Page]:
        """What to open for each page. Raises `DocvlmError` as opening does, and where a sketch cannot be written."""
        wanted = list(dict.fromkeys(pages))
        new = [page for page in wanted if isinstance(page, StreamedPage) and page not in self._made]
        if new:
            new.sort(key=lambda page: (page.shard.url, page.group, page.row))
            files = [self._file(page, len(self._made) + number) for number, page in enumerate(new)]
            parallel_map(_sketched, list(zip(new, files, strict=True)), self._say, "pages to sketch", TOGETHER)
            self._made |= {page: FilePage(str(file)) for page, file in zip(new, files, strict=True)}
        return {page: self._made.get(page, page) for page in wanted}

    def _file(self, page: StreamedPage, number: int) -> Path:
        if self._folder is None:
            self._folder, self._owned = _owned(page.shard.store.folder)
        return Path(self._folder.name) / f"{number}.png"


def _owned(folder: str) -> tuple[tempfile.TemporaryDirectory[str], FileLock]:
    """A folder for sketches and the lock that says it is in use; those whose lock is free are removed."""
    with shared_lock(folder, "sketches"):
        for left in Path(folder).glob(f"{_PREFIX}*"):
            # held by a living process, another user's, or just gone
            with suppress(Timeout, PermissionError, FileNotFoundError), lock(left / _OWNER).acquire(blocking=False):
                shutil.rmtree(left, ignore_errors=True)  # what cannot be removed is tried again
        with written(Path(f"data.cache_folder: {folder}")):
            made = tempfile.TemporaryDirectory(prefix=_PREFIX, dir=folder)
        owned = lock(Path(made.name, _OWNER))
        owned.acquire()
    return made, owned


def _sketched(one: tuple[StreamedPage, Path]) -> None:
    page, file = one
    sketch = registration.sketch(page.open())
    with written(file):
        sketch.save(file, "PNG")
