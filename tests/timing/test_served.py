"""`docvlm.benchmark endpoint=URL`: a server of the same weights as one more point, with its price and its mistakes."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from docvlm import load as load_reader
from docvlm.answering.endpoint import asked_as
from docvlm.benchmark import main
from docvlm.config import BenchmarkConfig, Job
from docvlm.config.compose import load
from docvlm.errors import DocvlmError
from docvlm.scoring.predictions import read
from docvlm.timing import chosen, record, served
from docvlm.vlms.codec import Budget
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
    with serving(reader) as started:
        yield started


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
    torch, point = found["points"]
    assert (point["resolution"], point["served"], point["endpoint"]) == ("served", "tiny", server.url)
    assert texts(point) == texts(torch) and point["difference_to_first"]["n"] == torch["score"]["n"]
    single, together = point["single"], point["batched"]
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
    assert "\nserved: anls " in said and "pages/s with 4 at once" in said
    assert "served: tiny, on NVIDIA H100 80GB; times of requests" in said


def test_a_server_on_a_device_that_nobody_named_has_no_price(server: Served, tmp_path: Path) -> None:
    found, costs = measured(tmp_path, f"endpoint={server.url}", "concurrency=1")
    point = found["points"][-1]
    assert point["batched"] is None and point["device"] is None
    assert "served" not in {row["resolution"] for row in costs}


def test_a_second_benchmark_has_pages_that_the_first_had_not(server: Served, tmp_path: Path) -> None:
    """Its scores are kept, so it asks only what it times."""
    for _ in range(2):
        measured(tmp_path, f"endpoint={server.url}", "concurrency=1")
    first, second = ([page.tobytes() for page, _ in part] for part in (server.asked[:3], server.asked[-3:]))
    assert {page[3:] for page in first} == {page[3:] for page in second}
    assert not set(first) & set(second)


@pytest.mark.parametrize(("prepare_ms", "bounded"), [(9.0, True), (2.0, False)])
def test_a_rate_that_this_machine_bounds_is_told_of(
    prepare_ms: float, bounded: bool, server: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """A hundred pages a second, of which one takes so long to resize."""
    timed = ({"p50_ms": 20.0, "prepare_p50_ms": prepare_ms}, {"pages_per_s": 100.0, "batch": 8})
    monkeypatch.setattr(served, "_timed", lambda *_: timed)
    cfg = load("benchmark", BenchmarkConfig, [*SMALL, f"endpoint={server.url}"])
    served.ask(cfg, asked_as(cfg, "qwen2vl", Budget(784, 47040)), chosen.data(cfg, "docvqa"), print)
    said = capsys.readouterr().out
    assert ("; bounded by resizing pages here, which took 90% of that time" in said) == bounded, said


def test_a_server_that_resizes_pages_itself_is_asked_at_its_own_size() -> None:
    """`model=chat`: pages go as they are, so another size would be that of the points here alone."""
    vlm = SimpleNamespace(family="chat", codec=SimpleNamespace(budget=Budget(longest_edge=1536)))
    cfg = load("benchmark", BenchmarkConfig, ["scale=tiny", "endpoint=http://127.0.0.1:1/v1", "budgets=[edge512]"])
    with pytest.raises(DocvlmError, match="budgets=edge512: a server resizes pages of this model itself, to edge1536"):
        served.connected(cfg, vlm)  # type: ignore[arg-type]


def test_a_server_that_fails_leaves_no_record(
    server: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.fault = after(3, lambda handler, number: handler.send_error(500) or True)  # type: ignore[func-returns-value]
    with pytest.raises(DocvlmError, match=r"endpoint=http://127\.0\.0\.1:\d+/v1: 500"):
        measured(tmp_path, f"endpoint={server.url}")
    assert not record.files([tmp_path])
    assert "47040: anls" not in capsys.readouterr().out, "nothing was measured here that is lost now"


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
