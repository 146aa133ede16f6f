"""InfographicVQA: questions on infographics (Mathew et al., arXiv 2104.12756); ANLS.

As DocVQA: train learns, a slice of it selects, the public validation split reports. The hub repository holds parquet
files of the train split that its card does not declare; they are read by name. The card gives an image no id: its
bytes do.
"""

from __future__ import annotations

from pathlib import PurePath

from docvlm.data.benchmark import SINGLE_WORD_OR_PHRASE, Benchmark, HubSplit, Public
from docvlm.data.benchmarks.lazy import data_module
from docvlm.data.example import Example
from docvlm.data.page_ids import identified
from docvlm.data.rows import Row, answers, strings, text
from docvlm.data.sources import originals


def example(row: Row) -> Example:
    """A row of lmms-lab/DocVQA (config InfographicVQA) or RRC's `infographicsVQA_*_v1.0*.json`. Raises `BadRow`.

    `question_types` are where the answer lies (`answer_type`), what it takes (`operation/reasoning`) and, in the
    original download only, the evidence.
    """
    if "image_local_name" in row.values:
        document, pages = PurePath(text(row, "image_local_name")).stem, row.pages
    else:
        document, pages = identified(row.pages)
    kinds = (kind for key in ("answer_type", "operation/reasoning", "evidence") for kind in strings(row, key))
    return Example(
        question_id=text(row, "questionId", "question_id"),
        question=text(row, "question"),
        answers=answers(row, "answers"),
        document=document,
        pages=pages,
        benchmark="infovqa",
        question_types=tuple(kind for kind in kinds if kind.lower() != "none"),
    )


def _hub(repo: str) -> dict[Public, HubSplit]:
    return {
        "train": HubSplit(repo, "train", files="InfographicVQA/train-*.parquet"),
        "validation": HubSplit(repo, "validation", "InfographicVQA"),
    }


BENCHMARK = Benchmark(
    name="infovqa",
    title="InfoVQA",
    metric="anls",
    instruction=SINGLE_WORD_OR_PHRASE,
    max_new_tokens=32,
    columns=(("questionId",), ("question",), ("answers",)),
    example=example,
    public={"train": "train", "test": "validation"},
    hub={repo: _hub(repo) for repo in ("lmms-lab/DocVQA", "lmms-lab-encoder/DocVQA")},
    folder="InfographicVQA",
    image_key="image_local_name",
    download=originals.RRC,
    marks=(
        frozenset({"operation/reasoning"}),
        frozenset({"image_local_name"}),
        frozenset({"answer_type", "image_url"}),
    ),
    generator="docvlm.data.generated.{preset}.infovqa",
    sample="Infographic",
    pages="infographics",
    licence="RRC portal (registration)",
    citation="Mathew et al., WACV 2022, arXiv 2104.12756",
)
__getattr__ = data_module(__name__, "InfoVQA", BENCHMARK)
