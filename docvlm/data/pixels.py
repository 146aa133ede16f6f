"""What a viewer shows of an image: upright, transparency on white, whatever its bits a pixel; or a reason why not.

- 8 bits and fewer are never stretched: a dark photo stays dark. Colour profiles and gAMA are not applied: text reads
  alike without, and most viewers leave gAMA alone.
- Integers with more bits are read by the bits they use. A tag says how many (BitsPerSample, PNG's sBIT,
  MaxSampleValue); without one, white is the end of the least of 8, 10, 12 … bits that holds the brightest pixel. That
  is right wherever anything on the page is brighter than a quarter of white, as paper is. A darker page becomes
  lighter, is never clipped and never darker. Values that are all 8-bit ones times 257 (or 256) stay: a dark page.
- Floats are 0..1 or 0..255, or 0 to the end of 10, 12, 14 or 16 bits, and must hold a pixel above a sixteenth of white.
  SMinSampleValue and SMaxSampleValue decide where a file has both.
- Everything else (negative values, NaN, floats up to 3) has no range that can be known: a `ValueError` names it.

Sources: TIFF 6.0 (Adobe 1992) sections 8 and 19; PNG, third edition (W3C 2025) sections 11.3.1 and 11.3.2.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import IO, Any

import numpy as np
from PIL import Image, ImageCms, ImageFile

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What brings an image upright, by the value of EXIF's (TIFF's) Orientation."""

ORIENTATION = 0x0112
WIDTH, LENGTH, BITS, PHOTOMETRIC, FORMAT = 256, 257, 258, 262, 339
LEAST, MOST, S_LEAST, S_MOST = 280, 281, 340, 341
SIGNED, YCBCR = 2, 6  # a SampleFormat, a PhotometricInterpretation
SLACK = 1 / 255  # of white: how far a resize may overshoot a float image's range
DARKEST = 1 / 16  # of white: the brightest pixel of a float image whose range is believed
DIM = 64  # a quarter of 256
NATIVE = {"F;32BF": "F;32NF", "I;16BS": "I;16NS", "I;32BS": "I;32NS"}
"""Raw modes of Pillow for compressed TIFFs whose bytes libtiff has already swapped: it would swap them again."""
STEPS = {"L;2": 85, "L;4": 17}
"""What Pillow multiplies the values of a grey PNG by, but not the one that stands for "transparent"."""
METADATA = {b"eXIf", b"iTXt", b"tEXt", b"zTXt"}  # PNG chunks that may hold an orientation
BAD_EXIF = (SyntaxError, struct.error, ValueError, TypeError, KeyError, IndexError, OverflowError)
"""What Pillow raises on EXIF data that are none."""


@dataclass(frozen=True, slots=True)
class Stated:
    """What a header says of its samples. `bits`: that they use at least; `low`, `high`: values of black and white."""

    bits: int = 8
    most: int = 32
    signed: bool = False
    inverted: bool = False
    low: float | None = None
    high: float | None = None


def upright(image: Image.Image) -> Image.Image:
    """An image turned as its EXIF, TIFF or XMP data say, transparency on white, mode RGB, in its true range.

    Raises `ValueError` if the range of its values cannot be known, and what Pillow raises on damaged data.
    """
    file, stated = _unread(image), _stated(image)
    raw, source = ("", None) if file is None else (_raw_mode(file), file.fp)
    if file is not None and raw in NATIVE and file.tile[0].codec_name == "libtiff":
        file.tile = _read_as(file, NATIVE[raw])
    image.load()
    if ";16" in raw and len(image.getbands()) > 1:
        assert source is not None
        again = source if not source.closed else image.filename  # type: ignore[attr-defined]  # opened by its path
        return _turned(_wide_colours(image, raw, again), image)
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _turned(_wide_greys(image, stated), image)
    if stated.signed and image.getextrema()[-1] > 127:  # type: ignore[operator]  # one band
        low, high = np.asarray(image).view(np.int8).min(), np.asarray(image).view(np.int8).max()
        raise ValueError(f"signed values from {low} to {high}, and no tag says which is black; save it with 8 bits")
    return _rgb(_turned(image, image), STEPS.get(raw, 1))


