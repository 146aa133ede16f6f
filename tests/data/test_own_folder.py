"""Own pages: JSONL and CSV, one or several pages a question, own splits or dealt ones; the real folders."""

from __future__ import annotations

import json
import logging
from collections import Counter
from pathlib import Path

import datasets
import pytest
from PIL import Image

from docvlm.data.benchmarks.docvqa import DocVQA
from docvlm.data.benchmarks.folder import Folder
from docvlm.data.loading.datamodule import DocumentDataModule
from docvlm.data.pages import digest
from docvlm.data.pdf import PdfPage
from docvlm.errors import DocvlmError
from tests.support import pdfs
from tests.support.asked import ENCRYPTED

REAL = Path(__file__).resolve().parents[3] / "shared" / "data"
real = pytest.mark.skipif(not REAL.is_dir(), reason=f"real pages are not at {REAL}")


def pages(folder: Path, count: int) -> None:
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for number in range(count):
        Image.new("L", (40, 30 + number), 255).save(folder / "images" / f"{number}.png")


def lines(folder: Path, count: int, name: str = "qa.jsonl", **more: object) -> None:
    pages(folder, count)
    rows = (
        {"image": f"images/{n}.png", "question": f"What is {n}?", "answers": [str(n)], **more} for n in range(count)
    )
    (folder / name).write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")


def test_documents_are_dealt_out_once_and_the_same_way_each_time(tmp_path: Path) -> None:
    lines(tmp_path / "own", 50)
    data, again, other = (Folder(str(tmp_path / "own"), split_seed=seed) for seed in (0, 0, 1))
    sizes = [len(split) for split in (data.train, data.val, data.test)]
    assert sum(sizes) == 50 and sizes[2] == 10 and sizes[1] in (2, 3)
    assert data.fingerprint() == again.fingerprint() != other.fingerprint()
    assert data.label == "folder-own" == data.test[0].benchmark


def test_a_folder_can_be_for_evaluation_only(tmp_path: Path) -> None:
    lines(tmp_path / "own", 9)
    data = Folder(str(tmp_path / "own"), val_fraction=0.0, test_fraction=1.0, limit_test=5)
    assert (data.train, data.val, len(data.test)) == ([], [], 5)
    data.codec = object()  # type: ignore[assignment]  # never reached
    with pytest.raises(DocvlmError, match=r"no train questions for data=folder \(found: train 0"):
        data.train_dataloader()


