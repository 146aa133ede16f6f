"""The benchmarks' original downloads, as their makers hand them out, come out as the hub's rows do."""

from __future__ import annotations

import json
from pathlib import Path

import datasets
import pytest

from docvlm.data.benchmarks.chartqa import ChartQA
from docvlm.data.benchmarks.docvqa import DocVQA
from docvlm.data.benchmarks.infovqa import InfoVQA
from docvlm.errors import DocvlmError
from tests.support.hub_schemas import DOCVQA, MASRY_CHARTQA, chart_rows, described, docvqa_rows, infovqa_rows, parquet


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


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
    with pytest.raises(DocvlmError, match=r"the rows of infovqa .* give data=infovqa"):
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


def test_broken_json_of_a_download_is_named(tmp_path: Path) -> None:
    (tmp_path / "val_v1.0.json").write_text('{"data": [', encoding="utf-8")
    with pytest.raises(DocvlmError, match=r"val_v1\.0\.json: not readable JSON"):
        DocVQA(str(tmp_path)).setup("test")
