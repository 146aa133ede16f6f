"""What one benchmark is: its wording, its metric, its schema, and which public split serves which purpose.

A score is reported on a split that never selects anything (DESIGN: splits). DocVQA and InfoVQA publish no answers for
their test split, so their public validation split reports, and a slice of train selects; ChartQA has all three.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from docvlm.data.example import Example
from docvlm.data.rows import Row

Role = Literal["train", "val", "test"]
"""What a split is for: to learn from, to select by, to report on."""

Public = Literal["train", "validation", "test"]
"""What a split is called where it was published."""

SINGLE_WORD_OR_PHRASE = "\nAnswer the question using a single word or phrase."
"""lmms-eval's `post_prompt` for DocVQA and InfographicVQA."""


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
class Benchmark:
    """The contract of one benchmark.

    `example` turns a row into an example without label and instruction, and raises `BadRow`. `columns` lists what it
    reads, each with its accepted names. `public` says which published split a role reads; a role that is absent is
    cut from train. `hub` maps a repository to its splits; the first is what `data.source=hub` means. `folder` names
    the sub-folder of a snapshot that holds this benchmark when several share a repository. `image_key` is the image
    column of the original JSON.
    """

    name: str
    metric: str
    instruction: str
    max_new_tokens: int
    columns: tuple[tuple[str, ...], ...]
    example: Callable[[Row], Example]
    public: Mapping[Role, Public]
    hub: Mapping[str, Mapping[Public, HubSplit]]
    folder: str = ""
    image_key: str = ""
