"""The page: Gradio's components, where they stand, and which of the desk's functions each of them calls.

Both ways to ask, the page's button and the endpoint for programs, share one place in Gradio's queue, since generation
is not safe to run twice at once. Nothing on the page comes from another host: fonts are the system's, telemetry is off.
"""

from __future__ import annotations

from typing import Any

import gradio as gr

from docvlm.errors import DocvlmError
from docvlm.serving.app import markup
from docvlm.serving.app.handlers import WHOLE, Desk
from docvlm.serving.app.samples import Sheet
from docvlm.serving.sources import SUFFIXES

CHIPS = 6  # most questions that a drawn page brings
ONE_AT_A_TIME: dict[str, Any] = {"concurrency_limit": 1, "concurrency_id": "model"}
UNLISTED: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
WAITING = 64  # questions in the queue; who comes then is told so
CHOOSE = """element.addEventListener("click", (event) => {
  const button = event.target.closest("[data-index]");
  if (button) trigger("select", {index: Number(button.dataset.index), value: button.innerText});
});"""
KEPT = (600, 24 * 3600)  # seconds: how often uploads are looked at, and how long they stay


def build(desk: Desk) -> gr.Blocks:
    """The page in front of `desk`."""
    with gr.Blocks(title="docvlm: ask a page", analytics_enabled=False, delete_cache=KEPT) as page:
        gr.HTML(markup.header(desk.models), elem_id="head", apply_default_css=False)
        with gr.Row(elem_id="work", equal_height=False):
            with gr.Column(scale=6, min_width=320):
                left = _Left(desk)
            with gr.Column(scale=5, min_width=320):
                right = _Right(desk)
        _connect(desk, left, right)
        _endpoint(desk)
    page.queue(max_size=WAITING, api_open=False)
    return page


class _Left:
    """Where a page is chosen and shown."""

    def __init__(self, desk: Desk) -> None:
        first = desk.samples[0]
        self.sheet = gr.State(first)
        self.samples = gr.HTML(
            markup.samples(desk.samples, 0), js_on_load=CHOOSE, elem_id="samples", apply_default_css=False
        )
        self.file = gr.File(
            label=f"Your own page: image or PDF, up to {desk.most_mb:g} MB",
            file_types=list(SUFFIXES),
            height=96,
            elem_id="file",
        )
        self.notice = gr.HTML(elem_id="file-notice", apply_default_css=False)
        self.number = gr.Number(
            1, label="Page of the PDF", precision=0, minimum=1, step=1, visible=False, elem_id="number"
        )
        self.whole = gr.Checkbox(False, label="Ask about all pages together", visible=False, elem_id="whole")
        self.picture = gr.Image(
            desk.show(first, 1),
            label="Page",
            show_label=False,
            interactive=False,
            buttons=["fullscreen"],
            alt_text=first.name,
            elem_id="picture",
        )


class _Right:
    """Where questions are asked and answers stand."""

    def __init__(self, desk: Desk) -> None:
        asked = list(desk.samples[0].answers)
        self.text = gr.Textbox(
            label="Questions, one a line",
            info="Shift + Enter asks. Questions asked together share one reading of the page.",
            placeholder="Who has to pay?",
            lines=2,
            max_lines=10,
            elem_id="questions",
        )
        self.ask = gr.Button("Ask", variant="primary", elem_id="ask")
        with gr.Row(elem_id="chips"):  # a click asks
            self.chips = [gr.Button(**_chip(asked, number), elem_classes="chip") for number in range(CHIPS)]
        self.answers = gr.HTML(markup.answers([], [], {}), elem_id="answers", apply_default_css=False)


def _chip(asked: list[str], number: int) -> dict[str, Any]:
    """A button that asks question `number` of a sample; hidden where there are fewer."""
    shown = number < len(asked)
    return {"value": asked[number] if shown else "", "visible": shown, "size": "sm", "min_width": 40}


def _connect(desk: Desk, left: _Left, right: _Right) -> None:
    shown = [left.sheet, left.picture, left.number, left.whole, left.notice, right.answers, *right.chips]

    def show(sheet: Sheet | None, message: str = "") -> list[Any]:
        """What changes on the page when another sheet, or none, lies on it."""
        asked = list(sheet.answers) if sheet is not None else []
        picture = None if sheet is None else desk.show(sheet, 1)
        many = sheet is not None and sheet.count > 1
        last = sheet.count if sheet is not None else 1
        return [
            sheet,
            gr.Image(picture, alt_text=sheet.name if sheet is not None else "", visible=sheet is not None),
            gr.Number(1, visible=many, maximum=last, label=f"Page, of {last}"),
            gr.Checkbox(False, visible=many),
            markup.notice(message),
            markup.answers([], [], {}),
            *(gr.Button(**_chip(asked, number)) for number in range(CHIPS)),
        ]

    def upload(path: str) -> list[Any]:
        try:
            return [*show(desk.upload(path)), markup.samples(desk.samples, None)]
        except DocvlmError as error:
            return [*show(None, str(error)), markup.samples(desk.samples, None)]

    def sample(event: gr.SelectData) -> list[Any]:
        return [*show(desk.samples[event.index]), markup.samples(desk.samples, event.index), None]

    def first() -> list[Any]:
        return [*show(desk.samples[0]), markup.samples(desk.samples, 0)]

    def turn(sheet: Sheet | None, number: int | None) -> tuple[Any, str]:
        if sheet is None or number is None:
            return gr.skip(), ""
        try:
            return desk.show(sheet, number), ""
        except DocvlmError as error:
            return None, markup.notice(str(error))

    left.file.upload(upload, left.file, [*shown, left.samples], **UNLISTED)
    left.file.clear(first, None, [*shown, left.samples], **UNLISTED)
    left.samples.select(sample, None, [*shown, left.samples, left.file], **UNLISTED)
    left.number.change(turn, [left.sheet, left.number], [left.picture, left.notice], **UNLISTED)
    asking: dict[str, Any] = {
        "fn": lambda sheet, whole, number, text: desk.answers(sheet, WHOLE if whole else number or 1, text),
        "inputs": [left.sheet, left.whole, left.number, right.text],
        "outputs": right.answers,
        "api_visibility": "private",
        **ONE_AT_A_TIME,
    }
    gr.on([right.ask.click, right.text.submit], **asking)
    for chip in right.chips:
        chip.click(lambda text: text, chip, right.text, **UNLISTED).then(**asking)


def _endpoint(desk: Desk) -> None:
    """`/ask` for programs: what `Desk.asked` returns."""

    def ask(file: str, questions: str, page: float | None = 1) -> list[dict[str, Any]]:
        try:
            return desk.asked(file, 1 if page is None else int(page), questions)
        except DocvlmError as error:
            raise gr.Error(str(error), print_exception=False) from error

    inputs = [gr.File(visible=False, file_types=list(SUFFIXES)), gr.Textbox(visible=False), gr.Number(1, visible=False)]
    gr.Button(visible=False).click(
        ask,
        inputs,
        gr.JSON(visible=False),
        api_name="ask",
        api_description="Ask about a page: an image or a PDF, questions with a line each, and the number of the page;"
        " 0: all pages together.",
        **ONE_AT_A_TIME,
    )
