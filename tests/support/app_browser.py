"""What the tests of `docvlm-app` in a browser share, and the command that renews its picture in the docs:

python -m tests.support.app_browser outputs/<time> docs/img/app.png
"""

from __future__ import annotations

import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from selenium.webdriver import Chrome
    from selenium.webdriver.remote.webelement import WebElement

    from docvlm.serving.app.samples import Sample

BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
T = TypeVar("T")


@contextmanager
def served(run: Path, most_mb: float = 1) -> Iterator[tuple[str, Any]]:
    """The page in front of a run on a free port: its address and its desk."""
    from docvlm.serving.app import handlers as desk
    from docvlm.serving.app import models as contenders
    from docvlm.serving.app import page, samples, server

    models = contenders.load(run)
    behind = desk.Desk(models, samples.samples("tiny"), most_mb)
    with server.listen("127.0.0.1", 0) as listener, server.uploads():
        running = server.server(page.build(behind), int(most_mb * samples.MEGABYTE))
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield server.address(listener), behind
        finally:
            running.should_exit = True
            thread.join()


@contextmanager
def chrome() -> Iterator[Chrome]:
    """A headless browser that keeps a log of what it asks which host for."""
    from selenium.webdriver import Chrome, ChromeOptions
    from selenium.webdriver.chrome.service import Service

    options = ChromeOptions()
    options.binary_location = str(BROWSER)
    for word in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"):
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = Chrome(options=options, service=Service(str(DRIVER)))
    driver.set_script_timeout(120)
    try:
        yield driver
    finally:
        driver.quit()


def opened(browser: Chrome, where: str, width: int = 1280, height: int = 900, dark: bool = False) -> None:
    """The page, once Gradio has drawn it."""
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
    still = [{"name": "prefers-reduced-motion", "value": "reduce"}]
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme + still})
    browser.get(where)
    until(lambda: one(browser, "#picture img").get_property("naturalWidth"))


def until(condition: Callable[[], T], seconds: float = 60) -> T:
    """What `condition` gives once it is true; elements that are not there yet, or not any more, are waited for."""
    from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException

    end = time.monotonic() + seconds
    while True:
        try:
            if found := condition():
                return found
        except (NoSuchElementException, StaleElementReferenceException):
            pass
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.05)


def one(browser: Chrome, selector: str) -> WebElement:
    return browser.find_element("css selector", selector)


def texts(browser: Chrome, selector: str) -> list[str]:
    return [element.text for element in browser.find_elements("css selector", selector)]


def choose(browser: Chrome, path: Path) -> None:
    """Upload a file, as the file dialog does."""
    if browser.find_elements("css selector", "#file .file-preview"):
        one(browser, "#file button[aria-label=Clear]").click()
        until(lambda: str(one(browser, "#picture img").get_attribute("alt")).startswith("Sample: "))
    until(lambda: one(browser, "#file input[type=file]")).send_keys(str(path))


def ask(browser: Chrome, *questions: str) -> list[str]:
    """Type questions, click Ask, and wait for the card of the first: the texts of all answers, card by card."""
    box = one(browser, "#questions textarea")
    box.clear()
    box.send_keys("\n".join(questions))
    one(browser, "#ask").click()
    until(lambda: texts(browser, ".reply h3") == list(questions))
    return texts(browser, ".reply .text")


def sample(browser: Chrome, desk: Any, title: str) -> Sample:
    """Click on a sample page, and wait until it and its questions are there."""
    number = next(i for i, found in enumerate(desk.samples) if found.title == title)
    browser.find_elements("css selector", "#samples button")[number].click()
    chosen: Sample = desk.samples[number]
    until(lambda: one(browser, "#picture img").get_attribute("alt") == chosen.name)
    until(lambda: texts(browser, "#chips button") == list(chosen.answers))
    return chosen


def main(run: str, output: str) -> None:
    """A picture of the page after two questions about the sample invoice."""
    with served(Path(run), most_mb=20) as (where, desk), chrome() as browser:
        opened(browser, where, height=950)
        ask(browser, *list(sample(browser, desk, "Invoice").answers)[:2])
        browser.execute_script("document.activeElement.blur()")
        time.sleep(0.5)  # until nothing glows any more
        browser.save_screenshot(output)


if __name__ == "__main__":
    main(*sys.argv[1:])
