"""Sketches of streamed pages on disk while pages are compared: pairs come in no order that a cache would hold."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType

from docvlm.data.example import Page
from docvlm.data.leakage import registration
from docvlm.data.leakage.parallel import parallel_map
from docvlm.data.pages import FilePage
from docvlm.data.streaming.page import StreamedPage
from docvlm.writing import written

TOGETHER = 16  # pages that a process sketches at a time, about those of a row group


class StandIns:
    """For streamed pages, files that show what is compared of them; other pages stand for themselves.

    The files (0.1 MB a page, about) lie in the folder of the row groups until the block ends. Each page is opened once,
    in the order of row groups. A sketch is its own sketch, so nothing else comes of it.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._made: dict[Page, Page] = {}
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> StandIns:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._folder is not None:
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
            with written(Path(f"data.cache_folder: {page.shard.store.folder}")):
                self._folder = tempfile.TemporaryDirectory(prefix="sketches-", dir=page.shard.store.folder)
        return Path(self._folder.name) / f"{number}.png"


def _sketched(one: tuple[StreamedPage, Path]) -> None:
    page, file = one
    sketch = registration.sketch(page.open())
    with written(file):
        sketch.save(file, "PNG")
