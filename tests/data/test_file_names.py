"""A source is the file or folder of that name and no other: names are no patterns, addresses, variables or chains."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import datasets
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Json, List, Value

from docvlm.data.benchmarks.chartqa import ChartQA
from docvlm.data.benchmarks.docvqa import DocVQA
from docvlm.data.loading.datamodule import DocumentDataModule
from docvlm.data.rows import BadRow
from tests.support.hub_schemas import DOCVQA, docvqa_rows, parquet, png

NAMES = {  # each with a sibling that a pattern or a variable would find instead, where there is one
    "set[2]": "set2", "a*": "ab", "q?": "qx", "{x,y}": "x", "$TRAP": "trap", "${TRAP}": "trap", "p%20c": "p c",
    "zip::set": "set", "set::zip": "set", "file::": "file", "h#sh": "h", "e=q": "e", "com,ma": "com", " sp ace ": "sp",
    "üñî": "uni", "http:": "http", "s3:": "s3", "-m": "m", "!x": "x", "x.zip": "x", "~root": "root", "back\\s": "backs",
}  # fmt: skip
FEW = ("set[2]", "$TRAP", "zip::set", "set::zip", "p%20c")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setenv("TRAP", "trap")


def the_answer(module: type[DocumentDataModule], source: Path) -> tuple[str, ...]:
    (one,) = module(str(source)).test
    assert one.pages[0].open().size[1] == 30
    return one.answers


def one_row(word: str, **other: Any) -> list[dict[str, Any]]:
    return [{**next(docvqa_rows("val", 1)), "answers": [word], **other}]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One question in every layout, whose answer is `named`, and the same whose answer is `sibling`."""
    root = tmp_path_factory.mktemp("made")
    for word in ("named", "sibling"):
        table = Dataset.from_list(one_row(word), features=DOCVQA)
        parquet(root / "parquet" / word, "validation.parquet", DOCVQA, iter(one_row(word)))
        DatasetDict({"validation": table}).save_to_disk(root / "saved dict" / word)
        Dataset.from_list(one_row(word), features=DOCVQA, split="validation").save_to_disk(root / "saved" / word)
        rrc = root / "rrc" / word
        (rrc / "documents").mkdir(parents=True)
        (rrc / "documents" / "val0000_1.png").write_bytes(png(3))
        entry = {**one_row(word)[0], "image": "documents/val0000_1.png"}
        (rrc / "val_v1.0.json").write_text(json.dumps({"data": [entry]}))
        chart = root / "chartqa" / word
        (chart / "test" / "png").mkdir(parents=True)
        (chart / "test" / "png" / "1.png").write_bytes(png(3))
        rows = [{"imgname": "1.png", "query": "Which?", "label": word}]
        (chart / "test" / "test_human.json").write_text(json.dumps(rows))
    return root


@pytest.mark.parametrize("layout", ["parquet", "saved", "saved dict", "rrc", "chartqa"])
def test_the_folder_of_that_name_is_read_and_not_its_sibling(tmp_path: Path, made: Path, layout: str) -> None:
    module = ChartQA if layout == "chartqa" else DocVQA
    for name in NAMES if layout == "parquet" else FEW:
        shutil.copytree(made / layout / "named", tmp_path / name)
        shutil.copytree(made / layout / "sibling", tmp_path / NAMES[name])
        assert the_answer(module, tmp_path / name) == ("named",), name
        shutil.rmtree(tmp_path / NAMES[name])


@pytest.mark.parametrize("name", NAMES)
def test_the_parquet_file_of_that_name_is_read_and_not_its_sibling(tmp_path: Path, made: Path, name: str) -> None:
    for word, called in (("named", name), ("sibling", NAMES[name])):
        shutil.copy(made / "parquet" / word / "validation.parquet", tmp_path / f"val {called}.parquet")
    assert the_answer(DocVQA, tmp_path / f"val {name}.parquet") == ("named",)


