"""Full-size generated pages say what their answers say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from docvlm.data.generated import DrawnPage
from docvlm.data.generated.full.paper import Paper
from docvlm.data.generated.full.plot import Chart
from docvlm.data.generated.full.scan import Scan, scan
from docvlm.data.generated.page import kinds


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """All words that are drawn on a full page by type, hand or stamp, and nothing drawn."""
    found: list[str] = []
    length = Paper.length

    def text(
        self: Paper, x: float, y: float, words: str, size: float = 26, weight: str = "regular", **more: object
    ) -> float:
        found.append(words)
        assert y <= self.height, f"{words!r} leaves the page"
        return length(self, words, size, weight, more.get("family"))  # type: ignore[arg-type]

    monkeypatch.setattr(Paper, "text", text)
    monkeypatch.setattr(Paper, "hand", lambda self, x, y, words, *more: found.append(words))
    monkeypatch.setattr(Paper, "stamp", lambda self, x, y, words, *more: found.append(words))
    monkeypatch.setattr(Paper, "finished", lambda self: self.picture)
    return found


@pytest.mark.parametrize("benchmark", ["docvqa", "infovqa", "mpdocvqa"])
def test_answers_stand_on_the_full_page(benchmark: str, written: list[str]) -> None:
    checked = 0
    for index in range(20):
        drawing = DrawnPage(benchmark, "train", index, "full", 0).drawing()
        for question in drawing.questions:
            written.clear()
            drawing.pages[(question.page or 1) - 1]()
            text = " ".join(written)
            if {"Yes/No", "None span"} & set(question.types):
                continue
            parts = question.answers[0].split(", ") if "Multi-Span" in question.types else question.answers[:1]
            assert all(part in text for part in parts), (drawing.kind, question)
            checked += 1
    assert checked > 60


def test_a_page_has_the_text_that_was_drawn_however_it_was_scanned() -> None:
    for benchmark, index in (("mpdocvqa", 0), ("mpdocvqa", 1), ("docvqa", 0)):  # the last is filled in by hand
        page = DrawnPage(benchmark, "train", index, "full", 0)
        for question in page.drawing().questions:
            text = " ".join(replace(page, number=question.page or 1).text().split())
            assert question.answers[0] in text, question


def test_full_charts_answer_from_their_data() -> None:
    for index in range(60):
        drawing = DrawnPage("chartqa", "train", index, "full", 0).drawing()
        chart = drawing.paint.args[0]  # type: ignore[attr-defined]  # a partial of plot
        assert isinstance(chart, Chart)
        shown = {chart.shown(n) for _, numbers in chart.series for n in numbers}
        for question in drawing.questions:
            (answer,) = question.answers
            if question.types == ("augmented",) or (
                "highest value" in question.text and question.text.startswith("What")
            ):
                assert answer in shown
            elif question.text.startswith("Which") and "color" not in question.text:
                assert answer in chart.labels
            elif question.text.startswith("What is the difference"):
                assert float(answer) >= 0
        if drawing.kind == "pie":
            assert sum(chart.series[0][1]) == 1000


@pytest.mark.parametrize("benchmark", ["docvqa", "chartqa", "infovqa", "mpdocvqa"])
def test_kinds_have_several_looks(benchmark: str) -> None:
    """Pages of one kind differ in more than their words: mean colour and layout vary."""
    step = len(kinds(benchmark, "full"))
    pages = [DrawnPage(benchmark, "train", index * step, "full", 0).open().resize((28, 28)) for index in range(4)]
    pixels = [np.asarray(page, dtype=float) for page in pages]
    assert all(np.abs(one - other).mean() > 0.5 for i, one in enumerate(pixels) for other in pixels[:i])


def test_scanning_darkens_and_turns_but_keeps_the_size() -> None:
    page = Image.new("RGB", (280, 392), (255, 255, 255))
    page.paste((0, 0, 0), (0, 190, 280, 194))
    assert scan(page, Scan(0.0, 0.0, 255, 0, 0.0, 1)) is page
    worn = scan(page, Scan(1.0, 0.8, 220, 100, 9.0, 1))
    assert worn.size == page.size and worn.mode == "RGB"
    before, after = np.asarray(page.convert("L"), float), np.asarray(worn.convert("L"), float)
    assert after.mean() < before.mean() - 20
    assert abs(int(after[:, 20].argmin()) - int(after[:, 260].argmin())) >= 2, "the line is not turned"
