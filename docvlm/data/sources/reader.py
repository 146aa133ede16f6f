"""Examples from `data.source`: recognised once, each published split read once, bad rows quarantined, twins joined.

Rows of own pages that are equal in page, question and accepted answers are one question; what a publisher numbered
apart stays apart.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cached_property
from pathlib import PurePosixPath

from docvlm.data.benchmark import BENCHMARKS, OWN, Benchmark, Public
from docvlm.data.example import Example
from docvlm.data.page_ids import grouped
from docvlm.data.rows import Row
from docvlm.data.sources import own_folder, recognise
from docvlm.data.sources.quarantine import Quarantine
from docvlm.data.sources.whole_documents import joined, of_single_pages
from docvlm.data.streaming.settings import Streaming
from docvlm.errors import DocvlmError

log = logging.getLogger(__name__)


class Reader:
    """Reads one benchmark from one source. Nothing is touched before the first question.

    `join_pages`: rows of one `doc_id` of own pages ask about all pages of it. `streaming`: pages stay where they are.
    """

    def __init__(
        self,
        benchmark: Benchmark,
        source: str | None,
        offline: bool,
        quarantine: Quarantine,
        *,
        revision: str | None = None,
        join_pages: bool = False,
        streaming: Streaming | None = None,
    ) -> None:
        self.benchmark = benchmark
        self.given = source
        self.offline = offline
        self.quarantine = quarantine
        self.revision = revision
        self.join_pages = join_pages
        self.streaming = streaming
        self.of_pages = ""  # which pages of joined documents are not there, or that rows could be joined, in a line
        self._read: dict[Public | None, list[Example]] = {}

    @cached_property
    def source(self) -> recognise.Source:
        """The recognised source. Raises `DocvlmError` if there is none or it cannot be read."""
        name = self.benchmark.name
        if self.given is None:
            raise DocvlmError(f"data.source is not set: data={name} needs a path, e.g. data.source=my_pages")
        source = recognise.recognise(self.given, self.benchmark)
        if source.download is not None and not self.benchmark.published:
            names = " or ".join(one.name for one in BENCHMARKS.values() if one.download == source.download)
            raise DocvlmError(f"data.source={source}: a {source.kind}; use data={names}")
        self._can_stream(source)
        if self.revision is not None and source.layout is not recognise.Layout.HUB:
            raise DocvlmError(
                f"data.revision={self.revision}: only data sets of the hub have revisions, and data.source={source} "
                "lies here; leave it out, or give data.source=hub"
            )
        return source

    def _can_stream(self, source: recognise.Source) -> None:
        """Raise `DocvlmError` where pages cannot stay where they are, or only can, and the settings say otherwise."""
        if self.streaming is None:
            return
        if source.layout is recognise.Layout.SAVED:
            raise DocvlmError(
                f"data.streaming=true: data.source={source} is a {source.kind}, which is read where it lies anyway;"
                " leave data.streaming out"
            )
        if self.offline and source.layout in (recognise.Layout.HUB, recognise.Layout.ADDRESS):
            raise DocvlmError(
                f"data.streaming=true: pages of data.source={self.given} are fetched while a run goes on, and"
                " offline=true forbids it; leave one of them out, or give the folder of a copy"
            )

    @property
    def published(self) -> bool:
        """Whether the splits are a publisher's, from the hub or a download: not drawn pages, not own ones."""
        return (
            self.given != "generated" and self.benchmark.published and self.source.layout is not recognise.Layout.FOLDER
        )

    @property
    def label(self) -> str:
        """What results are called. Own pages never pass for a public benchmark, whatever their folder is called."""
        if self.published:
            return self.benchmark.name
        if self.benchmark.published:
            return f"{self.benchmark.name}{OWN}"
        if self.source.layout is recognise.Layout.ADDRESS:
            return f"{self.benchmark.name}-{PurePosixPath(self.source.repo).stem}"
        path = self.source.path.resolve()
        return f"{self.benchmark.name}-{path.name if path.is_dir() else f'{path.parent.name}-{path.stem}'}"

    @cached_property
    def has_splits(self) -> bool:
        """Whether the source says which questions are for what."""
        if self.source.layout is not recognise.Layout.FOLDER:
            return True
        return own_folder.WHOLE not in self.own.files or self._whole.marked

    @cached_property
    def own(self) -> own_folder.QuestionFiles:
        """The question files of own pages, and those that are not read."""
        return own_folder.question_files(self.source.path)

    @property
    def unread(self) -> list[str]:
        """The names of question files that lie beside those that are read, and are not."""
        own = self.own.unread if self.source.layout is recognise.Layout.FOLDER else []
        return [own_folder.called(file, self.source.path) for file in own]

    @property
    def meant(self) -> str:
        """The names of the question files that are read."""
        return ", ".join(own_folder.called(file, self.source.path) for file in self.own.files.values())

    @cached_property
    def _whole(self) -> own_folder.OwnRows:
        """The file that holds all splits of own pages. Its rows that name no split are rejected, once."""
        found = own_folder.read(
            self.own.files[own_folder.WHOLE], self.source.path, remembered=self.quarantine.remembered
        )
        if not found.marked:
            return found
        lost = [row for row in found.rows if not row.split]
        if lost:
            self.quarantine.reject(lost, len(found.rows), str(self.source))
        return replace(found, rows=[row for row in found.rows if row.split])

    def examples(self, split: Public | None) -> list[Example]:
        """Examples of a published split (None: everything), empty if the source has no such split."""
        if split not in self._read:
            self._read[split] = self._examples(split)
        return self._read[split]

    def _examples(self, split: Public | None) -> list[Example]:
        own = self.source.layout is recognise.Layout.FOLDER
        read: Callable[[Row], Example] = own_folder.example if own else self.benchmark.example
        rows = self._own_rows(split) if own else self._published(split)
        if rows is None:
            return []
        if own:
            rows = list(rows)
            whole = joined(rows) if self.join_pages else None
            self.of_pages = self.of_pages or (of_single_pages(rows) if whole is None else str(whole))
            rows = rows if whole is None else whole.rows
        where = f"{self.source} ({split})" if split else str(self.source)
        once = not self.published
        examples, twins = grouped(self.quarantine.examples(rows, read, where, once=once))
        if (remembered := self.quarantine.remembered) is not None:
            remembered.save()
        if twins:
            one, other = next(iter(twins.items()))
            log.warning("%s: %d documents share a page and go together: %s = %s", where, len(twins), one, other)
        return [replace(e, benchmark=self.label, instruction=self.benchmark.instruction) for e in examples]

    def _published(self, split: Public | None) -> Iterable[Row] | None:
        if split is None:
            raise ValueError(f"a {self.source.kind} is read split by split")
        rows = recognise.rows(self.source, self.benchmark, split, self.offline, self.revision, self.streaming)
        if rows is not None and (apart := self.benchmark.questions) is not None:
            rows = (question for row in rows for question in ([row] if row.fault else apart(row)))
        if rows is None or self.benchmark.published:
            return rows
        if self.source.layout is recognise.Layout.ADDRESS:
            return own_folder.without_files(rows)
        path = self.source.path
        return own_folder.located(rows, path if path.is_dir() else path.parent, self.quarantine.remembered)

    def _own_rows(self, split: Public | None) -> Iterable[Row] | None:
        """Rows of one split, or of all; None where there are none."""
        files = self.own.files
        if own_folder.WHOLE not in files:
            wanted = [name for name in files if split in (None, name)]
            found = [own_folder.read(files[n], self.source.path, n, self.quarantine.remembered).rows for n in wanted]
            return [row for rows in found for row in rows] or None
        if split is None:
            return self._whole.rows
        return [row for row in self._whole.rows if row.split == split] or None