def test_a_relative_name_that_looks_like_an_address(
    tmp_path: Path, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(made / "parquet" / "named", tmp_path / "hf:" / "datasets")
    monkeypatch.chdir(tmp_path)
    assert the_answer(DocVQA, Path("hf:/datasets")) == ("named",)


def test_a_file_that_takes_the_place_of_another_is_read_anew(tmp_path: Path, made: Path) -> None:
    """Also where it has the size and, copied with `cp -p`, the time of the one before."""
    file = tmp_path / "validation.parquet"
    parquet(tmp_path, file.name, DOCVQA, iter(one_row("before")))
    before = file.stat()
    assert the_answer(DocVQA, file) == ("before",)
    parquet(tmp_path, file.name, DOCVQA, iter(one_row("afterw")))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert file.stat().st_size == before.st_size and file.stat().st_mtime_ns == before.st_mtime_ns
    assert the_answer(DocVQA, file) == ("afterw",)


@pytest.mark.parametrize("layout", ["parquet", "saved dict", "rrc", "chartqa"])
def test_what_file_managers_leave_beside_the_files_is_passed_over(tmp_path: Path, made: Path, layout: str) -> None:
    source = shutil.copytree(made / layout / "named", tmp_path / ".hidden itself" / layout)
    folders = [source, *(path for path in source.rglob("*") if path.is_dir())]
    for folder in folders:
        for file in [path for path in folder.iterdir() if path.is_file()]:
            (folder / f"._{file.name}").write_bytes(b"Mac OS X        ")
        for name in (".DS_Store", "Thumbs.db", "desktop.ini"):
            (folder / name).write_bytes(b"\x00\x05\x16\x07")
    for shadow in ("__MACOSX", ".cache"):
        shutil.copytree(made / layout / "sibling", source / shadow / "DocVQA")
    if layout == "rrc":  # an image that is found by its base name
        (source / "documents" / "val0000_1.png").rename(source / "documents" / "deep_1.png")
        (source / "val_v1.0.json").write_text(
            (source / "val_v1.0.json").read_text().replace("val0000_1.png", "deep_1.png")
        )
        (source / "__MACOSX" / "deep_1.png").write_bytes(b"Mac OS X")
    assert the_answer(ChartQA if layout == "chartqa" else DocVQA, source) == ("named",)


def test_a_column_that_datasets_holds_as_json_is_read_as_the_text_it_was(tmp_path: Path) -> None:
    """One number among the texts of a JSON file is enough for that."""
    lines = [
        {"questionId": "q-1", "question": 'Which "one"?', "answers": ['5 "%"', 5], "ucsf_document_id": "a"},
        {"questionId": 2, "question": 1999, "answers": ["x\n\u00e9"], "ucsf_document_id": "b"},
        {"questionId": "3", "question": "true?", "answers": [], "ucsf_document_id": 7},
    ]
    (tmp_path / "lines.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    table = datasets.load_dataset("json", data_files=str(tmp_path / "lines.jsonl"), split="train")
    assert [str(kind) for kind in table.features.values()].count("Json(decode=True)") == 3
    image = Dataset.from_list([{"image": {"bytes": png(n), "path": None}} for n in range(3)])
    table = datasets.concatenate_datasets([table, image.cast_column("image", datasets.Image())], axis=1)
    DatasetDict({"validation": table}).save_to_disk(tmp_path / "saved")
    (tmp_path / "files").mkdir()
    table.to_parquet(tmp_path / "files" / "validation.parquet")
    for name in ("saved", "files"):
        data = DocVQA(str(tmp_path / name))
        assert [(e.question_id, e.question, e.answers, e.document) for e in data.test] == [
            ("q-1", 'Which "one"?', ('5 "%"', "5"), "a"),
            ("2", "1999", ("x\n\u00e9",), "b"),
        ]
        assert [bad.reason for bad in data.quarantine.rejected] == ["answers is an empty list"]


def test_a_number_in_a_json_column_keeps_the_characters_it_is_held_with(tmp_path: Path) -> None:
    """`datasets` puts a text that is JSON by itself into such a column as it stands: "950.50" as 950.50."""
    kinds = Features({**DOCVQA, "answers": List(Json())})
    rows = [row for n in ("950.50", "1e3") for row in one_row(n, questionId=n)]
    parquet(tmp_path, "val.parquet", kinds, iter(rows))
    assert [e.answers for e in DocVQA(str(tmp_path)).test] == [("950.50",), ("1e3",)]


def test_numbers_and_classes_of_a_typed_column(tmp_path: Path) -> None:
    """Whole numbers are their digits, a class is its name, and a float is refused: 950.50 is 950.5 there."""
    kinds = {"int": Value("int64"), "float": Value("float64"), "class": ClassLabel(names=["yes", "no"])}
    for word, kind in kinds.items():
        rows = one_row("", answers=[1])
        parquet(tmp_path / word, "validation.parquet", Features({**DOCVQA, "answers": List(kind)}), iter(rows))
    assert [DocVQA(str(tmp_path / word)).test[0].answers for word in ("int", "class")] == [("1",), ("no",)]
    with pytest.raises(Exception, match="digits as written are lost; store it as text"):
        DocVQA(str(tmp_path / "float")).setup("test")


def test_a_json_column_that_holds_none_is_a_bad_row() -> None:
    from docvlm.data.sources.columns import decoded, decoders

    using = decoders(Features({"answers": List(Json()), "half": ClassLabel(names=["human"]), "id": Value("string")}))
    assert decoded({"answers": ['"a"', None], "half": -1, "id": '"k"'}, using) == {
        "answers": ["a", None],
        "half": None,
        "id": '"k"',
    }
    with pytest.raises(BadRow, match="answers is no JSON"):
        decoded({"answers": ["not json"], "half": 0, "id": ""}, using)
