"""Adapters of rank 16 and 64 beside their base, in float32: the page's command, documents of two pages, odd sizes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from docvlm.answering.chat import Chat
from docvlm.errors import DocvlmError
from tests.serving.test_serve_page import commands
from tests.support.vllm import Vllm, serving
from tests.vllm.conftest import BASE, OURS, Made, differences, serve

ODD = ("benchmarks=[folder]", "data.folder.source=odd")
TWO = ("--limit-mm-per-prompt", '{"image": 2}')
NO_SPACE = ("--structured-outputs-config", '{"backend": "xgrammar", "disable_any_whitespace": true}')


@pytest.fixture(scope="module")
def server(made: Made, page: str) -> Iterator[Vllm]:
    words = serve(page, lora=True)
    words.insert(words.index("--lora-modules") + 1, "rank64=outputs/r64/checkpoints/best")
    with serving([*words, "--dtype", "float32", *TWO, *NO_SPACE], made.folder) as found:
        yield found


@pytest.mark.parametrize(("run", "name"), [("r16", "invoices"), ("r64", "rank64")])
def test_its_answers_are_those_of_the_run(server: Vllm, here: Made, run: str, name: str) -> None:
    ours, theirs = here.local(run), here.served(server.url, name)
    assert differences(f"adapter of {run}, float32", ours, theirs) == []
    sure = {one.key: one.confidence for one in ours}
    assert {one.key: one.confidence for one in theirs} == pytest.approx(sure, abs=2e-3)


def test_the_base_is_served_beside_them(server: Vllm, here: Made, page: str) -> None:
    with pytest.raises(DocvlmError) as caught:
        Chat(server.url)
    assert f"3 models there; choose with served=…: {BASE}, " in str(caught.value)
    (words,) = [w for w in commands(page, "python", "-m", "docvlm.evaluate") if w[-1] in OURS]
    base = here.served(server.url, OURS[words[-1]].removeprefix("served="))
    assert differences("the base, float32", here.local(None), base) == []
    assert [one.prediction for one in base] != [one.prediction for one in here.local("r16")]


def test_two_pages_and_sides_that_are_no_multiple_of_28(server: Vllm, here: Made) -> None:
    """Resized here, as an evaluation does, and by the server's own processor."""
    ours = here.local("r16", *ODD)
    assert {one.n_pages for one in ours} == {1, 2}
    assert differences("odd pages", ours, here.served(server.url, "invoices", *ODD)) == []
    bare = here.served(server.url, "invoices", *ODD, "budget.min_pixels=null", "budget.max_pixels=null")
    found = differences("odd pages, resized by the server", ours, bare)
    assert len(found) <= 0.1 * len(ours), "another resampling, nearly the same pixels"


def test_json_of_a_schema(server: Vllm, here: Made, page: str, capsys: pytest.CaptureFixture[str]) -> None:
    (schema,) = commands(page, "echo")
    Path(schema[-1]).write_text(schema[1])
    (words,) = [w for w in commands(page, "python", "-m", "docvlm.evaluate") if "json_schema=answer.json" in w]
    capsys.readouterr()
    found = here.served(server.url, "invoices", "limit=8", *words[5:])
    said = capsys.readouterr().out
    assert "before they were whole" not in said
    assert not any(one.prediction.startswith("{") for one in found)
