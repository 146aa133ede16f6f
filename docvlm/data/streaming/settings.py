"""What streaming may take, and what else is done with pages while they pass."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from docvlm import process
from docvlm.data.example import Example
from docvlm.data.streaming.index import Look
from docvlm.data.streaming.packs import GB, SINGLE, PackStore
from docvlm.data.streaming.page import StreamedPage, singled

WINDOWS = 2  # windows of the order of training that must fit the cache: the one that is read and the one after it


@dataclass
class Streaming:
    """`data.cache_folder`, `data.cache_gb` and `data.window_gb`, in bytes. `look` is shown pages when first read.

    `splits` is how many splits keep pages by themselves in this cache: three of each part of a mixture.
    """

    folder: Path
    cache: int
    window: int
    look: Look | None = None
    splits: int = 3

    @classmethod
    def of(cls, folder: str, cache_gb: float, window_gb: float) -> Streaming:
        """From the settings of a data module."""
        return cls(Path(folder).expanduser().absolute(), int(cache_gb * GB), int(window_gb * GB))

    @property
    def store(self) -> PackStore:
        """Where row groups are kept."""
        return PackStore(str(self.folder), self.cache)

    def say(self, line: str) -> None:
        """Print a line, once for all processes of a run."""
        if process.rank() == 0:
            print(line, flush=True)

    def sparse(self, examples: Sequence[Example]) -> list[Example]:
        """A split of which pages that stand alone in their row groups are kept by themselves, within its share."""
        single = singled(_streamed(examples), int(SINGLE * self.cache / self.splits))
        if not single:
            return list(examples)
        return [
            replace(e, pages=tuple(single[p] if isinstance(p, StreamedPage) and p in single else p for p in e.pages))
            for e in examples
        ]


def _streamed(examples: Collection[Example]) -> list[StreamedPage]:
    """Their pages that stay where they are, each once."""
    found = (page for example in examples for page in example.pages if isinstance(page, StreamedPage))
    return list(dict.fromkeys(found))


def account(examples: Collection[Example], window_gb: float) -> list[str]:
    """What of the pages that stay where they are is read, and where that is kept; none where all are here."""
    pages = _streamed(examples)
    if not pages:
        return []
    groups = {(page.shard.key, page.group): page.shard.sizes[page.group] for page in pages}
    single = sum(page.single for page in pages)
    alone = f"; {single} pages of row groups that are sparsely read are kept by themselves" if single else ""
    store = pages[0].shard.store
    return [
        f"streaming: {sum(groups.values()) / GB:.3g} GB of pages in {len(groups)} row groups stay where they are;"
        f" {store.folder} holds {store.limit / GB:g} GB of them, mixed in windows of {window_gb:g} GB{alone}"
    ]
