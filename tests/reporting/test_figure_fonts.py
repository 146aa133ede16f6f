"""Labels of other scripts in figures: glyphs where a font has them, escapes and one line where none does."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import pypdfium2
import pytest

from docvlm.reporting.figures import fonts
from docvlm.reporting.figures.style import drawing, finish

TYPES = ("양식", "편지", "form")
HANGUL = fonts._cover(frozenset("".join(TYPES[:2])))


def drawn(folder: Path, names: tuple[str, ...] = TYPES) -> tuple[str, bytes]:
    """A figure with the names at its ticks and in its title, as SVG and PDF; a missing glyph is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with drawing() as panels:
            (axes,) = panels.axes
            axes.plot(range(len(names)))
            axes.set_yticks(range(len(names)), names)
            axes.set_title(names[0])
            finish(panels, folder, "types", "Types", "types")
    return (folder / "types.svg").read_text(encoding="utf-8"), (folder / "types.pdf").read_bytes()


@pytest.mark.skipif(bool(HANGUL[1]), reason="no font of this machine has Hangul")
def test_korean_labels_are_drawn_by_a_font_that_is_embedded(tmp_path: Path) -> None:
    svg, pdf = drawn(tmp_path)
    assert [svg.count(f"<!-- {name} -->") for name in TYPES] == [2, 1, 1]
    assert svg.count("<text") == 0, "letters are paths, which need no font where they are read"
    text = pypdfium2.PdfDocument(io.BytesIO(pdf))[0].get_textpage().get_text_range()
    assert all(name in text for name in TYPES)
    embedded = b"/Type3" if any(map(fonts._is_cff, HANGUL[0])) else b"/FontFile2"
    assert embedded in pdf


def test_where_no_font_has_a_glyph_the_label_is_escaped_and_it_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fonts._cover.cache_clear()
    fonts._say.cache_clear()
    monkeypatch.setattr(fonts, "_files", lambda: ())
    svg, pdf = drawn(tmp_path)
    drawn(tmp_path, ("편지 \ud800", "양식"))
    fonts._cover.cache_clear()
    assert svg.count("<!-- \\uc591\\uc2dd -->") == 2 and "<!-- form -->" in svg
    assert b"/FontFile2" in pdf and b"/Type3" not in pdf
    said = "figures: no font here draws Hangul, whose labels are escaped (\\u…); install fonts-noto-cjk (Debian)\n"
    assert capsys.readouterr().out == said


def test_letters_that_join_are_escaped_where_matplotlib_does_not_join_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """DejaVu Sans has Arabic letters; set one beside the other from left to right they are no word."""
    from matplotlib import ft2font

    for found in (fonts._cover, fonts._foreign, fonts._say):
        found.cache_clear()
    monkeypatch.delattr(ft2font, "__libraqm_version__", raising=False)
    svg, _ = drawn(tmp_path, ("فا",))
    fonts._foreign.cache_clear()
    assert svg.count("<!-- \\u0641\\u0627 -->") == 2
    assert "Arabic" in capsys.readouterr().out
