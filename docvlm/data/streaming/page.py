"""A page as a place in a shard: opened like any other, fetched with its row group where that is not here."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, BinaryIO

from docvlm.data.pages import decode
from docvlm.errors import DocvlmError

if TYPE_CHECKING:
    from PIL import Image

    from docvlm.data.streaming.shards import Shard


SPARSE = 0.5  # of a row group's bytes


@dataclass(frozen=True, slots=True)
class StreamedPage:
    """A picture in `column` of row `row` of row group `group` of a shard.

    `content` is the hash of its bytes, as the index has it; `digest` the same where the loader asks for it (a page that
    its columns name needs none). `fault` says why the page cannot be used, as `docvlm.data.pages.check` does. `length`
    counts the bytes. A `single` page is kept by itself once it was read (`singled`).
    """

    name: str
    shard: Shard
    group: int
    row: int
    column: str
    content: str
    size: tuple[int, int] | None = None
    fault: str = ""
    digest: str = ""
    number: int = 0
    length: int = 0
    single: bool = field(default=False, compare=False)

    def stream(self) -> BinaryIO:
        """The encoded bytes. Raises `DocvlmError` for a page with a fault, or if they cannot be had or have changed."""
        if self.fault:
            raise DocvlmError(f"page {self.name}: {self.fault}")
        return io.BytesIO(self.shard.store.single(self.content, self._bytes) if self.single else self._bytes())

    def _bytes(self) -> bytes:
        found = self.shard.cell(self.group, self.column, self.row)
        if found is None or found[0] != self.content:
            raise DocvlmError(
                f"page {self.name}: {self.shard.url} holds other pages than when it was read first; give the same"
                " command again, which reads it anew"
            )
        return found[1]

    def open(self) -> Image.Image:
        return decode(self)


def singled(pages: Iterable[StreamedPage], limit: int) -> dict[StreamedPage, StreamedPage]:
    """The pages that are better kept by themselves, and what takes their place: those of sparsely read row groups.

    A split that is dealt out of a published one has a few pages in each of its row groups, and every pass over it
    would fetch them all. Row groups of which less than `SPARSE` is read give theirs, the sparsest first, until they are
    `limit` bytes.
    """
    groups: dict[tuple[str, int], dict[str, list[StreamedPage]]] = {}
    for page in dict.fromkeys(pages):
        if not page.fault:
            groups.setdefault((page.shard.key, page.group), {}).setdefault(page.content, []).append(page)
    found: dict[StreamedPage, StreamedPage] = {}
    for contents in sorted(groups.values(), key=_share):
        full = sum(same[0].length for same in contents.values())
        if _share(contents) >= SPARSE or full > limit:
            break
        limit -= full
        found |= {page: replace(page, single=True) for same in contents.values() for page in same}
    return found


def _share(contents: dict[str, list[StreamedPage]]) -> float:
    """How much of a row group's bytes its pages are."""
    first = next(iter(contents.values()))[0]
    return sum(same[0].length for same in contents.values()) / max(first.shard.sizes[first.group], 1)
