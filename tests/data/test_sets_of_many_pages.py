"""Public data sets of several pages, with exactly the columns of the hub and as their makers hand them out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets
import pytest
from datasets import Features

from docvlm.audit import main as audit
from docvlm.data.benchmarks.docvqa import DocVQA
from docvlm.data.benchmarks.mpdocvqa import MPDocVQA
from docvlm.data.benchmarks.slidevqa import SlideVQA
from docvlm.errors import DocvlmError
from docvlm.evaluate import main as evaluate
from tests.support.hub_schemas import (
    DOCVQA,
    MPDOCVQA,
    PAGES,
    SLIDEVQA,
    docvqa_rows,
    mpdocvqa_rows,
    parquet,
    slidevqa_rows,
)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def shades(example: Any) -> list[int]:
    return [page.open().getpixel((0, 0))[0] for page in example.pages]


def test_mpdocvqa_parquet(tmp_path: Path) -> None:
    parquet(tmp_path / "data", "val-00000-of-00001.parquet", MPDOCVQA, mpdocvqa_rows("val", 4))
    test = MPDocVQA(str(tmp_path)).test
    assert [(e.document, len(e.pages), e.answer_pages) for e in test[::2]] == [
        (f"val{n}", n + 1, (n + 1,)) for n in range(4)
    ]
    last = test[-1]
    assert (last.question_id, last.question, last.answers) == ("3007", "What is 7 in val?", ("No. 7", "it's 7"))
    assert [page.name for page in last.pages] == [f"val3_p{n}" for n in range(4)] and shades(last) == [30, 31, 32, 33]
    assert last.pages[2] is test[-2].pages[2]  # decoded, encoded and cached once
    assert {(e.benchmark, e.instruction) for e in test} == {
        ("mpdocvqa", "\nAnswer the question using a single word or phrase.")
    }


def test_mpdocvqa_without_page_ids_knows_pages_by_their_bytes(tmp_path: Path) -> None:
    """The columns that every copy of the set has; the second question of a document may show another run of pages."""
    kept = ("questionId", "question", "doc_id", "answers", *(f"image_{number}" for number in PAGES))
    rows = [{key: row[key] for key in kept} for row in mpdocvqa_rows("val", 3)]
    rows[5] |= {"image_1": rows[5]["image_2"], "image_2": rows[5]["image_3"], "image_3": None}
    parquet(tmp_path, "val.parquet", Features({key: MPDOCVQA[key] for key in kept}), iter(rows))
    test = MPDocVQA(str(tmp_path)).test
    assert [shades(e) for e in test[4:]] == [[20, 21, 22], [21, 22]] and test[4].answer_pages == ()
    assert test[5].pages[0] is test[4].pages[1]


def test_bad_rows_of_mpdocvqa_are_quarantined_with_their_reason(tmp_path: Path) -> None:
    rows = list(mpdocvqa_rows("val", 8))
    rows[6]["image_2"] = None
    rows[7] |= dict.fromkeys(f"image_{number}" for number in PAGES)
    rows[8]["answers"] = "['a', 'b"
    rows[9]["answer_page_idx"] = "5"
    rows[10]["page_ids"] = "['a']"
    parquet(tmp_path, "val.parquet", MPDOCVQA, iter(rows))
    data = MPDocVQA(str(tmp_path))
    assert len(data.test) == 11
    assert [(one.where[-6:], one.reason) for one in data.quarantine.rejected] == [
        (" row 6", "image_2 is null and image_4 is not: a page is missing in the middle"),
        (" row 7", "no image: image_1 to image_20 are null"),
        (" row 8", "answers is a list that cannot be read: \"['a', 'b\""),
        (" row 9", "answer_page_idx is 5, and the row has 5 pages"),
        ("row 10", "page_ids names 1 pages, and the row has 6"),
    ]


def rrc(folder: Path) -> None:
    """The RRC download: an annotation file a split and one image a page id; test has no answers."""
    (folder / "images").mkdir(parents=True)
    (folder / "qas").mkdir()
    for split in ("train", "val", "test"):
        entries = []
        for row in mpdocvqa_rows(split, 4):
            ids = eval(row["page_ids"])  # written three lines above
            for number, name in enumerate(ids, start=1):
                (folder / "images" / f"{name}.jpg").write_bytes(row[f"image_{number}"]["bytes"])
            entry = {key: row[key] for key in ("question", "doc_id", "data_split")}
            entry |= {"questionId": int(row["questionId"]), "page_ids": ids}
            answered = {"answers": eval(row["answers"]), "answer_page_idx": len(ids) - 1}
            entries.append(entry if split == "test" else entry | answered)
        (folder / "qas" / f"{split}.json").write_text(json.dumps({"dataset_name": "MP-DocVQA", "data": entries}))


def test_mpdocvqa_as_rrc_hands_it_out_equals_the_hub_and_has_train(tmp_path: Path) -> None:
    rrc(tmp_path / "rrc")
    parquet(tmp_path / "hub", "val.parquet", MPDOCVQA, mpdocvqa_rows("val", 4))
    original, hub = (MPDocVQA(str(tmp_path / name), val_fraction=0.3) for name in ("rrc", "hub"))
    plain = [
        [(e.question_id, e.answers, e.document, e.answer_pages, shades(e)) for e in d.test] for d in (original, hub)
    ]
    assert plain[0] == plain[1] and len(plain[0]) == 8
    assert original.train and original.val and len(original.train) + len(original.val) == 8
    assert not {e.document for e in original.train} & {e.document for e in original.val}
    rrc(tmp_path / "other")
    (tmp_path / "other" / "images" / "val2_p1.jpg").unlink()
    broken = MPDocVQA(str(tmp_path / "other"))
    assert len(broken.test) == 6
    assert {one.reason for one in broken.quarantine.rejected} == {
        f"image 'val2_p1' not found under {tmp_path / 'other'}"
    }


def test_one_file_of_all_splits_is_split_by_its_column(tmp_path: Path) -> None:
    rrc(tmp_path)
    files = [tmp_path / "qas" / f"{split}.json" for split in ("train", "val", "test")]
    entries = [entry for file in files for entry in json.loads(file.read_text())["data"]]
    for file in files:
        file.unlink()
    (tmp_path / "annotations.json").write_text(json.dumps({"data": entries}))
    data = MPDocVQA(str(tmp_path))
    assert (len(data.test), len(data.train) + len(data.val)) == (8, 8)


def test_sets_of_many_pages_are_never_taken_for_others(tmp_path: Path) -> None:
    rrc(tmp_path / "rrc")
    parquet(tmp_path / "mp", "val.parquet", MPDOCVQA, mpdocvqa_rows("val", 2))
    parquet(tmp_path / "sp", "val.parquet", DOCVQA, docvqa_rows("val", 2))
    with pytest.raises(DocvlmError, match=r"data\.source=.*: an MP-DocVQA download; use data=mpdocvqa with it"):
        DocVQA(str(tmp_path / "rrc")).setup("test")
    with pytest.raises(DocvlmError, match=r"the rows of mpdocvqa \(columns .*\), not of docvqa; give data=mpdocvqa"):
        DocVQA(str(tmp_path / "mp")).setup("test")
    with pytest.raises(DocvlmError, match=r"the rows of docvqa .* give data=docvqa"):
        MPDocVQA(str(tmp_path / "sp")).setup("test")


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit):
        audit(list(words))
    return capsys.readouterr().err.splitlines()[-1]


def test_without_a_train_split_the_error_says_where_one_is(tmp_path: Path) -> None:
    parquet(tmp_path, "val.parquet", MPDOCVQA, mpdocvqa_rows("val", 4))
    data = MPDocVQA(str(tmp_path))
    with pytest.raises(DocvlmError) as caught:
        data.filled("train")
    assert str(caught.value) == (
        f"data.source={tmp_path}: no train questions for data=mpdocvqa (found: train 0); the hub has no train split of "
        "it: give data.source=DIR with the RRC download, which has one"
    )


def test_nothing_is_drawn_in_the_schema_of_mpdocvqa(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert refused(capsys, "data=mpdocvqa", "scale=tiny") == (
        "error: data.source=generated: no pages are drawn for data=mpdocvqa; give data.source=hub or a path to them"
    )


def scores(folder: Path, benchmark: str, said: list[tuple[str, str]]) -> list[dict[str, Any]]:
    """What evaluate makes of predictions, each with its accepted answer."""
    lines = [
        {"question_id": str(n), "document": "d", "benchmark": benchmark, "question": "?"}
        | {"prediction": prediction, "answers": [answer]}
        for n, (prediction, answer) in enumerate(said)
    ]
    (folder / "said.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    evaluate([f"predictions={folder / 'said.jsonl'}", f"output={folder / 'out'}"])
    return list(json.loads((folder / "out" / "score.json").read_text())["benchmarks"])


def test_answers_to_mpdocvqa_are_scored_as_its_evaluator_scores_them(tmp_path: Path) -> None:
    """Half of the letters is kept, inner white space counts, and neither an empty text nor "none" is an answer."""
    (found,) = scores(tmp_path, "mpdocvqa", [("ab", "abcd"), ("a  b", "a b"), ("", "x"), ("None", "none")])
    assert (found["metric"], found["variant"], found["headline"]) == ("anls", "mp-docvqa", 1.25 / 4)
    assert found["accuracy"] == 0.0 and found["variants"]["lmms-eval"] > found["headline"]


def test_slidevqa_parquet(tmp_path: Path) -> None:
    for split in ("train", "val"):
        parquet(tmp_path / "data", f"{split}-00000-of-00001.parquet", SLIDEVQA, slidevqa_rows(split, 4))
    data = SlideVQA(str(tmp_path), val_fraction=0.3)
    first, second = data.test[:2]
    assert (first.question_id, first.answers, first.answer_pages) == ("3000", ("No. 0",), (1, 3))
    assert (second.answers, second.answer_pages, second.document) == (("not answerable",), (), "val-deck-0")
    assert shades(data.test[-1]) == [30, 31, 32] and first.pages[0] is second.pages[0]
    assert len(data.test) == 8 == len(data.train) + len(data.val) and data.val
    assert not {e.document for e in data.train} & {e.document for e in data.val}
    assert {e.instruction for e in data.test} == {"\nAnswer using only the short answer, without explanation."}


def test_a_slide_missing_in_the_middle_and_evidence_that_is_not_there_are_named(tmp_path: Path) -> None:
    rows = list(slidevqa_rows("val", 4))
    rows[0]["page_2"] = None
    rows[2]["evidence_pages"] = [4]
    rows[4]["answer"] = " "
    parquet(tmp_path, "val.parquet", SLIDEVQA, iter(rows))
    data = SlideVQA(str(tmp_path))
    assert len(data.test) == 5 and [one.reason for one in data.quarantine.rejected] == [
        "page_2 is null and page_3 is not: a page is missing in the middle",
        "evidence_pages names 4, and the row has 3 pages",
        "answer is empty",
    ]


def test_answers_to_slidevqa_are_scored_strictly(tmp_path: Path) -> None:
    """Half of the letters is dropped, a line break and case do not count, punctuation does in EM and F1."""
    (found,) = scores(tmp_path, "slidevqa", [("ab", "abcd"), ("Three quarters", "three quarters"), ("x.", "x")])
    assert (found["metric"], found["variant"]) == ("anls", "slidevqa")
    assert (found["headline"], found["exact_match"], found["f1"]) == (1 / 3, 1 / 3, 1 / 3)
    assert found["variants"]["lmms-eval"] == (0.5 + 1 + 0.5) / 3
