"""DUDE as its makers hand it out: one annotation file of all splits, and a folder of PDFs or of drawn pages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from PIL import Image

from docvlm.audit import main as audit
from docvlm.data.benchmarks.docvqa import DocVQA
from docvlm.data.benchmarks.dude import DUDE
from docvlm.data.page_ids import digest_of
from docvlm.data.pdf import PdfPage
from docvlm.errors import DocvlmError
from docvlm.evaluate import main as evaluate
from tests.support.pdfs import with_text

TYPES = ("extractive", "list/abstractive", "not-answerable")


def entry(split: str, document: int, number: int, page: int, **other: Any) -> dict[str, Any]:
    """A question in the annotations' own columns; test says no answers."""
    asked = {
        "questionId": f"{split}{document}_{number}",
        "question": f"What is {number}?",
        "docId": f"{split}{document}",
        "data_split": split,
    }
    kind = TYPES[number % 3]
    box = {"left": 9, "top": 4, "width": 20, "height": 5, "page": page}
    answered = {
        "answers": [[f"No. {number}"], ["a", "b"], []][number % 3],
        "answers_page_bounding_boxes": [] if kind == "not-answerable" else [[box]],
        "answers_variants": [f"number {number}"] if kind == "extractive" else [],
        "answer_type": kind,
    }
    return asked if split == "test" else asked | answered | other


def download(folder: Path, first: int = 0, documents: int = 30, drawn: bool = False) -> list[dict[str, Any]]:
    """Documents of two pages. `first` is the number of a document's first page; the answer is on its last."""
    entries = []
    for split in ("train", "val", "test"):
        pages = folder / "DUDE_train-val-test_binaries" / ("images" if drawn else "PDF") / split
        pages.mkdir(parents=True)
        for document in range(documents):
            if drawn:
                for number in range(2):
                    Image.new("RGB", (90, 60), (document, 100 * number, 0)).save(
                        pages / f"{split}{document}_{number}.jpg"
                    )
            else:
                (pages / f"{split}{document}.pdf").write_bytes(with_text([f"{split} {document}", "two"]))
            entries += [entry(split, document, number, first + (document + number) % 2) for number in range(3)]
    write(folder, entries)
    return entries


def write(folder: Path, entries: list[dict[str, Any]]) -> None:
    about = {"dataset_name": "DUDE Dataset", "dataset_version": "1.0.7", "data": entries}
    (folder / "2023-03-23_DUDE_gt_test_PUBLIC.json").write_text(json.dumps(about))


@pytest.mark.parametrize("first", [0, 1])
def test_dude_as_it_is_handed_out(tmp_path: Path, first: int) -> None:
    download(tmp_path, first)
    data = DUDE(str(tmp_path), val_fraction=0.3)
    one, several, none = data.test[:3]
    assert (one.question_id, one.document, one.answers) == ("val0_0", "val0", ("No. 0", "number 0"))
    assert (several.answers, none.answers) == (("a, b",), ("not answerable",))
    assert [e.question_types for e in data.test[:3]] == [(kind,) for kind in TYPES]
    assert [e.answer_pages for e in data.test[:5]] == [(1,), (2,), (), (2,), (1,)]
    assert one.pages[0] is several.pages[0] and [isinstance(page, PdfPage) for page in one.pages] == [True, True]
    assert len(data.test) == 90 == len(data.train) + len(data.val) and data.val
    assert not {e.document for e in data.train} & {e.document for e in data.val}
    assert (data.label, {e.instruction for e in data.test}) == (
        "dude",
        {"\nAnswer the question using a single word or phrase."},
    )


def test_a_pdf_is_read_once_to_be_hashed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    download(tmp_path, documents=2)
    read: list[str] = []
    stream = PdfPage.stream

    def counted(page: PdfPage) -> BinaryIO:
        read.append(Path(page.path).name)
        return stream(page)

    monkeypatch.setattr(PdfPage, "stream", counted)
    one, two = map(digest_of, DUDE(str(tmp_path)).test[0].pages)
    assert read == ["val0.pdf", "val1.pdf"] and one != two


def test_pages_that_were_drawn_already_are_read_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    download(tmp_path, drawn=True)
    (tmp_path / "DUDE_train-val-test_binaries/images/val/val3_0.jpg").unlink()
    data = DUDE(str(tmp_path))
    green = [page.open().split()[1].getextrema()[1] for page in data.test[0].pages]
    assert green == [0, 100]
    assert len(data.test) == 87
    assert {one.reason for one in data.quarantine.rejected} == {"no val3_0.jpg beside val3_1.jpg"}


def test_a_file_that_does_not_show_where_it_counts_from_gives_no_answer_pages(tmp_path: Path) -> None:
    download(tmp_path, documents=3)
    assert {e.answer_pages for e in DUDE(str(tmp_path)).test} == {()}


def test_what_is_wrong_with_a_document_is_named(tmp_path: Path) -> None:
    entries = download(tmp_path)
    folder = tmp_path / "DUDE_train-val-test_binaries" / "PDF" / "val"
    (folder / "val1.pdf").unlink()
    (folder / "val2.pdf").write_bytes(b"%PDF-1.4\n")
    entries[99]["answers_page_bounding_boxes"][0][0]["page"] = 7
    write(tmp_path, entries)
    data = DUDE(str(tmp_path))
    assert len(data.test) == 83
    said = [one.reason for one in data.quarantine.rejected]
    assert said[0] == f"no val1.pdf under {tmp_path}, and no val1_0.jpg"
    assert said[3].startswith(f"{folder / 'val2.pdf'}: a PDF that cannot be opened")
    assert said[6] == "an answer is on page 8, and the document has 2"


def test_dude_is_never_taken_for_another_set_and_says_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    download(tmp_path, documents=1)
    with pytest.raises(DocvlmError, match=r"data\.source=.*: a DUDE download; use data=dude with it"):
        DocVQA(str(tmp_path)).setup("test")
    monkeypatch.chdir(tmp_path)
    for words, advice in (
        (["scale=tiny"], "data.source=generated: no pages are drawn for data=dude; give data.source=DIR with its down"),
        (["data.source=hub"], "data.source=hub: data=dude is not read from the hub; give the folder of its download"),
    ):
        with pytest.raises(SystemExit):
            audit(["data=dude", *words])
        assert advice in capsys.readouterr().err.splitlines()[-1]


def test_answers_to_dude_are_scored_as_its_evaluator_scores_them(tmp_path: Path) -> None:
    """No answer is right where there is none, in whatever words it is said, and half of the letters is kept."""
    said = [("Not answerable.", "not answerable"), ("5", "not answerable"), ("", "x"), ("ab", "abcd")]
    lines = [
        {"question_id": str(n), "document": "d", "benchmark": "dude", "question": "?"}
        | {"prediction": prediction, "answers": [answer]}
        for n, (prediction, answer) in enumerate(said)
    ]
    (tmp_path / "said.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    evaluate([f"predictions={tmp_path / 'said.jsonl'}", f"output={tmp_path / 'out'}"])
    (found,) = json.loads((tmp_path / "out" / "score.json").read_text())["benchmarks"]
    assert (found["metric"], found["variant"], found["headline"]) == ("anls", "dude", 1.5 / 4)
