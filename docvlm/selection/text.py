"""Pages ranked by the words of a question: BM25 (Robertson and Zaragoza 2009) over the text layer of a document.

The pages of one document are the whole collection: a word that stands on every page of it says nothing. Words are runs
of letters and digits; scripts that put no space between words are cut into pairs of characters, as is usual in
retrieval. Scores come from bm25s.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from docvlm.data.pdf import PdfPage, texts
from docvlm.errors import DocvlmError

if TYPE_CHECKING:
    from docvlm.data.example import Page

_WORD = re.compile(r"\w+")
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+")
"""Thai, Lao, Myanmar, Khmer, Japanese and Chinese."""


class TextSelector:
    """BM25 over the text that pages have; a page without text comes last."""

    def __init__(self) -> None:
        try:
            import bm25s
        except ImportError as error:
            raise DocvlmError("selector=text: bm25s is not installed; pip install 'docvlm[selector]'") from error
        logging.getLogger("bm25s").setLevel(logging.WARNING)  # else it says of every document that it is read
        self._bm25s: Any = bm25s

    def scores(self, question: str, pages: Sequence[Page]) -> list[float] | None:
        """BM25 of each page; None where none has text."""
        index = self._index(tuple(pages))
        asked = words(question)
        if index is None:
            return None
        return [float(score) for score in index.get_scores(asked)] if asked else [0.0] * len(pages)

    @lru_cache(maxsize=64)  # noqa: B019  # one selector a command, and questions of a document come together
    def _index(self, pages: tuple[Page, ...]) -> Any:
        found = [words(text) for text in layers(pages)]
        if not any(found):
            return None
        index = self._bm25s.BM25()
        index.index(found, show_progress=False)
        return index


def layers(pages: Sequence[Page]) -> list[str]:
    """The text layer of each page, of a drawn page what was drawn; "" where it has none. A PDF is opened once."""
    of_pdf = iter(texts([page for page in pages if isinstance(page, PdfPage)]))
    found = []
    for page in pages:
        own = getattr(page, "text", None)
        found.append(next(of_pdf) if isinstance(page, PdfPage) else own() if callable(own) else "")
    return found


def words(text: str) -> list[str]:
    """The words of a text in lower case."""
    found: list[str] = []
    for word in _WORD.findall(text.lower()):
        start = 0
        for run in _UNSPACED.finditer(word):
            found += [word[start : run.start()]] if run.start() > start else []
            found += _pairs(run[0])
            start = run.end()
        found += [word[start:]] if start < len(word) else []
    return found


def _pairs(run: str) -> list[str]:
    return [run] if len(run) == 1 else [run[at : at + 2] for at in range(len(run) - 1)]
