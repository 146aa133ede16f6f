"""What a page is recognised by: a hash of its pixels, perceptual hashes of it whole and as if cropped, and details.

The perceptual hash is imagehash's pHash of 12 x 12 bits. Two pages of one content differ in few bits after another
encoding, size or brightness, and in some twenty after a skew of 1°; a crop of 3 % would cost it half of its bits, so
every page also has hashes of itself with a margin taken off, and the least distance of any of them to the other page
whole counts. `bench/audit.py` measures what that finds. Details (`details`) tell apart what a layout cannot.

Cost: every page is decoded once, then 2.3 ms on one core for a small page and some 7 ms for a large one. `HashCache`
keeps hashes by content, so an unchanged data set is not opened again: a page in a file is known by the hash of its
bytes where the loader made one, else by path, size and time of the file; a drawn page by its name and the revision of
the code that draws it.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import imagehash
import numpy as np
from PIL import Image

from docvlm.data import generated
from docvlm.data.example import Page
from docvlm.data.generated import DrawnPage
from docvlm.data.generated.languages import fonts
from docvlm.data.generated.languages.known import ENGLISH
from docvlm.data.leakage.details import details
from docvlm.data.leakage.prefilter import WHOLE, Margins, resized
from docvlm.data.page_ids import digest_of
from docvlm.data.pages import ArrowPage, FilePage
from docvlm.data.streaming.page import StreamedPage
from docvlm.errors import DocvlmError

SIDE = 12  # a hash has SIDE x SIDE bits
BITS = SIDE * SIDE
DETAIL = 4 * SIDE  # side of what imagehash transforms, keeping the lowest frequencies
REDUCED = 128  # longest side of the page that all windows are taken from
CROP = 0.03
# what is cut off (left, top, right, bottom) before a page is hashed; the first is the page whole
WINDOWS: tuple[Margins, ...] = (
    WHOLE,
    (CROP, CROP, CROP, CROP),
    (CROP, CROP, 0.0, 0.0),
    (0.0, CROP, CROP, 0.0),
    (CROP, 0.0, 0.0, CROP),
    (0.0, 0.0, CROP, CROP),
)
BLOCK = 2048  # pages whose distances are held in memory at once


@dataclass(frozen=True, slots=True)
class PageHash:
    """What a page is recognised by. `hashes`: one for each of `WINDOWS`, as hexadecimal digits.

    `details` are codes of 64 bits, little-endian. A page that cannot be decoded has only `error`, the line that says
    why.
    """

    pixels: str = ""
    hashes: tuple[str, ...] = ()
    error: str = ""
    details: bytes = b""


def read_hash(page: Page) -> PageHash:
    """Open a page and hash it."""
    try:
        image = page.open()
    except DocvlmError as error:
        return PageHash(error=str(error))
    return page_hash(image)


def page_hash(image: Image.Image) -> PageHash:
    """The hashes of a decoded page."""
    content = hashlib.blake2b(f"{image.mode}{image.size}".encode(), digest_size=16)
    content.update(image.tobytes())
    grey = image.convert("L")
    hashes = tuple(np.packbits(imagehash.phash(part, SIDE).hash).tobytes().hex() for part in _windows(grey))
    return PageHash(content.hexdigest(), hashes, details=details(grey).astype("<u8").tobytes())


def _windows(small: Image.Image) -> Iterator[Image.Image]:
    """The page in grey, whole and cut, at the size imagehash goes on from; its own filter would take twice as long."""
    scale = REDUCED / max(small.size)
    if scale < 1:
        small = resized(small, (round(small.width * scale), round(small.height * scale)))
    width, height = small.size
    for left, top, right, bottom in WINDOWS:
        box = (width * left, height * top, width * (1 - right), height * (1 - bottom))
        yield small.resize((DETAIL, DETAIL), Image.Resampling.BILINEAR, box)


def distances(some: Sequence[PageHash], others: Sequence[PageHash]) -> Iterator[tuple[int, np.ndarray]]:
    """Bits by which every one of `some` differs from every one of `others`, at its best window: (first row, block).

    A product of matrices with entries +1 and -1: 10 000 by 5 000 pages in about 5 s on one core.
    """
    columns = _signs(others)
    for start in range(0, len(some), BLOCK):
        rows = _signs(some[start : start + BLOCK])
        best = rows[:, 0] @ columns[:, 0].T
        for window in range(1, len(WINDOWS)):
            np.maximum(best, rows[:, window] @ columns[:, 0].T, out=best)
            np.maximum(best, rows[:, 0] @ columns[:, window].T, out=best)
        yield start, (BITS - best) / 2


def margins(one: PageHash, other: PageHash) -> tuple[Margins, Margins]:
    """What must be taken off each of two pages for their hashes to come closest; nothing where both are whole."""
    signs = _signs([one, other])
    near, there = signs[0, 0] @ signs[1].T, signs[1, 0] @ signs[0].T
    if near.max() >= there.max():
        return WHOLE, WINDOWS[int(near.argmax())]
    return WINDOWS[int(there.argmax())], WHOLE


def _signs(some: Sequence[PageHash]) -> np.ndarray:
    """Pages x windows x bits, as +1 and -1."""
    raw = b"".join(bytes.fromhex(digits) for one in some for digits in one.hashes)
    bits = np.unpackbits(np.frombuffer(raw, np.uint8)).reshape(len(some), len(WINDOWS), BITS)
    return bits.astype(np.float32) * 2 - 1


def key(page: Page) -> str | None:
    """What a page's content is known by without decoding it; None where nothing is known."""
    if isinstance(page, DrawnPage):
        return f"drawn:{_drawing_code(page.language)}:{page.name}"
    if content := page.content if isinstance(page, StreamedPage) else digest_of(page):
        return f"bytes:{content}"
    if isinstance(page, FilePage | ArrowPage):
        path = Path(page.path if isinstance(page, FilePage) else page.file)
        try:
            state = path.stat()
        except OSError:
            return None  # opening it says what is wrong
        which = f":{page.number}" * bool(page.number) if isinstance(page, FilePage) else f":{page.column}:{page.row}"
        return f"file:{path.resolve()}:{state.st_size}:{state.st_mtime_ns}{which}"
    return None


@lru_cache
def _drawing_code(language: str) -> str:
    """What decides what a drawn page looks like beside its name; in another language than English, the font too."""
    packages = [importlib.metadata.version(package) for package in ("pillow", "matplotlib", "faker", "numpy")]
    if language != ENGLISH:
        file = fonts.found(language).file
        packages.append(f"{file.name}:{file.stat().st_size}")
    return hashlib.blake2b(repr((generated.REVISION, packages)).encode(), digest_size=8).hexdigest()
