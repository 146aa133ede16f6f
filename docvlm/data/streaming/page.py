"""A page as a place in a shard: opened like any other, fetched with its row group where that is not here."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from docvlm.data.pages import decode
from docvlm.errors import DocvlmError

if TYPE_CHECKING:
    from PIL import Image

    from docvlm.data.streaming.shards import Shard


@dataclass(frozen=True, slots=True)
class StreamedPage:
    """A picture in `column` of row `row` of row group `group` of a shard.

    `content` is the hash of its bytes, as the index has it; `digest` the same where the loader asks for it (a page that
    its columns name needs none). `fault` says why the page cannot be used, as `docvlm.data.pages.check` does.
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

    def stream(self) -> BinaryIO:
        """The encoded bytes. Raises `DocvlmError` for a page with a fault, or if they cannot be had or have changed."""
        if self.fault:
            raise DocvlmError(f"page {self.name}: {self.fault}")
        found = self.shard.cell(self.group, self.column, self.row)
        if found is None or found[0] != self.content:
            raise DocvlmError(
                f"page {self.name}: {self.shard.url} holds other pages than when it was read first; give the same"
                " command again, which reads it anew"
            )
        return io.BytesIO(found[1])

    def open(self) -> Image.Image:
        return decode(self)
