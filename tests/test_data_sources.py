"""Every layout of every benchmark, written here with the columns and types of the original, comes out the same."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value
from PIL import Image

from docvlm.data.chartqa import ChartQA
from docvlm.data.datamodule import DocumentDataModule
from docvlm.data.docvqa import REVISION, DocVQA
from docvlm.data.folder import Folder
from docvlm.data.infovqa import InfoVQA
from docvlm.errors import DocvlmError

STRINGS = List(Value("string"))
DOCVQA = Features(  # lmms-lab/DocVQA, config DocVQA
    {
        "questionId": Value("string"),
        "question": Value("string"),
        "question_types": STRINGS,
        "image": datasets.Image(),
        "docId": Value("int64"),
        "ucsf_document_id": Value("string"),
        "ucsf_document_page_no": Value("string"),
        "answers": STRINGS,
        "data_split": Value("string"),
    }
)
M4_DOCVQA = Features(  # HuggingFaceM4/DocumentVQA
    {
        key: Value("int32") if key in ("questionId", "docId") else kind
        for key, kind in DOCVQA.items()
        if key != "data_split"
    }
)
INFOVQA = Features(  # lmms-lab/DocVQA, config InfographicVQA
    {
        "questionId": Value("string"),
        "question": Value("string"),
        "answers": STRINGS,
        "answer_type": STRINGS,
        "image": datasets.Image(),
        "image_url": Value("string"),
        "operation/reasoning": STRINGS,
        "ocr": Value("string"),
        "data_split": Value("string"),
    }
)
M4_CHARTQA = Features(  # HuggingFaceM4/ChartQA
    {
        "image": datasets.Image(),
        "query": Value("string"),
        "label": STRINGS,
        "human_or_machine": ClassLabel(names=["human", "machine"]),
    }
)
LMMS_CHARTQA = Features(  # lmms-lab/ChartQA
    {"type": Value("string"), "question": Value("string"), "answer": Value("string"), "image": datasets.Image()}
)
MASRY_CHARTQA = Features(  # ahmed-masry/ChartQA
    {
        "imgname": Value("string"),
        "query": Value("string"),
        "label": Value("string"),
        "type": Value("string"),
        "image": Value("binary"),
    }
)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def png(shade: int) -> bytes:
    stream = io.BytesIO()
    Image.new("L", (40 + shade % 5, 30), shade).save(stream, "PNG")
    return stream.getvalue()


def docvqa_rows(split: str, pages: int) -> Iterator[dict[str, Any]]:
    """Two questions a page, two pages a document."""
    for n in range(2 * pages):
        page, document = n // 2, n // 4
        yield {
            "questionId": f"{len(split)}{n:03d}",
            "question": f"What is {n} in {split}?",
            "question_types": ["table/list", "form"] if n % 2 else ["handwritten"],
            "image": {"bytes": png(page), "path": None},
            "docId": 1000 + document,
            "ucsf_document_id": f"{split}{document:04d}",
            "ucsf_document_page_no": str(page % 2 + 1),
            "answers": [f"{n}", f"no. {n}"],
            "data_split": split,
        }


def infovqa_rows(split: str, pages: int) -> Iterator[dict[str, Any]]:
    for n in range(2 * pages):
        yield {
            "questionId": f"{len(split)}{n:04d}",
            "question": f"How many {n}?",
            "answers": [str(n)],
            "answer_type": ["single span"],
            "image": {"bytes": png(n // 2 + 100 * (split == "train")), "path": None},
            "image_url": f"https://example.org/{n // 2}.png",
            "operation/reasoning": ["none"] if n % 2 else ["counting"],
            "ocr": "{}",
            "data_split": split,
        }


def chart_rows(split: str, features: Features, pages: int = 3) -> Iterator[dict[str, Any]]:
    for n in range(2 * pages):
        shade = n // 2 + 20 * len(split)
        values = {
            "image": png(shade) if features is MASRY_CHARTQA else {"bytes": png(shade), "path": None},
            "query": f"Which bar is {n}?",
            "question": f"Which bar is {n}?",
            "label": [str(n)] if features is M4_CHARTQA else str(n),
            "answer": str(n),
            "human_or_machine": n % 2,
            "imgname": f"{split}_{n // 2}.png",
            "type": f"{('human', 'augmented')[n % 2]}{'_test' if features is LMMS_CHARTQA else ''}",
        }
        yield {key: values[key] for key in features}


def parquet(folder: Path, name: str, features: Features, rows: Iterator[dict[str, Any]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    Dataset.from_list(list(rows), features=features).to_parquet(folder / name)


def described(examples: list[Any]) -> list[tuple[Any, ...]]:
    return [(e.question_id, e.question, e.answers, e.document, e.question_types) for e in examples]


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


def rrc_docvqa(folder: Path, pages: str) -> None:
    (folder / pages).mkdir(parents=True)
    for split in ("train", "val"):
        entries = []
        for row in docvqa_rows(split, 4):
            image = f"documents/{row['ucsf_document_id']}_{row['ucsf_document_page_no']}.png"
            (folder / pages / Path(image).name).write_bytes(row["image"]["bytes"])
            entries.append({**row, "questionId": int(row["questionId"]), "image": image})
        for suffix in ("", "_withQT"):
            kept = [{k: v for k, v in entry.items() if suffix or k != "question_types"} for entry in entries]
            content = {"dataset_name": "SP-DocVQA", "dataset_version": "1.0", "dataset_split": split, "data": kept}
            (folder / f"{split}_v1.0{suffix}.json").write_text(json.dumps(content), encoding="utf-8")


@pytest.mark.parametrize("pages", ["documents", "spdocvqa_images"])
def test_docvqa_as_rrc_hands_it_out_equals_the_hub(tmp_path: Path, pages: str) -> None:
    rrc_docvqa(tmp_path / "rrc", pages)
    for split, name in (("train", "train"), ("val", "validation")):
        parquet(tmp_path / "hub", f"{name}-00000-of-00001.parquet", DOCVQA, docvqa_rows(split, 4))
    original, hub = (DocVQA(str(tmp_path / name), val_fraction=0.3) for name in ("rrc", "hub"))
    for split in ("train", "val", "test"):
        assert described(getattr(original, split)) == described(getattr(hub, split)) != []
    assert original.test[0].pages[0].open().size == hub.test[0].pages[0].open().size


def test_infovqa_as_rrc_hands_it_out(tmp_path: Path) -> None:
    (tmp_path / "infographicsvqa_images").mkdir()
    entries = []
    for number, row in enumerate(infovqa_rows("val", 2)):
        image = f"{30000 + number // 2}.jpeg"
        (tmp_path / "infographicsvqa_images" / image).write_bytes(row["image"]["bytes"])
        kept = {k: v for k, v in row.items() if k not in ("image", "ocr", "questionId")}
        extra = {"image_local_name": image, "ocr_output_file": "x.json", "evidence": ["Figure"]}
        entries.append({**kept, **extra, "questionId": number})
    file = tmp_path / "infographicsVQA_val_v1.0_withQT.json"
    file.write_text(json.dumps({"dataset_name": "infographicVQA", "data": entries}), encoding="utf-8")
    test = InfoVQA(str(tmp_path)).test
    assert [e.document for e in test] == ["30000", "30000", "30001", "30001"]
    assert test[0].question_types == ("single span", "counting", "Figure")
    with pytest.raises(DocvlmError, match="another benchmark"):
        DocVQA(str(tmp_path)).setup("test")


@pytest.mark.parametrize("below", ["", "ChartQA Dataset"])
def test_the_chartqa_download(tmp_path: Path, below: str) -> None:
    for split in ("train", "val", "test"):
        folder = tmp_path / below / split
        (folder / "png").mkdir(parents=True)
        for kind in ("human", "augmented"):
            rows = [r for r in chart_rows(split, MASRY_CHARTQA) if r["type"] == kind]
            for row in rows:
                (folder / "png" / row["imgname"]).write_bytes(row["image"])
            kept = [{key: row[key] for key in ("imgname", "query", "label")} for row in rows]
            (folder / f"{split}_{kind}.json").write_text(json.dumps(kept), encoding="utf-8")
    data = ChartQA(str(tmp_path))
    assert [len(data.train), len(data.val), len(data.test)] == [6, 6, 6]
    assert {e.question_types for e in data.test} == {("human",), ("augmented",)}
    assert {e.document for e in data.val} == {"val_0", "val_1", "val_2"}
    assert data.metric == "relaxed_accuracy"
    with pytest.raises(DocvlmError, match="data=chartqa"):
        DocVQA(str(tmp_path)).setup("test")


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


def test_broken_json_of_a_download_is_named(tmp_path: Path) -> None:
    (tmp_path / "val_v1.0.json").write_text('{"data": [', encoding="utf-8")
    with pytest.raises(DocvlmError, match=r"val_v1\.0\.json: not readable JSON"):
        DocVQA(str(tmp_path)).setup("test")
