"""The table of model types in the docs: whole, in step with the tests of each type, true of what is installed."""

from __future__ import annotations

import pytest

from tests.support.architectures import ARCHITECTURES
from tests.vlms import model_matrix

WORKING = [name for name, one in ARCHITECTURES.items() if one.chat]  # those of test_chat.py
ONE = "lighton_ocr"  # questions share their page in training and evaluation


def test_every_type_with_a_miniature_stands_on_the_page() -> None:
    rows = model_matrix.on_page()
    assert list(rows) == list(ARCHITECTURES)
    assert [name for name, row in rows.items() if row["works"] == model_matrix.YES] == WORKING
    assert all(row["example"] == model_matrix.EXAMPLES[name] for name, row in rows.items())


@pytest.mark.slow
def test_a_type_goes_through_every_verb() -> None:
    assert model_matrix.row(ARCHITECTURES[ONE])["works"] == model_matrix.YES


@pytest.mark.slow
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_page_is_true_of_this_transformers(name: str) -> None:
    if ARCHITECTURES[name].missing:
        pytest.skip(ARCHITECTURES[name].missing)
    found, stands = model_matrix.row(ARCHITECTURES[name]), model_matrix.on_page()[name]
    assert (found["works"], found["budget"]) == (stands["works"], stands["budget"])
