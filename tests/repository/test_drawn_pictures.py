"""The scripts of docs/draw make the pictures that the pages show, and say where they cannot."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Draw = Callable[[list[str]], None]


def script(root: Path, name: str) -> Draw:
    main: Draw = runpy.run_path(str(root / "docs" / "draw" / f"{name}.py"))["main"]
    return main


@pytest.mark.slow
def test_the_corrupted_pages_are_those_of_the_docs(root: Path, tmp_path: Path) -> None:
    script(root, "corruptions")([str(tmp_path / "sheet.jpg")])
    drawn, kept = (Image.open(file) for file in (tmp_path / "sheet.jpg", root / "docs" / "img" / "corruptions.jpg"))
    assert drawn.size == kept.size
    assert np.abs(np.asarray(drawn, dtype=float) - np.asarray(kept, dtype=float)).mean() < 5


@pytest.mark.slow
def test_the_generated_pages_are_those_of_the_docs(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script(root, "pages")([str(tmp_path)])
    assert len(capsys.readouterr().out.splitlines()) == 4
    for name in ("docvqa", "chartqa", "infovqa", "mpdocvqa"):
        drawn = tmp_path / f"pages-{name}.png"
        assert drawn.stat().st_size < 300 * 1024
        assert Image.open(drawn).size == Image.open(root / "docs" / "img" / f"pages-{name}.png").size


@pytest.mark.parametrize(
    ("name", "words", "message"),
    [("corruptions", "absent/sheet.png", "an existing folder"), ("pages", "absent", "absent: no such folder")],
)
def test_a_picture_goes_into_a_folder_that_exists(
    root: Path, name: str, words: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        script(root, name)([words])
    assert stopped.value.code == 1 and message in capsys.readouterr().err


def test_the_memory_of_shared_weights_is_that_of_the_docs(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script(root, "memory")([])
    printed = capsys.readouterr().out
    assert printed.count("\n") == 6
    assert printed in (root / "docs" / "guide" / "clusters.md").read_text(encoding="utf-8")
