"""`docvlm.evaluate endpoint=URL` against a local server with the embedded model: the score of the local path, to the
last digit, in any order and after any interruption."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoProcessor

from docvlm.answering import chat
from docvlm.answering.chat import Chat, data_url
from docvlm.answering.endpoint import Endpoint
from docvlm.config import BudgetConf
from docvlm.data.example import Example
from docvlm.evaluate import main
from docvlm.metrics import METRICS
from docvlm.reporting.inputs import answers as answered
from docvlm.reporting.inputs.measured import Measured
from docvlm.reporting.inputs.scored import examine
from docvlm.reporting.page.highlights import highlights
from docvlm.scoring.predictions import Prediction, read
from docvlm.serving.reader import Reader
from docvlm.vlms import embedded
from docvlm.vlms.codec import Budget
from docvlm.vlms.families import FAMILIES
from docvlm.vlms.qwen2vl.codec import PATCH, resized
from tests.evaluation.test_evaluate import csv_rows, refused, table
from tests.support.served import Handler, Served, after, completion, evaluate, late
from tests.support.tiny import Paper

TINY = ("scale=tiny", "limit=8")
HOW = FAMILIES["qwen2vl"].served
assert HOW is not None


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tables of the same weights, evaluated in this process."""
    folder = tmp_path_factory.mktemp("local")
    main([*TINY, f"output={folder}", "controls=true"])
    return folder


def answers(folder: Path, label: str = "docvqa-generated") -> list[Prediction]:
    (row,) = (row for row in table(folder) if row["benchmark"] == label)
    return sorted(read(Path(row["ours"]["folder"]) / "predictions.jsonl"), key=lambda p: p.question_id)


def said(predictions: list[Prediction]) -> list[tuple[Any, ...]]:
    """All of an answer but how long it took."""
    return [(p.key, p.prediction, p.scores, p.truncated) for p in predictions]


def controls(folder: Path) -> list[dict[str, str]]:
    """What controls found, without who was asked."""
    rows = csv_rows(folder / "controls.csv")
    return [{name: value for name, value in row.items() if name not in ("family", "subject")} for row in rows]


