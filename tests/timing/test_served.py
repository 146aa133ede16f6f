"""`docvlm.benchmark endpoint=URL`: a server of the same weights as one more point, with its price and its mistakes."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from docvlm import load as load_reader
from docvlm.benchmark import main
from docvlm.config import BenchmarkConfig, Job
from docvlm.config.compose import load
from docvlm.errors import DocvlmError
from docvlm.scoring.predictions import read
from docvlm.timing import record
from tests.support.runs import finished
from tests.support.served import Served, after, serving

SMALL = (
    "scale=tiny", "limit=8", "pages=2", "warmup=1", "batch=1", "budgets=[47040]", "retries=0",
    "data.docvqa.max_new_tokens=2",
)  # fmt: skip


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """A server of a run's weights; `tmp_path` is the working directory."""
    monkeypatch.chdir(tmp_path)
    reader = load_reader(finished())
    with serving(reader) as served:
        yield served


def measured(tmp_path: Path, *words: str) -> tuple[dict[str, Any], list[dict[str, str]]]:
    """The record of a benchmark and its table of costs."""
    given = [*SMALL, f"run={finished()}", f"output={tmp_path / 'out'}", *words]
    main.__wrapped__(load("benchmark", BenchmarkConfig, given), Job(Path("outputs"), tuple(given)))  # type: ignore[attr-defined]
    (file,) = record.files([tmp_path / "out"])
    with (file.parent / "costs.csv").open(newline="") as costs:
        return record.read(file), list(csv.DictReader(costs))


def texts(point: dict[str, Any]) -> dict[str, str]:
    """What a point answered."""
    return {record.key: record.prediction for record in read(Path(point["answers"]) / "predictions.jsonl")}


def test_a_server_is_a_point_beside_the_page_sizes(
    server: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prices = tmp_path / "prices.yaml"
    row = {"name": "a GPU", "device": "H100", "usd_per_hour": 3.6, "source": "a list", "date": "2026-11-30", "note": ""}
    prices.write_text(json.dumps({"machines": [row], "apis": []}))
    found, costs = measured(
        tmp_path, f"endpoint={server.url}", "served_on=NVIDIA H100 80GB", "concurrency=4", f"prices={prices}"
    )
    torch, served = found["points"]
    assert (served["resolution"], served["served"], served["endpoint"]) == ("served", "tiny", server.url)
    assert texts(served) == texts(torch) and served["difference_to_first"]["n"] == torch["score"]["n"]
    single, together = served["single"], served["batched"]
    assert (single["batch"], single["n"], together["batch"], together["n"]) == (1, 2, 4, 20)
    assert 0 < single["prepare_p50_ms"] < single["p50_ms"] and single["first_token_p50_ms"] is None
    assert single["peak_memory_mb"] is None, "a server does not say"
    assert server.most == 4, "so many at once, and no more"

    timed = [page.tobytes() for page, _ in server.asked[: 1 + 2 + 20]]
    assert len(set(timed)) == len(timed), "no page is one that it has read before"
    assert len({bytes[3:] for bytes in timed}) == 2, "they differ by their first pixel"
    assert {body["max_tokens"] for body in server.bodies} == {2}

    by = {row["resolution"]: row for row in costs}
    assert by["served"]["name"] == "a GPU" and by["served"]["device"] == "NVIDIA H100 80GB"
    assert float(by["served"]["usd_per_1000_pages"]) == pytest.approx(single["mean_ms"] / 1000)
    assert float(by["served"]["usd_per_1000_pages_batched"]) == pytest.approx(1 / together["pages_per_s"])
    assert by["47040"]["name"] != "a GPU", "what ran here is not priced as what ran there"
    said = capsys.readouterr().out
    assert "\nserved: anls " in said and "pages/s with 4 at once" in said and "served " in said


def test_a_server_on_a_device_that_nobody_named_has_no_price(server: Served, tmp_path: Path) -> None:
    found, costs = measured(tmp_path, f"endpoint={server.url}", "concurrency=1")
    served = found["points"][-1]
    assert served["batched"] is None and served["device"] is None
    assert "served" not in {row["resolution"] for row in costs}


def test_a_server_that_fails_leaves_no_record(server: Served, tmp_path: Path) -> None:
    server.fault = after(3, lambda handler, number: handler.send_error(500) or True)  # type: ignore[func-returns-value]
    with pytest.raises(DocvlmError, match=r"endpoint=http://127\.0\.0\.1:\d+/v1: 500"):
        measured(tmp_path, f"endpoint={server.url}")
    assert not record.files([tmp_path])


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("best=true",), "endpoint=.*it serves one model; give run=DIR"),
        (("concurrency=0",), "concurrency=0: 1 or more"),
        (("served=other",), "no model 'other' there"),
    ],
)
def test_mistakes_are_one_line(words: tuple[str, ...], line: str, server: Served, tmp_path: Path) -> None:
    run = () if "best=true" in words else (f"run={finished()}",)
    with pytest.raises(DocvlmError, match=line):
        cfg = load("benchmark", BenchmarkConfig, [*SMALL, *run, f"endpoint={server.url}", *words])
        cfg.check()
        main.__wrapped__(cfg, Job(Path("outputs"), SMALL))  # type: ignore[attr-defined]
    assert not server.requests


def test_a_device_without_a_server_is_refused() -> None:
    with pytest.raises(DocvlmError, match="served_on=H100: the device of endpoint=URL"):
        load("benchmark", BenchmarkConfig, [*SMALL, "served_on=H100"]).check()


def test_florence_2_is_not_asked_by_chat(server: Served, tmp_path: Path) -> None:
    words = [*SMALL[:-3], "model=florence2", f"endpoint={server.url}", f"output={tmp_path / 'out'}"]
    with pytest.raises(DocvlmError, match="Florence-2 is not asked by chat"):
        main.__wrapped__(load("benchmark", BenchmarkConfig, words), Job(Path("outputs"), tuple(words)))  # type: ignore[attr-defined]
