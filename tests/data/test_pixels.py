"""Pixels are what a viewer shows: any bit depth by its real range or tag, floats by theirs, or refused; upright."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from docvlm.data.pages import FilePage, check
from docvlm.data.pixels import TURNS, upright, upright_size
from docvlm.errors import DocvlmError

GREY = np.tile(np.arange(0, 255, 5, dtype=np.uint8)[:, None], (1, 40))
GREY[20:30, 10:30] = 255  # paper
COLOUR = np.stack([GREY, GREY[::-1], 255 - GREY // 2], -1)
TWELVE = GREY.astype(np.uint16) * 16 + GREY // 16  # 0..4095
SIXTEEN = GREY.astype(np.uint16) * 257
PHOTOMETRIC, FORMAT = 262, 339


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(pixels: np.ndarray, before: Sequence[bytes] = (), behind: Sequence[bytes] = (), bits: int = 0) -> bytes:
    """A PNG of 1 to 4 channels, of `bits` a sample where these are fewer than the array's."""
    height, width = pixels.shape[:2]
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[1 if pixels.ndim == 2 else pixels.shape[2]]
    if 0 < bits < 8:
        ones = np.unpackbits(pixels.astype(np.uint8)[..., None], axis=-1)[..., 8 - bits :]
        rows = np.packbits(ones.reshape(height, -1), axis=-1)
    else:
        rows = np.ascontiguousarray(pixels.astype(pixels.dtype.newbyteorder(">"))).view(np.uint8).reshape(height, -1)
    data = zlib.compress(np.pad(rows, ((0, 0), (1, 0))).tobytes())
    header = struct.pack(">IIBBBBB", width, height, bits or 8 * pixels.itemsize, kind, 0, 0, 0)
    chunks = [chunk(b"IHDR", header), *before, chunk(b"IDAT", data), *behind, chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def tiff(
    pixels: np.ndarray, order: str = "<", packed: bool = False, bits: int = 0, **tags: int | tuple[str, float]
) -> bytes:
    """A TIFF of one strip, deflated where `packed`. `tags` by number (`t262=0`): a value, or struct code and value."""
    rows, height, width = pixels.astype(pixels.dtype.newbyteorder(order)), *pixels.shape[:2]
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    data = rows.tobytes()
    if bits == 12:
        pairs = pixels.reshape(-1, 2).astype(np.uint16)
        parts = [pairs[:, 0] >> 4, (pairs[:, 0] & 15) << 4 | pairs[:, 1] >> 8, pairs[:, 1] & 255]
        data = np.stack(parts, -1).astype(np.uint8).tobytes()
    data = zlib.compress(data) if packed else data
    kind = {"u": 1, "i": 2, "f": 3}[pixels.dtype.kind]
    entries: dict[int, tuple[str, tuple[float, ...]]] = {
        256: ("I", (width,)), 257: ("I", (height,)), 258: ("H", (bits or 8 * pixels.itemsize,) * channels),
        259: ("H", (8 if packed else 1,)), PHOTOMETRIC: ("H", (1 if channels == 1 else 2,)), 273: ("I", (8,)),
        277: ("H", (channels,)), 278: ("I", (height,)), 279: ("I", (len(data),)), FORMAT: ("H", (kind,) * channels),
    }  # fmt: skip
    for name, value in tags.items():
        code, number = value if isinstance(value, tuple) else ("H", value)
        entries[int(name[1:])] = (code, (number,))
    body, table = bytearray(data + b"\0" * (len(data) % 2)), b""
    for tag, (code, values) in sorted(entries.items()):
        content = struct.pack(f"{order}{len(values)}{code}", *values)
        if len(content) > 4:
            where = struct.pack(f"{order}I", 8 + len(body))
            body += content
        else:
            where = content.ljust(4, b"\0")
        types = {"H": 3, "I": 4, "h": 8, "i": 9, "f": 11, "d": 12}
        table += struct.pack(f"{order}HHI", tag, types[code], len(values)) + where
    head = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(f"{order}I", 8 + len(body))
    return head + bytes(body) + struct.pack(f"{order}H", len(entries)) + table + b"\0\0\0\0"


def seen(data: bytes | Image.Image) -> np.ndarray:
    image = upright(data if isinstance(data, Image.Image) else Image.open(io.BytesIO(data)))
    assert image.mode == "RGB"
    return np.asarray(image).astype(int)


def off(data: bytes | Image.Image, wanted: np.ndarray = GREY) -> int:
    """By how many grey levels an image differs from the 8-bit original, at most."""
    wanted = wanted if wanted.ndim == 3 else np.stack([wanted] * 3, -1)
    found = seen(data)
    assert found.shape == wanted.shape
    return int(np.abs(found - wanted).max())


GREYS = {
    "16 bits": png(SIXTEEN),
    "8 bits shifted to 16": png(GREY.astype(np.uint16) * 256),
    "12 bits in 16": png(TWELVE),
    "12 bits in 16, times 16": png(GREY.astype(np.uint16) * 16),
    "10 bits in 16": png(GREY.astype(np.uint16) * 4 + GREY // 64),
    "14 bits in 16": png(GREY.astype(np.uint16) * 64 + GREY // 4),
    "8 bits in 16": png(GREY.astype(np.uint16)),
    "gAMA": png(GREY, [chunk(b"gAMA", struct.pack(">I", 100_000))]),
    "sBIT of the scan, stretched to 16": png(SIXTEEN, [chunk(b"sBIT", b"\x0c")]),
    "grey and alpha, 16": png(np.dstack([SIXTEEN, np.full_like(SIXTEEN, 65535)])),
    "grey and alpha, 12 in 16": png(np.dstack([TWELVE, np.full_like(TWELVE, 4095)])),
    "tiff 8": tiff(GREY),
    "tiff 12": tiff(TWELVE, bits=12),
    "tiff 16": tiff(SIXTEEN),
    "tiff 16 big-endian": tiff(SIXTEEN, ">"),
    "tiff 16 packed big-endian": tiff(SIXTEEN, ">", packed=True),
    "tiff 12 in 16": tiff(TWELVE),
    "tiff 12 in 16, the type's own range stated": tiff(TWELVE, t281=65535),
    "tiff 32": tiff(GREY.astype(np.uint32) * 16843009),
    "tiff 24 in 32": tiff(GREY.astype(np.uint32) * 65793),
    "tiff signed 16": tiff((GREY.astype(np.int32) * 32767 // 255).astype(np.int16)),
    "tiff signed 16 packed big-endian": tiff((GREY.astype(np.int32) * 32767 // 255).astype(np.int16), ">", packed=True),
    "tiff signed 32 packed big-endian": tiff(GREY.astype(np.int32) * 8421504, ">", packed=True),
    "tiff white is zero, 8": tiff(255 - GREY, t262=0),
    "tiff white is zero, 16": tiff(65535 - SIXTEEN, t262=0),
    "tiff white is zero, 12 in 16": tiff(4095 - TWELVE, t262=0),
    "tiff white is zero, float": tiff((1 - GREY / 255).astype(np.float32), t262=0),
    "tiff float": tiff((GREY / 255).astype(np.float32)),
    "tiff float packed big-endian": tiff((GREY / 255).astype(np.float32), ">", packed=True),
    "tiff float to 255": tiff(GREY.astype(np.float32)),
    "tiff float to 65535": tiff(SIXTEEN.astype(np.float32)),
    "tiff float, overshot": tiff(np.where(GREY == 255, 1.003, GREY / 255).astype(np.float32)),
    "tiff float in a stated range": tiff((GREY / 255 - 3).astype(np.float32), t340=("f", -3.0), t341=("f", -2.0)),
    "tiff float, the type's own range stated": tiff(
        (GREY / 255).astype(np.float32), t340=("f", -3.4e38), t341=("f", 3.4e38)
    ),
    "tiff signed in a stated range": tiff(GREY.astype(np.int16) - 128, t340=("h", -128), t341=("h", 127)),
}


@pytest.mark.parametrize("name", GREYS)
def test_a_grey_page_of_any_depth_is_the_page_of_8_bits(name: str) -> None:
    assert off(GREYS[name]) <= 1


RGBA = np.dstack([COLOUR, np.full_like(GREY, 255)])
COLOURS = {
    "png 8": png(COLOUR),
    "png 16": png(COLOUR.astype(np.uint16) * 257),
    "png 12 in 16": png(COLOUR.astype(np.uint16) * 16 + COLOUR // 16),
    "png 8 in 16": png(COLOUR.astype(np.uint16)),
    "png rgba 16": png(RGBA.astype(np.uint16) * 257),
    "png rgba 12 in 16": png(RGBA.astype(np.uint16) * 16 + RGBA // 16),
    "png 12 in 16, opaque in 16": png(np.dstack([COLOUR.astype(np.uint16) * 16, np.full_like(SIXTEEN, 65535)])),
    "tiff 16": tiff(COLOUR.astype(np.uint16) * 257),
    "tiff 12 in 16": tiff(COLOUR.astype(np.uint16) * 16 + COLOUR // 16),
    "tiff 12 in 16, packed": tiff(COLOUR.astype(np.uint16) * 16 + COLOUR // 16, packed=True),
    "tiff 12 in 16, big-endian": tiff(COLOUR.astype(np.uint16) * 16 + COLOUR // 16, ">"),
    "tiff 12 in 16, packed big-endian": tiff(COLOUR.astype(np.uint16) * 16 + COLOUR // 16, ">", packed=True),
    "tiff cmyk 12 in 16": tiff(np.dstack([255 - COLOUR, np.zeros_like(GREY)]).astype(np.uint16) * 16, t262=5),
    "tiff premultiplied": tiff(RGBA, t338=1),
    "tiff premultiplied, 16": tiff(RGBA.astype(np.uint16) * 257, t338=1),
    "tiff cmyk": tiff(np.dstack([255 - COLOUR, np.zeros_like(GREY)]), t262=5),
}


@pytest.mark.parametrize("name", COLOURS)
def test_a_colour_page_of_any_depth_is_the_page_of_8_bits(name: str, tmp_path: Path) -> None:
    assert off(COLOURS[name], COLOUR) <= 1
    (tmp_path / "page").write_bytes(COLOURS[name])
    with Image.open(tmp_path / "page") as image:  # whose file Pillow closes after loading
        assert off(image, COLOUR) <= 1


REFUSED = {
    "no number": (tiff(np.where(GREY == 0, np.nan, GREY).astype(np.float32)), "infinite or no number"),
    "infinite": (tiff(np.where(GREY == 0, -np.inf, GREY).astype(np.float32)), "infinite or no number"),
    "float to 3": (tiff((GREY / 85).astype(np.float32)), "float values from 0 to 3, neither 0..1 nor 0..255"),
    "float to 0.001": (tiff((GREY / 255_000).astype(np.float32)), "from 0 to 0.001"),
    "float from -1": (tiff((GREY / 127.5 - 1).astype(np.float32)), "from -1 to 1"),
    "signed 8": (tiff((GREY.astype(np.int16) - 128).astype(np.int8)), "from -128 to 127"),
    "signed 16": (tiff(GREY.astype(np.int16) - 128), "integer values from -128 to 127"),
    "12 in 16, premultiplied": (tiff(RGBA.astype(np.uint16) * 16, t338=1), "of which not all are used"),
    "raw YCbCr": (tiff(COLOUR, t262=6) + bytes(9000), "YCbCr that is not compressed"),
    "planes of 16 bits": (tiff(COLOUR.astype(np.uint16), t284=2), "planes of 16 bits"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_range_that_cannot_be_known_is_refused_and_named(name: str, tmp_path: Path) -> None:
    data, reason = REFUSED[name]
    (tmp_path / "scan.tif").write_bytes(data)
    with pytest.raises(DocvlmError, match=reason) as caught:
        FilePage(str(tmp_path / "scan.tif")).open()
    assert "scan.tif" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", [np.float16, np.float64, np.uint64])
def test_what_pillow_cannot_read_is_refused(kind: type, tmp_path: Path) -> None:
    (tmp_path / "scan.tif").write_bytes(tiff(GREY.astype(kind)))
    with pytest.raises(DocvlmError, match=r"scan\.tif: not an image Pillow can read"):
        check(FilePage(str(tmp_path / "scan.tif")))


def test_what_is_dark_stays_dark() -> None:
    dim = GREY // 16
    assert off(png(dim), dim) == 0, "8 bits are never stretched"
    assert off(png(COLOUR // 16), COLOUR // 16) == 0
    assert off(png(dim.astype(np.uint16) * 257), dim) == 0, "8 bits in 16, which says how dark it is"
    assert off(png(TWELVE // 4, [chunk(b"sBIT", b"\x0c")]), GREY // 4) <= 1, "12 bits by its tag"
    assert off(tiff(TWELVE // 4, t281=4000), GREY // 4) <= 1
    assert off(tiff((GREY / 1020).astype(np.float32)), GREY // 4) <= 1
    for black in (png(np.zeros_like(SIXTEEN)), tiff(np.zeros((4, 4), np.float32)), tiff(np.zeros((4, 4), np.int32))):
        assert seen(black).max() == 0
    assert seen(png(np.zeros((4, 4, 3), np.uint16))).max() == 0


@pytest.mark.parametrize(("value", "level"), [(65535, 255), (4095, 255), (32896, 128), (0, 0)])
def test_a_page_of_one_value(value: int, level: int) -> None:
    assert np.unique(seen(png(np.full((4, 6), value, np.uint16)))).tolist() == [level]


def test_no_two_tones_of_12_bits_are_taken_for_a_dark_page() -> None:
    two = np.where(GREY > 100, 240, 0).astype(np.uint16)
    assert off(png(two * 16), two) <= 1  # 3840 is 15 * 256


def test_an_image_in_memory_is_read_by_its_values() -> None:
    assert off(Image.fromarray(TWELVE)) <= 1
    assert off(Image.fromarray(TWELVE.astype(np.int32))) <= 1
    assert off(Image.fromarray((GREY / 255).astype(np.float32))) <= 1
    loaded = Image.open(io.BytesIO(COLOURS["png 16"]))
    loaded.load()
    assert off(loaded, COLOUR) <= 1
    empty = Image.new("I;16", (0, 0))
    assert upright(empty).size == (0, 0)


def held(mode: str) -> Image.Image:
    """The grey page in another of Pillow's modes."""
    page = Image.fromarray(GREY)
    if mode == "LAB":
        profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        found = ImageCms.profileToProfile(page.convert("RGB"), *profiles, outputMode="LAB")
        assert found is not None
        return found
    if mode.startswith("I;16"):
        order = ">" if mode == "I;16B" else "<"
        return Image.frombytes(mode, page.size, SIXTEEN.astype(f"{order}u2").tobytes())
    if mode in ("La", "PA", "P"):
        return page.convert("L" if mode == "P" else "LA").convert(mode)
    return page.convert("RGBA").convert(mode) if mode == "RGBa" else page.convert("RGB").convert(mode)


@pytest.mark.parametrize(
    "mode", ["L", "P", "RGB", "RGBA", "RGBX", "RGBa", "LA", "La", "PA", "CMYK", "YCbCr", "HSV", "LAB", "I;16", "I;16B"]
)
def test_every_mode_of_pillow_is_the_grey_page(mode: str) -> None:
    tolerated = {"LAB": 2, "YCbCr": 1}.get(mode, 0)
    image = held(mode)
    before = image.tobytes()
    assert off(image) <= tolerated
    assert image.tobytes() == before and image.mode == mode, "the caller's image is theirs"


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_few_bits_and_the_grey_that_means_transparent(bits: int) -> None:
    levels = np.arange(2**bits, dtype=np.uint8)[None].repeat(3, 0)
    wanted = levels * (255 // (2**bits - 1))
    assert off(png(levels, bits=bits), wanted) == 0
    clear = wanted.copy()
    clear[levels == 0] = 255
    assert off(png(levels, [chunk(b"tRNS", struct.pack(">H", 0))], bits=bits), clear) == 0
    if bits > 1:
        clear = np.where(levels == 1, 255, wanted)
        assert off(png(levels, [chunk(b"tRNS", struct.pack(">H", 1))], bits=bits), clear) == 0


def test_transparency_is_white() -> None:
    clear = np.where(GREY == 5, 255, GREY)
    assert off(png(GREY, [chunk(b"tRNS", struct.pack(">H", 5))]), clear) == 0
    assert off(png(SIXTEEN, [chunk(b"tRNS", struct.pack(">H", 5 * 257))]), clear) == 0
    colour = COLOUR.astype(np.uint16) * 257
    key = colour[0, 0]
    white = np.where((COLOUR[0, 0] == COLOUR).all(-1)[..., None], 255, COLOUR)
    assert off(png(colour, [chunk(b"tRNS", struct.pack(">3H", *key.tolist()))]), white) == 0
    ink = np.dstack([np.zeros_like(COLOUR), 255 - GREY])  # black, as opaque as the page is dark
    wide = ink.astype(np.uint16) * 257
    for data in (png(ink), png(wide), png(ink[..., 2:]), png(wide[..., 2:]), tiff(wide, t338=1), tiff(wide, t338=2)):
        assert off(data) <= 1
    more = {"WEBP": {"lossless": True, "exact": True}, "ICO": {"sizes": [(40, 51)]}}
    for kind in ("WEBP", "PNG", "TIFF", "ICO"):
        stream = io.BytesIO()
        Image.fromarray(ink).save(stream, kind, **more.get(kind, {}))
        assert off(stream.getvalue()) <= 1, kind
    palette = Image.fromarray(GREY).convert("P")
    stream = io.BytesIO()
    palette.save(stream, "GIF", transparency=0)
    assert seen(stream.getvalue())[0, 0].tolist() == [255] * 3


def saved(image: Image.Image, kind: str, **how: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **how)
    return stream.getvalue()


TEXT = Image.fromarray(np.where(GREY > 100, 255, 0).astype(np.uint8)).convert("1")
SMOOTH = Image.fromarray(GREY).convert("RGB")
P3 = ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()
FILES = {
    "jpeg, grey": (saved(Image.fromarray(GREY), "JPEG", quality=100), GREY, 3),
    "jpeg, cmyk, inverted by Adobe": (saved(SMOOTH.convert("CMYK"), "JPEG", quality=100), GREY, 8),
    "jpeg with a profile": (saved(SMOOTH, "JPEG", quality=100, icc_profile=P3), GREY, 4),
    "tiff, JPEG inside": (saved(SMOOTH, "TIFF", compression="jpeg", quality=100), GREY, 4),
    "tiff, grey JPEG inside": (saved(Image.fromarray(GREY), "TIFF", compression="jpeg", quality=100), GREY, 3),
    "tiff, LZW with a predictor": (saved(SMOOTH, "TIFF", compression="tiff_lzw", tiffinfo={317: 2}), GREY, 0),
    "tiff, palette": (saved(Image.fromarray(GREY).convert("P"), "TIFF"), GREY, 0),
    "tiff, LAB": (saved(held("LAB"), "TIFF"), GREY, 2),
    "tiff, LAB packed": (saved(held("LAB"), "TIFF", compression="tiff_lzw"), GREY, 2),
    "fax, group 3": (saved(TEXT, "TIFF", compression="group3"), np.asarray(TEXT) * 255, 0),
    "fax, group 4": (saved(TEXT, "TIFF", compression="group4"), np.asarray(TEXT) * 255, 0),
    "fax, white is zero": (saved(TEXT, "TIFF", compression="group4", tiffinfo={262: 0}), np.asarray(TEXT) * 255, 0),
    "jpeg 2000, 16 bits": (saved(Image.fromarray(SIXTEEN), "JPEG2000"), GREY, 1),
    "bmp": (saved(SMOOTH, "BMP"), GREY, 0),
    "pgm, 16 bits": (b"P5 40 51 65535\n" + SIXTEEN.astype(">u2").tobytes(), GREY, 1),
    "pgm, 12 bits": (b"P5 40 51 4095\n" + TWELVE.astype(">u2").tobytes(), GREY, 1),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_any_kind_is_the_page_of_8_bits(name: str) -> None:
    data, wanted, tolerated = FILES[name]
    assert off(data, wanted.astype(np.uint8)) <= tolerated


ARROW = np.full((24, 40), 255, np.uint8)  # no two of its eight positions are alike
ARROW[2:10, 4:8] = 0
ARROW[2:6, 4:30] = 0
MODES = ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "I", "F", "HSV", "LAB"]


def exif(orientation: object) -> bytes:
    found = Image.Exif()
    found[274] = orientation
    return found.tobytes()


def xmp(orientation: int) -> bytes:
    packet = '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="{}"/></x:xmpmeta>'
    return packet.format(orientation).encode()


def laid(orientation: int) -> np.ndarray:
    """The arrow as a camera lays it down that says how to turn it."""
    inverse = {6: 8, 8: 6}.get(orientation, orientation)
    image = Image.fromarray(ARROW)
    return np.asarray(image if orientation == 1 else image.transpose(TURNS[inverse]))


def size_and_pixels(data: bytes) -> np.ndarray:
    """Pixels, once the size from the header is seen to be theirs."""
    size = upright_size(Image.open(io.BytesIO(data)))
    image = Image.open(io.BytesIO(data))
    picture = upright(image)
    assert size == picture.size == upright_size(image), "before and after loading"
    return np.asarray(picture.convert("L"))


def test_every_format_orientation_and_mode_agrees_with_its_header() -> None:
    tried = 0
    for kind in ("JPEG", "MPO", "PNG", "WEBP", "TIFF", "AVIF", "JPEG2000", "GIF", "BMP", "PPM", "TGA"):
        for mode in MODES:
            for orientation in range(1, 9):
                stream = io.BytesIO()
                image = held(mode) if mode in ("LAB", "I;16") else Image.fromarray(GREY).convert("RGB")
                if mode not in ("LAB", "I;16"):
                    image = image.convert("L").convert(mode) if mode in ("I", "F") else image.convert(mode)
                try:
                    image.save(stream, kind, exif=exif(orientation))
                except (OSError, KeyError, ValueError):
                    break  # Pillow has no such file
                if (kind, mode) == ("TIFF", "YCbCr"):
                    break  # refused
                found = size_and_pixels(stream.getvalue())
                turned = orientation >= 5 and kind not in ("JPEG2000", "GIF", "BMP", "PPM", "TGA")
                assert found.shape == (GREY.T.shape if turned else GREY.shape), (kind, mode, orientation)
                tried += 1
    assert tried > 200


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pages_are_turned_upright_wherever_it_is_said(orientation: int) -> None:
    lying, says = laid(orientation), exif(orientation)
    bare = says.removeprefix(b"Exif\0\0")
    text = chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp(orientation))
    said = {
        "eXIf before": png(lying, [chunk(b"eXIf", bare)]),
        "eXIf behind": png(lying, behind=[chunk(b"eXIf", bare)]),
        "XMP before": png(lying, [text]),
        "XMP behind": png(lying, behind=[text]),
        "16 bits": png(lying.astype(np.uint16) * 16, behind=[chunk(b"eXIf", bare)]),
        "TIFF": tiff(lying, t274=orientation),
        "TIFF packed": tiff(lying, packed=True, t274=orientation),
        "TIFF of 12 bits in 16": tiff(lying.astype(np.uint16) * 16, t274=orientation),
        "TIFF of 12 bits a colour": tiff(np.dstack([lying.astype(np.uint16) * 16] * 3), t274=orientation),
    }
    for kind, more in (
        ("JPEG", {"quality": 100}),
        ("WEBP", {"lossless": True}),
        ("TIFF", {}),
        ("MPO", {"quality": 100}),
    ):
        for name, how in (("EXIF", {"exif": says}), ("XMP", {"xmp": xmp(orientation)})):
            stream = io.BytesIO()
            how = {"tiffinfo": {700: how["xmp"]}} if kind == "TIFF" and name == "XMP" else how
            Image.fromarray(lying).convert("RGB").save(stream, kind, **how, **more)
            said[f"{kind} {name}"] = stream.getvalue()
    for name, data in said.items():
        found = size_and_pixels(data).astype(int)
        if name == "MPO XMP" and found.shape != ARROW.shape:
            continue  # Pillow writes none
        assert found.shape == ARROW.shape, name
        assert np.abs(found - ARROW).max() <= 8, name


@pytest.mark.parametrize(
    "says",
    [
        b"",
        b"Exif\0\0",
        b"Exif\0\0garbage",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"II*\0\x08\0\0\0\xff\xff",
        exif(0),
        exif(9),
    ],
    ids=["empty", "head only", "garbage", "no directory", "torn", "0", "9"],
)
@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_exif_that_is_garbage_turns_nothing(says: bytes) -> None:
    assert np.array_equal(size_and_pixels(png(ARROW, [chunk(b"eXIf", says.removeprefix(b"Exif\0\0"))])), ARROW)
    for kind, more in (("JPEG", {"quality": 100}), ("WEBP", {"lossless": True})):
        stream = io.BytesIO()
        Image.fromarray(ARROW).convert("RGB").save(stream, kind, exif=says, **more)
        assert np.abs(size_and_pixels(stream.getvalue()).astype(int) - ARROW).max() <= 8


def test_an_orientation_of_another_type_is_read_alike_from_header_and_pixels() -> None:
    assert size_and_pixels(tiff(ARROW, t274=("d", 6.5))).shape == ARROW.shape
    assert size_and_pixels(tiff(ARROW, t274=("f", 6.0))).shape == ARROW.T.shape


def test_looking_at_the_header_decodes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_decoding(_: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", no_decoding)
    assert upright_size(Image.open(io.BytesIO(png(ARROW)))) == (40, 24)
    assert upright_size(Image.open(io.BytesIO(tiff(ARROW, t274=6)))) == (24, 40)
    stream = io.BytesIO()
    Image.fromarray(ARROW).save(stream, "JPEG", exif=exif(6))
    assert upright_size(Image.open(stream)) == (24, 40)