def test_the_score_of_the_local_path_to_the_last_digit(
    server: Served, local: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main([*TINY, f"endpoint={server.url}", "controls=true"])
    folder = Path("outputs/endpoint/tiny")
    (here,), (there,) = table(local), table(folder)
    for name in ("metric", "headline", "interval", *METRICS, "by_document_type"):
        assert there["ours"][name] == here["ours"][name], name
    assert said(answers(folder)) == said(answers(local))
    assert len({p.prediction for p in answers(folder)}) > 4, "answers that tell questions apart"
    sure = {p.key: p.confidence for p in answers(local)}
    assert {p.key: p.confidence for p in answers(folder)} == pytest.approx(sure, abs=1e-4)
    assert controls(folder) == controls(local)
    shown = capsys.readouterr().out
    assert f"endpoint: tiny at {server.url}, 8 documents at once" in shown
    assert f"tiny at {server.url} on docvqa-generated test: anls" in shown
    names = {path.name for path in folder.iterdir() if path.is_file()}
    assert {"table.json", "table.csv", "failures.csv", "failed.csv", "controls.json"} <= names
    assert [path.name for path in Path("outputs").iterdir()] == ["endpoint"], "the command's own folder is gone"


def test_results_and_the_report_say_which_endpoint_and_which_model(server: Served) -> None:
    folder = evaluate(server.url, split="val", benchmarks=["chartqa"])
    (row,) = table(folder)
    assert (row["family"], row["ours"]["subject"]) == ("tiny", f"at {server.url}")
    assert (row["ours"]["endpoint"], row["ours"]["served"], row["ours"]["run"]) == (server.url, "tiny", None)
    record = json.loads((Path(row["ours"]["folder"]) / "evaluation.json").read_text())
    assert (record["endpoint"], record["served"], record["max_new_tokens"]) == (server.url, "tiny", 16)
    unset = dict.fromkeys(("height", "width", "jpeg_quality", "longest_edge", "max_tiles"))
    assert record["budget"] == {"min_pixels": 784, "max_pixels": 65536, **unset}
    assert record["instruction"] == ["\nAnswer the question with a single word."]
    assert all(text.endswith(record["instruction"][0]) for _, text in server.asked)
    (found,), passed_over = answered.evaluated([Path("outputs")], Path("outputs/report"), [])
    assert (found.name, found.benchmark, found.metric) == (
        f"tiny at {server.url}",
        "chartqa-generated",
        "relaxed_accuracy",
    )
    assert (len(found.records), passed_over) == (8, [])
    details = [highlight.detail for highlight in highlights([examine(found)], Measured((), {}))]
    assert "mean of requests, many at once" in details


def test_many_at_once_in_any_order_give_the_same(server: Served, local: Path) -> None:
    server.fault = late(0.1)
    many = evaluate(server.url, concurrency=4)
    assert server.most > 1, "requests overlapped"
    order = [p.question_id for p in read(Path(table(many)[0]["ours"]["folder"]) / "predictions.jsonl")]
    assert said(answers(many)) == said(answers(local))
    assert table(many)[0]["ours"]["interval"] == table(local)[0]["ours"]["interval"]
    server.most, before = 0, len(server.asked)
    one = evaluate(server.url, concurrency=1, rerun=True)
    assert server.most == 1
    assert len(server.asked) == 2 * before
    assert order != [p.question_id for p in read(Path(table(one)[0]["ours"]["folder"]) / "predictions.jsonl")]
    assert said(answers(one)) == said(answers(local))


def test_pages_larger_than_the_budget_are_sent_as_local_evaluation_sees_them(server: Served) -> None:
    """280 x 168 pixels at a budget of 24 000: both sides give the answers of smaller pages."""
    small = BudgetConf(min_pixels=784, max_pixels=24000)
    evaluate(None, budget=small, output="here")
    there = said(answers(evaluate(server.url, budget=small)))
    assert there == said(answers(Path("here")))
    assert {page.size for page, _ in server.asked} == {(196, 112)}
    asked = len(server.asked)
    assert said(answers(evaluate(server.url, budget=BudgetConf()))) != there
    assert {page.size for page, _ in server.asked[asked:]} == {(280, 168)}


def test_pages_are_opened_one_at_a_time(server: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Charts are drawn by matplotlib, which is not to be used from several threads."""
    inside, most, drawn = [], [], Paper.open

    def watched(page: Paper) -> Image.Image:
        inside.append(page)
        most.append(len(inside))
        time.sleep(0.05)
        inside.remove(page)
        return drawn(page)

    monkeypatch.setattr(Paper, "open", watched)
    server.fault = lambda handler, number: handler.reply(200, completion("x"))
    examples = [Example(f"q{n}", "What?", ("",), f"d{n}", (Paper(f"{n}"),), "docvqa") for n in range(8)]
    found = [one for part in Endpoint(Chat(server.url), Budget(), 4, HOW).answers(examples, 2) for one in part]
    assert {example.question_id for example, _ in found} == {example.question_id for example in examples}
    assert most == [1] * 8


@pytest.mark.parametrize("size", [(1500, 1100), (900, 1300), (120, 90), (3000, 40)])
def test_a_qwen2vl_processor_leaves_what_is_sent_as_it_is(reader: Reader, size: tuple[int, int]) -> None:
    """The one that a server uses, with the budget it was saved with: the pixels of local evaluation, bit for bit."""
    page, processor = Paper("page", *size), AutoProcessor.from_pretrained(embedded.checkpoint("qwen2vl"))
    budget = Budget(*(processor.image_processor.size[edge] for edge in ("shortest_edge", "longest_edge")))
    sent = Endpoint(None, budget, 1, HOW).seen(page)  # type: ignore[arg-type]  # nobody is asked
    local = replace(reader).vlm.codec
    assert local.budget == budget
    example = Example("q", "What?", ("",), "d", (page,), "docvqa")
    ours = local.prompt_batch([example])["pixel_values"]
    theirs = processor.image_processor(images=[sent], return_tensors="pt")["pixel_values"]
    assert torch.equal(ours, theirs)
    assert np.array_equal(np.asarray(sent), np.asarray(resized(page, budget, PATCH)))


def test_what_a_server_cannot_be_asked_is_refused(server: Served, capsys: pytest.CaptureFixture[str]) -> None:
    for word, said in (
        ("page_numbers=true", "data.page_numbers=true: a served model is sent pages without their numbers"),
        ("pages=each", "data.pages=each: the most confident answer of a document's pages stands, and"),
    ):
        assert said in refused(capsys, *TINY, f"endpoint={server.url}", f"data.docvqa.{word}", "logprobs=false")
    assert server.asked == []


def test_an_interrupted_evaluation_goes_on(server: Served, local: Path, capsys: pytest.CaptureFixture[str]) -> None:
    server.fault = after(3, lambda handler, number: handler.fail(500, "out of memory"))
    line = refused(capsys, *TINY, f"endpoint={server.url}", "retries=0", "concurrency=1")
    assert line.startswith(f"error: endpoint={server.url}: 500 after one try: out of memory; ")
    assert line.endswith("Answers so far are kept: the same command goes on")
    (file,) = Path("outputs/endpoint/tiny").glob("*/predictions.jsonl")
    assert len(read(file)) == 3
    assert [path.name for path in Path("outputs").iterdir()] == ["endpoint"]
    server.fault = lambda handler, number: False
    folder = evaluate(server.url)
    assert len(server.asked) == 8, "nothing was asked twice"
    assert said(answers(folder)) == said(answers(local))
    assert "(3 of them from before; rerun=true asks again)" in capsys.readouterr().out
    evaluate(server.url)
    assert len(server.asked) == 8
    assert "(8 of them from before; rerun=true asks again)" in capsys.readouterr().out


def test_what_passes_is_tried_again(server: Served, caplog: pytest.LogCaptureFixture) -> None:
    """Rate limits, errors, lost connections and time-outs on the way change nothing but the time."""

    def fault(handler: Handler, number: int) -> bool:
        if number == 1:
            return handler.fail(429, "slow down", Retry_After="1")
        if number == 2:
            return handler.fail(503, "starting")
        if number == 4:
            return handler.hang_up()
        if number == 6:
            time.sleep(2.5)  # longer than the time-out
        return handler.reply(200, completion("said"))

    server.fault = fault
    began = time.perf_counter()
    folder = evaluate(server.url, concurrency=1, timeout=2.0, retries=3)
    assert time.perf_counter() - began > 1 + 2, "Retry-After and the time-out were waited for"
    assert [p.prediction for p in answers(folder)] == ["said"] * 8
    assert server.requests == 8 + 4
    assert "Retrying (2 more tries) after connection broken by 'ReadTimeoutError" in caplog.text


def test_a_server_cannot_keep_us_waiting_for_hours(server: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat, "LONGEST_WAIT", 0.2)
    server.fault = lambda handler, number: number == 1 and handler.fail(429, "slow down", Retry_After="7200")
    began = time.perf_counter()
    assert Chat(server.url, retries=1).ask([data_url(Paper("a").open())], "What?", 2).text
    assert time.perf_counter() - began < 5
