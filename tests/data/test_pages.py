"""Pages open upright, RGB and only if they are whole; a broken one says which it is and what to do."""

from __future__ import annotations

import io
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from docvlm.data.pages import ArrowPage, FilePage, check, digest
from docvlm.errors import DocvlmError

WHITE = (255, 255, 255)


def jpeg(size: tuple[int, int] = (60, 40), colour: object = "white", **save: object) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", size, colour).save(stream, "JPEG", **save)
    return stream.getvalue()


def noise_png(path: Path, size: tuple[int, int] = (64, 48)) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path.read_bytes()


def test_a_page_on_its_side_is_turned_upright(tmp_path: Path) -> None:
    image = Image.new("RGB", (60, 40), "white")
    image.paste("black", (0, 0, 30, 40))  # left half dark
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90 degrees clockwise to view
    image.save(tmp_path / "turned.png", exif=exif)
    page = FilePage(str(tmp_path / "turned.png"))
    upright = page.open()
    assert upright.size == (40, 60) == check(page)
    assert upright.getpixel((20, 5)) == (0, 0, 0)  # dark half on top
    assert upright.getpixel((20, 55)) == WHITE


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16"])
def test_every_mode_becomes_rgb_and_paper_stays_white(tmp_path: Path, mode: str) -> None:
    image = Image.new("RGB", (30, 20), "white")
    image.paste("black", (0, 0, 10, 20))
    if mode == "I;16":
        scan = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    elif mode in ("LA", "RGBA"):  # ink on a transparent ground
        scan = Image.new("RGBA", image.size, (0, 0, 0, 0))
        scan.paste((0, 0, 0, 255), (0, 0, 10, 20))
        scan = scan.convert(mode)
    else:
        scan = image.convert(mode)
    file = tmp_path / ("page.tif" if mode == "CMYK" else "page.png")
    scan.save(file)
    opened = FilePage(str(file)).open()
    assert opened.mode == "RGB"
    assert opened.getpixel((5, 10)) == (0, 0, 0)
    assert opened.getpixel((25, 10)) == WHITE


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"these are not pixels", "not an image"),
        (jpeg((600, 400))[:-40], "truncated"),
        (jpeg((20_000, 10)), "20000 x 10 px"),
        (jpeg((10, 20_000)), "10 x 20000 px"),
    ],
    ids=["zero bytes", "no image", "truncated", "too wide", "too tall"],
)
@pytest.mark.parametrize("look", [check, FilePage.open], ids=["check", "open"])
def test_a_broken_page_is_named(tmp_path: Path, content: bytes, reason: str, look: object) -> None:
    (tmp_path / "bad.jpg").write_bytes(content)
    with pytest.raises(DocvlmError, match=rf"bad\.jpg.*{reason}") as caught:
        look(FilePage(str(tmp_path / "bad.jpg")))  # type: ignore[operator]  # parametrised functions are objects here
    assert "\n" not in str(caught.value)


def test_a_truncated_png_is_found_without_decoding_the_good_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = noise_png(tmp_path / "whole.png")
    (tmp_path / "half.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DocvlmError, match=r"half\.png"):
        check(FilePage(str(tmp_path / "half.png")))

    def no_decoding(_: object) -> None:
        raise AssertionError("a whole file was decoded")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", no_decoding)
    assert check(FilePage(str(tmp_path / "whole.png"))) == (64, 48)


def test_damage_in_the_middle_is_an_error_when_the_page_is_opened(tmp_path: Path) -> None:
    whole = bytearray(noise_png(tmp_path / "page.png"))
    whole[len(whole) // 2] ^= 0xFF
    (tmp_path / "page.png").write_bytes(whole)
    with pytest.raises(DocvlmError, match=r"page\.png"):
        FilePage(str(tmp_path / "page.png")).open()


def test_bytes_after_the_end_mark_are_no_damage(tmp_path: Path) -> None:
    (tmp_path / "trailer.jpg").write_bytes(jpeg() + b"\0" * 500)
    assert check(FilePage(str(tmp_path / "trailer.jpg"))) == (60, 40)


def test_the_bomb_limit_stays_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Image.MAX_IMAGE_PIXELS is not None
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    (tmp_path / "bomb.jpg").write_bytes(jpeg((60, 40)))
    with pytest.raises(DocvlmError, match=r"bomb\.jpg.*bomb limit"):
        FilePage(str(tmp_path / "bomb.jpg")).open()


def test_a_missing_file_is_named() -> None:
    with pytest.raises(DocvlmError, match=r"gone\.png: No such file"):
        FilePage("gone.png").open()


def test_a_page_in_an_arrow_file_travels_as_a_locator(tmp_path: Path) -> None:
    import datasets

    rows = {"image": [{"bytes": jpeg(colour=colour), "path": None} for colour in ("white", "red")] + [None]}
    features = datasets.Features({"image": datasets.Image(decode=False)})
    datasets.Dataset.from_dict(rows, features=features).save_to_disk(tmp_path / "saved")
    file = str(next((tmp_path / "saved").glob("*.arrow")))
    page = ArrowPage("second", file, 1)
    assert len(pickle.dumps(page)) < 1000
    red = pickle.loads(pickle.dumps(page)).open().getpixel((30, 20))
    assert red[0] > 240 and red[1] < 20
    assert digest(page) != digest(ArrowPage("first", file, 0))
    with pytest.raises(DocvlmError, match=r"third .*row 2.*no image"):
        ArrowPage("third", file, 2).open()