def upright_size(image: Image.Image) -> tuple[int, int]:
    """(Width, height) in pixels that `upright` will give, from the header.

    Only a PNG with metadata behind its pixels is decoded for it.
    """
    width, height = image.size
    tags = getattr(image, "tag_v2", None)
    if tags is not None and _unread(image) is not None:
        width, height = tags[WIDTH], tags[LENGTH]  # Pillow may have swapped `size` at opening
    if _orientation(image) >= 5:
        return height, width
    return width, height


def _orientation(image: Image.Image) -> int:
    """EXIF's Orientation, 1 where there is none or one that is not defined, as viewers take it."""
    try:
        file = _unread(image)
        if image.format == "PNG" and file is not None and not _metadata_follows(file):
            exif = Image.Image.getexif(image)  # the plugin's own would decode the pixels to look behind them
        else:
            exif = image.getexif()
    except BAD_EXIF:
        return 1
    found = exif.get(ORIENTATION, 1)
    return int(found) if found in TURNS else 1


def _turned(picture: Image.Image, image: Image.Image) -> Image.Image:
    """`picture`, turned as `image` says."""
    orientation = _orientation(image)
    return picture.transpose(TURNS[orientation]) if orientation in TURNS else picture


def _unread(image: Image.Image) -> ImageFile.ImageFile | None:
    """The image, if it was opened from a file and its pixels are still there."""
    return image if isinstance(image, ImageFile.ImageFile) and image.tile and image.fp is not None else None


def _metadata_follows(image: ImageFile.ImageFile) -> bool:
    """Whether a PNG holds chunks behind its pixels that may turn it."""
    behind = False
    for name, _ in _chunks(image):
        behind = behind or name == b"IDAT"
        if behind and name in METADATA:
            return True
    return False


def _chunks(image: ImageFile.ImageFile) -> Iterator[tuple[bytes, bytes]]:
    """Name and first four bytes of every chunk of a PNG that was not loaded. The file's position stays as it was."""
    stream = image.fp
    assert stream is not None
    here, at = stream.tell(), 8
    try:
        while True:
            stream.seek(at)
            head = stream.read(12)
            if len(head) < 12:
                return
            yield head[4:8], head[8:]
            at += 12 + int.from_bytes(head[:4], "big")
    finally:
        stream.seek(here)


def _raw_mode(image: ImageFile.ImageFile) -> str:
    """Pillow's name of how the samples lie in the file; empty where a decoder has none."""
    arguments = image.tile[0].args
    found = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return found if isinstance(found, str) else ""


def _stated(image: Image.Image) -> Stated:
    file, tags = _unread(image), getattr(image, "tag_v2", None)
    if tags is not None:
        stated = _stated_by_tags(tags)
        if file is not None and file.tile[0].codec_name == "raw" and len(image.getbands()) > 1:
            _refuse_what_is_misread(_raw_mode(file), stated, tags)
        return stated
    if not image.mode.startswith("I;16"):
        return Stated(signed=image.mode == "I", most=31)
    if image.format == "PNG" and file is not None:
        for name, content in _chunks(file):
            if name == b"sBIT" and content[0] < 16:
                return Stated(bits=max(8, content[0]), most=16)
            if name == b"IDAT":
                break
    return Stated(most=16)


def _refuse_what_is_misread(raw: str, stated: Stated, tags: Any) -> None:
    """Pillow takes planes of 16 bits for planes of 8, and YCbCr for RGB and a byte, where they are not compressed."""
    if stated.most > 8 and len(raw) == 1:
        raise ValueError(f"planes of {stated.most} bits apart, which Pillow reads wrongly; save it with 8 bits")
    if tags.get(PHOTOMETRIC) == YCBCR:
        raise ValueError("YCbCr that is not compressed, which Pillow reads wrongly; save it as RGB")


