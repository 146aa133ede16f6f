"""ChartQA: charts, with questions by people and questions made from summaries (Masry et al., ACL 2022); relaxed.

All three splits have answers: train learns, val selects, test reports. `question_types` says `human` or `augmented`,
the two halves every paper reports apart. lmms-lab/ChartQA has a test split only: good for evaluation, not for
training.
"""

from __future__ import annotations

from pathlib import PurePath
from types import MappingProxyType

from docvlm.data.benchmark import Benchmark, HubSplit, Public
from docvlm.data.example import Example
from docvlm.data.loading.datamodule import DocumentDataModule
from docvlm.data.page_ids import identified, renamed
from docvlm.data.rows import BadRow, Row, answers, present, text

INSTRUCTION = "\nAnswer the question with a single word."
METRIC = "relaxed_accuracy"
HALVES = ("human", "augmented")


def example(row: Row) -> Example:
    """A row of HuggingFaceM4/ChartQA, lmms-lab/ChartQA, ahmed-masry/ChartQA or `ChartQA Dataset/`. Raises `BadRow`.

    None of them numbers its questions: the id is the split, the half and the row's place in its file.
    """
    half = _half(row)
    imgname = present(row, "imgname")
    if imgname is None:
        document, pages = identified(row.pages)
    else:
        document = PurePath(str(imgname)).stem
        pages = renamed(row.pages, str(imgname))
    return Example(
        question_id=f"{row.split}-{half}-{row.number}",
        question=text(row, "query", "question"),
        answers=answers(row, "label", "answer"),
        document=document,
        pages=pages,
        benchmark="chartqa",
        question_types=(half,),
    )


def _half(row: Row) -> str:
    """`human` or `augmented`, from `human_or_machine` (0 or 1, HuggingFaceM4) or `type` (`human_test`, lmms-lab)."""
    label = present(row, "human_or_machine")
    if label in (0, 1):
        return HALVES[label]
    word = text(row, "type", "human_or_machine").lower()
    for half, names in zip(HALVES, (("human",), ("augmented", "machine")), strict=True):
        if word.startswith(names):
            return half
    raise BadRow(f"type is {word!r}, neither human nor augmented")


def _hub(repo: str, **names: str) -> MappingProxyType:
    splits: dict[str, Public] = {"train": "train", "val": "validation", "test": "test"}
    return MappingProxyType({splits[word]: HubSplit(repo, name) for word, name in names.items()})


BENCHMARK = Benchmark(
    name="chartqa",
    metric=METRIC,
    instruction=INSTRUCTION,
    max_new_tokens=16,
    columns=(("query", "question"), ("label", "answer"), ("type", "human_or_machine")),
    example=example,
    public=MappingProxyType({"train": "train", "val": "validation", "test": "test"}),
    hub=MappingProxyType(
        {
            "HuggingFaceM4/ChartQA": _hub("HuggingFaceM4/ChartQA", train="train", val="val", test="test"),
            "lmms-lab/ChartQA": _hub("lmms-lab/ChartQA", test="test"),
            "lmms-lab-encoder/ChartQA": _hub("lmms-lab-encoder/ChartQA", test="test"),
            "ahmed-masry/ChartQA": _hub("ahmed-masry/ChartQA", train="train", val="val", test="test"),
        }
    ),
    image_key="imgname",
)


class ChartQA(DocumentDataModule):
    """Splits and loaders of ChartQA."""

    benchmark = BENCHMARK
