"""What can be asked about in the browser: an uploaded file, held to limits, or a page that docvlm draws itself.

A page that is shown and read comes from the same bytes. Nothing of an upload is kept but the file that Gradio put into
its folder for this server, and that folder goes when the server ends.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from docvlm.data.benchmarks import BENCHMARKS
from docvlm.data.generated.page import documents, kinds, names
from docvlm.data.pdf import is_pdf
from docvlm.data.sources.locate import of_bytes
from docvlm.errors import DocvlmError
from docvlm.serving.sources import SUFFIXES

if TYPE_CHECKING:
    from docvlm.data.example import Page

MEGABYTE = 1 << 20  # bytes, as Gradio counts them in its messages
MOST_PIXELS = 80_000_000
"""Of an image: an A3 sheet at 600 dpi has 70 million. Less than half of where Pillow itself stops."""
SEED = 0


@dataclass(frozen=True)
class Sample:
    """A drawn page of the test split, with what is asked about it; `answers` are by question."""

    title: str
    drawn: Page
    answers: dict[str, str] = field(hash=False)
    count: int = 1

    @property
    def name(self) -> str:
        return f"Sample: {self.title.lower()}"

    @property
    def pages(self) -> tuple[Page, ...]:
        """The page."""
        return (self.drawn,)


@dataclass(frozen=True)
class Upload:
    """A file that somebody chose. `count`: its pages."""

    path: str
    count: int
    answers: dict[str, str] = field(default_factory=dict, hash=False)

    @property
    def name(self) -> str:
        return Path(self.path).name

    @property
    def pages(self) -> tuple[Page, ...]:
        """All pages. Raises `DocvlmError` where the file is gone."""
        return of_bytes(self.name, _read(self.path))


Sheet = Sample | Upload


def samples(preset: str) -> tuple[Sample, ...]:
    """One drawn page of each kind of document, a chart and an infographic, at `tiny` or `full` size."""
    titled = []
    for name in names():
        title = BENCHMARKS[name].sample
        drawn = documents(name, "test", 1 if title else len(kinds(name, preset)), preset, SEED)
        single = [document for document in drawn if len(document[0].pages) == 1]  # a sample is one page
        titled += [(title or document[0].document_type.capitalize(), document) for document in single]
    titled.sort(key=lambda one: one[0] != "Invoice")  # what most people ask about comes first
    return tuple(
        Sample(title, document[0].pages[0], {one.question: one.answers[0] for one in document})
        for title, document in titled
    )


def opened(path: str, most_mb: float) -> Upload:
    """An uploaded file, looked at. Raises `DocvlmError` where it is too large, of no known kind, or cannot be read."""
    name, suffix = Path(path).name, Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise DocvlmError(f"{name}: neither an image nor a PDF; give one of {', '.join(SUFFIXES)}")
    data = _read(path)
    if len(data) > most_mb * MEGABYTE:
        size = len(data) / MEGABYTE
        raise DocvlmError(f"{name}: {size:.1f} MB, and at most {most_mb:g} MB are taken; save it smaller")
    pages = of_bytes(name, data)
    if not is_pdf(data):
        for page in pages:
            _check_pixels(name, page)
    return Upload(path, len(pages))


def picture(page: Page) -> Image.Image:
    """A page to look at: at most 1 600 pixels a side."""
    image = page.open()
    image.thumbnail((1600, 1600))
    return image


def _check_pixels(name: str, page: Page) -> None:
    size = getattr(page, "size", None)
    if size is not None and size[0] * size[1] > MOST_PIXELS:
        raise DocvlmError(
            f"{name}: {size[0]} x {size[1]} pixels, and at most {MOST_PIXELS // 10**6} million are taken; save it at a"
            " lower resolution"
        )


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise DocvlmError(f"{Path(path).name}: not here any more ({error.strerror}); upload it again") from error
