"""Examples from `data.source`: recognised once, each published split read once, bad rows quarantined, twins joined."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property

from docvlm.data import records, sources
from docvlm.data.benchmark import Benchmark, Public
from docvlm.data.example import Example
from docvlm.data.quarantine import Quarantine
from docvlm.data.rows import Row
from docvlm.data.stored import grouped
from docvlm.errors import DocvlmError

log = logging.getLogger(__name__)


class Reader:
    """Reads one benchmark from one source. Nothing is touched before the first question."""

    def __init__(self, benchmark: Benchmark, source: str | None, offline: bool, quarantine: Quarantine) -> None:
        self.benchmark = benchmark
        self.given = source
        self.offline = offline
        self.quarantine = quarantine
        self._read: dict[Public | None, list[Example]] = {}

    @cached_property
    def source(self) -> sources.Source:
        """The recognised source. Raises `DocvlmError` if there is none or it cannot be read."""
        name = self.benchmark.name
        if self.given is None:
            raise DocvlmError(f"data.source is not set: data={name} needs a path, e.g. data.source=my_pages")
        source = sources.recognise(self.given, self.benchmark)
        if not self.benchmark.hub and source.layout is not sources.Layout.FOLDER:
            raise DocvlmError(f"data.source={source}: a {source.layout.value}; use data=docvqa, chartqa or infovqa")
        return source

    @property
    def published(self) -> bool:
        """Whether the splits are a publisher's, from the hub or a download: not drawn pages, not own ones."""
        return self.given != "generated" and self.source.layout is not sources.Layout.FOLDER

    @property
    def label(self) -> str:
        """What results are called. Own pages never pass for a public benchmark, whatever their folder is called."""
        if self.source.layout is not sources.Layout.FOLDER:
            return self.benchmark.name
        if self.benchmark.hub:
            return f"{self.benchmark.name}-folder"
        path = self.source.path.resolve()
        return f"folder-{path.name if path.is_dir() else f'{path.parent.name}-{path.stem}'}"

    @cached_property
    def has_splits(self) -> bool:
        """Whether the source says which questions are for what."""
        return self.source.layout is not sources.Layout.FOLDER or records.has_splits(self.source.path)

    def examples(self, split: Public | None) -> list[Example]:
        """Examples of a published split (None: everything), empty if the source has no such split."""
        if split not in self._read:
            self._read[split] = self._examples(split)
        return self._read[split]

    def _examples(self, split: Public | None) -> list[Example]:
        read: Callable[[Row], Example] = self.benchmark.example
        if self.source.layout is sources.Layout.FOLDER:
            rows, read = records.rows(self.source.path, split), records.example
        elif split is None:
            raise ValueError(f"a {self.source.layout.value} is read split by split")
        else:
            rows = sources.rows(self.source, self.benchmark, split, self.offline)
        if rows is None:
            return []
        where = f"{self.source} ({split})" if split else str(self.source)
        examples, joined = grouped(self.quarantine.examples(rows, read, where))
        if joined:
            one, other = next(iter(joined.items()))
            log.warning("%s: %d documents share a page and go together: %s = %s", where, len(joined), one, other)
        return [replace(e, benchmark=self.label, instruction=self.benchmark.instruction) for e in examples]
