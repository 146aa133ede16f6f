"""The version of the code: what counts as a change, and what does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from docvlm.runs import code_version

SOURCE = '''"""A module."""

def loss(total: float, count: int = 1) -> float:
    """Mean."""
    # why
    return total / count


class Empty:
    """Nothing but this."""
'''


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("# why", "# because"),
        ('"""Mean."""', '"""The mean of it."""'),
        ('"""A module."""\n', ""),
        ('"""Nothing but this."""', '"""Nothing."""'),
        ("count: int = 1) ->", "\n    count: int = 1,\n) ->"),
    ],
)
def test_words_and_layout_do_not_count(before: str, after: str) -> None:
    assert before in SOURCE
    assert code_version.digest(SOURCE.replace(before, after)) == code_version.digest(SOURCE)


@pytest.mark.parametrize(
    ("before", "after"),
    [("/ count", "* count"), ("int = 1", "int = 2"), ("return total", "return -total"), ("total / count", '"total"')],
)
def test_what_it_does_counts(before: str, after: str) -> None:
    assert before in SOURCE
    assert code_version.digest(SOURCE.replace(before, after)) != code_version.digest(SOURCE)


def test_a_string_that_is_no_docstring_counts() -> None:
    assert code_version.digest("def f():\n    x = 1\n    return 'a'") != code_version.digest(
        "def f():\n    x = 1\n    return 'b'"
    )


def test_modules_between_a_document_and_a_score_are_in_it() -> None:
    found = code_version.versions()
    for name in (
        "build.py", "data/docvqa.py", "data/generated/tiny/docvqa.py", "vlms/qwen2vl.py", "vlms/branches.py",
        "training/module.py", "training/optim.py", "training/run.py", "metrics/anls.py", "evaluation/score.py",
    ):  # fmt: skip
        assert name in found, name
    for name in ("training/progress.py", "vlms/embedded/recipe.py", "reporting/sweep.py", "evaluation/failures.py"):
        assert name not in found, name


def test_every_name_that_is_left_out_exists(root: Path) -> None:
    for name in {*code_version.DECIDES, *code_version.WATCHES}:
        assert (root / "docvlm" / name).exists(), name


def test_a_new_module_counts_and_the_line_names_what_changed(tmp_path: Path) -> None:
    for name in code_version.DECIDES:
        path = tmp_path / name
        (path if path.suffix else path / "a.py").parent.mkdir(parents=True, exist_ok=True)
        (path if path.suffix else path / "a.py").write_text("x = 1\n")
    before = code_version._read(tmp_path)
    (tmp_path / "vlms" / "llava.py").write_text("x = 1\n")
    (tmp_path / "training" / "progress.py").write_text("x = 1\n")
    (tmp_path / "data" / "a.py").write_text("x = 2\n")
    (tmp_path / "metrics" / "a.py").write_text("x = 1  # one\n")
    after = code_version._read(tmp_path)
    assert code_version.changed(before, after) == "data/a.py, vlms/llava.py"
    assert code_version.fingerprint(before) != code_version.fingerprint(after)
    (tmp_path / "vlms" / "a.py").unlink()
    (tmp_path / "build.py").write_text("x = 3\n")
    assert code_version.changed(before, code_version._read(tmp_path)) == "build.py, data/a.py, vlms/a.py and 1 more"
