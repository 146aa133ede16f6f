"""The benchmark suite at its smallest: what it compares is equal, and what it writes depends on its results alone."""

from __future__ import annotations

import json
import re
import sys
import time
from argparse import Namespace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForImageTextToText

from bench import (
    chart,
    chat,
    clock,
    decoder,
    documents,
    evaluation,
    florence,
    full_size,
    metrics,
    models,
    operations,
    pages,
    peer_sweep,
    peers,
    precision,
    runtimes,
    sweep,
    table,
    training,
)
from bench.__main__ import SECTIONS, main
from bench.ours import Learner
from bench.suite import Row, Suite, number
from bench.swift import environment
from bench.swift import peer as swift


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Suite:
    return Suite(tmp_path_factory.mktemp("bench"), size="tiny", steps=1)


@pytest.fixture(autouse=True)
def no_swift(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has made the environment of ms-swift does not run it in tests."""
    monkeypatch.setattr(environment, "python", lambda: None)


def differences(rows: list[Row]) -> dict[str, tuple[float | None, float | None]]:
    return {str(row["variant"]): (number(row, "loss"), number(row, "gradient")) for row in rows}


@pytest.mark.parametrize("family", pages.SIDES)
def test_all_trainers_take_the_same_step(suite: Suite, family: str) -> None:
    rows = training.frozen_tower(suite, 12, "DocVQA", family)
    names = {training.TRAINER, training.OFF, training.SHARED, training.STORED}
    found = differences(rows)
    assert found.keys() == names | ({training.TRL, training.CHAT} if find_spec("trl") else set())
    assert found.pop(training.CHAT, (None, None)) == (None, None), "another training: no loss to compare"
    for name, (loss, gradient) in found.items():
        assert loss is not None and loss < 1e-5, name
        assert gradient is not None and gradient < 1e-5, name
        assert (gradient > 0) == (name != training.OFF), "another path, and so another rounding"
    assert all(row["ms"] and row["ratio"] and row["ratio_off"] for row in rows)
    assert all(row["ratio_chat"] for row in rows) if find_spec("trl") else True
    bound = {row["variant"]: number(row, "ratio_off_flops") or 0 for row in rows}
    assert bound[training.STORED] > bound[training.SHARED] > bound[training.OFF] == 1
    if find_spec("trl"):
        flops = {row["variant"]: number(row, "ratio_chat_flops") or 0 for row in rows}
        assert flops[training.STORED] > flops[training.CHAT] == 1 > flops[training.TRL]


STAND_IN = """#!{python}
import json, os, sys
asked, taken = (os.fdopen(int(os.environ[f"TURNS_{{name}}"]), mode) for name, mode in (("ASKED", "r"), ("TAKEN", "w")))
words = dict(zip(sys.argv, sys.argv[1:]))
rows = [json.loads(line) for line in open(words["--dataset"])]
size = int(words["--per_device_train_batch_size"])
for number in range(2):
    if not asked.readline():
        break
    batch = rows[number * size : (number + 1) * size]
    print(json.dumps({{"seconds": 0.5 + number, "tokens": len(batch[0]["messages"])}}), file=taken, flush=True)
print("no more", os.path.exists(words["--model"] + "/model.safetensors"), os.environ["TURNS_IMAGE_TOKEN"])
"""


def test_ms_swift_takes_a_step_when_it_is_asked(suite: Suite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a program in its place: a row a page with its questions as turns, its steps in turn, the end of its log."""
    steps = pages.cut(pages.of_tokens(tmp_path / "pages", 12, [2, 3, 2, 2], "tiny"), 2)
    processor = models.prepared("qwen2vl", suite.checkpoint("qwen2vl"), pages.budget(12)).codec.processor
    made = partial(swift.Swift, suite.checkpoint("qwen2vl"), processor, 16, steps)
    with pytest.raises(environment.CannotCompare, match=r"python -m bench\.swift"):
        made(tmp_path / "none").__enter__()

    program = tmp_path / "python"
    program.write_text(STAND_IN.format(python=sys.executable))
    program.chmod(0o755)
    monkeypatch.setattr(environment, "python", lambda: program)
    with made(tmp_path / "swift") as peer:
        assert [peer.step(0), peer.step(1)] == [0.5, 1.5]
        assert peer.tokens == [4, 4], "two questions and two answers on the first page of each step"
        with pytest.raises(RuntimeError, match="ended:\nno more True 6"):
            peer.step(2)
    row = json.loads((tmp_path / "swift" / "chats.jsonl").read_text().splitlines()[1])
    first = steps[0][2]  # of the second page
    assert row["images"] == [first.pages[0].name]
    assert [turn["role"] for turn in row["messages"]] == ["user", "assistant"] * 3
    assert row["messages"][0]["content"] == f"<image>{first.question}{first.instruction}"
    assert [turn["content"] for turn in row["messages"][1::2]] == [one.target for one in steps[0][2:]]


def test_runtimes_stand_beside_each_other_on_the_same_work() -> None:
    """Ratios by rounds, memory beside float32's; an answer that ends early would be a shorter time."""

    def row(ms: float, peak: float) -> dict[str, Any]:
        return {"format": "one", "latency": {"p50_ms": ms, "peak_memory_mb": peak, "new_tokens": 4.0}}

    rows = {
        "transformers, float32": [row(100, 1000), row(200, 1000)],
        "OpenVINO, int8": [row(10, 250), row(40, 250)],
        "transformers, bf16": [row(50, 600), row(50, 600)],
    }
    assert "| OpenVINO, int8 | 25 | 7.5 | 3.1 | 250 | 0.25 |" in runtimes.table(rows)
    assert runtimes.alike(rows["OpenVINO, int8"], 4) == rows["OpenVINO, int8"]
    with pytest.raises(RuntimeError, match=r"one: answers of 4\.0 tokens, not of 5"):
        runtimes.alike(rows["OpenVINO, int8"], 5)


def test_the_operations_of_a_step_are_counted() -> None:
    """A product forward, its two backward; attention's two, and their four."""
    x, weight = torch.randn(1, 1, 5, 8, requires_grad=True), torch.randn(8, 8, requires_grad=True)
    assert operations.flops(lambda: (x @ weight).sum().backward()) == 3 * 2 * 5 * 8 * 8

    attend = torch.nn.functional.scaled_dot_product_attention
    assert operations.flops(lambda: attend(x, x, x).sum().backward()) == 6 * 2 * 5 * 5 * 8


@pytest.mark.skipif(not find_spec("trl"), reason="the `bench` extra is not installed")
def test_the_difference_shows_another_answer(suite: Suite) -> None:
    """A control: one answer more in the labels, and TRL's gradient is not ours."""
    asked = pages.of_tokens(suite.folder / "control", 12, [2], "tiny")
    vlm = models.prepared("qwen2vl", suite.checkpoint("qwen2vl"), pages.budget(12))
    loss, plain = Learner(vlm, asked, suite.folder / "control" / "features").exact(packed=False)
    other = peers.trl(models.stock(vlm), vlm.codec, [asked[0][:1]], suite.folder / "control" / "trl").exact()
    assert abs(other[0] - loss) > 1e-4 and clock.difference(other[1], plain) > 1e-2


def test_a_learning_tower(suite: Suite) -> None:
    found = differences(training.learning_tower(suite, 12))
    assert found.keys() == {training.OFF, training.SHARED}
    assert all(loss is not None and loss < 1e-5 for loss, _ in found.values())
    assert all(gradient is not None and gradient < 1e-4 for _, gradient in found.values())


@pytest.mark.slow
def test_a_frozen_decoder(suite: Suite) -> None:
    found = differences(decoder.frozen_decoder(suite, 12, 66))
    peer = training.TRL if find_spec("trl") else training.TRAINER
    assert found.pop(peer) == found.pop(decoder.ALL) == (None, None), "all blocks learn: another gradient"
    assert found.pop(decoder.CHAT, (None, None)) == (None, None)
    ways = {training.OFF, training.SHARED, training.STORED, decoder.PREFILL}
    assert found.keys() == ways | {decoder.SAME.format(peer)}
    for loss, gradient in found.values():
        assert loss is not None and loss < 1e-5
        assert gradient is not None and gradient < 1e-5


@pytest.mark.parametrize("family", pages.SIDES)
def test_every_way_to_answer_says_the_same(suite: Suite, family: str) -> None:
    rows = evaluation.at_tokens(suite, 24, family)
    assert [row["equal"] for row in rows] == ["8 of 8"] * 4
    assert all(row["different"] != 1 for row in rows), "a model that says one thing to all proves nothing"


@pytest.mark.parametrize(("freeze", "r"), [(100.0, 16), (0.0, 0)])
def test_florence(suite: Suite, freeze: float, r: int) -> None:
    for loss, gradient in differences(florence.at_freeze(suite, freeze, r)).values():
        assert loss is not None and loss < 1e-5
        assert gradient is not None and gradient < 1e-4


def test_a_chat_model(suite: Suite) -> None:
    found = differences(chat.trained(suite, "idefics3"))
    assert found.keys() == {training.TRAINER, training.OFF, training.SHARED, training.STORED}
    for loss, gradient in found.values():
        assert loss is not None and loss < 1e-5
        assert gradient is not None and gradient < 1e-5
    rows = chat.answered(suite, "idefics3")
    assert [row["equal"] for row in rows] == ["4 of 4"] * 4


@pytest.mark.slow
def test_documents_of_many_pages(suite: Suite) -> None:
    rows = documents.trained(suite, 12)
    names = {training.TRL, documents.CHAT} if find_spec("trl") else {training.TRAINER}
    found = differences(rows)
    assert found.keys() == names | {training.OFF, training.SHARED, training.STORED}
    assert found.pop(documents.CHAT, (None, None)) == (None, None), "a chat of four turns is another loss"
    for loss, gradient in found.values():
        assert loss is not None and loss < 1e-5
        assert gradient is not None and gradient < 1e-5
    assert all(row["ratio_chat"] == 1 for row in rows if row["variant"] == documents.CHAT)
    assert [row["equal"] for row in documents.answered(suite, 12)] == ["4 of 4"] * 4


def test_a_documents_pages_are_asked_about_in_equal_steps(suite: Suite) -> None:
    one, eight = pages.documents_of(suite.folder / "asked", 12, [1, 8], 4, "tiny")
    assert [len(example.pages) for example in one + eight] == [1] * 4 + [8] * 4
    assert len({example.pages for example in eight}) == len({example.document for example in eight}) == 1
    assert len({example.question_id for example in eight}) == 4 and set(one[0].pages).isdisjoint(eight[0].pages)
    (chat,) = peers.chat_a_document([eight])
    assert len(chat["images"]) == 8 and [turn["role"] for turn in chat["messages"]] == ["user", "assistant"] * 4
    assert [turn["content"] for turn in chat["messages"]][1::2] == [example.target for example in eight]


@pytest.mark.parametrize(("name", "millions"), [("granite-docling-258m", 257.5), ("qwen3vl-2b", 2127.5)])
def test_full_size(name: str, millions: float) -> None:
    config, _, _ = full_size.MODELS[name][1]()
    with torch.device("meta"):
        net = AutoModelForImageTextToText.from_config(config)
    assert sum(p.numel() for p in net.parameters()) / 1e6 == pytest.approx(millions, abs=0.1)


@pytest.mark.skipif(not find_spec("trl"), reason="the `bench` extra is not installed")
def test_the_sweep_of_others_does_the_work_of_ours(suite: Suite, tmp_path: Path) -> None:
    sweep.own_pages(tmp_path / "pages", 12, {"train": 2, "val": 1, "test": 1}, "tiny")
    options = Namespace(checkpoint=suite.checkpoint("qwen2vl"), pages=tmp_path / "pages", out=tmp_path / "trl")
    options.epochs, options.new_tokens, options.seed = 2, 3, 0
    options.min_pixels, options.max_pixels = pages.budget(12).min_pixels, pages.budget(12).max_pixels
    assert peer_sweep.page_tokens(options) == 12
    options_for_less = Namespace(**vars(options) | {"max_pixels": pages.budget(6).max_pixels})
    assert peer_sweep.page_tokens(options_for_less) <= 6, "the budget given counts, not the checkpoint's own"
    assert len(peer_sweep.train(options, rank=4)) == sweep.QUESTIONS
    saved = sorted((tmp_path / "trl" / "r4").glob("checkpoint-*/adapter_config.json"))
    assert [file.parent.name for file in saved] == ["checkpoint-2", "checkpoint-4"], "2 steps of 4 questions an epoch"
    adapter = json.loads(saved[-1].read_text())
    assert (adapter["r"], adapter["lora_alpha"], sorted(adapter["target_modules"])) == (
        4,
        8,
        sorted(peer_sweep.TARGETS),
    )


@pytest.mark.slow
@pytest.mark.parametrize("against", ["against_trl", "against_plain"])
def test_the_sweep_as_a_whole(tmp_path: Path, against: str) -> None:
    if against == "against_trl" and not find_spec("trl"):
        pytest.skip("the `bench` extra is not installed")
    suite = Suite(tmp_path, size="tiny", full=True, steps=1)
    rows = next(cell for cell in sweep.cells(suite) if cell.func.__name__ == against)()
    plain = sweep.TRL if against == "against_trl" else sweep.PLAIN
    assert [row["variant"] for row in rows] == [plain, sweep.DEFAULT]
    assert rows[0]["ratio"] == 1 and all(row["seconds"] and row["ratio"] for row in rows)


def test_questions_a_page() -> None:
    assert pages.asked_on(5, 5.6) == [5, 6, 5, 6, 6]
    assert pages.asked_on(4, 1.5) == [1, 2, 1, 2]
    found, _ = pages.densities()
    assert {name: round(density, 1) for name, density in found.items()} == {
        "DocVQA": 4.2,
        "InfoVQA": 5.6,
        "ChartQA": 1.6,
    }
    assert all(
        abs(rows * columns / tokens - 1) < 0.05
        for tokens in (256, 1024, 2048)
        for rows, columns in [pages.grid(tokens)]
    )


def test_peak_memory_is_what_an_action_held() -> None:
    held = clock.peak_above(lambda: bytes(bytearray(b"1") * (32 << 20)))
    assert held is None or 60 < held < 80


def test_a_step_the_host_disturbed_is_taken_again(monkeypatch: pytest.MonkeyPatch) -> None:
    lost = iter([0.0, 9.0, 9.0, 9.0, 9.0, 9.0, 9.0, 18.0, 18.0, 22.0, 22.0, 29.0, 29.0, 35.0])
    monkeypatch.setattr(clock, "stolen", lambda: next(lost))
    calls: list[int] = []

    def run(step: int) -> float:
        time.sleep(0.01)
        calls.append(step)
        return float(len(calls))

    assert clock.in_turn({"this": run}, 4) == {"this": [3.0, 4.0, 6.0]}, "again; as it is; the best of four"
    assert calls == [0, 1, 1, 2, 3, 3, 3, 3]


def test_a_sweep_is_taken_again_until_the_host_took_as_much_as_from_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter([5.0, 6.0, 7.0, 8.0, 9.0])
    shares = iter([0.3, 0.0, 0.12, 0.3, 0.2])
    monkeypatch.setattr(clock, "watched", lambda run: (next(shares), run()))
    assert clock.alike_disturbed(lambda: next(seconds), 0.07) == (0.12, 7.0), "neither less disturbed nor more"
    assert clock.alike_disturbed(lambda: next(seconds), 0.9, tries=2) == (0.3, 8.0), "the nearest of all tries"


def test_metrics(suite: Suite) -> None:
    (row,) = metrics.one_metric(suite, "anls", 50)
    assert 0 < float(row["score"] or 0) < 1 and metrics.pairs(9, "tiny") == metrics.pairs(9, "tiny")


def test_writing_twice_changes_nothing(tmp_path: Path, suite: Suite, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "benchmarks.md"
    page.write_text(f"# Before\n\n{table.BEGIN}\nold\n{table.END}\n\nAfter\n", encoding="utf-8")
    arguments = ["--size", "tiny", "--steps", "1", "--only", "metrics", "--write", "--docs", str(tmp_path)]
    assert main(arguments) == 0
    assert "| anls | 500 |" in capsys.readouterr().out
    names = ("benchmarks.md", "benchmarks.json", "benchmarks.svg")
    first = {name: (tmp_path / name).read_bytes() for name in names}
    results = table.write({}, SECTIONS, suite, tmp_path)
    chart.draw(results, SECTIONS, tmp_path / "benchmarks.svg")
    assert {name: (tmp_path / name).read_bytes() for name in names} == first
    text = page.read_text(encoding="utf-8")
    assert text.startswith("# Before\n") and text.endswith("\n\nAfter\n") and "old" not in text
    page.write_text("no marks", encoding="utf-8")
    with pytest.raises(ValueError, match="marks"):
        table.write({}, SECTIONS, suite, tmp_path)


def test_some_cells_measured_again_leave_the_others(
    tmp_path: Path, suite: Suite, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "benchmarks.md").write_text(f"{table.BEGIN}\n{table.END}\n", encoding="utf-8")
    first = [Row(cell=name, variant=way, ms=1.0) for name in ("a", "b") for way in ("x", "y")]
    table.write({"training": first}, SECTIONS, suite, tmp_path)
    again = [Row(cell=name, variant="x", ms=2.0) for name in ("a", "c")]
    rows = table.write({"training": again}, SECTIONS, suite, tmp_path, keep=True)["training"]["rows"]
    assert [(row["cell"], row["variant"], row["ms"]) for row in rows] == [
        ("a", "x", 2.0),
        ("b", "x", 1.0),
        ("b", "y", 1.0),
        ("c", "x", 2.0),
    ]
    assert main(["--size", "tiny", "--only", "metrics", "--cells", "one_metric", "anls"]) == 0
    shown = capsys.readouterr().out
    assert "| anls |" in shown and "| f1 |" not in shown
    with pytest.raises(SystemExit, match="2"):
        main(["--only", "metrics", "--cells", "one_metric", "anlss"])
    assert re.search("no cell has all of it; words are .*anls, .*one_metric", capsys.readouterr().err)


def test_figures_of_another_processor_stay_as_they_were(
    tmp_path: Path, suite: Suite, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "benchmarks.md"
    page.write_text(f"{table.BEGIN}\n{table.END}\n", encoding="utf-8")
    here = table.measured_on(suite, precision.NAME)

    def written(processor: str, day: str, ms: float, cells: str, keep: bool) -> list[tuple[object, ...]]:
        record = here | {"processor": processor, "date": day}
        monkeypatch.setattr(table, "measured_on", lambda *given: record)
        rows = [Row(cell=cell, variant=training.SHARED, ms=ms, ratio=2.0) for cell in cells]
        results = table.write({"training": rows}, SECTIONS, suite, tmp_path, keep)
        chart.draw(results, SECTIONS, tmp_path / "benchmarks.svg")
        found = results["training"]
        records = [found["measured"][row["measured"]] for row in found["rows"]]
        return [
            (row["cell"], row["ms"], record["processor"], record["date"])
            for row, record in zip(found["rows"], records, strict=True)
        ]

    written("old", "2026-01-01", 1.0, "ab", keep=False)
    old = [("a", 1.0, "old", "2026-01-01"), ("b", 1.0, "old", "2026-01-01")]
    both = [*old, ("b", 2.0, "new", "2026-02-02"), ("c", 2.0, "new", "2026-02-02")]
    assert written("new", "2026-02-02", 2.0, "bc", keep=True) == both, "the same cell on another is another row"
    later = [*both[:2], ("b", 3.0, "new", "2026-03-03"), both[3]]
    assert written("new", "2026-03-03", 3.0, "b", keep=True) == later, "in its own place, the others with their day"
    text = page.read_text(encoding="utf-8")
    assert "| measured on |" in text and re.search(r"\| b \|.* 1 \|.* old, 2026-01-01 \|", text)
    assert re.search(r"\| b \|.* 3 \|.* new, 2026-03-03 \|", text) and "| old, 2026-02-02 |" not in text
    drawn = (tmp_path / "benchmarks.svg").read_text(encoding="utf-8")
    assert "b, new, 2026-03-03" in drawn and "b, old" not in drawn, "of a cell its last measurement"
    assert "a, old, 2026-01-01" in drawn
    assert written("new", "2026-04-04", 4.0, "d", keep=False) == [*old, ("d", 4.0, "new", "2026-04-04")]
    text = page.read_text(encoding="utf-8")
    assert f"old, {here['cores']} cores" in text and f"new, {here['cores']} cores" in text


def test_a_cell_that_fails_does_not_lose_the_others(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    of = metrics.metric_function
    monkeypatch.setattr(metrics, "metric_function", lambda name: of(name) if name != "anls" else lambda *given: 1 / 0)
    assert main(["--size", "tiny", "--only", "metrics"]) == 1
    shown = capsys.readouterr()
    assert "ZeroDivisionError" in shown.err and "| f1 |" in shown.out and "1 cells failed" in shown.out
