"""Labels in any script: a font with the glyphs for what DejaVu Sans lacks, or escapes instead of boxes.

Labels hold other people's words, such as document types in Korean. Fonts are looked for in the folders of the system
and not in Matplotlib's list, which it keeps on disk and does not renew when a font is installed. Where no font has a
character, it is written as a backslash escape, and a line says once which script it is of and which package has it. The
same goes for scripts whose letters join or move (Arabic, Devanagari) under a Matplotlib older than 3.11, which sets
letter beside letter.
"""

from __future__ import annotations

import unicodedata
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure
    from matplotlib.ft2font import FT2Font

OWN = "DejaVu Sans"
_EAST_ASIAN = {"CJK", "HANGUL", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "IDEOGRAPHIC", "FULLWIDTH", "HALFWIDTH",
               "BOPOMOFO"}  # fmt: skip
_SYMBOLS = "SYMBOLS"
_UNNAMED = "UNNAMED"  # controls, half surrogate pairs, and what is no character
_SHAPED = {"ARABIC", "HEBREW", "SYRIAC", "THAANA", "NKO", "DEVANAGARI", "BENGALI", "GURMUKHI", "GUJARATI", "ORIYA",
           "TAMIL", "TELUGU", "KANNADA", "MALAYALAM", "SINHALA", "KHMER", "MYANMAR", "TIBETAN", "LAO", "THAI",
           "MONGOLIAN"}  # fmt: skip
_SLANTED = ("bold", "italic", "oblique", "black", "light", "thin", "medium", "condensed", "mono", "serif", "narrow")
_SUFFIXES = {".ttf": 0, ".otf": 1, ".ttc": 1, ".otc": 1}  # TrueType before what may be CFF


def fit(figure: Figure) -> bool:
    """Give every text of a figure fonts with its glyphs, or escapes; whether the fonts fit into a PDF as TrueType."""
    from matplotlib.axis import Axis
    from matplotlib.text import Text

    texts = [text for text in figure.findobj(Text) if isinstance(text, Text)]
    needed: dict[str, set[str]] = {}
    for character in {c for text in texts for c in text.get_text()}:
        if script := _foreign(character):
            needed.setdefault(script, set()).add(character)
    fonts: list[Path] = []
    lacking: set[str] = set()
    for script, characters in sorted(needed.items()):
        files, rest = _cover(frozenset(characters)) if _settable(script) else ((), frozenset(characters))
        fonts += [file for file in files if file not in fonts]
        lacking |= rest
        if rest and script != _UNNAMED:
            _say(script)
    for axis in figure.findobj(Axis) if lacking else ():
        if isinstance(axis, Axis):
            _escape_ticks(axis, lacking)
    for text in texts:
        if any(map(_foreign, text.get_text())):
            text.set_text(_escaped(text.get_text(), lacking))
            text.set_fontfamily([OWN, *map(_family, fonts)])
    return not any(map(_is_cff, fonts))


def _escape_ticks(axis: Axis, lacking: set[str]) -> None:
    """Labels of ticks are set anew whenever a figure is drawn, so they are changed where they come from."""
    labels = [label.get_text() for label in axis.get_majorticklabels()]
    if lacking & set("".join(labels)):
        axis.set_ticks(list(axis.get_majorticklocs()), [_escaped(label, lacking) for label in labels])


def _escaped(text: str, lacking: set[str]) -> str:
    return "".join(c.encode("ascii", "backslashreplace").decode() if c in lacking else c for c in text)


@cache
def _foreign(character: str) -> str:
    """The script of a character that DejaVu Sans does not draw rightly, as Unicode names begin; "" for all others."""
    script = unicodedata.name(character, _UNNAMED).split(" ")[0]
    if unicodedata.category(character)[0] == "S":  # an emoji's name begins with what it shows
        script = _SYMBOLS
    return "" if character.isspace() or (_settable(script) and _has(_own_file(), character)) else script


def _settable(script: str) -> bool:
    """Whether Matplotlib joins the letters of a script and sets lines from right to left."""
    from matplotlib import ft2font

    return script not in _SHAPED or hasattr(ft2font, "__libraqm_version__")


@cache
def _cover(characters: frozenset[str]) -> tuple[tuple[Path, ...], frozenset[str]]:
    """Font files that have the characters, as few as the order of files gives, and what none has."""
    chosen: list[Path] = []
    for file in _files():
        found = {c for c in characters if _has(file, c)}
        if found:
            chosen.append(file)
            characters -= found
        if not characters:
            break
    return tuple(chosen), characters


def _has(file: Path, character: str) -> bool:
    return bool(_font(file).get_char_index(ord(character)))


@cache
def _files() -> tuple[Path, ...]:
    """Every font file of the system that can be drawn from, upright and regular sans-serif faces first."""
    from matplotlib.font_manager import findSystemFonts

    return tuple(sorted(filter(_readable, map(Path, findSystemFonts())), key=_rank))


def _rank(file: Path) -> tuple[int, bool, int, str]:
    name = file.stem.lower()
    suffix = file.suffix.lower()
    return sum(word in name for word in _SLANTED), "sans" not in name, _SUFFIXES.get(suffix, 2), str(file)


def _readable(file: Path) -> bool:
    """Whether it holds outlines: colour bitmaps, as emoji have, are no glyphs for a vector file."""
    try:
        return bool(_font(file).scalable)
    except (RuntimeError, OSError):  # FreeType's word for a file that is no font, or not one it knows
        return False


def _font(file: Path) -> FT2Font:
    from matplotlib.font_manager import get_font

    return get_font(str(file))


@cache
def _own_file() -> Path:
    from matplotlib.font_manager import findfont

    return Path(findfont(OWN))


@cache
def _family(file: Path) -> str:
    """The family by which Matplotlib finds the file, after it was told of it."""
    from matplotlib.font_manager import fontManager

    fontManager.addfont(str(file))
    return str(_font(file).family_name)


@cache
def _is_cff(file: Path) -> bool:
    """Whether glyphs are CFF outlines, which a PDF cannot hold as TrueType, whatever the file's ending."""
    from fontTools.ttLib import TTFont

    with TTFont(file, fontNumber=0, lazy=True) as font:
        return str(font.sfntVersion) == "OTTO"


@cache
def _say(script: str) -> None:
    """What stands in figures instead, once for each script."""
    package = "fonts-noto-cjk" if script in _EAST_ASIAN else "fonts-noto-core"
    if script == _SYMBOLS:
        package = "fonts-symbola"
    advice = f"install {package} (Debian)"
    if not _settable(script):
        advice = "install Matplotlib 3.11 or newer, which joins its letters"
    print(f"figures: no font here draws {script.capitalize()}, whose labels are escaped (\\u…); {advice}", flush=True)
