"""ChartQA: charts, with questions by people and questions made from summaries (Masry et al., ACL 2022); relaxed.

All three splits have answers: train learns, val selects, test reports. `question_types` says `human` or `augmented`,
the two halves every paper reports apart. lmms-lab/ChartQA has a test split only: good for evaluation, not for
training.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path, PurePath

from docvlm.data.benchmark import Benchmark, Download, HubSplit, Public
from docvlm.data.benchmarks.lazy import data_module
from docvlm.data.example import Example
from docvlm.data.page_ids import identified, renamed
from docvlm.data.rows import BadRow, Row, answers, present, require, text
from docvlm.data.sources import originals
from docvlm.data.sources.listing import folders
from docvlm.data.sources.ownership import OtherRows

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


def _hub(repo: str, **names: str) -> dict[Public, HubSplit]:
    splits: dict[str, Public] = {"train": "train", "val": "validation", "test": "test"}
    return {splits[word]: HubSplit(repo, name) for word, name in names.items()}


def root(path: Path) -> Path | None:
    """The folder that holds `train|val|test/<split>_human.json`, which is the source or one folder below it."""
    for folder in (path, *folders(path)):
        names = (f"{split}/{split}_{half}.json" for split in originals.SHORT.values() for half in HALVES)
        if any((folder / name).is_file() for name in names):
            return folder
    return None


def rows(path: Path, benchmark: Benchmark, split: Public) -> Iterator[Row] | None:
    """Rows of `ChartQA Dataset/`: the human questions, then the augmented ones, each with its `type`."""
    place = root(path)
    if place is None or benchmark.name != "chartqa":
        raise OtherRows(f"data.source={path}: a ChartQA download; use data=chartqa with it")
    name = originals.SHORT[split]
    files = {half: place / name / f"{name}_{half}.json" for half in HALVES}
    if not any(file.is_file() for file in files.values()):
        return None
    return _rows({half: file for half, file in files.items() if file.is_file()}, place / name, benchmark, split)


def _rows(files: Mapping[str, Path], folder: Path, benchmark: Benchmark, split: Public) -> Iterator[Row]:
    images = originals.Images(folder)
    for half, file in files.items():
        entries = originals.entries_of(file)
        if entries:
            require({**entries[0], "type": half}, benchmark.columns, str(file))
        for number, entry in enumerate(entries):
            values = {**entry, "type": half}
            yield images.row(f"{file.name} entry {number}", number, split, values, entry.get("imgname"))


BENCHMARK = Benchmark(
    name="chartqa",
    title="ChartQA",
    metric="relaxed_accuracy",
    instruction="\nAnswer the question with a single word.",
    max_new_tokens=16,
    columns=(("query", "question"), ("label", "answer"), ("type", "human_or_machine")),
    example=example,
    public={"train": "train", "val": "validation", "test": "test"},
    hub={
        "HuggingFaceM4/ChartQA": _hub("HuggingFaceM4/ChartQA", train="train", val="val", test="test"),
        "lmms-lab/ChartQA": _hub("lmms-lab/ChartQA", test="test"),
        "lmms-lab-encoder/ChartQA": _hub("lmms-lab-encoder/ChartQA", test="test"),
        "ahmed-masry/ChartQA": _hub("ahmed-masry/ChartQA", train="train", val="val", test="test"),
    },
    image_key="imgname",
    download=Download("ChartQA download", root, rows),
    marks=(frozenset({"human_or_machine"}), frozenset({"imgname", "query"})),
    only=frozenset({"type", "question", "answer", "image"}),  # lmms-lab's columns, each of them a common word
    generator="docvlm.data.generated.{preset}.chartqa",
    sample="Chart",
    pages="charts",
    licence="GPL-3.0 (hub card)",
    citation="Masry et al., Findings of ACL 2022, arXiv 2203.10244",
)
__getattr__ = data_module(__name__, "ChartQA", BENCHMARK)
