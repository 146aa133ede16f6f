"""Whatever can go wrong with an endpoint is one line that names it and says what to do; nothing half-made is left."""

from __future__ import annotations

import socket
import time
from pathlib import Path
from typing import Any

import pytest

from docvlm.answering.chat import KEY
from docvlm.config import BudgetConf
from docvlm.errors import DocvlmError
from docvlm.evaluate import main
from tests.evaluation.test_evaluate import refused, table
from tests.support.served import Fault, Handler, Served, completion, config, evaluate

TINY = ("scale=tiny", "limit=2", "retries=0", "timeout=5")


def said_nothing(handler: Handler, number: int) -> bool:
    """What a reasoning model answers where its tokens end before it has come to an answer."""
    return handler.reply(200, completion(None, "length"))


def slept(handler: Handler, number: int) -> bool:
    """Longer than the time-out."""
    time.sleep(1.2)
    return True


WRONG: dict[str, tuple[Fault, str]] = {
    "no JSON": (lambda at, _: at.reply(200, "<html>\nhello"), "no chat completion: <html> hello"),
    "another JSON": (lambda at, _: at.reply(200, {"text": "x"}), 'no chat completion: {"text": "x"}'),
    "no choice": (lambda at, _: at.reply(200, {"choices": []}), "no chat completion"),
    "no text": (said_nothing, "an answer without text (finish_reason length)"),
    "too long": (
        lambda at, _: at.reply(400, {"object": "error", "message": "maximum context length"}),
        "refused the request (400): maximum context length",
    ),
    "model gone": (lambda at, _: at.fail(404, "no such model"), "no such model; give the model with served=…"),
    "moved": (
        lambda at, _: at.reply(307, "", Location="https://elsewhere.example/v1"),
        "points elsewhere (307, to https://elsewhere.example/v1); give that address",
    ),
    "time-out": (slept, "no answer within 0.3 s; raise timeout=…"),
    "lost": (lambda at, _: at.hang_up(), "cannot be reached ("),
}


@pytest.mark.parametrize("name", WRONG)
def test_whatever_a_server_does_wrong_is_one_line(
    server: Served, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    server.fault, expected = WRONG[name]
    with pytest.raises(DocvlmError) as caught:
        evaluate(server.url, retries=0, timeout=0.3 if name == "time-out" else 5.0)
    line = str(caught.value)
    assert line.startswith(f"endpoint={server.url}: ") and expected in line and "\n" not in line
    assert list(Path("outputs").iterdir()) == [], "nothing is left of no answer"


def test_mistakes_about_the_model_cost_no_question(server: Served) -> None:
    server.names = ("base", "docvlm/invoices")
    bare = server.url.removesuffix("/v1")
    for url, served, line in (
        (f"{server.url}/", None, "2 models there; choose with served=…: base, docvlm/invoices"),
        (server.url, "invoices", "no model 'invoices' there; choose with served=…: base, docvlm/invoices"),
        (bare, None, f"endpoint={bare}: no list of models there (404); check the address (/v1?)"),
    ):
        with pytest.raises(DocvlmError) as caught:
            evaluate(url, served=served)
        assert line in str(caught.value)
    assert server.requests == 0
    evaluate(server.url, served="docvlm/invoices", limit=2)
    assert table(Path("outputs/endpoint/docvlm-invoices"))[0]["family"] == "docvlm/invoices"
    server.lists = False  # some servers have no list: the name is taken as it is given
    evaluate(server.url, served="base", limit=2)
    assert table(Path("outputs/endpoint/base"))[0]["ours"]["served"] == "base"


def test_an_endpoint_that_is_not_there(server: Served, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    line = refused(capsys, *TINY, f"endpoint=http://127.0.0.1:{port}/v1")
    assert f"endpoint=http://127.0.0.1:{port}/v1: cannot be reached (" in line
    assert "is the server running" in line and "refused" in line
    assert not Path("outputs").exists() or list(Path("outputs").iterdir()) == []


def test_the_key_is_sent_and_goes_nowhere_else(
    server: Served, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    server.key = "sk-very-secret"
    monkeypatch.setenv("OPENAI_API_KEY", "sk-for-another")
    lines = []
    for key in (None, "sk-wrong", "sk-very secret"):
        if key is not None:
            monkeypatch.setenv(KEY, key)
        with pytest.raises(DocvlmError) as caught:
            evaluate(server.url)
        lines.append(str(caught.value))
    monkeypatch.setenv(KEY, f"{server.key}\n")
    server.fault = lambda handler, number: handler.fail(400, f"what is {handler.headers['Authorization']} to me")
    with pytest.raises(DocvlmError) as caught:
        evaluate(server.url)
    lines.append(str(caught.value))
    assert server.keys == {None, "Bearer sk-wrong", f"Bearer {server.key}"}
    assert f"refused (401: Unauthorized); give the key in the environment variable {KEY}" in lines[0]
    assert f"refused (401: Unauthorized); give another key in the environment variable {KEY}" in lines[1]
    assert lines[2].startswith(f"{KEY}: holds characters that no key has")
    assert "refused the request (400): what is Bearer … to me" in lines[3]
    server.fault = lambda handler, number: False
    main([*TINY, f"endpoint={server.url}", "hydra.run.dir=outputs/kept", "hydra.output_subdir=told"])
    captured = capsys.readouterr()
    files = [path for path in Path().rglob("*") if path.is_file()]
    assert any(path.name == "overrides.yaml" for path in files) and any(path.name == "table.json" for path in files)
    assert [path for path in files if b"sk-" in path.read_bytes()] == []
    assert "sk-" not in "".join([captured.out, captured.err, *lines])


HOST = "http://host/v1"


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"endpoint": "localhost:8000/v1"}, "endpoint=localhost:8000/v1: give the address of an OpenAI-compatible API"),
        ({"endpoint": "http://localhost:port/v1"}, "give the address of an OpenAI-compatible API, such as http://"),
        ({"endpoint": "http://me:secret@host/v1"}, "endpoint=host/v1: an address is written into results"),
        ({"endpoint": f"{HOST}?key=secret"}, f"endpoint={HOST}: an address is written into results"),
        ({"endpoint": HOST, "run": "."}, "give one of run and endpoint, not both"),
        ({"endpoint": HOST, "concurrency": 0}, "concurrency=0: 1 or more documents"),
        ({"endpoint": HOST, "timeout": 0.0}, "timeout=0.0: seconds, above 0"),
        ({"endpoint": HOST, "retries": -1}, "retries=-1: 0 or more tries"),
        ({"endpoint": HOST, "served": ""}, "served='': the model's name at the endpoint"),
        ({"endpoint": HOST, "budget": BudgetConf(784)}, "budget.max_pixels=None: qwen2vl needs it"),
        ({"served": "name"}, "served=name: a model of endpoint=URL; give that too"),
    ],
)
def test_impossible_values_are_refused_before_anything_is_asked(values: dict[str, Any], line: str) -> None:
    config(endpoint=HOST, budget=BudgetConf()).check()
    with pytest.raises(DocvlmError) as caught:
        config(**values).check()
    assert line in str(caught.value)
    assert "secret" not in str(caught.value)


def test_another_family_is_refused_on_the_command_line(server: Served, capsys: pytest.CaptureFixture[str]) -> None:
    line = refused(capsys, f"endpoint={server.url}", "scale=tiny", "model=florence2")
    assert line.startswith("error: model=florence2: a served model is asked by chat, and its pages are resized as Qwen")
    assert server.keys == set(), "nothing was asked"
