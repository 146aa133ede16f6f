"""Rows about single pages as questions about whole documents."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from docvlm.data.benchmarks.folder import Folder
from docvlm.data.example import Example
from docvlm.data.reading import Reading
from tests.support import pdfs
from tests.support.tiny import Paper


def row(document: str, image: int, **more: Any) -> dict[str, Any]:
    name = f"{document}_p{image}"
    return {"image": f"{name}.png", "question": f"What is {name}?", "answers": [name], "doc_id": document, **more}


def folder(tmp_path: Path, rows: list[dict[str, Any]], **options: Any) -> tuple[Folder, list[Example]]:
    for one in rows:
        if not (tmp_path / one["image"]).exists():
            Paper(one["image"], 84, 56).open().save(tmp_path / one["image"])
    (tmp_path / "qa.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    data = Folder(str(tmp_path), val_fraction=0, test_fraction=1.0, **options)
    return data, data.test


def pages(example: Example) -> list[str]:
    return [Path(page.name).stem for page in example.pages]


def test_rows_of_a_document_ask_about_all_its_pages_in_their_order(tmp_path: Path) -> None:
    rows = [row("a", 2, page=2), row("a", 1, page=1), row("b", 1, page=1)]
    data, found = folder(tmp_path, rows, join_pages=True)
    assert [pages(one) for one in found] == [["a_p1", "a_p2"], ["a_p1", "a_p2"], ["b_p1"]]
    assert [one.answer_pages for one in found] == [(2,), (1,), (1,)]
    assert found[0].pages == found[1].pages, "so they share one reading"
    assert data.unread() == []


def test_a_missing_page_keeps_the_numbers_of_the_others_and_is_said(tmp_path: Path) -> None:
    rows = [row("a", 1, page=1, num_pages=4), row("a", 3, page=3, num_pages=4)]
    data, found = folder(tmp_path, rows, join_pages=True)
    assert [pages(one) for one in found] == [["a_p1", "a_p3"]] * 2
    assert [(one.shown, one.n_pages, one.answer_pages) for one in found] == [((1, 3), 4, (1,)), ((1, 3), 4, (3,))]
    assert data.unread() == ["pages that no usable row names: pages 2, 4 of a; they are not shown"]
    first, second = Reading("each", page_numbers=True).asked(found[1])
    assert (first.numbers, second.numbers) == ((1,), (3,)) and second.n_pages == 4
    assert Reading("best").learned(found[1])[0].shown == (3,)


def test_two_pages_of_one_number_are_a_bad_row(tmp_path: Path) -> None:
    rows = [row("a", 1, page=1), row("a", 2, page=1), row("a", 3, page=3), row("b", 1, page=1)]
    data, found = folder(tmp_path, rows, join_pages=True)
    assert [one.question for one in found] == ["What is a_p1?", "What is a_p3?", "What is b_p1?"]
    (bad,) = data.quarantine.rejected
    assert "page 1 is" in bad.reason and "a_p1.png in qa.jsonl line 1" in bad.reason


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"page": 5, "num_pages": 2}, "page is 5, and num_pages 2"),
        ({"page": 2, "num_pages": 3}, "num_pages is 3 here and 2 in qa.jsonl line 1"),
        ({"page": 2, "num_pages": 2, "answer_page": 4}, "answer_page is 4, and the row has 2 pages"),
        ({"page": [1, 2], "num_pages": 2}, "page names 2 pages, and image 1 page"),
        ({"page": 0, "num_pages": 2}, "page holds '0', which is no number of a page"),
        ({"page": 2, "num_pages": 2, "image": "absent.png"}, "absent.png' not found"),
    ],
)
def test_numbers_that_contradict_are_a_bad_row_and_the_others_stay(
    tmp_path: Path, more: dict[str, Any], reason: str
) -> None:
    Paper("x", 84, 56).open().save(tmp_path / "x.png")
    rows = [{**row("a", 1, page=1, num_pages=2), "image": "x.png"}, row("b", 1), {**row("a", 2), **more}]
    if "image" not in more:
        rows[2]["image"] = "x.png"
    (tmp_path / "qa.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    Paper("b", 84, 56).open().save(tmp_path / "b_p1.png")
    data = Folder(str(tmp_path), val_fraction=0, test_fraction=1.0, join_pages=True)
    assert [one.question for one in data.test] == ["What is a_p1?", "What is b_p1?"]
    (bad,) = data.quarantine.rejected
    assert reason in bad.reason and bad.where == "qa.jsonl line 3"


def test_a_document_that_says_it_has_a_billion_pages_costs_nothing(tmp_path: Path) -> None:
    data, found = folder(tmp_path, [row("a", 1, page=1, num_pages=999_999_999)], join_pages=True)
    assert [one.n_pages for one in found] == [999_999_999]
    assert "pages 2, 3, 4, 5, 6 and 999999993 more of a;" in data.unread()[0]


def test_a_pdf_in_a_row_about_one_page_says_how_to_name_the_page(tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(pdfs.with_text(["one", "two"]))
    rows = [row("a", 1, page=1) | {"image": "a.pdf"}, row("a", 2, page=2) | {"image": "a.pdf#page=2"}, row("b", 1)]
    Paper("b", 84, 56).open().save(tmp_path / "b_p1.png")
    (tmp_path / "qa.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    data = Folder(str(tmp_path), val_fraction=0, test_fraction=1.0, join_pages=True)
    assert [(one.document, one.answer_pages) for one in data.test] == [("a", (2,)), ("b", (1,))]
    (bad,) = data.quarantine.rejected
    assert bad.reason == "page names 1 page, and image 2 pages; one page of a PDF is FILE.pdf#page=2"


def test_without_numbers_pages_stand_in_the_order_of_rows(tmp_path: Path) -> None:
    _, found = folder(tmp_path, [row("a", 1), row("a", 2), row("a", 1, question="Again?")], join_pages=True)
    assert [pages(one) for one in found] == [["a_p1", "a_p2"]] * 3
    assert [one.answer_pages for one in found] == [(1,), (2,), (1,)]


def test_rows_stay_single_pages_unless_told_and_the_first_lines_say_how(tmp_path: Path) -> None:
    data, found = folder(tmp_path, [row("a", 1, page=1, num_pages=2), row("a", 2, page=2, num_pages=2)])
    assert [pages(one) for one in found] == [["a_p1"], ["a_p2"]]
    (line,) = data.unread()
    assert "2 rows name one page of documents of several" in line and "data.join_pages=true" in line


def test_real_contracts_are_documents_as_they_lie_there() -> None:
    source = Path(__file__).resolve().parents[3] / "shared" / "data" / "contracts"
    if not source.is_dir():
        pytest.skip(f"{source} is not here: real pages are not in the repository")
    data = Folder(str(source), val_fraction=0, test_fraction=1.0, join_pages=True)
    assert len(data.test) == 638 and not data.quarantine.rejected
    assert {len(one.pages) for one in data.test} == {1, 2, 3}
    assert all(set(one.answer_pages) <= {*range(1, max(one.n_pages, 1) + 1)} for one in data.test)