def test_a_pdf_of_many_pages_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether rows name the file or its pages; a page has the hash it has by itself. 300 pages were 303 readings."""
    lines(tmp_path, 4)
    file = tmp_path / "images" / "long.pdf"
    file.write_bytes(pdfs.with_text([""] * 300))
    rows = [
        {"image": image, "question": "What?", "answers": ["a"], "doc_id": f"{number}"}
        for number, image in enumerate(["images/long.pdf", *(f"images/long.pdf#page={n}" for n in (1, 299, 300))])
    ]
    with (tmp_path / "qa.jsonl").open("a") as qa:
        qa.writelines("\n" + json.dumps(row) for row in rows)
    read: list[str] = []
    opened = PdfPage.stream
    monkeypatch.setattr(PdfPage, "stream", lambda page: read.append(page.name) or opened(page))
    data = Folder(str(tmp_path), val_fraction=0, test_fraction=1.0)
    (whole,) = (one for one in data.test if len(one.pages) == 300)
    assert len(read) == 1
    assert whole.pages[298].digest == digest(PdfPage(str(file), 299)) != whole.pages[299].digest  # type: ignore[attr-defined]


def test_bad_pdfs_are_left_out_each_for_its_own_reason(tmp_path: Path) -> None:
    """PDFium keeps the reason of the file before where a PDF has no pages."""
    lines(tmp_path, 6)
    bad = {"empty": b"", "encrypted": ENCRYPTED, "damaged": pdfs.with_text([]), "damaged ": b"%PDF-1.4 cut"}
    for number, content in enumerate(bad.values()):
        (tmp_path / f"{number}.pdf").write_bytes(content)
    rows = [{"image": ["images/1.png", f"{n}.pdf"], "question": "What?", "answers": ["a"]} for n in range(4)]
    rows.append({"image": "images/1.png#page=2", "question": "What?", "answers": ["a"]})
    with (tmp_path / "qa.jsonl").open("a") as qa:
        qa.writelines("\n" + json.dumps(row) for row in rows)
    data = Folder(str(tmp_path), val_fraction=0, test_fraction=1.0)
    assert len(data.test) == 6
    *found, absent = data.quarantine.rejected
    assert [one.kind for one in found] == [f"image {kind.strip()}" for kind in bad]
    assert all(f"{number}.pdf: " in one.reason for number, one in enumerate(found))
    assert "damaged or without pages" in found[2].reason and absent.kind == "image not found"


@pytest.mark.parametrize("validation", ["val", "validation", "dev"])
def test_the_folder_s_own_splits_are_used(tmp_path: Path, validation: str) -> None:
    for name, count in (("train", 6), (validation, 3), ("test", 4)):
        lines(tmp_path / "subfolders" / name, count)
    pages(tmp_path / "column", 8)
    rows = [
        {"image": f"images/{n}.png", "question": "?!", "answers": ["a"], "split": split}
        for n, split in enumerate(["train"] * 5 + [validation] * 2 + ["test"])
    ]
    (tmp_path / "column" / "qa.jsonl").write_text("\n".join(map(json.dumps, rows)))
    sizes = [
        [len(split) for split in (data.train, data.val, data.test)]
        for data in (Folder(str(tmp_path / name)) for name in ("subfolders", "column"))
    ]
    assert sizes == [[6, 3, 4], [5, 2, 1]]


def test_a_row_too_broken_to_name_its_split_is_reported_once(tmp_path: Path) -> None:
    lines(tmp_path / "own", 4, split="train")
    with (tmp_path / "own" / "qa.jsonl").open("ab") as file:
        file.write(b'\n{"image": "images/0.png"')
        file.write(b'\n{"image": "images/0.png", "question": "?!", "answers": ["a"]}')
    data = Folder(str(tmp_path / "own"), val_fraction=0.25)
    assert [len(split) for split in (data.train, data.val, data.test)] == [3, 1, 0]
    assert [entry.reason[:8] for entry in data.quarantine.rejected] == ["not JSON", "no split"]


def test_one_file_name_in_two_splits_is_two_documents(tmp_path: Path) -> None:
    for name in ("train", "test"):
        pages(tmp_path / name, 1)
        Image.new("L", (50, 50 + len(name)), 0).save(tmp_path / name / "images" / "0.png")
        (tmp_path / name / "qa.jsonl").write_text(
            json.dumps({"image": "images/0.png", "question": "?!", "answer": "a"})
        )
    data = Folder(str(tmp_path), val_fraction=0.0)
    assert [e.document for e in data.train + data.test] == ["train/images/0.png", "test/images/0.png"]


def test_a_folder_without_val_selects_by_a_slice_of_train(tmp_path: Path) -> None:
    for name, count in (("train", 10), ("test", 4)):
        lines(tmp_path / name, count)
    data = Folder(str(tmp_path), val_fraction=0.2)
    assert [len(split) for split in (data.train, data.val, data.test)] == [8, 2, 4]


def test_csv_and_jsonl_say_the_same(tmp_path: Path) -> None:
    pages(tmp_path / "csv", 2)
    pages(tmp_path / "jsonl", 2)
    (tmp_path / "csv" / "qa.csv").write_text(
        "\ufeffimage,question,answers,question_id,type,doc_id\n"
        'images/0.png,"Total, with tax?","[""1,50"", ""1.50""]",a,total,d\n'
        '"[""images/0.png"", ""images/1.png""]",[sic] Who?,[sic] he,b,,d\n'
        "images/1.png,When?,nan,c,,d\n",
        encoding="utf-8",
    )
    rows = [
        {"image": "images/0.png", "question": "Total, with tax?", "answers": ["1,50", "1.50"], "question_id": "a",
         "type": "total", "doc_id": "d"},
        {"image": ["images/0.png", "images/1.png"], "question": "[sic] Who?", "answer": "[sic] he", "question_id": "b",
         "doc_id": "d"},
    ]  # fmt: skip
    (tmp_path / "jsonl" / "qa.jsonl").write_text("\n".join(map(json.dumps, rows)))
    one, two = (
        [(e.question_id, e.question, e.answers, e.document, len(e.pages), e.question_types) for e in data.test]
        for data in (Folder(str(tmp_path / name), test_fraction=1.0) for name in ("csv", "jsonl"))
    )
    assert one == two and len(one) == 2


def test_lists_written_as_strings_and_numbers_become_answers(tmp_path: Path) -> None:
    pages(tmp_path, 1)
    rows = [
        {"answers": ["['a b', 'c']"], "answer_format": "List"},
        {"answers": ["['a b', 'c']"]},
        {"answers": ["not a list"], "answer_format": "List"},
        {"answer": 47},
        {"answer": 0.57},
    ]
    (tmp_path / "qa.jsonl").write_text(
        "\n".join(json.dumps({"image": "images/0.png", "question": "?!", **r}) for r in rows)
    )
    answers = [example.answers[0] for example in Folder(str(tmp_path), test_fraction=1.0).test]
    assert answers == ["a b, c", "['a b', 'c']", "not a list", "47", "0.57"]


def test_one_page_under_two_names_is_one_document(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lines(tmp_path, 30)
    twin = (tmp_path / "images" / "7.png").read_bytes()
    (tmp_path / "images" / "21.png").write_bytes(twin)
    with caplog.at_level(logging.WARNING):
        data = Folder(str(tmp_path), val_fraction=0.3, test_fraction=0.3)
        data.setup()
    assert "1 documents share a page and go together: images/21.png = images/7.png" in caplog.text
    homes = {e.document for split in (data.train, data.val, data.test) for e in split if e.answers[0] in ("7", "21")}
    assert homes == {"images/7.png"}


def test_own_pages_never_pass_for_a_public_benchmark(tmp_path: Path) -> None:
    lines(tmp_path / "docvqa", 10)
    assert {e.benchmark for e in DocVQA(str(tmp_path / "docvqa")).train} == {"docvqa-folder"}
    assert {e.benchmark for e in Folder(str(tmp_path / "docvqa")).train} == {"folder-docvqa"}


def test_the_fingerprint_knows_content_and_not_places(tmp_path: Path) -> None:
    for name in ("here/own", "there/own"):
        lines(tmp_path / name, 8)
    here, there = (Folder(str(tmp_path / name)).fingerprint() for name in ("here/own", "there/own"))
    assert here == there
    Image.new("L", (40, 30), 254).save(tmp_path / "there" / "own" / "images" / "0.png")
    assert Folder(str(tmp_path / "there" / "own")).fingerprint() != here


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"source": "generated"}, "data=folder reads own pages"),
        ({"source": None}, "data.source is not set"),
        ({"source": ".", "val_fraction": 1.5}, "data.val_fraction=1.5"),
        ({"source": ".", "metric": "bleu"}, "data.metric=bleu"),
    ],
)
def test_impossible_settings_are_named(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(DocvlmError, match=message):
        Folder(**arguments).setup()  # type: ignore[arg-type]  # wrong on purpose


def documents_apart(data: DocumentDataModule) -> bool:
    train, val, test = ({e.document for e in split} for split in (data.train, data.val, data.test))
    return not (train & val or train & test or val & test)


@real
@pytest.mark.parametrize(
    ("name", "questions", "pages", "documents"),
    [
        ("receipts", 1294, 324, 323),
        ("contracts", 638, 189, None),
        ("charts", 415, 308, None),
        ("reports", 102, None, None),
    ],
)
def test_real_folders_load_whole(
    name: str, questions: int, pages: int | None, documents: int | None, caplog: pytest.LogCaptureFixture
) -> None:
    data = Folder(str(REAL / name))
    everything = data.train + data.val + data.test
    assert len(everything) == len({e.question_id for e in everything}) == questions
    assert pages is None or len({page.name for e in everything for page in e.pages}) == pages
    assert documents is None or len({e.document for e in everything}) == documents
    assert documents_apart(data) and all(e.question_types for e in everything)
    assert "quarantined" not in caplog.text
    assert data.test[0].pages[0].open().mode == "RGB"


@real
def test_the_identical_receipts_go_together() -> None:
    data = Folder(str(REAL / "receipts"))
    homes = Counter(
        e.document
        for e in data.train + data.val + data.test
        if "sroie_277" in e.question_id or "sroie_452" in e.question_id
    )
    assert list(homes.values()) == [8]


@real
def test_questions_over_several_pages_by_naming_their_file() -> None:
    data = Folder(str(REAL / "reports" / "qa_multipage.jsonl"), val_fraction=0.0, test_fraction=1.0)
    assert len(data.test) == 83 and {len(e.pages) for e in data.test} <= {2, 3, 4}
    assert data.label == "folder-reports-qa_multipage"
    assert not any(answer.startswith("[") for e in data.test for answer in e.answers)


@pytest.mark.parametrize("layout", ["parquet", "saved"])
@pytest.mark.parametrize("inside", [True, False], ids=["images in the table", "names of files"])
def test_own_pages_may_be_a_table(tmp_path: Path, layout: str, inside: bool) -> None:
    pages(tmp_path, 3)
    images = [f"images/{number}.png" for number in (0, 1, 1, 2)]
    table = datasets.Dataset.from_dict(
        {
            "image": [{"bytes": (tmp_path / name).read_bytes(), "path": name} for name in images] if inside else images,
            "question": ["0?", "1?", "1?", "2?"],
            "answers": [["950.50"], ["1"], ["1"], ["2"]],
            "doc_id": [0, None, None, 2],
        }
    )
    if inside:
        table = table.cast_column("image", datasets.Image())
    splits = datasets.DatasetDict({"train": table, "test": table.select([0, 3])})
    if layout == "saved":
        splits.save_to_disk(str(tmp_path))
    for name in splits if layout == "parquet" else ():
        splits[name].to_parquet(str(tmp_path / f"{name}.parquet"))
    data = Folder(str(tmp_path), val_fraction=0.0)
    assert [(e.question, e.answers) for e in data.train] == [("0?", ("950.50",)), ("1?", ("1",)), ("2?", ("2",))]
    assert [e.document for e in data.test] == ["0", "2"] and data.label == f"folder-{tmp_path.name}"
    assert data.quarantine.merged == 1 and data.train[1].pages[0].open().size == data.train[1].pages[0].size
