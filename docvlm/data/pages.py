"""Pages in a file, in memory or in a row of an Arrow table: opened lazily, checked cheaply, decoded upright and RGB.

A page is a locator of a few dozen bytes, because it travels to data-loader workers and back with every batch; the
pixels are read where they are used. `check` looks at the header and the last bytes only (about 0.5 ms a page): that
finds empty, foreign, over-long and truncated files without decoding a whole data set. A file damaged in the middle is
found when it is decoded, as a `DocvlmError` that names it. Pillow's decompression-bomb limit stays on.
"""

from __future__ import annotations

import hashlib
import io
import struct
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol, cast

from PIL import Image

from docvlm.data.pixels import upright, upright_size
from docvlm.errors import DocvlmError

if TYPE_CHECKING:
    import pyarrow as pa

MAX_ASPECT = 200
"""Longest side over shortest; qwen-vl-utils' `smart_resize` refuses more."""

ENDINGS = {"JPEG": b"\xff\xd9", "PNG": b"IEND"}
"""What the last bytes of a complete file hold. Other formats are decoded to be checked."""

_SUBFILE_TYPE, _REDUCED_OR_MASK = 0x00FE, 0b101  # TIFF 6.0, NewSubfileType: bit 0 a smaller copy, bit 2 a mask
_EIGHT_BITS = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"})
"""Modes whose values can only have one range."""
DECODING_ERRORS = (
    *(OSError, SyntaxError, ValueError, EOFError, struct.error, LookupError, ArithmeticError, TypeError, RuntimeError),
    Image.DecompressionBombError,
)
"""Everything Pillow's decoders raise on damaged bytes: a truncated PNG is a SyntaxError there, a TIFF without its width
a TypeError, one without its palette a KeyError, an AVIF a RuntimeError."""


class Hash(Protocol):
    """A hash that goes on where another stands: what `hashlib` gives."""

    def update(self, data: bytes, /) -> None: ...

    def copy(self) -> Hash: ...

    def hexdigest(self) -> str: ...


class StoredPage(Protocol):
    """A page whose encoded bytes exist somewhere. `number` counts the pages of its file from 1; 0: it is the only one.

    `size` is (width, height) in pixels, upright; it and `digest` are filled in by the loader.
    """

    @property
    def name(self) -> str: ...

    @property
    def size(self) -> tuple[int, int] | None: ...

    @property
    def digest(self) -> str: ...

    @property
    def number(self) -> int: ...

    def stream(self) -> BinaryIO: ...

    def open(self) -> Image.Image: ...


@dataclass(frozen=True, slots=True)
class FilePage:
    """A page in an image file, or one of the pages of a TIFF."""

    path: str
    size: tuple[int, int] | None = None
    digest: str = ""
    number: int = 0

    @property
    def name(self) -> str:
        """The file; of several pages, with the fragment that PDF readers know."""
        return f"{self.path}#page={self.number}" if self.number else self.path

    def stream(self) -> BinaryIO:
        """The encoded bytes. Raises `DocvlmError` if the file cannot be read."""
        try:
            return Path(self.path).open("rb")
        except OSError as error:
            raise DocvlmError(
                f"page {self.path}: {error.strerror}; restore the file or remove its questions"
            ) from error

    def open(self) -> Image.Image:
        return decode(self)


@dataclass(frozen=True, slots=True)
class BytesPage:
    """An image file that is in memory."""

    name: str
    data: bytes
    size: tuple[int, int] | None = None
    digest: str = ""
    number: int = 0

    def stream(self) -> BinaryIO:
        """The encoded bytes."""
        return io.BytesIO(self.data)

    def open(self) -> Image.Image:
        return decode(self)


@dataclass(frozen=True, slots=True)
class ArrowPage:
    """A page in an Arrow file (memory-mapped): a `datasets` image struct or plain bytes in `column` of `row`."""

    name: str
    file: str
    row: int
    column: str = "image"
    size: tuple[int, int] | None = None
    digest: str = ""
    number: int = 0

    def stream(self) -> BinaryIO:
        """The encoded bytes, without a copy. Raises `DocvlmError` if the row holds none."""
        import pyarrow as pa

        cell = _arrow_table(self.file)[self.column][self.row]
        if pa.types.is_struct(cell.type):
            cell = cell["bytes"] if cell.is_valid else cell
        if not cell.is_valid:
            raise DocvlmError(f"page {self.name} ({self.file} row {self.row}): no image in column '{self.column}'")
        return cast("BinaryIO", pa.BufferReader(cell.as_buffer()))

    def open(self) -> Image.Image:
        return decode(self)


@lru_cache(maxsize=64)
def _arrow_table(file: str) -> pa.Table:
    """One memory-mapped Arrow stream; opened once a process, so that a page need not carry its table."""
    import pyarrow as pa

    return pa.ipc.open_stream(pa.memory_map(file)).read_all()


def arrow_rows(file: str) -> int:
    """How many rows an Arrow file holds."""
    return int(_arrow_table(file).num_rows)


