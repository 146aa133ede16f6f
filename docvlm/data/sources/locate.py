"""What a cell of a row, or a word on the command line, names: the pages of a file, or an image in the text itself.

    scans/1.png   /data/1.png   scans\\1.png   file:///data/1.png     a path, from the folder of its row
    contract.pdf   contract.pdf#page=2   fax.tif                    all pages of a PDF or a TIFF, or one of them
    data:image/png;base64,…   iVBORw0KGgo…                          the encoded bytes (OpenAI's, Qwen's and plain form)

A name that lies there under another Unicode form (macOS decomposes what was typed composed) is the same name. Nothing
is fetched: an address is refused with what to do.
"""

from __future__ import annotations

import base64
import binascii
import itertools
import os
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote, unquote_to_bytes
from urllib.request import url2pathname

from docvlm.data.lines import shown
from docvlm.data.pages import BytesPage, FilePage, StoredPage, sizes
from docvlm.data.pdf import is_pdf, pdf_pages
from docvlm.data.sources.remembered import Read
from docvlm.errors import DocvlmError

MOST_ENCODED = 96_000_000
"""Characters of an image in a row: some 70 MB of image."""
_PATH = 300  # characters of a path in a message; an image in the text is longer
_LONGEST = 4096  # characters; no path is longer
_HEAD = 1024  # bytes
_FRAGMENT = re.compile(r"(?P<path>.+\.(?:pdf|tiff?))#page=(?P<number>[0-9]{1,9})", re.IGNORECASE | re.DOTALL)
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)
_DRIVE = re.compile(r"[A-Za-z]:[\\/]")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{24,}={0,2}")
_IMAGES = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"RIFF", b"II*\0", b"MM\0*", b"BM", b"%PDF-")


def named(
    name: str, folder: Path, place: str, numbers: Sequence[int] | None = None, read: Read | None = None
) -> tuple[StoredPage, ...]:
    """The pages that `name` means, their headers looked at; `folder` is where a relative path starts.

    `place` is what pages are called that are no files. `numbers` chooses pages of a PDF or a TIFF, from 1; default all.
    `read` takes the place of `of_file`.
    Raises `DocvlmError` where there is no such file, or it is no image that can be read.
    """
    bare = name.strip()
    if not bare:
        raise DocvlmError(f"image {name!r} is empty; give a file")
    if bare[:5].lower() == "data:":
        return of_bytes(place, _data_uri(bare), numbers)
    if bare[:5].lower() == "file:":
        name = bare = _of_file_address(bare)
    elif _ADDRESS.match(bare):
        raise DocvlmError(f"image {shown(name)} is an address; download it first and give the file's path")
    for each in dict.fromkeys((name, bare)):  # a name may begin or end with white space
        if (found := _file(each, folder)) is not None:
            return (read or of_file)(found, numbers)
        fragment = _FRAGMENT.fullmatch(each)
        if fragment is not None and (found := _file(fragment["path"], folder)) is not None:
            return _one_of(found, int(fragment["number"]), read or of_file)
    if (data := _plain_base64(bare)) is not None:
        return of_bytes(place, data, numbers)
    place = "" if folder == Path() else f" in {folder}"
    said = repr(name) if len(name) <= _PATH else shown(name)  # the end of a path tells more than its beginning
    raise DocvlmError(f"image {said} not found{place}{_advice(bare)}")


def _one_of(path: Path, number: int, read: Read) -> tuple[StoredPage, ...]:
    """Page `number` of a file, counted from 1. Raises as `named` does."""
    found = read(path, (number,))
    if number != 1 and not found[0].number:  # a TIFF of one page: `numbers` chooses among several only
        raise DocvlmError(f"{path}: has one page, so there is no page {number}; choose another")
    return found


def of_file(path: Path, numbers: Sequence[int] | None = None) -> tuple[StoredPage, ...]:
    """The pages of a file. Raises as `named` does."""
    try:
        with path.open("rb") as stream:
            head = stream.read(_HEAD)
    except OSError as error:
        raise DocvlmError(f"{path}: {error.strerror}; check its permissions") from error
    if is_pdf(head):
        return pdf_pages(str(path), None if numbers is None else tuple(numbers))
    return _of_image(FilePage(str(path)), numbers)


def of_bytes(name: str, data: bytes, numbers: Sequence[int] | None = None) -> tuple[StoredPage, ...]:
    """The pages of an encoded file in memory, called `name` in messages. Raises as `named` does."""
    if not data:
        raise DocvlmError(f"{name}: empty (0 bytes); give an image or a PDF")
    if is_pdf(data):
        return pdf_pages(name, None if numbers is None else tuple(numbers), data)
    return _of_image(BytesPage(name, data), numbers)


