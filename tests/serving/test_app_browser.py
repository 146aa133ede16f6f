"""`docvlm-app` in a real browser: a page and a question go in, what `load(DIR).ask` says comes out."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from importlib.resources import files as package
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from docvlm.serving.reader import load
from tests.support import app_browser as on
from tests.support import asked as files
from tests.support.app_browser import until

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

pytestmark = pytest.mark.skipif(
    not (on.BROWSER and on.DRIVER and find_spec("gradio")), reason="no chromium with chromium-driver, or no gradio"
)
reached: set[str] = set()


@pytest.fixture(scope="module")
def app() -> Iterator[tuple[str, Any]]:
    """The page, with every host that this process asks for written to `reached`."""

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "socket.connect" and isinstance(arguments[1], tuple):
            reached.add(str(arguments[1][0]))
        elif event == "socket.getaddrinfo":
            reached.add(str(arguments[0]))

    sys.addaudithook(watch)
    with on.served(files.reading_run()) as found:
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[Chrome]:
    with on.chrome() as found:
        yield found


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, app: tuple[str, Any]) -> Path:
    """A drawn invoice as somebody would upload it."""
    path = tmp_path_factory.mktemp("pages") / "my invoice.png"
    app[1].samples[0].drawn.open().save(path)
    return path


def test_upload_question_answer(browser: Chrome, app: tuple[str, Any], page: Path) -> None:
    on.opened(browser, app[0])
    on.choose(browser, page)
    until(lambda: on.one(browser, "#picture img").get_attribute("alt") == "my invoice.png")
    questions = list(app[1].samples[0].answers)[:2]
    said = on.ask(browser, *questions)
    run, base = load(files.reading_run()), load("embedded", family="qwen2vl")
    assert said == [str(one.ask(page, question)) for question in questions for one in (run, base)]
    assert on.texts(browser, ".answer .part") == ["fine-tuned", "base"] * 2
    confidences = [float(text) for text in on.texts(browser, ".answer .confidence")]
    assert confidences[0] == pytest.approx(run.ask(page, questions[0]).confidence, abs=0.0051)
    ours, theirs = (one.rect for one in browser.find_elements("css selector", ".reply:first-child .answer"))
    assert ours["y"] == theirs["y"] and ours["x"] + ours["width"] <= theirs["x"] + 1, "side by side"
    assert "mean token probability, not calibrated" in on.one(browser, ".replies .fine").text


def test_a_sample_and_its_questions_from_the_keyboard(browser: Chrome, app: tuple[str, Any]) -> None:
    from selenium.webdriver.common.keys import Keys

    on.opened(browser, app[0])
    sample = on.sample(browser, app[1], "Letter")
    questions = list(sample.answers)
    browser.find_elements("css selector", "#chips button")[1].send_keys(Keys.ENTER)
    until(lambda: on.texts(browser, ".reply h3") == [questions[1]])
    said = on.texts(browser, ".reply .text")
    assert said == [str(one.reader.ask(sample.drawn, questions[1])) for one in app[1].models]
    assert on.one(browser, ".expected b").text == sample.answers[questions[1]]
    assert bool(on.texts(browser, ".differ")) == (said[0] != said[1])
    box = on.one(browser, "#questions textarea")
    assert box.get_property("value") == questions[1]
    box.clear()
    box.send_keys("Which amount is written?", Keys.SHIFT, Keys.ENTER)
    until(lambda: on.texts(browser, ".reply h3") == ["Which amount is written?"])


@pytest.mark.slow
def test_a_page_of_a_pdf(browser: Chrome, app: tuple[str, Any], tmp_path: Path) -> None:
    pdf = files.pdf(tmp_path / "two.pdf", "first", "second")
    on.opened(browser, app[0])
    on.choose(browser, pdf)
    number = until(lambda: on.one(browser, "#number input"))
    before = on.one(browser, "#picture img").get_attribute("src")
    number.clear()
    number.send_keys("2")
    until(lambda: on.one(browser, "#picture img").get_attribute("src") != before)
    said = on.ask(browser, "Which date is written?")
    run = app[1].models[0].reader
    assert said[0] == str(run.ask(pdf, "Which date is written?", pages=[2]))


def test_files_that_are_no_page_are_a_message_and_the_server_lives(
    browser: Chrome, app: tuple[str, Any], page: Path, tmp_path: Path
) -> None:
    on.opened(browser, app[0])
    for name, content, said in (
        ("notes.png", b"no image", "notes.png: not an image Pillow can read"),
        ("secret.pdf", files.ENCRYPTED, "secret.pdf: encrypted; save a copy without its password"),
    ):
        (tmp_path / name).write_bytes(content)
        on.choose(browser, tmp_path / name)
        until(lambda said=said: said in on.one(browser, "#file-notice [role=alert]").text)
    on.one(browser, "#ask").click()
    assert "no page yet" in until(lambda: on.one(browser, "#answers .notice").text)
    for name, content, said in (
        ("notes.txt", b"x", "Invalid file type: notes.txt. Only .png, .jpg"),
        ("large.png", bytes(1_200_000), "exceed the maximum allowed size of"),
    ):
        (tmp_path / name).write_bytes(content)
        on.choose(browser, tmp_path / name)
        until(lambda said=said: said in " ".join(on.texts(browser, ".toast-body")))
    on.choose(browser, page)
    until(lambda: on.one(browser, "#picture img").get_attribute("alt") == "my invoice.png")
    assert on.texts(browser, "#file-notice .notice") == []
    assert len(on.ask(browser, "Who has to pay?")) == 2


def test_no_other_host_is_asked_whatever_a_person_writes(browser: Chrome, app: tuple[str, Any]) -> None:
    """By the browser, after a page was shown and asked about; nor by the server in all tests of this file."""
    evil = "<img src=https://example.com/x onerror=document.title='evil'> ${document.title='evil'} {{this}} </article>"
    browser.get_log("performance"), browser.get_log("browser")
    on.opened(browser, app[0])
    on.ask(browser, evil)
    assert browser.title == "docvlm: ask a page"
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [one["params"]["request"]["url"] for one in events if one["method"] == "Network.requestWillBeSent"]
    assert len(asked) > 10
    assert {urlsplit(url).netloc for url in asked if urlsplit(url).scheme not in ("data", "blob")} == {
        urlsplit(app[0]).netloc
    }
    assert [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
    assert reached <= {"127.0.0.1", "localhost", "::1"}


@pytest.mark.slow
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_axe_finds_nothing_against_wcag_2_aa(dark: bool, browser: Chrome, app: tuple[str, Any]) -> None:
    on.opened(browser, app[0], dark=dark)
    on.ask(browser, *list(app[1].samples[0].answers)[:2])
    browser.execute_script(
        (package("axe_selenium_python") / "node_modules/axe-core/axe.min.js").read_text(encoding="utf-8")
    )
    found = browser.execute_async_script(
        "axe.run({runOnly: ['wcag2a', 'wcag2aa']})"
        ".then(arguments[0], (error) => arguments[0]({violations: [{id: String(error), nodes: []}], passes: []}))"
    )
    assert [(v["id"], [node["html"] for node in v["nodes"]]) for v in found["violations"]] == []
    assert {"color-contrast", "label", "button-name"} <= {passed["id"] for passed in found["passes"]}


@pytest.mark.slow
def test_a_phone_scrolls_down_and_never_sideways(browser: Chrome, app: tuple[str, Any]) -> None:
    on.opened(browser, app[0], width=390)
    on.ask(browser, "Which amount is written?")
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 390
    ours, theirs = (element.rect for element in browser.find_elements("css selector", ".answer"))
    assert theirs["y"] >= ours["y"] + ours["height"] - 1, "one below the other"
