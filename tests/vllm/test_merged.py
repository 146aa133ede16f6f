"""A merged run in float32: the page's command, ways to ask and evaluations, and what vLLM does with a request."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from PIL import Image

from docvlm import evaluate
from docvlm.answering.chat import Chat, data_url, messages
from docvlm.errors import DocvlmError
from docvlm.serving.reader import load
from tests.evaluation.test_evaluate import table
from tests.serving.test_serve_page import asked, commands
from tests.support.vllm import Vllm, serving
from tests.vllm.conftest import Made, differences, serve

ADDRESS = "endpoint=http://localhost:8000/v1"


@pytest.fixture(scope="module")
def server(made: Made, page: str) -> Iterator[Vllm]:
    with serving([*serve(page, lora=False), "--dtype", "float32"], made.folder) as found:
        yield found


def test_its_answers_are_those_of_the_run(server: Vllm, here: Made) -> None:
    ours, theirs = here.local("r16"), here.served(server.url, "invoices")
    assert differences("merged, float32", ours, theirs) == []
    assert len({one.prediction for one in theirs}) > 30
    sure = {one.key: one.confidence for one in ours}
    assert {one.key: one.confidence for one in theirs} == pytest.approx(sure, abs=2e-3)


def test_asking_works_as_the_page_says(server: Vllm, here: Made, page: str, capsys: pytest.CaptureFixture[str]) -> None:
    said = asked(page, server.url, ["invoices"], capsys)
    assert set(said) == {load("outputs/r16").ask("invoice.png", "Who has to pay?").text}


def test_evaluations_of_the_page_run(server: Vllm, here: Made, page: str) -> None:
    (schema,) = commands(page, "echo")
    Path(schema[-1]).write_text(schema[1])
    found = [words[3:] for words in commands(page, "python", "-m", "docvlm.evaluate")]
    asking = [words for words in found if words[0] == ADDRESS and "served=invoices" in words]
    assert len(asking) == 4
    for number, words in enumerate(asking):  # `limit` takes whole documents, and controls need two
        folder = here.folder / f"page-{number}"
        evaluate.main([f"endpoint={server.url}", *words[1:], "limit=12", f"output={folder}"])
        assert all(row["ours"]["n_questions"] > 0 for row in table(folder))


def test_answers_of_a_form(server: Vllm, here: Made) -> None:
    assert {one.prediction for one in here.served(server.url, "invoices", "limit=8", "choices=[yes,no]")} == {
        "yes",
        "no",
    }
    Path("answer.json").write_text(json.dumps({"type": "object", "properties": {"answer": {"type": "string"}}}))
    found = here.served(server.url, "invoices", "limit=8", "json_schema=answer.json")
    whole = [one for one in found if not one.truncated]
    assert all(set(json.loads(one.prediction)) <= {"answer"} for one in whole)
    assert all(one.prediction.startswith("{") for one in found) and whole


def test_guided_choice_is_passed_over(server: Vllm, here: Made) -> None:
    body = {"model": "invoices", "max_tokens": 8, "temperature": 0, "guided_choice": ["yes", "no"]}
    body["messages"] = messages([], "Who has to pay?")
    answer = requests.post(f"{server.url}/chat/completions", json=body, timeout=120)
    assert answer.status_code == 200
    assert answer.json()["choices"][0]["message"]["content"] not in ("yes", "no")


def test_more_pages_than_the_limit_and_more_text_than_there_is_room_for_are_refused(server: Vllm, here: Made) -> None:
    chat, sheet = Chat(server.url), data_url(Image.new("RGB", (280, 168), "white"))
    with pytest.raises(DocvlmError) as caught:
        chat.ask([sheet, sheet], "What?", 8)
    assert "At most 1 image(s)" in str(caught.value)
    with pytest.raises(DocvlmError) as caught:
        chat.ask([sheet], "What? " * 2000, 8)
    assert "context length" in str(caught.value)
