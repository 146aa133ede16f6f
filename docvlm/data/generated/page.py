"""Generated documents: which page an index means, and the records of its questions.

A page is a pure function of (benchmark, split, index, page number, preset, seed, language). `documents` decides what
every page says and asks, which takes some 150 microseconds a page; pixels are drawn when a worker opens the page, from
the same seven values. Those of a page in another language than English depend on the font that was found too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

from docvlm.data.benchmark import BENCHMARKS, GENERATED
from docvlm.data.example import Example
from docvlm.data.generated.drawing import Drawing, text_of
from docvlm.data.generated.languages.known import ENGLISH, LANGUAGES, checked
from docvlm.data.generated.languages.values import LocalValues
from docvlm.data.generated.values import SPLITS, Values
from docvlm.errors import DocvlmError

if TYPE_CHECKING:
    from PIL.Image import Image

PRESETS = ("tiny", "full")
_QUESTION = re.compile(r"(\w+)-(tiny|full)(?:-([a-z]{2}))?-seed(\d+)-(train|val|test)-(\d{6})(?:-q(\d+))?")
TINY_SIZE = (280, 168)  # width, height


def names() -> tuple[str, ...]:
    """The benchmarks in whose schema pages are drawn."""
    return tuple(name for name, benchmark in BENCHMARKS.items() if benchmark.generator)


def kinds(benchmark: str, preset: str) -> tuple[Callable[[Values], Drawing], ...]:
    """The kinds of document a benchmark has at a preset; page i is of kind i modulo their number."""
    if benchmark not in names():
        raise DocvlmError(f"benchmark={benchmark}: there are generated pages for {', '.join(names())}")
    if preset not in PRESETS:
        raise DocvlmError(f"data.preset={preset}: generated pages have the presets {', '.join(PRESETS)}")
    result: tuple[Callable[[Values], Drawing], ...] = _drawn_by(BENCHMARKS[benchmark].generator, preset).KINDS
    return result


def spoken(benchmark: str) -> tuple[str, ...]:
    """The languages that a benchmark's pages are drawn in: English, and all others where its generator knows them."""
    translated = hasattr(_drawn_by(BENCHMARKS[benchmark].generator, PRESETS[0]), "TRANSLATED")
    return (ENGLISH, *(LANGUAGES if translated else ()))


def _drawn_by(generator: str, preset: str) -> ModuleType:
    return import_module(generator.format(preset=preset))


@dataclass(frozen=True, slots=True)
class DrawnPage:
    """A page that is drawn when it is opened: the same pixels on every machine and in every process and worker."""

    benchmark: str
    split: str
    index: int
    preset: str
    seed: int
    number: int = 1
    """Which page of its document, from 1."""
    language: str = ENGLISH
    generator: str = field(default="", repr=False, compare=False)
    """Module that draws it, so that a worker need not know the benchmark; "" for that of the benchmark's record."""

    @property
    def name(self) -> str:
        """Unique among all generated pages: `NAME-tiny-seed0-train-000012`, with `-p2` and so on after the first.

        A page in another language has its code behind the preset: `NAME-tiny-ko-seed0-train-000012`.
        """
        number = f"-p{self.number}" * (self.number > 1)
        language = f"-{self.language}" * (self.language != ENGLISH)
        return f"{self.benchmark}-{self.preset}{language}-seed{self.seed}-{self.split}-{self.index:06d}{number}"

    @property
    def size(self) -> tuple[int, int] | None:
        """Width and height where all pages of the preset have the same; at `full` only drawing tells."""
        return TINY_SIZE if self.preset == "tiny" else None

    def drawing(self) -> Drawing:
        """What the document says and asks, and how to draw it. Raises DocvlmError on an unknown preset."""
        origin = (self.benchmark, self.split, self.index, self.preset, self.seed)
        if not self.generator:
            kinds(self.benchmark, self.preset)
        module = _drawn_by(self.generator or BENCHMARKS[self.benchmark].generator, self.preset)
        if self.language == ENGLISH:
            made: Drawing = module.KINDS[self.index % len(module.KINDS)](Values(*origin))
        else:
            values = LocalValues(*origin, LANGUAGES[self.language])
            made = module.TRANSLATED[self.index % len(module.TRANSLATED)](values)
        return made

    def open(self) -> Image:
        """Draw the page: an RGB image, 280 x 168 at `tiny`, about 1 200 x 1 600 at `full`."""
        return self.drawing().pages[self.number - 1]()

    def text(self) -> str:
        """The words that are drawn on the page, as a PDF would have them in its text layer. Draws the page."""
        return text_of(self.open())


def page_of(question_id: str) -> DrawnPage | None:
    """The page that answers a question, or a document's first, by its id; None for what was not generated."""
    if (named := _QUESTION.fullmatch(question_id)) is None or named[1] not in names():
        return None
    benchmark, preset, language, seed, split, index, question = named.groups()
    if language not in (None, *spoken(benchmark)):
        return None
    page = DrawnPage(benchmark, split, int(index), preset, int(seed), language=language or ENGLISH)
    questions = page.drawing().questions
    if question is None or int(question) >= len(questions):
        return page
    return replace(page, number=questions[int(question)].page or 1)


def documents(
    benchmark: str, split: str, count: int, preset: str, seed: int, languages: Sequence[str] = (ENGLISH,)
) -> list[list[Example]]:
    """The first `count` generated documents of a split: a list of 2 to 8 examples each, on the same pages.

    With several languages, each in turn has one document of every kind. Splits share no page and no rare content (see
    `values`). Raises DocvlmError for an unknown benchmark, split, preset or language, a negative count, or a language
    for which there is no font.
    """
    if split not in SPLITS:
        raise DocvlmError(f"split={split}: generated pages have the splits {', '.join(SPLITS)}")
    if count < 0:
        raise DocvlmError(f"count={count}: a number of generated documents cannot be negative; take 0 or more")
    turn, about = len(kinds(benchmark, preset)), BENCHMARKS[benchmark]
    for code in checked(languages):
        if code not in spoken(benchmark):
            raise DocvlmError(f"data.languages: data={benchmark} has generated pages in English only, not in {code!r}")
        if code != ENGLISH:
            from docvlm.data.generated.languages import fonts  # Pillow, which a command may not need

            fonts.found(code)
    firsts = (
        DrawnPage(
            benchmark,
            split,
            index,
            preset,
            seed,
            language=languages[index // turn % len(languages)],
            generator=about.generator,
        )
        for index in range(count)
    )
    return [_examples(first, about.instruction) for first in firsts]


def _examples(first: DrawnPage, instruction: str) -> list[Example]:
    drawing = first.drawing()
    pages = tuple(replace(first, number=number) for number in range(1, len(drawing.pages) + 1))
    return [
        Example(
            question_id=f"{first.name}-q{number}",
            question=question.text,
            answers=question.answers,
            document=first.name,
            pages=pages,
            benchmark=f"{first.benchmark}{GENERATED}",
            instruction=instruction,
            question_types=question.types,
            document_type=drawing.kind,
            answer_pages=() if question.page is None else (question.page,),
            language=first.language,
        )
        for number, question in enumerate(drawing.questions)
    ]
