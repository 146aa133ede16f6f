"""The page a question was asked about, as a small picture inside the report.

Drawn pages are drawn again from their name. For everything else the data set is opened where the run or evaluation
found it, offline; for answers from a file the page is looked up by its name in `pages=DIR`. Where a page cannot be had,
the report says why and shows the answer without it. A picture is WebP, a few KB at tiny scale and some 30 KB for a
scan.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from docvlm.config import DataConf, EvaluateConfig, GalleryConf
from docvlm.errors import DocvlmError
from docvlm.reporting.inputs.answers import Answers
from docvlm.scoring.predictions import Prediction

if TYPE_CHECKING:
    from PIL.Image import Image

    from docvlm.data.example import Page

_DRAWN = re.compile(r"(\w+)-(tiny|full)-seed(\d+)-(train|val|test)-(\d{6})(?:-q\d+)?")
_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".gif", ".bmp"}
_TALLEST = 1.5  # height of a picture over the width it may have
_QUALITY = 70


@dataclass(frozen=True)
class Picture:
    """A data URI and its size in pixels."""

    uri: str
    width: int
    height: int


class Pictures:
    """Finds and shrinks pages until `megabytes` are spent. `notes` say what could not be shown, and why."""

    def __init__(self, conf: GalleryConf, pages: Path | None) -> None:
        self.conf = conf
        self.left = int(conf.megabytes * 1e6)
        self.notes: list[str] = []
        self._files = _by_name(pages) if pages else {}
        self._sets: dict[tuple[str, str], Mapping[str, Sequence[Page]]] = {}
        self._made: dict[str, Picture] = {}

    def of(self, answers: Answers, record: Prediction) -> Picture | None:
        """The page an answer was read from, else that which holds it, else the document's first.

        None if there is none at hand or no room is left.
        """
        try:
            page = self._page(answers, record)
            if page is None:
                return None
            picture = self._made[page.name] if page.name in self._made else self._shrunk(page.open())
        except DocvlmError as error:
            self._note(f"{answers.benchmark}: a page is not shown: {error}")
            return None
        self._made[page.name] = picture
        if len(picture.uri) > self.left:
            self._note(f"pictures end at gallery.megabytes={self.conf.megabytes:g}: later cards have none")
            return None
        self.left -= len(picture.uri)
        return picture

    def _page(self, answers: Answers, record: Prediction) -> Page | None:
        if drawn := _DRAWN.fullmatch(record.question_id):
            from docvlm.data.generated import DrawnPage

            benchmark, preset, seed, split, index = drawn.groups()
            return DrawnPage(benchmark, split, int(index), preset, int(seed))
        if answers.run is not None:
            return self._of_set(answers, record)
        if record.document in self._files:
            from docvlm.data.pages import FilePage

            return FilePage(str(self._files[record.document]))
        self._note(f"{answers.source}: no picture of its pages at hand; pages=DIR names a folder that holds them")
        return None

    def _of_set(self, answers: Answers, record: Prediction) -> Page | None:
        key = answers.source, answers.benchmark
        if key not in self._sets:
            self._sets[key] = {}  # a data set that cannot be opened is not tried again for the next card
            self._sets[key] = _pages(answers)
        found = self._sets[key]
        if record.question_id not in found:
            return None
        pages = found[record.question_id]
        shown = record.page or next(iter(record.answer_pages), 1)
        return pages[shown - 1 if shown <= len(pages) else 0]

    def _shrunk(self, image: Image) -> Picture:
        width = self.conf.width
        image.thumbnail((width, int(width * _TALLEST)))
        file = io.BytesIO()
        image.save(file, "WEBP", quality=_QUALITY, method=4)
        code = base64.b64encode(file.getvalue()).decode("ascii")
        return Picture(f"data:image/webp;base64,{code}", *image.size)

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)


def _pages(answers: Answers) -> Mapping[str, Sequence[Page]]:
    """Question id → its pages, from the data set the answers are about; nothing is fetched for it."""
    from docvlm import build

    module = build.datamodule(_data(answers))
    examples = module.test if answers.split == "test" else module.val
    return {example.question_id: example.pages for example in examples if example.pages}


def _data(answers: Answers) -> DataConf:
    from docvlm.config.compose import load

    assert answers.run is not None
    conf = answers.run.manifest["config"]["data"]
    if answers.benchmark in answers.run.trained_on.split("+"):
        known = {key: value for key, value in conf.items() if key in DataConf.__dataclass_fields__}
        return DataConf(**{**known, "offline": True})
    word = answers.benchmark.partition("-")[0]
    words = [f"scale={answers.run.scale}", f"data.{word}.source={answers.pages}", f"data.{word}.offline=true"]
    words += [f"data.{word}.limit_{split}=null" for split in ("train", "val", "test")]
    return load("evaluate", EvaluateConfig, words).data[word]


def _by_name(folder: Path) -> dict[str, Path]:
    return {path.name: path for path in sorted(folder.rglob("*")) if path.suffix.lower() in _SUFFIXES}
