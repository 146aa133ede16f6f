"""By number of pages, place of the answer's page and language; and whether an answer was read from its page."""

from __future__ import annotations

from dataclasses import replace

import pytest

from docvlm.scoring.gains import gains
from docvlm.scoring.groups import GROUPINGS, members, told
from docvlm.scoring.predictions import Prediction
from docvlm.scoring.score import score


def prediction(
    number: int,
    *,
    right: bool = True,
    pages: int = 0,
    on: tuple[int, ...] = (),
    page: int | None = None,
    lang: str = "",
) -> Prediction:
    said = "amber" if right else "violet"
    one = Prediction(str(number), f"doc{number}", "ours", "", (), "q", said, ("amber",))
    return replace(one, n_pages=pages, answer_pages=on, page=page, language=lang)


def test_documents_of_any_length_have_a_row() -> None:
    lengths = [1, 2, 3, 5, 6, 10, 11, 20, 21, 300, 0]
    records = [prediction(i, pages=length) for i, length in enumerate(lengths)]
    assert members(records, "pages") == {
        "1 page": [0], "2 pages": [1], "3 to 5 pages": [2, 3], "6 to 10 pages": [4, 5], "11 to 20 pages": [6, 7],
        "21 pages or more": [8, 9], "(none)": [10],
    }  # fmt: skip
    assert list(members(records[::-1], "pages")) == list(members(records, "pages")), "rows go by length, not by size"


@pytest.mark.parametrize(
    ("pages", "thirds"),
    [(2, "fl"), (3, "fml"), (4, "fmml"), (5, "ffmll"), (6, "ffmmll"), (20, "f" * 7 + "m" * 6 + "l" * 7)],
)
def test_thirds_are_even_from_both_ends(pages: int, thirds: str) -> None:
    records = [prediction(i, pages=pages, on=(i + 1,)) for i in range(pages)]
    found = {index: label[0] for label, indices in members(records, "place").items() for index in indices}
    assert "".join(found[i] for i in range(pages)) == thirds


def test_an_answer_on_several_pages_counts_once() -> None:
    records = [
        prediction(0, pages=6, on=(1, 2)),
        prediction(1, pages=6, on=(1, 6)),
        prediction(2, pages=1, on=(1,)),
        prediction(3, pages=6),
        prediction(4, pages=2, on=(7,)),
    ]
    found = {"only page": [2], "first third": [0], "several places": [1], "(none)": [3, 4]}
    assert members(records, "place") == found


def test_one_page_of_english_tells_nothing_new() -> None:
    records = [prediction(i, pages=1, on=(1,), page=1, lang="en") for i in range(4)]
    result = score(records)
    assert [members(records, by) for by in GROUPINGS] == [{}] * 5
    assert result.as_dict() == score([prediction(i) for i in range(4)]).as_dict()
    assert result.page_accuracy is None and told(records) == ()


def test_a_language_that_is_not_english_tells_something() -> None:
    records = [prediction(0, lang="ko"), prediction(1, lang="ko"), prediction(2, lang="en"), prediction(3)]
    assert members(records, "language") == {"ko": [0, 1], "(none)": [3], "en": [2]}
    assert list(score(records[:2]).as_dict()["by_language"]) == ["ko"]
    assert told(records) == ("language",)


def test_page_accuracy_is_over_questions_that_know_both_pages() -> None:
    records = [
        prediction(0, pages=3, on=(2,), page=2),
        prediction(1, pages=3, on=(1, 3), page=3, right=False),
        prediction(2, pages=3, on=(1,), page=2),
        prediction(3, pages=1, on=(1,), page=1),
        prediction(4, pages=3, on=(1,)),
        prediction(5, pages=3, page=1),
    ]
    found = score(records).page_accuracy
    assert found is not None and (found.mean, found.n, found.clusters) == (0.75, 4, 4)
    assert found.low < 0.75 < found.high
    assert score(records).as_dict()["page_accuracy"]["mean"] == 0.75
    assert score(records[4:]).page_accuracy is None


def test_page_recall_is_of_the_pages_that_were_shown() -> None:
    records = [
        replace(prediction(0, pages=5, on=(2,)), shown=(2, 4)),
        replace(prediction(1, pages=5, on=(1, 3)), shown=(3,)),
        replace(prediction(2, pages=5, on=(1,)), shown=(3, 4)),
        prediction(3, pages=1, on=(1,)),
        replace(prediction(4, pages=5), shown=(1,)),
    ]
    found = score(records).page_recall
    assert found is not None and (found.mean, found.n) == (0.75, 4), (
        "what nobody knows does not count, whole documents do"
    )
    assert score(records).as_dict()["page_recall"]["mean"] == 0.75
    assert score(records[3:]).page_recall is None and "page_recall" not in score(records[3:]).as_dict()


def test_gains_stand_in_order_of_length_and_the_sentence_names_the_largest() -> None:
    """Long documents gain all, those of one page nothing: the sentence is about the length, rows go up."""
    lengths = [1, 4, 30] * 20
    before = [prediction(i, right=pages == 1, pages=pages) for i, pages in enumerate(lengths)]
    after = [prediction(i, right=pages != 4 or i % 4 == 0, pages=pages) for i, pages in enumerate(lengths)]
    found = gains(before, after, "anls", "pages")
    assert [row.name for row in found.rows] == ["1 page", "3 to 5 pages", "21 pages or more"]
    assert found.sentence.startswith("21 pages or more gains most: +1.000")
    assert "each of the other 2 numbers of pages" in found.sentence
