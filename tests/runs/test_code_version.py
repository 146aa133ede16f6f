"""The version of the code: integers of rooms, what a run records of them, and the digest that stood there before."""

from __future__ import annotations

import pytest

from docvlm.runs import code_version

OLD = "c3f7f2b86c9a3f16"
"""What the last version with a digest of its sources recorded."""


def test_a_run_rests_on_the_rooms_and_on_its_family() -> None:
    found = code_version.versions("florence2")
    assert {"data", "metrics", "scoring", "training", "vlms", "vlms.florence2"} <= set(found)
    assert "vlms.qwen2vl" not in found and all(isinstance(number, int) for number in found.values())


def test_what_is_recorded_reads_as_what_it_is() -> None:
    assert code_version.fingerprint({"vlms": 2, "data": 1}) == "data=1 vlms=2"


@pytest.mark.parametrize(
    ("version", "line"),
    [
        (None, "which part is not recorded"),
        ("0123456789abcdef", "which part is not recorded"),
        ("data=1 gone=1 metrics=2", "gone, metrics"),
        (OLD, ""),
        ("", "which part is not recorded"),
    ],
)
def test_the_line_names_what_changed(version: str | None, line: str) -> None:
    assert code_version.changed(version, {"data": 1, "metrics": 1}) == line


def test_the_old_digest_stands_for_the_first_integers_and_no_later_ones() -> None:
    assert code_version.recorded(OLD, {"data": 1}) == code_version.fingerprint({"data": 1})
    assert code_version.recorded(OLD, {"data": 2}) != code_version.fingerprint({"data": 2})
    assert code_version.recorded("data=2", {"data": 1}) == "data=2"