def _stated_by_tags(tags: Any) -> Stated:
    """What a TIFF says. MaxSampleValue is a statistic of the pixels to TIFF 6.0, so it counts as bits, not as white."""
    size, kind = (_first(tags.get(tag)) or 1 for tag in (BITS, FORMAT))
    low, high = _first(tags.get(S_LEAST)), _first(tags.get(S_MOST))
    if low is None or high is None or not low < high or size <= 8:
        low = high = None
    signed = kind == SIGNED
    most = int(size) - signed
    largest = max(_first(tags.get(tag)) or 0 for tag in (MOST, S_MOST))
    bits = int(largest).bit_length() if 0 < largest < 2**most - 1 else 8  # the type's own range says nothing
    return Stated(
        bits=max(8, bits) if size in (16, 32) else most,
        most=most,
        signed=signed,
        inverted=tags.get(PHOTOMETRIC, 0) == 0,
        low=low,
        high=high,
    )


def _first(value: Any) -> float | None:
    """A tag's number, or its first; None where it holds anything else."""
    found = value[0] if isinstance(value, tuple) and value else value
    try:
        return float(found)
    except (TypeError, ValueError, ZeroDivisionError):
        return None


def _wide_greys(image: Image.Image, stated: Stated) -> Image.Image:
    """A grey image of more than 8 bits a pixel."""
    values = np.asarray(image)
    if image.mode == "I" and not stated.signed:
        values = values.view(np.uint32)
    if values.size == 0:
        return image.convert("RGB")
    low, high = _range(values, stated)
    grey = _eight_bits(values, low, high)
    if stated.inverted:
        grey = 255 - grey
    if isinstance(clear := image.info.get("transparency"), int):
        grey[values == clear] = 255
    return Image.fromarray(grey).convert("RGB")


def _range(values: np.ndarray, stated: Stated) -> tuple[float, float]:
    """The values of black and white. Raises `ValueError` where they cannot be known."""
    least, most = float(values.min()), float(values.max())
    real = values.dtype.kind == "f"
    if not np.isfinite([least, most]).all():
        raise ValueError("float values of which some are infinite or no number; save it with 8 bits")
    if (real or least < 0) and _believed(stated, least, most):
        assert stated.low is not None and stated.high is not None
        return stated.low, stated.high
    white = _float_white(least, most) if real else _white(values, most, stated)
    if white is None or least < -SLACK * white * real:
        kind, known = ("float", "0..1 nor 0..255") if real else ("integer", "0..255 nor another range from 0")
        raise ValueError(f"{kind} values from {least:g} to {most:g}, neither {known}; save it with 8 bits")
    return 0.0, white


def _believed(stated: Stated, least: float, most: float) -> bool:
    """Whether SMinSampleValue and SMaxSampleValue are about these values; some writers put the type's range there."""
    low, high = stated.low, stated.high
    if low is None or high is None:
        return False
    return low <= least and most <= high and most - least >= DARKEST * (high - low)


def _white(values: np.ndarray, most: float, stated: Stated) -> float:
    """The end of the least number of bits that holds every value, at least what is stated."""
    bits = next((n for n in range(8, stated.most, 2) if n >= stated.bits and most < 2**n), stated.most)
    if stated.bits == 8 < bits < stated.most == 16 and _are_bytes(values):
        bits = 16
    return float(2 ** max(bits, stated.bits) - 1)


def _are_bytes(values: np.ndarray) -> bool:
    """Whether values of 16 bits are 8-bit ones, times 257 or 256. Two tones may be so by chance, so three must be."""
    levels = np.flatnonzero(np.bincount(values.ravel()))
    return bool(np.count_nonzero(levels) > 2 and ((levels % 257 == 0).all() or (levels % 256 == 0).all()))


def _float_white(least: float, most: float) -> float | None:
    if most == 0 and least == 0:
        return 1.0  # black
    for white in (1.0, *(2.0**n - 1 for n in (8, 10, 12, 14, 16))):
        if white * DARKEST <= most <= white * (1 + SLACK):
            return white
    return None


