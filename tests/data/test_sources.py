"""Every layout of every benchmark, written here with the columns and types of the original, comes out the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub
import pytest
from datasets import Dataset, DatasetDict, Features

from docvlm.data.benchmarks.chartqa import ChartQA
from docvlm.data.benchmarks.docvqa import REVISION, DocVQA
from docvlm.data.benchmarks.folder import Folder
from docvlm.data.benchmarks.infovqa import InfoVQA
from docvlm.data.loading.datamodule import DocumentDataModule
from docvlm.errors import DocvlmError
from tests.support.hub_schemas import (
    DOCVQA,
    INFOVQA,
    LMMS_CHARTQA,
    M4_CHARTQA,
    M4_DOCVQA,
    MASRY_CHARTQA,
    chart_rows,
    described,
    docvqa_rows,
    infovqa_rows,
    parquet,
)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def no_network(name: str) -> None:
    raise AssertionError(f"{name} would be counted at a server")


def test_docvqa_parquet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parquet(tmp_path / "DocVQA", "train-00000-of-00002.parquet", DOCVQA, docvqa_rows("train", 20))
    parquet(tmp_path / "DocVQA", "train-00001-of-00002.parquet", DOCVQA, docvqa_rows("train2", 2))
    parquet(tmp_path / "DocVQA", "validation-00000-of-00001.parquet", DOCVQA, docvqa_rows("val", 4))
    parquet(tmp_path / "DocVQA", "test-00000-of-00001.parquet", DOCVQA, docvqa_rows("test", 4))
    parquet(tmp_path / "InfographicVQA", "train-00000-of-00001.parquet", INFOVQA, infovqa_rows("train", 3))
    monkeypatch.setattr(datasets.load, "increase_load_count", no_network)
    data = DocVQA(str(tmp_path), val_fraction=0.2)
    assert described(data.test)[1] == ("3001", "What is 1 in val?", ("1", "no. 1"), "val0000", ("table/list", "form"))
    assert len(data.train) + len(data.val) == 44 and 8 <= len(data.val) <= 12
    assert not {e.document for e in data.train} & {e.document for e in data.val}
    assert not {e.document for e in data.train + data.val} & {e.document for e in data.test}
    assert {e.benchmark for e in data.train} == {"docvqa"}
    first, second, third = data.test[:3]
    assert first.pages[0] is second.pages[0] and first.pages[0].name == "val0000_1"
    assert third.pages[0].name == "val0000_2" and third.pages[0].open().size == (41, 30)
    in_second_file = next(e for e in data.train + data.val if e.question_id == "6002")
    assert in_second_file.pages[0].open().getpixel((0, 0)) == (int(in_second_file.answers[0]) // 2,) * 3


def test_huggingface_m4_docvqa_has_numbers_for_ids(tmp_path: Path) -> None:
    rows = (
        {k: int(v) if k == "questionId" else v for k, v in row.items() if k in M4_DOCVQA}
        for row in docvqa_rows("val", 4)
    )
    parquet(tmp_path / "data", "validation-00000-of-00001-abc.parquet", M4_DOCVQA, rows)
    assert described(DocVQA(str(tmp_path)).test)[0][0] == "3000"


def test_infovqa_parquet(tmp_path: Path) -> None:
    parquet(tmp_path / "InfographicVQA", "train-00000-of-00001.parquet", INFOVQA, infovqa_rows("train", 10))
    parquet(tmp_path / "InfographicVQA", "validation-00000-of-00001.parquet", INFOVQA, infovqa_rows("val", 3))
    parquet(tmp_path / "DocVQA", "validation-00000-of-00001.parquet", DOCVQA, docvqa_rows("val", 4))
    data = InfoVQA(str(tmp_path), val_fraction=0.2)
    assert (len(data.train), len(data.val), len(data.test)) == (16, 4, 6)
    assert [e.question_types for e in data.test[:2]] == [("single span", "counting"), ("single span",)]
    assert [len({e.document for e in data.test}), len({id(e.pages[0]) for e in data.test})] == [3, 3]


@pytest.mark.parametrize(
    "features", [M4_CHARTQA, LMMS_CHARTQA, MASRY_CHARTQA], ids=["HuggingFaceM4", "lmms-lab", "ahmed-masry"]
)
def test_chartqa_parquet(tmp_path: Path, features: Features) -> None:
    published = ("test",) if features is LMMS_CHARTQA else ("train", "val", "test")
    for split in published:
        parquet(tmp_path / "data", f"{split}-00000-of-00001.parquet", features, chart_rows(split, features))
    data = ChartQA(str(tmp_path))
    assert [len(data.train), len(data.val), len(data.test)] == [
        6 * (split in published) for split in ("train", "val", "test")
    ]
    one = data.test[1]
    assert (one.question_id, one.question, one.answers) == ("test-augmented-1", "Which bar is 1?", ("1",))
    assert [e.question_types[0] for e in data.test[:2]] == ["human", "augmented"]
    assert len({e.document for e in data.test}) == 3 and data.test[0].pages[0] is one.pages[0]
    assert one.document == ("test_0" if features is MASRY_CHARTQA else data.test[0].document)
    assert one.pages[0].open().mode == "RGB"
    if features is LMMS_CHARTQA:
        data.codec = object()  # type: ignore[assignment]  # never reached
        with pytest.raises(DocvlmError, match="no train questions"):
            data.train_dataloader()


def test_a_saved_dataset_dict_and_a_saved_dataset(tmp_path: Path) -> None:
    tables = {s: Dataset.from_list(list(docvqa_rows(s, 6)), features=DOCVQA) for s in ("train", "validation")}
    DatasetDict(tables).save_to_disk(tmp_path / "dict")
    tables["validation"].select([5, 3, 1]).save_to_disk(tmp_path / "single")
    data = DocVQA(str(tmp_path / "dict"))
    assert len(data.test) == 12 == len(data.train) + len(data.val)
    single = DatasetDict({"validation": tables["validation"].select([5, 3, 1])})
    single.save_to_disk(tmp_path / "selected")
    picked = DocVQA(str(tmp_path / "selected")).test
    assert [e.answers[0] for e in picked] == ["5", "3", "1"]
    assert [e.pages[0].open().getpixel((0, 0))[0] for e in picked] == [2, 1, 0]


CALLS: list[tuple[type[DocumentDataModule], str, str, dict[str, Any]]] = [
    (DocVQA, "hub", "train", {"path": "lmms-lab/DocVQA", "name": "DocVQA", "split": "train", "revision": REVISION}),
    (DocVQA, "hub", "test", {"path": "lmms-lab/DocVQA", "name": "DocVQA", "split": "validation", "revision": REVISION}),
    (
        DocVQA,
        "HuggingFaceM4/DocumentVQA",
        "test",
        {"path": "HuggingFaceM4/DocumentVQA", "name": None, "split": "validation", "revision": None},
    ),
    (
        InfoVQA,
        "hub",
        "train",
        {
            "path": "parquet",
            "data_files": {"train": "hf://datasets/lmms-lab/DocVQA/InfographicVQA/train-*.parquet"},
            "split": "train",
        },
    ),
    (
        InfoVQA,
        "hub",
        "test",
        {"path": "lmms-lab/DocVQA", "name": "InfographicVQA", "split": "validation", "revision": None},
    ),
    (ChartQA, "hub", "val", {"path": "HuggingFaceM4/ChartQA", "name": None, "split": "val", "revision": None}),
    (
        ChartQA,
        "lmms-lab/ChartQA",
        "test",
        {"path": "lmms-lab/ChartQA", "name": None, "split": "test", "revision": None},
    ),
]


@pytest.mark.parametrize(("module", "source", "role", "expected"), CALLS)
def test_what_is_asked_of_the_hub(
    module: type[DocumentDataModule],
    source: str,
    role: str,
    expected: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    asked: list[dict[str, Any]] = []
    rows, features = {
        DocVQA: (docvqa_rows("x", 8), DOCVQA),
        InfoVQA: (infovqa_rows("x", 8), INFOVQA),
        ChartQA: (chart_rows("x", M4_CHARTQA), M4_CHARTQA),
    }[module]
    parquet(tmp_path, "train.parquet", features, rows)
    if source == "lmms-lab/ChartQA":
        parquet(tmp_path, "train.parquet", LMMS_CHARTQA, chart_rows("x", LMMS_CHARTQA))
    real: Callable[..., Any] = datasets.load_dataset

    def load_dataset(**arguments: Any) -> Any:
        asked.append(arguments)
        return real("parquet", data_files={"x": str(tmp_path / "train.parquet")}, split="x")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    assert getattr(module(source), role)
    assert expected in asked
    assert role == "train" or len(asked) == 1  # evaluation fetches nothing but what it reports on


@pytest.mark.parametrize("offline", [True, False])
def test_a_hub_that_cannot_be_reached_is_one_line_with_a_remedy(offline: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(DocvlmError, match=r"lmms-lab/DocVQA.*hf download.*data\.source=generated") as caught:
        DocVQA("hub", offline=offline).setup("test")
    assert "\n" not in str(caught.value)
    assert ("offline=true" in str(caught.value)) == offline


@pytest.mark.parametrize("module", [DocVQA, ChartQA, InfoVQA, Folder])
def test_a_source_that_is_nothing_is_named(module: type[DocumentDataModule], tmp_path: Path) -> None:
    with pytest.raises(DocvlmError, match=r"data\.source=.*nowhere.*no such file or folder"):
        module(str(tmp_path / "nowhere")).setup()
    (tmp_path / "empty").mkdir()
    with pytest.raises(DocvlmError, match=r"empty: nothing readable"):
        module(str(tmp_path / "empty")).setup()
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(DocvlmError, match=r"notes\.txt: expected a folder"):
        module(str(tmp_path / "notes.txt")).setup()


def test_a_column_that_is_missing_is_named(tmp_path: Path) -> None:
    features = Features({("answer" if key == "answers" else key): kind for key, kind in DOCVQA.items()})
    rows = ({("answer" if key == "answers" else key): v for key, v in row.items()} for row in docvqa_rows("val", 2))
    parquet(tmp_path, "validation.parquet", features, rows)
    with pytest.raises(DocvlmError, match="no column 'answers'; columns found: answer, data_split"):
        DocVQA(str(tmp_path)).setup("test")


def test_parquet_that_is_damaged_or_without_a_split_is_named(tmp_path: Path) -> None:
    parquet(tmp_path / "a", "pages.parquet", DOCVQA, docvqa_rows("val", 2))
    with pytest.raises(DocvlmError, match=r"pages\.parquet: no split in the file name"):
        DocVQA(str(tmp_path / "a")).setup("test")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "validation.parquet").write_bytes(b"PAR1 and then nothing")
    with pytest.raises(DocvlmError, match=r"validation\.parquet: not readable parquet"):
        DocVQA(str(tmp_path / "b")).setup("test")
