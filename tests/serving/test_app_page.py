"""docs/guide/app.md: its flags exist, its commands parse, and its Python talks to a page that is served."""

from __future__ import annotations

import re
import threading
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from docvlm import app
from docvlm.serving.reader import load
from tests.support import app_browser, asked

VERB = "docvlm-app"


@pytest.fixture(scope="module")
def text(root: Path) -> str:
    return (root / "docs" / "guide" / "app.md").read_text(encoding="utf-8")


def test_every_flag_the_page_names_exists(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        app.main(["--help"])
    known = set(re.findall(r"--[a-z-]+", capsys.readouterr().out))
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text))
    assert named <= known
    assert known - {"--help"} <= named, "and the page leaves none out"


@pytest.mark.skipif(find_spec("gradio") is None, reason="no gradio here")
def test_the_endpoint_answers_one_at_a_time(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two programs and what they are answered; the models are never asked twice at once."""
    from gradio_client import Client, handle_file
    from gradio_client.exceptions import AppError
    from httpx import HTTPStatusError

    page = tmp_path / "invoice.png"
    asked.image("total").save(page)
    monkeypatch.chdir(tmp_path)
    inside: list[int] = []
    most: list[int] = []
    with app_browser.served(asked.reading_run()) as (where, desk):
        for model in desk.models:
            inner = model.reader.vlm.generate

            def generate(*arguments: Any, inner: Any = inner) -> Any:
                inside.append(1)
                most.append(len(inside))
                time.sleep(0.05)
                try:
                    return inner(*arguments)
                finally:
                    inside.pop()

            monkeypatch.setattr(model.reader.vlm, "generate", generate)
        (code,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
        code = code.replace("http://127.0.0.1:7860", where)
        other = threading.Thread(target=lambda: exec(compile(code, "docs/guide/app.md", "exec"), {}))
        other.start()
        client = Client(where, verbose=False)
        jobs = [client.submit(handle_file(str(page)), "Who has to pay?", 1, api_name="/ask") for _ in range(2)]
        (found,) = jobs[0].result(timeout=60)
        other.join()
        with pytest.raises(AppError, match=r"invoice.png: has one page, so there is no page 2"):
            client.predict(handle_file(str(page)), "x?", 2, api_name="/ask")
        with pytest.raises(HTTPStatusError, match="400 Bad Request") as refused:
            client.predict(handle_file("https://example.com/invoice.png"), "x?", 1, api_name="/ask")
        assert refused.value.response.json() == {"detail": "give a file, not an address"}
        assert list(client.view_api(return_format="dict")["named_endpoints"]) == ["/ask"]
    expected = load(asked.reading_run()).ask(page, "Who has to pay?")
    ours, theirs = found["answers"]
    assert (found["question"], ours["model"], theirs["model"]) == ("Who has to pay?", "fine-tuned", "base")
    assert (ours["answer"], ours["tokens"]) == (expected.text, expected.tokens)
    assert ours["confidence"] == pytest.approx(expected.confidence, abs=1e-3)
    assert "Who has to pay? [('fine-tuned', " in capsys.readouterr().out
    assert len(most) >= 6 and set(most) == {1}
