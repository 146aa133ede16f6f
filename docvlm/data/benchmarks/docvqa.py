"""DocVQA: questions on scanned industry documents (Mathew et al., arXiv 2007.00398); ANLS.

Train learns, a document-grouped slice of train selects, the public validation split reports (test has no answers).
The train split is declared only at a revision of the hub repository, which is therefore the one read for both splits.
"""

from __future__ import annotations

from pathlib import PurePath

from docvlm.data.benchmark import SINGLE_WORD_OR_PHRASE, Benchmark, HubSplit, Public
from docvlm.data.benchmarks.lazy import data_module
from docvlm.data.example import Example
from docvlm.data.page_ids import renamed
from docvlm.data.rows import Row, answers, present, strings, text
from docvlm.data.sources import originals

REVISION = "59fed3cdc38662abeef8f363171b2ec7c95c165c"


def example(row: Row) -> Example:
    """A row of lmms-lab/DocVQA, HuggingFaceM4/DocumentVQA or RRC's `*_v1.0_withQT.json`. Raises `BadRow`.

    The document is the UCSF id: pages of one document stand in several splits of the original, so a page is not enough.
    """
    document = text(row, "ucsf_document_id", "docId", "image")
    number = present(row, "ucsf_document_page_no")
    if "ucsf_document_id" not in row.values and "docId" not in row.values:
        document = PurePath(document).stem.rpartition("_")[0] or PurePath(document).stem
    name = f"{document}_{number}" if number is not None else ""
    return Example(
        question_id=text(row, "questionId", "question_id"),
        question=text(row, "question"),
        answers=answers(row, "answers"),
        document=document,
        pages=renamed(row.pages, name),
        benchmark="docvqa",
        question_types=strings(row, "question_types"),
    )


def _hub(repo: str, config: str | None, revision: str | None) -> dict[Public, HubSplit]:
    names: tuple[Public, ...] = ("train", "validation")
    return {name: HubSplit(repo, name, config, revision) for name in names}


BENCHMARK = Benchmark(
    name="docvqa",
    title="DocVQA",
    metric="anls",
    instruction=SINGLE_WORD_OR_PHRASE,
    max_new_tokens=32,
    columns=(("questionId",), ("question",), ("answers",)),
    example=example,
    public={"train": "train", "test": "validation"},
    hub={
        "lmms-lab/DocVQA": _hub("lmms-lab/DocVQA", "DocVQA", REVISION),
        "lmms-lab-encoder/DocVQA": _hub("lmms-lab-encoder/DocVQA", "DocVQA", REVISION),
        "HuggingFaceM4/DocumentVQA": _hub("HuggingFaceM4/DocumentVQA", None, None),
    },
    folder="DocVQA",
    image_key="image",
    download=originals.RRC,
    marks=(frozenset({"ucsf_document_id"}), frozenset({"docId", "question_types"})),
    generator="docvlm.data.generated.{preset}.docvqa",
    pages="scanned documents",
    licence="RRC portal (registration)",
    citation="Mathew et al., WACV 2021, arXiv 2007.00398",
)
__getattr__ = data_module(__name__, "DocVQA", BENCHMARK)