def _eight_bits(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Values of black and white mapped to 0 and 255."""
    if values.dtype.itemsize == 2 and values.dtype.kind == "u":  # a table: a tenth of the time
        return _eight_bits(np.arange(2**16, dtype=np.float64), low, high)[values]
    scaled = (values.astype(np.float64) - low) * (255 / (high - low))
    return np.clip(np.rint(scaled), 0, 255).astype(np.uint8)


def _wide_colours(image: Image.Image, raw: str, source: IO[bytes] | str) -> Image.Image:
    """A colour image of 16 bits a channel, or a grey one with alpha. Pillow keeps the high bytes.

    Where these are dark, or a colour of 16 bits stands for "transparent", the low bytes are read too.
    """
    high = np.asarray(image)
    colours = high[..., :3] if image.mode == "RGBA" else high
    clear = image.info.get("transparency")
    if raw.startswith("RGBa") and (high[..., 3].max(initial=0) < DIM or 0 < colours.max(initial=0) < DIM):
        raise ValueError("premultiplied alpha of 16 bits, of which not all are used; save it with 8 bits")
    if raw.startswith("RGBa"):
        return _rgb(image)
    if clear is None and colours.max(initial=0) >= DIM:
        return _rgb(image)
    values = high.astype(np.uint16) * 256 + _low_bytes(image, raw, source)
    pixels = _eight_bits(values, *_range(values[..., : colours.shape[-1]], Stated(most=16)))
    if image.mode == "RGBA":
        pixels[..., 3] = _eight_bits(values[..., 3], *_range(values[..., 3], Stated(most=16)))
    elif clear is not None:
        pixels[(values == np.asarray(clear)).all(-1)] = 255
    return _rgb(Image.fromarray(pixels, image.mode))


def _low_bytes(image: Image.Image, raw: str, source: IO[bytes] | str) -> np.ndarray:
    """The other byte of every sample: the file read again as if its byte order were the other one."""
    if raw == "LA;16B":  # as long as four bytes
        return _read_again(image, "RGBA", source)[..., [1, 1, 1, 3]]
    swapped = raw[:-1] + ("B" if raw[-1] == "L" or (raw[-1] == "N" and sys.byteorder == "little") else "L")
    return _read_again(image, swapped, source)


def _read_again(image: Image.Image, raw: str, source: IO[bytes] | str) -> np.ndarray:
    if not isinstance(source, str):
        source.seek(0)
    with Image.open(source) as again:
        assert isinstance(again, ImageFile.ImageFile)
        again.seek(image.tell())
        again.tile = _read_as(again, raw)
        return np.asarray(again)


def _read_as(image: ImageFile.ImageFile, raw: str) -> list[Any]:
    """The tiles of an image that was not loaded, with another raw mode."""
    return [tile._replace(args=(raw, *tile.args[1:]) if isinstance(tile.args, tuple) else raw) for tile in image.tile]


def _rgb(image: Image.Image, step: int = 1) -> Image.Image:
    """An upright image of 8 bits a channel as RGB. `step`: what Pillow multiplied its values by, but not its tRNS."""
    if image.has_transparency_data:
        # Dark text on a transparent ground would become black on black.
        if step > 1 and isinstance(clear := image.info.get("transparency"), int):
            image = image.copy()
            image.info["transparency"] = clear * step
        ink = image.convert("LA").convert("RGBA") if image.mode == "La" else image.convert("RGBA")
        paper = Image.new("RGBA", ink.size, "white")
        return Image.alpha_composite(paper, ink).convert("RGB")
    if image.mode == "LAB":
        return ImageCms.applyTransform(image, _lab())  # type: ignore[return-value]  # None only in place
    return image.convert("RGB")


@lru_cache(maxsize=1)
def _lab() -> ImageCms.ImageCmsTransform:
    return ImageCms.buildTransform(ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), "LAB", "RGB")
