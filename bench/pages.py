"""Drawn pages of a wanted number of tokens, with as many questions a page as the real benchmarks ask.

Pages are PNG files of exactly the size the model sees, so that everyone decodes the same bytes and resizes nothing:
Transformers and qwen-vl-utils resize with different filters, which would show as a difference of losses. Densities are
counted from the annotations where they lie beside the checkout (../shared/data/annotations), else they are the counts
taken from them before; `densities` says which. Page i gets floor((i + 1) k) - floor(i k) questions: 5.6 a page are
5, 6, 5, 6, 6. A page that was drawn with fewer is asked some twice.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import islice
from math import floor
from pathlib import Path

from docvlm.data.example import Example
from docvlm.data.generated import documents
from docvlm.data.pages import FilePage
from docvlm.vlms.codec import Budget

SIDES = {"qwen2vl": 28, "qwen3vl": 32}  # pixels of a page token: patches of 14 or 16, merged 2 x 2
ANNOTATIONS = Path(__file__).resolve().parents[2] / "shared" / "data" / "annotations"
COUNTED = {  # benchmark → its files, and (questions, pages) as counted in them; ChartQA's two are sets of their own
    "DocVQA": (("docvqa_val",), (5349, 1286)),
    "InfoVQA": (("infovqa_val",), (2801, 500)),
    "ChartQA": (("chartqa_test_human", "chartqa_test_augmented"), (2500, 1612)),
}
DRAWN = 64  # documents that the words of the questions are taken from


@lru_cache(maxsize=1)
def densities() -> tuple[dict[str, float], str]:
    """Questions a page of each benchmark, and where the numbers come from."""
    if not ANNOTATIONS.exists():
        return {name: asked / pages for name, (_, (asked, pages)) in COUNTED.items()}, "stated counts"
    found = {}
    for name, (files, _) in COUNTED.items():
        texts = [(ANNOTATIONS / f"{file}.jsonl").read_text("utf-8").splitlines() for file in files]
        pages = sum(len({json.loads(line)["image"] for line in lines}) for lines in texts)
        found[name] = sum(map(len, texts)) / pages
    return found, "counted in the annotations"


def asked_on(pages: int, density: float) -> list[int]:
    """Questions on each page; their mean approaches `density`."""
    return [floor((page + 1) * density) - floor(page * density) for page in range(pages)]


def grid(tokens: int) -> tuple[int, int]:
    """Rows and columns of a page of about A4's shape with about that many tokens."""
    columns = max(1, round((tokens / 2**0.5) ** 0.5))
    return max(1, round(tokens / columns)), columns


def budget(tokens: int, family: str = "qwen2vl") -> Budget:
    """A budget under which a page of this module keeps its size."""
    (rows, columns), side = grid(tokens), SIDES[family]
    return Budget(min_pixels=4 * side * side, max_pixels=rows * columns * side * side)


def drawn(folder: Path, pixels: tuple[int, int], questions: Sequence[int], preset: str) -> list[list[Example]]:
    """A page of `pixels` (height, width) for each number of `questions`, and that many questions on it."""
    folder.mkdir(parents=True, exist_ok=True)
    height, width = pixels
    asked = []
    for number, document in enumerate(documents("docvqa", "train", len(questions), preset, 0)):
        file = folder / f"{number}.png"
        document[0].pages[0].open().resize((width, height)).save(file)
        page = FilePage(str(file))
        own = [document[place % len(document)] for place in range(questions[number])]
        asked.append([replace(one, question_id=f"{one.question_id}-{i}", pages=(page,)) for i, one in enumerate(own)])
    return asked


def of_tokens(
    folder: Path, tokens: int, questions: Sequence[int], preset: str, family: str = "qwen2vl"
) -> list[list[Example]]:
    """`drawn` at a number of a family's page tokens."""
    (rows, columns), side = grid(tokens), SIDES[family]
    return drawn(folder, (rows * side, columns * side), questions, preset)


def documents_of(
    folder: Path, tokens: int, counts: Sequence[int], questions: int, preset: str, family: str = "qwen2vl"
) -> list[list[Example]]:
    """A document of so many pages for each of `counts`, and `questions` on each, from pages in equal steps."""
    rest = iter(of_tokens(folder, tokens, [questions] * sum(counts), preset, family))
    found = []
    for count in counts:
        own = list(islice(rest, count))
        whole = tuple(examples[0].pages[0] for examples in own)
        asked = [own[place * count // questions][place] for place in range(questions)]
        document = asked[0].document
        found.append([replace(one, document=document, pages=whole) for one in asked])
    return found


def cut(pages: Sequence[list[Example]], size: int) -> list[list[Example]]:
    """Whole steps of `size` pages' questions each."""
    rest = iter(pages)
    return [[example for page in islice(rest, size) for example in page] for _ in range(len(pages) // size)]


def words(preset: str) -> list[str]:
    """Every word of the questions and of the instruction, in a fixed order."""
    texts = [e.question + e.instruction for d in documents("docvqa", "train", DRAWN, preset, 0) for e in d]
    return sorted({word.strip("?.,:") for text in texts for word in text.split() if word.strip("?.,:").isalpha()})
