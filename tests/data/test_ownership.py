"""Rows of one benchmark are never scored as another's, and a mixture says which of its sets is missing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import datasets
import pytest
from datasets import Dataset, DatasetDict, Features, Image, List, Value

from docvlm.audit import main as audit
from docvlm.data.benchmarks.chartqa import ChartQA
from docvlm.data.benchmarks.docvqa import DocVQA
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
    docvqa_rows,
    infovqa_rows,
    parquet,
    png,
)

MODULES: dict[str, type[DocumentDataModule]] = {"docvqa": DocVQA, "infovqa": InfoVQA, "chartqa": ChartQA}
PUBLISHED = [
    ("docvqa", DOCVQA),
    ("docvqa", M4_DOCVQA),
    ("infovqa", INFOVQA),
    ("chartqa", M4_CHARTQA),
    ("chartqa", LMMS_CHARTQA),
    ("chartqa", MASRY_CHARTQA),
]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def rows_of(name: str, features: Features) -> list[dict[str, Any]]:
    made = {"docvqa": docvqa_rows, "infovqa": infovqa_rows}
    rows = chart_rows("val", features) if name == "chartqa" else made[name]("val", 2)
    return [
        {key: int(row[key]) if kind == Value("int32") else row[key] for key, kind in features.items()} for row in rows
    ]


@pytest.mark.parametrize(("owner", "features"), PUBLISHED)
@pytest.mark.parametrize("layout", ["parquet", "saved"])
def test_rows_of_another_benchmark_are_refused_by_name(
    tmp_path: Path, owner: str, features: Features, layout: str
) -> None:
    rows = rows_of(owner, features)
    if layout == "parquet":
        for split in ("validation", "test"):
            parquet(tmp_path / "it", f"{split}.parquet", features, iter(rows))
    else:
        table = Dataset.from_list(rows, features=features)
        DatasetDict({"validation": table, "test": table}).save_to_disk(tmp_path / "it")
    for name, module in MODULES.items():
        if name == owner:
            assert module(str(tmp_path / "it")).test
            continue
        with pytest.raises(DocvlmError, match=rf"the rows of {owner} \(columns .*\), not of {name}; give data={owner}"):
            module(str(tmp_path / "it")).setup("test")


@pytest.mark.parametrize("owner", ["docvqa", "infovqa"])
def test_a_download_of_another_benchmark_is_refused_by_name(tmp_path: Path, owner: str) -> None:
    extra = {"docvqa": {"image": "documents/a_1.png"}, "infovqa": {"image_local_name": "a.png"}}[owner]
    (row, *_) = (docvqa_rows if owner == "docvqa" else infovqa_rows)("val", 1)
    entry = {**{key: value for key, value in row.items() if key != "image"}, **extra}
    (tmp_path / "val_v1.0_withQT.json").write_text(json.dumps({"data": [entry]}))
    for name in {"docvqa", "infovqa"} - {owner}:
        with pytest.raises(DocvlmError, match=f"the rows of {owner} .* give data={owner} with it"):
            MODULES[name](str(tmp_path)).setup("test")


@pytest.mark.parametrize("name", ["docvqa", "infovqa"])
def test_own_exports_in_a_benchmarks_columns_are_taken_at_their_word(tmp_path: Path, name: str) -> None:
    """Without anybody's mark, with common words for columns, and with another's columns beside the own ones."""
    minimal = {
        "questionId": Value("string"),
        "question": Value("string"),
        "answers": List(Value("string")),
        "image": Image(),
    }
    common = ("docId", "type", "answer", "answer_type", "evidence", "page", "split", "ocr")
    marks = {"docvqa": ("ucsf_document_id",), "infovqa": ("operation/reasoning",)}[name]
    others = ("ucsf_document_id", "operation/reasoning", "image_url", "answer_type", "human_or_machine")
    document = ("docId",) if name == "docvqa" else ()
    for number, extra in enumerate((document, common, (*marks, *others))):
        features = Features({**minimal, **dict.fromkeys(extra, Value("string"))})
        row = {"questionId": "1", "question": "?", "answers": ["a"], "image": {"bytes": png(1), "path": None}}
        parquet(tmp_path / str(number), "val.parquet", features, iter([{**row, **dict.fromkeys(extra, "x")}]))
        assert len(MODULES[name](str(tmp_path / str(number))).test) == 1


def three_sets(root: Path, *names: str) -> None:
    """Snapshots of several benchmarks beside each other, as three `hf download` calls leave them."""
    for name, features in (("docvqa", DOCVQA), ("infovqa", INFOVQA), ("chartqa", M4_CHARTQA)):
        for split in ("train", "validation", "test"):
            if name in names:
                rows = rows_of(name, features)
                shades = {"train": 0, "validation": 60, "test": 120}
                for number, row in enumerate(rows):
                    row["image"] = {"bytes": png(shades[split] + 20 * len(name) % 50 + number), "path": None}
                    row |= {"ucsf_document_id": f"{split}{number}"} if name == "docvqa" else {}
                parquet(root / f"set of {name}", f"{split}.parquet", features, iter(rows))


def test_each_part_of_a_mixture_finds_its_own_set_in_one_folder(tmp_path: Path) -> None:
    three_sets(tmp_path, "docvqa", "infovqa", "chartqa")
    assert [len(module(str(tmp_path)).test) for module in MODULES.values()] == [4, 4, 6]


def test_a_mixture_says_which_set_is_missing_and_goes_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    three_sets(tmp_path / "sets", "docvqa", "chartqa")
    monkeypatch.chdir(tmp_path)
    mix = ["data=mix", "scale=tiny", f"data.source={tmp_path / 'sets'}", "data.val_fraction=0.3"]
    with pytest.raises(SystemExit):
        audit(mix)
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith(f"error: data=mix: infovqa is missing in data.source={tmp_path / 'sets'}")
    assert "~data.parts.infovqa" in said and "again" not in said
    audit([*mix, "~data.parts.infovqa"])
    shutil.rmtree(tmp_path / "sets" / "set of docvqa")
    with pytest.raises(SystemExit):
        audit([*mix, "~data.parts.infovqa"])
    assert "error: data=mix: docvqa is missing" in capsys.readouterr().err
    with pytest.raises(SystemExit):  # a weight for a part that was left out is a contradiction
        audit([*mix, "~data.parts.infovqa", "data.weights.infovqa=2"])
    assert "data.weights.infovqa=2.0: the parts are docvqa, chartqa" in capsys.readouterr().err


def test_a_mixture_does_not_learn_without_a_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    three_sets(tmp_path / "sets", "docvqa", "infovqa", "chartqa")
    shutil.move(tmp_path / "sets" / "set of chartqa", tmp_path / "charts")
    (tmp_path / "charts" / "train.parquet").unlink()
    monkeypatch.chdir(tmp_path)
    sources = [f"data.source={tmp_path / 'sets'}", f"data.parts.chartqa.source={tmp_path / 'charts'}"]
    with pytest.raises(SystemExit):
        audit(["data=mix", "scale=tiny", *sources, "data.val_fraction=0.3"])
    assert "error: data=mix: no train questions of chartqa" in capsys.readouterr().err