def arrow_filled(file: str, column: str) -> list[bool]:
    """For each row of an Arrow file, whether its image column is not null. Reads no image."""
    import pyarrow as pa
    import pyarrow.compute as pc

    cells = _arrow_table(file)[column]
    if pa.types.is_struct(cells.type):
        cells = pc.struct_field(cells, "bytes")  # null also where the struct is
    found: list[bool] = cells.is_valid().to_pylist()
    return found


def decode(page: StoredPage) -> Image.Image:
    """Decode a page: EXIF orientation applied, transparency on white, mode RGB.

    Raises `DocvlmError` naming the page if it is empty, not an image, truncated, larger than Pillow's bomb limit, or
    has an aspect ratio above 200.
    """
    with page.stream() as stream:
        image = _opened(page, stream)
        try:
            if page.number:
                image.seek(frames(image)[page.number - 1])
            return upright(image)
        except DECODING_ERRORS as error:
            raise _broken(page, error) from error


def check(page: StoredPage) -> tuple[int, int]:
    """Upright (width, height) of a page after looking at its header and its last bytes.

    Raises as `decode` does, and where the file holds several pages.
    """
    (size,) = sizes(page, most=1)
    return size


def sizes(page: StoredPage, most: int | None = None) -> list[tuple[int, int]]:
    """Upright (width, height) of every page of an image file, after looking at its headers and its last bytes.

    A TIFF may hold several pages; its thumbnails and masks are none. Raises `DocvlmError` for an animation, which has
    frames and no pages, for more than `most` pages, and as `decode` does.
    """
    with page.stream() as stream:
        image = _opened(page, stream)
        try:
            pages = frames(image)
            if most is not None and len(pages) > most:
                raise DocvlmError(f"page {page.name}: a TIFF of {len(pages)} pages; save it as one image a page")
            found = [_size(image, frame) for frame in pages]
            if not _complete(stream, image.format or "") or image.mode not in _EIGHT_BITS:
                for frame in pages:  # whatever has to be decoded to be known, the range of its values too
                    _at(image, frame)
                    upright(image)
        except DECODING_ERRORS as error:
            raise _broken(page, error) from error
    return found


def frames(image: Image.Image) -> list[int]:
    """Which frames of an opened file are its pages, counted from 0. Raises `ValueError` for an animation."""
    count = int(getattr(image, "n_frames", 1))
    if count == 1 or image.format == "MPO":  # a photograph with its preview
        return [0]
    if image.format != "TIFF":
        raise ValueError(f"an animated {image.format} of {count} frames; save the frame you mean as an image")
    pages = []
    for frame in range(count):
        image.seek(frame)
        kind = image.tag_v2.get(_SUBFILE_TYPE, 0)  # type: ignore[attr-defined]  # a TIFF has tags
        if not kind & _REDUCED_OR_MASK:
            pages.append(frame)
    image.seek(0)
    return pages or [0]


def _size(image: Image.Image, frame: int) -> tuple[int, int]:
    _at(image, frame)
    _not_too_thin(image)
    return upright_size(image)


def _at(image: Image.Image, frame: int) -> None:
    if image.tell() != frame:
        image.seek(frame)


def content_hash(page: StoredPage) -> Hash:
    """Hash of the encoded bytes of a page's file. Reads all of it. Raises `DocvlmError` if it cannot be read."""
    with page.stream() as stream:
        return hashlib.blake2b(stream.read(), digest_size=16)


def digest(page: StoredPage, file: Hash | None = None) -> str:
    """Hash of the encoded bytes: the identity of a page where no document id is given. `file`: its `content_hash`."""
    content = content_hash(page) if file is None else file.copy()
    if page.number:
        content.update(f"#page={page.number}".encode())
    return content.hexdigest()


def _opened(page: StoredPage, stream: BinaryIO) -> Image.Image:
    if not stream.read(1):
        raise DocvlmError(f"page {page.name}: empty (0 bytes); restore the file or remove its questions")
    stream.seek(0)
    try:
        image = Image.open(stream)
        _not_too_thin(image)
    except DECODING_ERRORS as error:
        raise _broken(page, error) from error
    return image


def _not_too_thin(image: Image.Image) -> None:
    width, height = image.size
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise ValueError(f"{width} x {height} px, sides differ more than {MAX_ASPECT} times; crop or split it")


def _complete(stream: BinaryIO, kind: str) -> bool:
    """Whether the file ends as its format says. False means: decode it to know (a trailer may follow the end mark)."""
    if kind not in ENDINGS:
        return False
    here = stream.tell()
    length = stream.seek(0, 2)
    stream.seek(max(0, length - 64))
    tail = stream.read()
    stream.seek(here)
    return ENDINGS[kind] in tail


def _broken(page: StoredPage, error: Exception) -> DocvlmError:
    reason = " ".join(str(error).split())[:120]
    if isinstance(error, Image.UnidentifiedImageError):
        reason = "not an image Pillow can read"
    if isinstance(error, Image.DecompressionBombError):
        reason = "more pixels than Pillow's decompression-bomb limit"
    return DocvlmError(f"page {page.name}: {reason}; replace the file or remove its questions")
