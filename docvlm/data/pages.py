"""Pages that live in a file or in a row of an Arrow table: opened lazily, checked cheaply, decoded upright and RGB.

A page is a locator of a few dozen bytes, because it travels to data-loader workers and back with every batch; the
pixels are read where they are used. `check` looks at the header and the last bytes only (about 0.5 ms a page): that
finds empty, foreign, over-long and truncated files without decoding a whole data set. A file damaged in the middle is
found when it is decoded, as a `DocvlmError` that names it. Pillow's decompression-bomb limit stays on.
"""

from __future__ import annotations

import hashlib
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
"""Longest side over shortest; Qwen2-VL's own resize refuses more (qwen-vl-utils `smart_resize`)."""

ENDINGS = {"JPEG": b"\xff\xd9", "PNG": b"IEND"}
"""What the last bytes of a complete file hold. Other formats are decoded to be checked."""

DECODING_ERRORS = (OSError, SyntaxError, ValueError, EOFError, struct.error, IndexError, Image.DecompressionBombError)
"""Everything Pillow's decoders raise on damaged bytes (a truncated PNG is a SyntaxError there)."""


class StoredPage(Protocol):
    """A page whose encoded bytes exist somewhere."""

    @property
    def name(self) -> str: ...

    @property
    def size(self) -> tuple[int, int] | None: ...

    @property
    def digest(self) -> str: ...

    def stream(self) -> BinaryIO: ...

    def open(self) -> Image.Image: ...


@dataclass(frozen=True, slots=True)
class FilePage:
    """A page in an image file. `size` (width, height; upright) and `digest` are filled in by the loader."""

    path: str
    size: tuple[int, int] | None = None
    digest: str = ""

    @property
    def name(self) -> str:
        return self.path

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
class ArrowPage:
    """A page in an Arrow file (memory-mapped): a `datasets` image struct or plain bytes in `column` of `row`."""

    name: str
    file: str
    row: int
    column: str = "image"
    size: tuple[int, int] | None = None
    digest: str = ""

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


def decode(page: StoredPage) -> Image.Image:
    """Decode a page: EXIF orientation applied, transparency on white, mode RGB.

    Raises `DocvlmError` naming the page if it is empty, not an image, truncated, larger than Pillow's bomb limit, or
    has an aspect ratio above 200.
    """
    with page.stream() as stream:
        image = _opened(page, stream)
        try:
            return upright(image)
        except DECODING_ERRORS as error:
            raise _broken(page, error) from error


def check(page: StoredPage) -> tuple[int, int]:
    """Upright (width, height) of a page after looking at its header and its last bytes. Raises as `decode` does."""
    with page.stream() as stream:
        image = _opened(page, stream)
        try:
            size = upright_size(image)
            if not _complete(stream, image.format or ""):
                image.load()
        except DECODING_ERRORS as error:
            raise _broken(page, error) from error
    return size


def digest(page: StoredPage) -> str:
    """Hash of the encoded bytes: the identity of a page where no document id is given. Reads the whole file."""
    with page.stream() as stream:
        return hashlib.blake2b(stream.read(), digest_size=16).hexdigest()


def _opened(page: StoredPage, stream: BinaryIO) -> Image.Image:
    if not stream.read(1):
        raise DocvlmError(f"page {page.name}: empty (0 bytes); restore the file or remove its questions")
    stream.seek(0)
    try:
        image = Image.open(stream)
    except DECODING_ERRORS as error:
        raise _broken(page, error) from error
    width, height = image.size
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise DocvlmError(
            f"page {page.name}: {width} x {height} px, sides differ more than {MAX_ASPECT} times; crop or split it"
        )
    return image


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
