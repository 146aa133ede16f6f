"""The report's page in a real browser: no error, working filters, keyboard, contrast, phone and print."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from docvlm.report import main
from tests.reporting.test_report import EVIL, answers, written

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(not (BROWSER and DRIVER), reason="no chromium with chromium-driver on this machine")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page from two files of answers, one answer of them hostile, on drawn pages so that there are pictures."""
    folder = tmp_path_factory.mktemp("report")
    names = {}
    for name, right in (("before", 0.3), ("after", 0.8)):
        rows = answers(right, benchmark="docvqa-generated")
        for i, row in enumerate(rows):
            row["question_id"] = f"docvqa-tiny-seed0-test-{i // 4:06d}-q{i % 4}"
            row["prediction"] = EVIL if i == 0 else row["prediction"]
        names[name] = written(folder / f"{name}.jsonl", rows)
    main(
        [
            f"predictions=[{names['before']},{names['after']}]",
            "roots=[]",
            "gallery.flips=10",
            f"output={folder / 'out'}",
        ]
    )
    return folder / "out" / "index.html"


@pytest.fixture(scope="module")
def browser() -> Iterator[Chrome]:
    from selenium.webdriver import Chrome, ChromeOptions
    from selenium.webdriver.chrome.service import Service

    options = ChromeOptions()
    options.binary_location = str(BROWSER)
    for word in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = Chrome(options=options, service=Service(str(DRIVER)))
    driver.set_script_timeout(240)
    yield driver
    driver.quit()


def opened(browser: Chrome, page: Path, width: int = 1280, dark: bool = False) -> None:
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
    still = [{"name": "prefers-reduced-motion", "value": "reduce"}]  # a click meets a page that no longer scrolls
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme + still})
    browser.get(page.as_uri())


def shown(browser: Chrome) -> int:
    """Cards that are not hidden, once the events of what was clicked or typed have been handled."""
    browser.execute_async_script("setTimeout(arguments[0], 100)")
    count: int = browser.execute_script("return document.querySelectorAll('.card:not([hidden])').length")
    return count


def test_filters_narrow_the_gallery_and_give_it_back(browser: Chrome, page: Path) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import Select

    opened(browser, page)
    everything = shown(browser)
    Select(browser.find_element(By.NAME, "flip")).select_by_visible_text("fixed")
    assert 0 < shown(browser) < everything
    fixed = browser.find_elements(By.CSS_SELECTOR, ".card:not([hidden])")
    assert {card.get_attribute("data-flip") for card in fixed} == {"fixed"}
    browser.find_element(By.NAME, "text").send_keys("no such words")
    assert shown(browser) == 0 and browser.find_element(By.CLASS_NAME, "count").text.startswith("0 of ")
    browser.find_element(By.CSS_SELECTOR, ".filters [type=reset]").click()
    assert shown(browser) == everything
    browser.find_element(By.CLASS_NAME, "more").click()
    assert shown(browser) > everything
    assert browser.get_log("browser") == []


def test_a_page_opens_large_and_closes_by_keyboard(browser: Chrome, page: Path) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    opened(browser, page)
    zoom = browser.find_element(By.CLASS_NAME, "zoom")
    zoom.send_keys(Keys.ENTER)
    dialog = browser.find_element(By.TAG_NAME, "dialog")
    assert dialog.get_attribute("open") and dialog.find_element(By.TAG_NAME, "img").get_property("naturalWidth") > 100
    dialog.find_element(By.TAG_NAME, "button").send_keys(Keys.ESCAPE)
    assert not dialog.get_attribute("open")
    before = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    theme = browser.find_element(By.CLASS_NAME, "theme")
    theme.click(), theme.click()
    assert browser.execute_script("return getComputedStyle(document.body).backgroundColor") != before


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_axe_finds_nothing_against_wcag_2_aa(dark: bool, browser: Chrome, page: Path) -> None:
    """Labels, roles, contrast. What is inside a figure is drawing, which its label says in words."""
    opened(browser, page, dark=dark)
    browser.execute_script(
        (files("axe_selenium_python") / "node_modules/axe-core/axe.min.js").read_text(encoding="utf-8")
    )
    found = browser.execute_async_script(
        "axe.run({exclude: [['svg'], ['.card:nth-child(n+6)']]}, {runOnly: ['wcag2a', 'wcag2aa']})"
        ".then(arguments[0], (error) => arguments[0]({violations: [{id: String(error), nodes: []}], passes: []}))"
    )
    assert [(v["id"], v["nodes"][0]["html"] if v["nodes"] else "") for v in found["violations"]] == []
    assert {"color-contrast", "label", "select-name"} & {p["id"] for p in found["passes"]}


def test_a_phone_scrolls_down_and_never_sideways(browser: Chrome, page: Path) -> None:
    opened(browser, page, width=390)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 390


def test_it_prints_in_light_without_controls(browser: Chrome, page: Path) -> None:
    opened(browser, page, dark=True)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    script = "return [[document.body, 'backgroundColor'], [document.querySelector('.filters'), 'display']]"
    seen = browser.execute_script(script + ".map(([node, name]) => getComputedStyle(node)[name])")
    assert seen == ["rgb(255, 255, 255)", "none"]
    pdf = base64.b64decode(browser.execute_cdp_cmd("Page.printToPDF", {})["data"])
    assert pdf.startswith(b"%PDF") and len(pdf) > 50_000
