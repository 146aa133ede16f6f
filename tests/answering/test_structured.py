"""Answers that may be only some texts, or JSON of a schema: said to the server, and looked at when they come."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from docvlm.answering.chat import Chat, data_url
from docvlm.answering.structured import Choices, JsonSchema
from docvlm.config import BudgetConf
from docvlm.errors import DocvlmError
from docvlm.evaluate import main
from tests.answering.test_endpoint import answers
from tests.evaluation.test_evaluate import refused, table
from tests.support.served import Served, completion, config, evaluate
from tests.support.tiny import Paper

HOST = "http://host/v1"
TINY = ("scale=tiny", "limit=8")
SCHEMA = {
    "type": "object",
    "properties": {"answer": {"type": "string"}, "letters": {"type": "integer"}},
    "required": ["answer", "letters"],
}


@pytest.fixture
def schema(tmp_path: Path) -> Path:
    pytest.importorskip("jsonschema", reason="the `schema` extra is not installed")
    path = tmp_path / "answer.json"
    path.write_text(json.dumps(SCHEMA))
    return path


def record(folder: Path) -> dict[str, Any]:
    """What an evaluation says of itself."""
    found: dict[str, Any] = json.loads((Path(table(folder)[0]["ours"]["folder"]) / "evaluation.json").read_text())
    return found


def test_only_choices_are_answered(server: Served) -> None:
    free = answers(evaluate(server.url))
    chosen = [free[0].prediction, "none of these"]
    main([*TINY, f"endpoint={server.url}", f"choices=['{chosen[0]}','{chosen[1]}']"])
    folder = Path("outputs/endpoint/tiny")
    held = answers(folder)
    assert {one.prediction for one in held} <= set(chosen) and held[0].prediction == chosen[0]
    assert record(folder)["choices"] == chosen
    (before, after) = (
        [body for body in server.bodies if ("structured_outputs" in body) is told] for told in (False, True)
    )
    assert len(before) == len(after) == 8, "answers of before are not taken for these"
    assert all(body["structured_outputs"] == {"choice": chosen} for body in after)
    assert all(set(body) == {"model", "messages", "max_tokens", "temperature", "logprobs"} for body in before)


def test_json_of_a_schema_of_which_a_field_is_scored(server: Served, schema: Path) -> None:
    free = evaluate(server.url)
    said, headline = [one.prediction for one in answers(free)], table(free)[0]["ours"]["headline"]
    whole = evaluate(server.url, json_schema=str(schema))
    assert [json.loads(one.prediction)["answer"] for one in answers(whole)] == said
    assert table(whole)[0]["ours"]["headline"] < headline
    part = evaluate(server.url, json_schema=str(schema), json_field="answer")
    assert [one.prediction for one in answers(part)] == said
    assert table(part)[0]["ours"]["headline"] == headline
    assert (record(part)["json_schema"], record(part)["json_field"]) == (SCHEMA, "answer")
    number = evaluate(server.url, json_schema=str(schema), json_field="letters")
    assert [one.prediction for one in answers(number)] == [str(len(text)) for text in said]
    told = server.bodies[-1]["response_format"]
    assert (told["type"], told["json_schema"]["schema"], told["json_schema"]["strict"]) == ("json_schema", SCHEMA, True)


def test_a_server_that_passes_over_it_is_noticed_at_the_first_answer(server: Served, schema: Path) -> None:
    server.knows = ()
    for more, line in (
        ({"choices": ["yes", "no"]}, "an answer that is none of choices=[yes, no]: "),
        ({"json_schema": str(schema)}, "an answer that is no JSON ("),
    ):
        before = server.requests
        with pytest.raises(DocvlmError) as caught:
            evaluate(server.url, concurrency=1, **more)
        field = "structured_outputs" if "choices" in more else "response_format"
        assert str(caught.value).startswith(f"endpoint={server.url}: {line}")
        assert f"; the server does not hold to {field} in a request" in str(caught.value)
        assert server.requests == before + 1
    assert not [*Path("outputs").glob("endpoint/*/*/predictions.jsonl")], "no such answer is kept"
    server.fault = lambda handler, number: handler.reply(200, completion('{"answer": 1, "letters": 1}'))
    with pytest.raises(DocvlmError, match=r"json_schema does not allow \(\$\.answer: 1 is not of type 'string'\)"):
        evaluate(server.url, json_schema=str(schema))


def test_what_a_limit_on_tokens_cut_is_counted(
    server: Served, schema: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.cut = 9
    folder = evaluate(server.url, json_schema=str(schema), json_field="answer")
    assert [(one.prediction, one.truncated) for one in answers(folder)] == [('{\n "answe', True)] * 8
    assert "json_schema: 8 answers ended at max_new_tokens=32 before they were whole" in capsys.readouterr().out
    server.cut = 2
    assert {one.prediction for one in answers(evaluate(server.url, choices=["yes", "yesterday"]))} == {"ye"}
    server.fault = lambda handler, number: handler.reply(200, completion("no idea", "length"))
    with pytest.raises(DocvlmError, match="none of choices"):
        evaluate(server.url, choices=["yes", "yesterday"], rerun=True)


def test_from_python(server: Served) -> None:
    said = Chat(server.url).ask([data_url(Paper("a").open())], "What?", 8, Choices(("yes", "no")))
    assert said.text in ("yes", "no") and said.confidence is not None


def test_confidence_needs_probabilities(server: Served) -> None:
    assert all(one.confidence is None for one in answers(evaluate(server.url, logprobs=False)))
    assert all("logprobs" not in body for body in server.bodies)


def test_the_most_confident_page_of_a_document_stands(server: Served) -> None:
    pages = ["benchmarks=[mpdocvqa]", "data.mpdocvqa.pages=each"]
    main([*TINY, *pages, "output=here"])
    main([*TINY, *pages, f"endpoint={server.url}"])
    here, there = (answers(Path(folder), "mpdocvqa-generated") for folder in ("here", "outputs/endpoint/tiny"))
    assert [(one.prediction, one.page) for one in here] == [(one.prediction, one.page) for one in there]
    assert len({one.page for one in there}) > 1
    assert len(server.bodies) > len(there), "every page was asked about"


def test_a_page_cannot_be_chosen_where_a_server_says_no_probabilities(
    server: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    server.fault = lambda handler, number: handler.reply(200, completion("said"))
    line = refused(
        capsys, *TINY, f"endpoint={server.url}", "benchmarks=[mpdocvqa]", "data.mpdocvqa.pages=each", "concurrency=1"
    )
    assert "an answer to one of its pages came without logprobs" in line


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"choices": ["yes"]}, "choices=['yes']: a server decodes so, and a model that is loaded here does not"),
        ({"endpoint": HOST, "choices": []}, "choices=[]: name at least one text"),
        ({"endpoint": HOST, "choices": ["yes", "no "]}, "choices=['no ']: a text without space around it"),
        ({"endpoint": HOST, "choices": ["yes", ""]}, "choices=['']: a text without space around it"),
        ({"endpoint": HOST, "choices": ["yes", "yes"]}, "choices=['yes', 'yes']: name each only once"),
        ({"json_schema": "."}, "json_schema=.: a server decodes so"),
        ({"endpoint": HOST, "json_schema": "absent.json"}, "json_schema=absent.json: there is no such file or folder"),
        ({"endpoint": HOST, "json_schema": ".", "choices": ["a"]}, "give one of choices and json_schema, not both"),
        ({"endpoint": HOST, "json_field": "answer"}, "json_field=answer: the part of a JSON answer that is scored"),
    ],
)
def test_impossible_values_are_refused(values: dict[str, Any], line: str) -> None:
    with pytest.raises(DocvlmError) as caught:
        config(**{"budget": BudgetConf(), **values} if "endpoint" in values else values).check()
    assert line in str(caught.value)


@pytest.mark.parametrize(
    ("text", "field", "line"),
    [
        ("{", None, "cannot be read: Expecting property name"),
        ("[1]", None, "no JSON schema, which is an object in braces"),
        ('{"type": "text"}', None, "json_schema: no JSON schema: $.type: 'text' is not valid under any of the"),
        ('{"type": "object"}', "answer", "json_field=answer: the schema does not require it"),
    ],
)
def test_a_file_that_holds_no_schema_is_refused_before_anything_is_asked(
    server: Served, schema: Path, text: str, field: str | None, line: str
) -> None:
    schema.write_text(text)
    with pytest.raises(DocvlmError) as caught:
        evaluate(server.url, json_schema=str(schema), json_field=field)
    assert line in str(caught.value)
    assert server.keys == set(), "nothing was asked"


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("docvlm.answering.structured.find_spec", lambda name: None)
    with pytest.raises(DocvlmError, match=r"jsonschema, .* is not installed; pip install 'docvlm\[schema\]'"):
        JsonSchema(SCHEMA)
