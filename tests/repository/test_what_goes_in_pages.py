"""What goes in is what was given, or is named: damaged files, names, pages, layouts and what a model can take.

As test_what_goes_in.py: through the doors people use, against an oracle, 2 000 draws over both files.
"""

from __future__ import annotations

import base64
import io
import json
import os
import tempfile
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from docvlm.data.benchmarks.folder import Folder
from docvlm.data.example import Example
from docvlm.data.pages import BytesPage, FilePage
from docvlm.errors import DocvlmError
from docvlm.scoring import predictions
from docvlm.serving import sources
from docvlm.vlms import embedded, load_family
from docvlm.vlms.codec import Budget, Codec
from tests.support.goes_in import drawn, examples, good, home, one_line, put, read, words

# Bytes that somebody's disk, editor or transfer left


hows = st.sampled_from(["cut", "drop", "flip", "insert", "double"])


@drawn("bytes")
@given(
    st.sampled_from(["qa.jsonl", "qa.csv"]),
    st.lists(st.tuples(st.integers(0, 2000), hows, st.binary(min_size=1, max_size=3)), min_size=1, max_size=3),
    st.sampled_from(["utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "latin-1"]),
)
def test_damaged_files(name: str, damage: list[tuple[int, str, bytes]], encoding: str) -> None:
    if name == "qa.csv":
        lines = ["image,question,answers,prediction,question_id"]
        lines += [f'{n}.png,"Größe, {n}?","[\'{n}.50\']",x,{n}' for n in range(8)]
    else:
        body = [{"image": f"{n}.png", "question": f"Größe {n}?", "answers": [f"{n}.50"]} for n in range(8)]
        lines = [json.dumps({**row, "prediction": "x"}, ensure_ascii=False) for row in body]
    raw = ("\n".join(lines) + "\n").encode(encoding)
    for place, how, more in damage:
        at = place % len(raw)
        match how:
            case "cut":
                raw = raw[: max(at, 1)]
            case "drop":
                raw = raw[:at] + raw[at + len(more) :] or b"x"
            case "flip":
                raw = raw[:at] + more[:1] + raw[at + 1 :]
            case "insert":
                raw = raw[:at] + more + raw[at:]
            case _:
                raw = raw + raw[at:]
    file = put(name, raw)
    data = one_line(lambda: read(home()))
    one_line(lambda: sources.read([str(file)], []))
    one_line(lambda: predictions.given(file))
    if isinstance(data, Folder) and name == "qa.jsonl":
        there = raw.removeprefix(b"\xef\xbb\xbf").split(b"\n")
        assert data.quarantine.read == sum(bool(line.strip()) for line in there)
        for place, (_, example) in examples(data).items():
            line = json.loads(there[int(place.split()[-1]) - 1].decode("utf-8"), parse_float=str, parse_int=str)
            assert example.question == str(line["question"]).strip()
            accepted = line["answers"] if isinstance(line["answers"], list) else [line["answers"]]
            assert list(example.answers) == [answer.strip() for answer in accepted]


# Names of pages and folders


file_names = st.text(
    st.sampled_from("ab1 .[]*?!#%&=+~'\"\\;:,@{}()$éüñ한\u0301\u0308\n\t\u2028\x1b-"), min_size=1, max_size=14
).map(lambda stem: f"{stem}.png").filter(lambda name: name[:5] not in ("data:", "file:"))  # fmt: skip


def spellings(name: str, folder: Path) -> dict[str, str]:
    """Ways to write the name of a page that lies in `folder`, all of which mean it."""
    path = str(folder / name)
    ways = {
        "plain": name,
        "absolute": path,
        "dotted": f"./{name}",
        "up": f"../{folder.name}/{name}",
        "spaced": f" {name}\n" if name == name.strip() else name,
    }
    ways |= {
        "address": f"file://{quote(path)}",
        "local": f"file://localhost{quote(path)}",
        "short": f"file:{quote(path)}",
    }
    ways |= {form: unicodedata.normalize(form, name) for form in ("NFC", "NFD")}
    if "\\" not in path:
        ways["windows"] = f".\\{name}"
    return ways


@drawn("names")
@given(file_names, file_names, st.data())
def test_a_name_means_its_page_and_no_other(name: str, other: str, data: st.DataObject) -> None:
    assume(unicodedata.normalize("NFC", name.strip()) != unicodedata.normalize("NFC", other.strip()))
    assume(name.replace("\\", "/").strip() != other.replace("\\", "/").strip())
    with tempfile.TemporaryDirectory() as there:
        folder, sibling = Path(there) / "set[1] *?", Path(there) / "set1 xx"
        for each in (folder, sibling):
            each.mkdir()
        Image.new("L", (40, 30)).save(folder / name, "PNG")
        Image.new("L", (50, 30)).save(sibling / name, "PNG")
        (sibling / "qa.jsonl").write_text(good(1).line)
        ways = spellings(name, folder)
        way = data.draw(st.sampled_from(sorted(ways)))
        lines = [
            {"image": ways[way], "question": "Which?", "answers": ["a"]},
            {"image": other, "question": "Who?", "answers": ["b"]},
        ]
        (folder / "qa.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        read_again = read(folder)
        (example,) = (e for _, e in examples(read_again).values())
        (page,) = example.pages
        assert isinstance(page, FilePage) and os.path.samefile(page.path, folder / name) and page.size == (40, 30)
        assert [one.where for one in read_again.quarantine.rejected] == ["qa.jsonl line 2"]
        source = sources.read([str(folder / "qa.jsonl")], [])
        assert [[os.path.samefile(one.path, folder / name) for one in task.pages] for task in source.tasks] == [[True]]  # type: ignore[attr-defined]


NOWHERE = [
    "", " ", ".", "..", "/", "a.png/", "nobody/x.png", "~nobody/x.png", "x" * 5000, "é" * 300, "a\0.png",
    "\ud83d.png", "http://x/1.png", "s3://b/1.png", "C:\\1.png", "file://other/1.png", "file://[x", "file:///%00",
    "file:///caf%E9.png", "data:", "data:,", "data:,x", "data:,\ud83d", "data:image/png;base64,AAAA",
    "data:image/png;base64,é", "data:image/png;base64", "iVBORw0KGgo" + "A" * 40, "1.png#page=1",
    "x.pdf#page=" + "9" * 5000, "set[1]/1.png", "*.png", "?.png",
]  # fmt: skip


@pytest.mark.parametrize("name", NOWHERE, ids=range(len(NOWHERE)))
def test_a_name_that_means_nothing_is_named(name: str) -> None:
    put("qa.jsonl", "\n".join([good(1).line, json.dumps({"image": name, "question": "q", "answers": ["a"]})]))
    for rejected in (read(home()).quarantine, sources.read([str(home() / "qa.jsonl")], []).quarantine):
        assert rejected is not None
        (one,) = rejected.rejected
        assert one.where == "qa.jsonl line 2" and len(one.reason.splitlines()) == 1 and len(one.reason) < 400


# Pages


def encoded(image: Image.Image, kind: str, more: Sequence[Image.Image], turn: int) -> bytes:
    stream = io.BytesIO()
    exif = image.getexif()
    exif[0x0112] = turn
    several = {"save_all": True, "append_images": list(more)} if more else {}
    image.save(stream, kind, **several, **({"exif": exif} if kind in ("JPEG", "PNG", "WEBP") and turn > 1 else {}))
    return stream.getvalue()


@st.composite
def images(draw: st.DrawFn) -> tuple[str, bytes, int]:
    """A format, the file, and how many pages it has."""
    kind = draw(st.sampled_from(["PNG", "JPEG", "TIFF", "GIF", "BMP", "WEBP"]))
    modes = {"JPEG": ["L", "RGB", "CMYK"], "GIF": ["L", "P"], "WEBP": ["RGB", "RGBA"], "BMP": ["1", "L", "P", "RGB"]}
    mode = draw(st.sampled_from(modes.get(kind, ["1", "L", "P", "RGB", "RGBA", "LA"])))
    size = draw(st.tuples(st.integers(1, 40), st.integers(1, 40)))
    count = draw(st.sampled_from([1, 1, 1, 2, 3])) if kind in ("TIFF", "GIF") else 1
    seeded = np.random.default_rng(draw(st.integers(0, 9)))
    pages = [
        Image.fromarray(seeded.integers(0, 255, (*size[::-1], 3), dtype=np.uint8)).convert(mode) for _ in range(count)
    ]
    return kind, encoded(pages[0], kind, pages[1:], draw(st.integers(1, 8))), count


def expected_pixels(data: bytes, number: int) -> Image.Image:
    """What a viewer shows of a page: upright, on white."""
    image = Image.open(io.BytesIO(data))
    image.seek(number)
    upright = ImageOps.exif_transpose(image)
    if upright.mode in ("RGBA", "LA") or "transparency" in upright.info:
        ink = upright.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", ink.size, "white"), ink).convert("RGB")
    return upright.convert("RGB")


shares, octets = st.floats(0, 1), st.integers(0, 255)


@drawn("pages")
@given(
    images(),
    st.sampled_from(["file", "uri", "bare"]),
    st.none() | shares,
    st.lists(st.tuples(shares, octets), max_size=2),
)
def test_pixels_are_those_of_the_file(
    image: tuple[str, bytes, int], way: str, cut: float | None, flips: list[tuple[float, int]]
) -> None:
    kind, data, count = image
    damaged = bytearray(data if cut is None else data[: int(cut * len(data))])
    for place, value in flips if damaged else []:
        damaged[int(place * (len(damaged) - 1))] = value
    bare = base64.b64encode(damaged).decode()
    name = {"file": "page.bin", "uri": f"data:image/{kind.lower()};base64,{bare}", "bare": bare}[way]
    (home() / "page.bin").write_bytes(damaged)
    put("qa.jsonl", "\n".join([good(1).line, json.dumps({"image": name, "question": "Which?", "answers": ["a"]})]))
    data_module = read(home())
    asked = sources.read([str(home() / "qa.jsonl")], [])
    found = [e for _, e in examples(data_module).values() if e.question == "Which?"]
    tasks = [task for task in asked.tasks if task.question == "Which?"]
    assert len(found) == len(tasks) == 1 - len(data_module.quarantine.rejected)
    for example, task in zip(found, tasks, strict=True):
        opened = [one_line(page.open) for page in example.pages]
        again = [one_line(page.open) for page in task.pages]
        for number, (one, two, page) in enumerate(zip(opened, again, example.pages, strict=True)):
            if isinstance(one, DocvlmError) or isinstance(two, DocvlmError):
                assert type(one) is type(two) and bytes(damaged) != data
                continue
            assert one.mode == "RGB" and one.size == page.size and one.tobytes() == two.tobytes()  # type: ignore[attr-defined]
            if bytes(damaged) == data:
                assert one.tobytes() == expected_pixels(data, number).tobytes()
    if bytes(damaged) == data:
        animated = kind == "GIF" and count > 1 and getattr(Image.open(io.BytesIO(data)), "n_frames", 1) > 1
        assert len(found) == (0 if animated else 1)
        assert all(len(example.pages) == count for example in found if kind == "TIFF")


# Layouts


HELD = {"qa": None, "notes": None, "train": "train", "qa_val": "val", "test": "test", "dev-2": "val"}
LAID = [f"{stem}{suffix}" for stem in HELD for suffix in (".jsonl", ".csv")]
FOLDERS = {"train": "train", "val": "val", "dev": "val", "test": "test", "other": None}
BELOW = ["qa.jsonl", "qa.csv", "a.jsonl"]
SHADOWS = ["._qa.jsonl", ".DS_Store", "._train.csv", "Thumbs.db", "README.txt", "train/._qa.jsonl", ".hidden/qa.jsonl"]


def laid(file: Path, number: int) -> None:
    """A question file with two questions of its own."""
    file.parent.mkdir(exist_ok=True)
    if file.suffix == ".csv":
        rows = [f"{home() / str(2 * number + n)}.png,q {number} {n},a" for n in (0, 1)]
        file.write_text("\n".join(["image,question,answers", *rows]))
        return
    rows = [
        good(2 * number + n, image=str(home() / f"{2 * number + n}.png"), question=f"q {number} {n}").line
        for n in (0, 1)
    ]
    file.write_text("\n".join(rows))


@drawn("folders")
@given(
    st.lists(st.sampled_from(LAID), max_size=3, unique=True),
    st.lists(st.tuples(st.sampled_from(sorted(FOLDERS)), st.sampled_from(BELOW)), max_size=3, unique=True),
    st.lists(st.sampled_from(SHADOWS), max_size=2, unique=True),
)  # fmt: skip
def test_every_question_file_is_read_whole_or_said(
    own: list[str], below: list[tuple[str, str]], shadows: list[str]
) -> None:
    with tempfile.TemporaryDirectory() as there:
        folder = Path(there)
        placed = [folder / name for name in own] + [folder / name / file for name, file in below]
        for number, file in enumerate(placed[:6]):
            laid(file, number)
        for name in shadows:
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(b"\0\5\x16\7 Mac OS X")
        data = one_line(lambda: read(folder))
        if isinstance(data, DocvlmError):
            assert "several question files" in str(data) or "same split" in str(data) or "nothing readable" in str(data)
            return
        found = examples(data)
        said = " ".join(data.unread())
        for number, file in enumerate(placed):
            if file.parent.name == "other":
                continue  # no split's folder, so nobody's
            of_file = [role for role, e in found.values() if e.question.startswith(f"q {number} ")]
            assert len(of_file) in (0, 2) and (of_file or file.relative_to(folder).as_posix() in said)
            split = HELD[file.stem] if file.parent == folder else FOLDERS[file.parent.name]
            if split in ("test", "val") and of_file and not (file.stem == "qa" and file.parent == folder):
                assert set(of_file) == {split}
        assert not data.quarantine.rejected


# What a model can take


@lru_cache
def codec(family: str) -> Codec:
    return load_family(family).codec_of(embedded.checkpoint(family), Budget(), offline=True)


@lru_cache
def blank(size: tuple[int, int]) -> BytesPage:
    stream = io.BytesIO()
    Image.new("L", size, 255).save(stream, "PNG")
    return BytesPage(f"{size}", stream.getvalue(), size)


SPECIAL = {
    "qwen2vl": [
        "<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|im_start|>",
        "<|im_end|>", "<|endoftext|>",
    ],
    "florence2": ["<s>", "</s>", "<pad>", "<unk>", "<mask>", "<image>"],
}  # fmt: skip
ALL = [
    *SPECIAL["qwen2vl"],
    *SPECIAL["florence2"],
    "<|",
    "<loc_5>",
    "<|IMAGE_PAD|>",
    "< s >",
    "<DocVQA>",
    "assistant\n",
    "e\u0301",
    "\u202e",
    "\x00",
]
sides = st.integers(1, 40) | st.sampled_from([27, 28, 29, 56, 200, 3000])
spoken = st.lists(words | st.sampled_from(ALL), min_size=1, max_size=3).map(lambda parts: " ".join(parts).strip())


@drawn("gate")
@given(
    st.sampled_from(["qwen2vl", "florence2"]), spoken, st.lists(spoken, min_size=1, max_size=2),
    st.tuples(sides, sides), st.integers(1, 2), st.sampled_from([1, 1, 1, 1, 200, 600, 4000]),
)  # fmt: skip
def test_what_is_not_refused_can_be_learned_and_asked(
    family: str, question: str, answers: list[str], size: tuple[int, int], count: int, times: int
) -> None:
    assume(max(size) <= 200 * min(size))  # others are refused by whoever looks at the file
    model = codec(family)
    question = " ".join([question] * times)
    pages = tuple(blank(size) for _ in range(count))
    example = Example("q", question, tuple(answers), "d", pages, "folder", "\nAnswer the question with a single word.")
    refused = model.refusal(example, 16)
    if any(token in text for token in SPECIAL[family] for text in (question, *answers)):
        assert refused is not None
    if refused is not None:
        assert len(str(refused).splitlines()) == 1 and len(str(refused)) < 400
        return
    batch = model.train_batch([example])
    labels = batch["labels"][0]
    (learned,) = model.texts(labels[labels >= 0][None])
    assert unicodedata.normalize("NFC", learned) == unicodedata.normalize("NFC", example.target)
    prompts = model.eval_batch([example]).prompts
    assert prompts["input_ids"].shape[1] + (16 if family == "qwen2vl" else 0) <= model.longest
