"""What one benchmark is: its wording, its metric, its schema, and which public split serves which purpose.

A score is reported on a split that never selects anything (DESIGN: splits). Where the test split of a benchmark has no
public answers, its public validation split reports, and a slice of train selects.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from docvlm.data.example import Example
from docvlm.data.rows import Row
from docvlm.registry import Registry

Role = Literal["train", "val", "test"]
"""What a split is for: to learn from, to select by, to report on."""

Public = Literal["train", "validation", "test"]
"""What a split is called where it was published."""

SINGLE_WORD_OR_PHRASE = "\nAnswer the question using a single word or phrase."
"""lmms-eval's `post_prompt` for benchmarks of short answers."""
GENERATED, OWN = "-generated", "-folder"
"""What follows a benchmark's name in the label of results on drawn pages, and on own pages in its schema."""


@dataclass(frozen=True, slots=True)
class HubSplit:
    """Where a split lives on the Hugging Face hub.

    `files` names parquet files that the repository holds but its card does not declare; then `config` is not used.
    """

    repo: str
    split: str
    config: str | None = None
    revision: str | None = None
    files: str | None = None


@dataclass(frozen=True, slots=True)
class Download:
    """A form in which authors hand their data out: `holds(folder)` recognises it, `rows` reads a split of it.

    `rows(folder, benchmark, split)` gives None where the split is not there, and raises `OtherRows` for a folder of
    another benchmark.
    """

    title: str
    holds: Callable[[Path], object]
    rows: Callable[[Path, Benchmark, Public], Iterator[Row] | None]


@dataclass(frozen=True, slots=True)
class Benchmark:
    """All that differs from one benchmark to the next. `name` is the word of the command line: a Python identifier.

    `title` is how its authors write it. `example` turns a row into an example without label and instruction, and raises
    `BadRow`; `columns` lists what it reads, each with its accepted names. `images` are the columns of its pages in a
    table, in their order; those after the last page are null. `questions` turns a row about several questions into a
    row for each. `metric` is the headline, a name in `docvlm.metrics.METRICS`; `variants` names the variant of a metric
    that its own protocol takes, where that is not the default. `instruction` follows a question; `max_new_tokens` is
    the longest answer.

    `public` says which published split a role reads; a role that is absent is cut from train. `hub` maps a repository
    to its splits; the first is what `data.source=hub` means. A benchmark without any and without a `download` is of
    somebody's own pages.
    `without_train` says what to learn from where the hub has no train split.
    `folder` names the sub-folder of a snapshot that holds this benchmark when several share a repository. `download` is
    the authors' own form, and `image_key` its image column.

    `marks` are sets of columns, one of which is enough to know its rows by; `only` is a set that says so only if there
    are no others. `generator` is the module whose `KINDS` draw pages in its schema, `{preset}` standing for tiny or
    full; "" without one. `sample` is the title of its page in the app, "" for a page of every kind.

    For cards and reports: `pages` are the pages in words, `languages` by code, `licence` the terms of its data, and
    `citation` its paper.
    """

    name: str
    title: str
    metric: str
    instruction: str
    max_new_tokens: int
    columns: tuple[tuple[str, ...], ...]
    example: Callable[[Row], Example]
    public: Mapping[Role, Public]
    images: tuple[str, ...] = ("image",)
    questions: Callable[[Row], Iterable[Row]] | None = None
    variants: Mapping[str, str] = field(default_factory=dict)
    hub: Mapping[str, Mapping[Public, HubSplit]] = field(default_factory=dict)
    without_train: str = ""
    folder: str = ""
    image_key: str = ""
    download: Download | None = None
    marks: tuple[frozenset[str], ...] = ()
    only: frozenset[str] = frozenset()
    generator: str = ""
    sample: str = ""
    pages: str = "own pages"
    languages: Mapping[str, str] = field(default_factory=lambda: {"en": "English"})
    licence: str = "yours"
    citation: str = ""

    @property
    def published(self) -> bool:
        """Whether its data are somebody's publication, on the hub or as a download, and not one's own pages."""
        return bool(self.hub) or self.download is not None


BENCHMARKS: Registry[Benchmark] = Registry("benchmark", ())
"""Every benchmark by name. `docvlm.data.benchmarks` registers docvlm's own; take it from there."""


def of_label(label: str) -> Benchmark | None:
    """The benchmark whose results are called so: on public, drawn or own pages. None for a name nobody registered."""
    name = label.partition("-")[0]
    return BENCHMARKS[name] if name in BENCHMARKS else None