def _of_image(page: FilePage | BytesPage, numbers: Sequence[int] | None) -> tuple[StoredPage, ...]:
    found = sizes(page)
    if len(found) == 1:
        return (replace(page, size=found[0]),)
    wanted = range(1, len(found) + 1) if numbers is None else numbers
    if beyond := [number for number in wanted if not 1 <= number <= len(found)]:
        raise DocvlmError(f"{page.name}: has pages 1 to {len(found)}, so there is no page {beyond[0]}; choose another")
    return tuple(replace(page, number=number, size=found[number - 1]) for number in wanted)


def _file(name: str, folder: Path) -> Path | None:
    """The file of that name, if there is one: as it is written, with Windows' separators, in another Unicode form."""
    if len(name) > _LONGEST or "\0" in name:
        return None
    forms = dict.fromkeys((name, name.replace("\\", "/")))
    for form, home in itertools.product(forms, (False, True)):
        if home and not form.startswith("~"):
            continue
        try:
            path = folder / (Path(form).expanduser() if home else form)
            if path.is_file():
                return path
            if (other := _other_form(path)) is not None:
                return other
        except (OSError, RuntimeError):  # a name longer than the system has, or a home that is nobody's: no file
            continue
    return None


def _other_form(path: Path) -> Path | None:
    """The file that lies there under a name of the same letters, composed or decomposed."""
    if str(path).isascii():
        return None
    here = Path(path.anchor) if path.is_absolute() else Path()
    for part in path.parts[bool(path.anchor) :]:
        if part == ".." or os.path.lexists(here / part):
            here /= part
            continue
        letters = unicodedata.normalize("NFC", part)
        alike = (each for each in os.listdir(here) if unicodedata.normalize("NFC", each) == letters)
        other = next(alike, None) if here.is_dir() else None
        if other is None:
            return None
        here /= other
    return here if here.is_file() else None


def _of_file_address(address: str) -> str:
    """The path of `file:/…`, `file:///…` or `file://localhost/…` with its `#page=` (RFC 8089, RFC 8118)."""
    place = address[5:]
    if place.startswith("//"):
        host, slash, path = place[2:].partition("/")
        if host.lower() not in ("", "localhost"):
            raise DocvlmError(f"image {shown(address)} lies on another machine ({host[:80]}); copy it here first")
        place = slash + path
    return url2pathname(place) if os.name == "nt" else unquote(place, errors="surrogateescape")


def _data_uri(text: str) -> bytes:
    """The bytes of `data:[type][;base64],…` (RFC 2397). Raises `DocvlmError` for another one, or one too large."""
    head, comma, body = text.partition(",")
    if not comma:
        raise DocvlmError(f"image {shown(text)} is a data URI without a comma, so without data; give a file")
    _check_length(body)
    if not head.lower().endswith(";base64"):
        return unquote_to_bytes(body.encode("utf-8", "surrogatepass"))
    data = _decoded(unquote(body) if "%" in body else body)
    if data is None:
        raise DocvlmError(f"image {shown(text)} is a data URI whose base64 is damaged; encode the file again")
    return data


def _plain_base64(text: str) -> bytes | None:
    """The bytes of an image written as base64 without anything around it; None if the text is none."""
    if len(text) < 24 or not _BASE64.fullmatch(start := re.sub(r"\s", "", text[:64])[:28].rstrip("=")):
        return None
    head = _decoded(start[:24])
    if head is None or not head.startswith(_IMAGES):
        return None
    _check_length(text)
    data = _decoded(text)
    if data is None:
        raise DocvlmError(f"image {shown(text)} is base64 that is damaged; encode the file again")
    return data


def _check_length(text: str) -> None:
    if len(text) > MOST_ENCODED:
        raise DocvlmError(
            f"image of {len(text)} characters in the row itself, and at most {MOST_ENCODED} are read; put it in a file"
        )


def _decoded(text: str) -> bytes | None:
    """Base64 in either alphabet, with or without its padding; None where it is damaged."""
    plain = re.sub(r"\s", "", text).translate(str.maketrans("-_", "+/")).rstrip("=")
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError):  # not ASCII, or a length that base64 never has
        return None


def _advice(name: str) -> str:
    if _DRIVE.match(name) and os.name != "nt":
        return "; it is a path of Windows: copy the file here and give its path from that folder"
    return ""
