"""Public data sets in other languages than English: their columns, several questions a row, and their own metrics."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import Any

import datasets
import pytest

from docvlm.data.benchmarks.kdtcbench import KDTCBench
from docvlm.data.benchmarks.mtvqa import MTVQA as MTVQAData
from docvlm.errors import DocvlmError
from docvlm.evaluate import main as evaluate
from tests.support.hub_schemas import KDTCBENCH, MTVQA, kdtcbench_rows, mtvqa_rows, parquet


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def test_mtvqa_parquet_has_a_row_a_page_and_several_questions_in_it(tmp_path: Path) -> None:
    for split in ("train", "test"):
        parquet(tmp_path / "data", f"{split}-00000-of-00001.parquet", MTVQA, mtvqa_rows(split))
    data = MTVQAData(str(tmp_path), val_fraction=0.3)
    assert [(e.question_id, e.language, e.document) for e in data.test] == [
        (f"{code}-{n}-{number}", code, f"{code}-{n}") for n, code in enumerate(("ko", "th", "de")) for number in (0, 1)
    ]
    assert [e.answers for e in data.test[:3]] == [("1,200원",), ("it's 2",), ("ไก่ย่าง",)]
    assert data.test[4].question == 'Was steht bei "Summe"?' and data.test[4].pages[0] is data.test[5].pages[0]
    assert (len(data.train), len(data.val), data.metric, data.max_new_tokens) == (4, 2, "containment", 64)


def test_bad_rows_of_mtvqa_are_quarantined_with_their_reason(tmp_path: Path) -> None:
    rows = [*mtvqa_rows("test"), *({**row, "id": f"9{row['id']}"} for row in mtvqa_rows("test"))]
    rows[3]["qa_pairs"] = "[{'question': 'a"
    rows[4]["qa_pairs"] = "[]"
    rows[5] |= {"lang": "xx"}
    rows[0]["qa_pairs"] = "[{'question': 'a', 'answer': 'b'}, {'question': 'a', 'answer': ''}]"
    parquet(tmp_path, "test.parquet", MTVQA, iter(rows))
    data = MTVQAData(str(tmp_path))
    assert len(data.test) == 5
    assert [(one.where.rpartition("row ")[2], one.reason) for one in data.quarantine.rejected] == [
        ("0 question 1", "answer holds an empty answer"),
        ("3", "qa_pairs is a list that cannot be read: \"[{'question': 'a\""),
        ("4", "qa_pairs is '[]', not a list of questions"),
        ("5 question 0", "lang is 'xx', none of ar, de, fr, it, ja, ko, ru, th, vi"),
        ("5 question 1", "lang is 'xx', none of ar, de, fr, it, ja, ko, ru, th, vi"),
    ]


def test_kdtcbench_parquet_is_for_evaluation_only(tmp_path: Path) -> None:
    parquet(tmp_path / "data", "test-00000-of-00001.parquet", KDTCBENCH, kdtcbench_rows(3))
    data = KDTCBench(str(tmp_path))
    one = data.test[1]
    assert (one.question_id, one.answers, one.language, one.question_types) == ("1", ("B",), "ko", ("document",))
    assert one.question == "총 매출은 1인가요?\nOptions: A: a1, B: b1, C: c1, D: d1"
    assert one.instruction == "\n주어진 선택지 중 해당 옵션의 문자로 바로 답하세요."
    assert len(data.test) == 6 and len({e.document for e in data.test}) == 3
    with pytest.raises(DocvlmError, match=r"no train questions for data=kdtcbench .*; it is for evaluation only"):
        data.filled("train")


def test_a_choice_that_is_no_letter_is_quarantined(tmp_path: Path) -> None:
    rows = list(kdtcbench_rows(3))
    rows[2]["answer"] = "E"
    parquet(tmp_path, "test.parquet", KDTCBENCH, iter(rows))
    data = KDTCBench(str(tmp_path))
    assert len(data.test) == 5
    assert [one.reason for one in data.quarantine.rejected] == ["answer is 'E', none of A, B, C, D"]


def scores(folder: Path, benchmark: str, said: list[tuple[str, str, str]]) -> dict[str, Any]:
    """What evaluate makes of predictions with their answers and languages."""
    lines = [
        {"question_id": str(n), "document": "d", "benchmark": benchmark, "question": f"{n}?", "prediction": prediction}
        | {"answers": [answer], "language": language}
        for n, (prediction, answer, language) in enumerate(said)
    ]
    folder.mkdir(exist_ok=True)
    (folder / "said.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    evaluate([f"predictions={folder / 'said.jsonl'}", f"output={folder / 'out'}"])
    (found,) = json.loads((folder / "out" / "score.json").read_text())["benchmarks"]
    return dict(found)


def test_answers_are_scored_by_the_rules_of_their_sets(tmp_path: Path) -> None:
    found = scores(tmp_path / "a", "mtvqa", [("Das sind 12.50 Euro.", "1250 EURO", "de"), ("네", "아니요", "ko")])
    assert (found["metric"], found["headline"]) == ("containment", 0.5)
    found = scores(tmp_path / "b", "kdtcbench", [("b) 12원", "B", "ko"), ("정답은 B", "B", "ko"), ("", "A", "ko")])
    assert (found["metric"], found["headline"]) == ("first_letter", 1 / 3)


def test_text_in_other_languages_is_compared_in_one_unicode_form_and_the_result_says_so(tmp_path: Path) -> None:
    """The same word in one code point a syllable and in three; an English protocol takes them for different."""
    word = "서울특별시"
    parted = unicodedata.normalize("NFD", word)
    korean = scores(
        tmp_path / "ko", "folder-invoices", [(parted, word, "ko"), ("서울시", word, "ko"), ("a", "a", "en")]
    )
    assert (korean["anls"], korean["accuracy"]) == (pytest.approx((1 + 3 / 5 + 1) / 3), 2 / 3)
    assert korean["f1"] == pytest.approx((1 + 2 * (3 / 5) / (3 / 5 + 1) + 1) / 3)  # by character, as KorQuAD
    (about,) = korean["text_forms"].values()
    assert set(korean["text_forms"]) == {"ko"} and about["questions"] == 2
    assert about["options"]["anls"] == {"unicode_norm": "NFC"}
    assert about["options"]["f1"] == {"unicode_norm": "NFC", "punctuation": "unicode", "level": "char"}
    assert korean["variants"]["lmms-eval"] < korean["variants"]["nfc"] == korean["anls"]
    english = scores(tmp_path / "en", "docvqa", [(parted, word, "")])
    assert (english["accuracy"], english["text_forms"]) == (0.0, {})


def test_words_are_counted_where_a_language_separates_them(tmp_path: Path) -> None:
    """A stop of another script does not count; a language without spaces is read by character."""
    hindi = scores(tmp_path / "hi", "folder-x", [("राम गया।", "राम आया", "hi")])
    thai = scores(tmp_path / "th", "folder-x", [("ไก่ย่าง", "ไก่ทอด", "th")])
    assert hindi["f1"] == 0.5 and thai["f1"] == pytest.approx(6 / 13)
    assert thai["text_forms"]["th"]["options"]["f1"]["level"] == "char"
    assert "level" not in hindi["text_forms"]["hi"]["options"]["f1"]
