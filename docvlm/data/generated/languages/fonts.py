"""Fonts with the glyphs of a language: which file, whether it has every glyph, and how a line is set in it.

A font is looked for in matplotlib's own files, in the packages of the extra `languages`, and in the folders where
systems keep fonts. Where none has every character that the language's pages may show, the error names the language,
what was looked for and what to install: a page never shows a box. Arabic and Hindi need Pillow's Raqm, which joins
letters, puts vowel signs where they belong and sets Arabic from right to left.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from PIL import ImageFont, features

from docvlm.data.generated.canvas import font_file
from docvlm.data.generated.languages.known import LANGUAGES
from docvlm.data.generated.languages.language import Language
from docvlm.data.generated.languages.values import letters
from docvlm.errors import DocvlmError

PACKAGES = ("justmytype_intl_cjk", "fontpkg_noto_sans_devanagari")  # of the extra `languages`
FOLDERS = (
    "/usr/share/fonts",
    "/usr/local/share/fonts",
    f"{sys.prefix}/fonts",
    "~/.local/share/fonts",
    "~/.fonts",
    "/System/Library/Fonts",
    "/Library/Fonts",
    "~/Library/Fonts",
    "C:/Windows/Fonts",
)


@dataclass(frozen=True)
class Wanted:
    """Font files in the order they are tried, the Debian package of one, and how a collection calls the face."""

    files: tuple[str, ...]
    package: str = ""
    face: str = ""


CJK = "fonts-noto-cjk"
WANTED = {
    "ko": Wanted(("NotoSansKR[wght].ttf", "NotoSansKR-Regular.otf", "NotoSansCJK-Regular.ttc", "NanumGothic.ttf",
                  "malgun.ttf", "AppleSDGothicNeo.ttc"), CJK, "KR"),
    "zh": Wanted(("NotoSansSC[wght].ttf", "NotoSansSC-Regular.otf", "NotoSansCJK-Regular.ttc", "wqy-microhei.ttc",
                  "msyh.ttc", "PingFang.ttc"), CJK, "SC"),
    "ja": Wanted(("NotoSansJP[wght].ttf", "NotoSansJP-Regular.otf", "NotoSansCJK-Regular.ttc", "ipagp.ttf",
                  "YuGothM.ttc", "Hiragino Sans GB.ttc"), CJK, "JP"),
    "de": Wanted(("DejaVuSans.ttf",)),
    "ar": Wanted(("DejaVuSans.ttf",)),
    "hi": Wanted(("NotoSansDevanagari[wdth,wght].ttf", "NotoSansDevanagari-Regular.ttf", "Nirmala.ttf",
                  "Lohit-Devanagari.ttf"), "fonts-noto-core"),
}  # fmt: skip


@dataclass(frozen=True)
class Font:
    """A face in a font file. `options` are how Pillow sets a line of the language in it."""

    file: Path
    index: int
    language: Language

    def at(self, size: float) -> ImageFont.FreeTypeFont:
        """The face at a size in pixels, loaded once a process."""
        return _loaded(self.file, self.index, size, self.language.shaped)

    @property
    def options(self) -> dict[str, Any]:
        """Direction and language for Pillow's `text` and `getlength`; nothing where letters simply stand in a row."""
        if not self.language.shaped:
            return {}
        return {"direction": "rtl" if self.language.right_to_left else "ltr", "language": self.language.code}

    def length(self, words: str, size: float) -> float:
        """How wide words are, in pixels."""
        return self.at(size).getlength(words, **self.options)

    def fitting(self, words: str, width: float, size: float) -> float:
        """The largest size up to `size`, in halves of a pixel, at which words are at most `width` wide."""
        while self.length(words, size) > width and size > 4:
            size -= 0.5
        return size


@cache
def found(code: str) -> Font:
    """The font of a language. Raises DocvlmError where none has all its glyphs, or Pillow lacks Raqm for its script."""
    language, wanted = LANGUAGES[code], WANTED[code]
    if language.shaped and not features.check("raqm"):
        raise DocvlmError(
            f"data.languages=[{code}]: {language.name} is set by Raqm, which this Pillow lacks; install Pillow's own"
            " wheel (pip install --force-reinstall --no-deps pillow) or libraqm0"
        )
    needed, lacking = letters(language), ""
    for file in _files(wanted.files):
        index, glyphs = _face(file, wanted.face)
        absent = sorted(c for c in needed if ord(c) not in glyphs)
        if not absent:
            return Font(file, index, language)
        lacking = lacking or f"; {file.name} lacks {absent[0]!r} and {len(absent) - 1} more"
    raise DocvlmError(
        f"data.languages=[{code}]: no font with the glyphs of {language.name} (looked for"
        f" {', '.join(wanted.files)}{lacking}); install {wanted.package} (Debian) or pip install 'docvlm[languages]'"
    )


@cache
def _loaded(file: Path, index: int, size: float, shaped: bool) -> ImageFont.FreeTypeFont:
    layout = ImageFont.Layout.RAQM if shaped else ImageFont.Layout.BASIC
    font = ImageFont.truetype(str(file), size, index=index, layout_engine=layout)
    if "wght" in file.name:  # a variable font: its default may be the thinnest weight
        font.set_variation_by_name("Regular")
    return font


def _files(names: tuple[str, ...]) -> Iterator[Path]:
    """The font files of these names that there are, in the order of the names."""
    places = _places()
    for name in names:
        own = font_file(name)
        if own.exists():
            yield own
        elif name in places:
            yield places[name]


@cache
def _places() -> dict[str, Path]:
    """Every font file in packages and folders, by name; the first of a name counts."""
    packages = (spec.submodule_search_locations for name in PACKAGES if (spec := find_spec(name)) is not None)
    roots = [*(root for locations in packages for root in locations or ()), *map(os.path.expanduser, FOLDERS)]
    found: dict[str, Path] = {}
    for root in roots:
        for folder, _, files in sorted(os.walk(root)):
            for name in files:
                if name.lower().endswith((".ttf", ".otf", ".ttc")):
                    found.setdefault(name, Path(folder, name))
    return found


def _face(file: Path, wanted: str) -> tuple[int, dict[int, str]]:
    """The face of a file whose family ends with `wanted` (the first where none does), and the glyphs it has."""
    from fontTools.ttLib import TTCollection, TTFont

    if file.suffix.lower() != ".ttc":
        with TTFont(file, lazy=True) as font:
            return 0, font.getBestCmap()
    with TTCollection(file, lazy=True) as faces:
        families = [str(font["name"].getDebugName(1)) for font in faces.fonts]
        index = next((number for number, family in enumerate(families) if family.endswith(wanted)), 0)
        return index, faces.fonts[index].getBestCmap()
