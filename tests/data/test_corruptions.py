"""Corrupted pages: the same in every process, severity 0 is the page itself, levels are what their units say."""

from __future__ import annotations

import hashlib
import os
import pickle
import random
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from docvlm.data.corruptions import CORRUPTIONS, SEVERITIES, CorruptedPage, corrupt, corrupted
from docvlm.data.generated.page import DrawnPage
from docvlm.errors import DocvlmError
from tests.support.tiny import Paper, example

PAGE = DrawnPage("docvqa", "test", 2, "tiny", 0)
DIGESTS = """
import hashlib
from docvlm.data.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from docvlm.data.generated.page import DrawnPage
page = DrawnPage("docvqa", "test", 2, "tiny", 0).open()
for name in CORRUPTIONS:
    for severity in SEVERITIES:
        print(hashlib.md5(corrupt(page, name, severity).tobytes()).hexdigest())
"""


def grey(value: int, width: int = 400, height: int = 300) -> Image.Image:
    return Image.new("RGB", (width, height), (value, value, value))


def distance(a: Image.Image, b: Image.Image) -> float:
    return float(np.abs(np.asarray(a, np.float64) - np.asarray(b, np.float64)).mean())


def test_every_process_sees_the_same_page() -> None:
    page = PAGE.open()
    random.seed(1)
    here = [
        hashlib.md5(corrupt(page, name, severity).tobytes()).hexdigest()
        for name in CORRUPTIONS
        for severity in SEVERITIES
    ]
    elsewhere = {**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", DIGESTS], env=elsewhere, capture_output=True, text=True, check=True)
    assert done.stdout.split() == here
    assert len(set(here)) == len(CORRUPTIONS) * len(SEVERITIES)


def test_noise_belongs_to_the_pixels_of_a_page() -> None:
    other = grey(128)
    other.putpixel((0, 0), (0, 0, 0))
    first, second = (np.asarray(corrupt(page, "noise", 2))[50:, 50:] for page in (grey(128), other))
    assert (first != second).any()


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_severity_0_is_the_page_and_each_next_one_is_farther_from_it(name: str) -> None:
    page = PAGE.open()
    before = page.tobytes()
    assert corrupt(page, name, 0).tobytes() == before
    spoilt = [corrupt(page, name, severity) for severity in SEVERITIES]
    assert page.tobytes() == before, "the page itself is left alone"
    assert all(one.mode == "RGB" for one in spoilt)
    if name == "skew":
        assert [one.width for one in spoilt] == sorted({one.width for one in spoilt}), "the canvas grows"
        return
    assert all(one.size == page.size for one in spoilt)
    far = [distance(page, one) for one in spoilt]
    assert far == sorted(far) and far[0] > 0


def test_levels_are_in_their_units() -> None:
    for severity, level in zip(SEVERITIES[:2], CORRUPTIONS["noise"].levels, strict=False):
        pixels = np.asarray(corrupt(grey(128), "noise", severity), np.float64)[:, :, 0]
        assert pixels[pixels > 0].std() == pytest.approx(255 * level / 100, rel=0.05)
        assert (pixels == 0).mean() == pytest.approx(0.02 * level / 100, rel=0.25)  # dust
    wide = np.asarray(corrupt(grey(128, 2000, 1000), "noise", 2), np.float64)[:, :, 0]
    assert np.corrcoef(wide[:, :-1].ravel(), wide[:, 1:].ravel())[0, 1] > 0.5, "a grain is two pixels wide here"
    edge = grey(255, 1000, 100)
    edge.paste((0, 0, 0), (500, 0, 1000, 100))
    rise = -np.diff(np.asarray(corrupt(edge, "blur", 3), np.float64)[50, :, 0])
    sigma = np.sqrt((rise * (np.arange(999) - 499) ** 2).sum() / rise.sum())
    assert sigma == pytest.approx(3, abs=0.3)  # thousandths of 1 000 pixels
    lines = Image.fromarray(np.tile(np.array([0, 0, 255, 255], np.uint8), (300, 150))[:, :, None].repeat(3, axis=2))
    contrast = [np.asarray(corrupt(lines, "dpi", severity), np.float64)[:, 50:-50].std() for severity in SEVERITIES]
    assert contrast[0] > 60 > 10 > contrast[3]  # lines 4 pixels apart are gone at a quarter of the resolution


def test_skew_cuts_nothing_off_and_goes_on_in_the_margins_colour() -> None:
    page = grey(200)
    page.paste((0, 0, 0), (40, 2, 360, 22))
    for severity, degrees in zip(SEVERITIES, CORRUPTIONS["skew"].levels, strict=True):
        turned = np.asarray(corrupt(page, "skew", severity), np.float64)[:, :, 0]
        assert turned[0, 0] == turned[-1, -1] == 200
        assert (200 - turned).sum() == pytest.approx(200 * 320 * 20, rel=0.02)
        rows, columns = np.nonzero(turned < 60)
        slope = np.polyfit(columns, rows, 1)[0]
        assert abs(np.degrees(np.arctan(slope))) == pytest.approx(degrees, abs=0.3)


def test_questions_of_a_page_share_its_corrupted_page() -> None:
    shared = (Paper("shared"),)
    asked = [example(1, pages=shared), example(2, pages=shared), example(3)]
    first, second, third = corrupted(asked, "noise", 4)
    assert first.pages[0] is second.pages[0]
    assert third.pages[0].name == "page 3 (noise 4)"
    assert (first.question_id, first.document) == (asked[0].question_id, asked[0].document)
    there = pickle.loads(pickle.dumps(first.pages[0]))
    assert there == CorruptedPage(shared[0], "noise", 4)
    assert there.open().tobytes() == corrupt(shared[0].open(), "noise", 4).tobytes()


@pytest.mark.parametrize(("name", "severity", "words"), [("rain", 1, "corruptions=rain"), ("blur", 5, "severities=5")])
def test_other_names_and_severities_are_refused(name: str, severity: int, words: str) -> None:
    with pytest.raises(DocvlmError, match=words):
        corrupt(grey(255), name, severity)
