"""What streaming may take, and what else is done with pages while they pass."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from docvlm import process
from docvlm.data.streaming.index import Look
from docvlm.data.streaming.packs import GB, PackStore

WINDOWS = 2  # windows of the order of training that must fit the cache: the one that is read and the one after it


@dataclass
class Streaming:
    """`data.cache_folder`, `data.cache_gb` and `data.window_gb`, in bytes. `look` is shown pages when first read."""

    folder: Path
    cache: int
    window: int
    look: Look | None = None

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
