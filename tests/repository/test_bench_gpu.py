"""The GPU benchmark, run in miniature on a CPU: all of its code but CUDA's own calls, and what it counts."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from bench.gpu import answering, chats, freezing, training
from bench.gpu.__main__ import main
from bench.gpu.flops import tower_flops, training_flops, work
from bench.gpu.models import RANK, asked, qwen, sheets
from bench.gpu.report import Deadline, Report, peak_flops
from bench.gpu.settings import PLAIN, SHARED, STORED, Settings, micro_batches

CPU = torch.device("cpu")
SECTIONS = [
    *((training, name) for name in ("exactness", "throughput", "largest")),
    (chats, "throughput"),
    *((answering, name) for name in ("throughput", "cross_entropy")),
    (freezing, "training"),
]


@pytest.mark.slow
def test_every_section_measures_and_agrees(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--tiny", "--device", "cpu", "--out", str(tmp_path)]) == 0, capsys.readouterr().out
    found = json.loads((tmp_path / "bench-gpu.json").read_text())
    assert found["failed"] == [] and found["versions"]["torch"] and found["tiny"]
    exact, steps, beside, evaluation, tower, entropy, largest = (table["rows"] for table in found["tables"])
    assert all(row["loss differs"] < 1e-6 and row["gradient differs"] < 1e-5 for row in exact[:3])
    assert all(row["equal answers"] == "2 of 2" for row in exact[:3]), "in float32"
    assert [row["variant"] for row in steps[:3]] == [PLAIN, SHARED, STORED]
    assert all(row["chat / this"] > 0 for row in beside if row["way"] != chats.ROWS)
    assert [row["way"] for row in beside[-4:]] == [chats.OFF, chats.SHARED, chats.STORED, chats.PREFILL]
    assert all(row["questions/s"] > 0 for row in steps + evaluation + tower)
    plain, shared, stored = (row["TFLOP a question"] for row in steps[:3])
    assert plain > shared > stored > 0 and steps[0]["MFU %"] is None
    assert len(entropy) == 2 and [row["pages"] for row in largest] == [1] * 4
    printed = capsys.readouterr().out
    assert printed.count("|---|") >= 7 and "MFU stays empty" in printed


def test_what_does_not_fit_is_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> float:
        raise torch.OutOfMemoryError

    report = Report(tmp_path, {"peak FLOP/s": None})
    for module in (training, answering, freezing, chats):
        monkeypatch.setattr(module, "median" if module is chats else "seconds", full)
    for section in (training.throughput, training.largest, answering.throughput, freezing.training, chats.throughput):
        section(Settings.small(CPU), report, Deadline(60))
    for table in report.tables:
        assert table["rows"] and all("out of memory" in str(list(row.values())) for row in table["rows"])
    training.throughput(Settings.small(CPU), report, Deadline(-1))
    assert {row["variant"] for row in report.tables[-1]["rows"]} == {"left out for time"}
    chats.throughput(Settings.small(CPU), report, Deadline(-1))
    rows = report.tables[-1]["rows"]
    assert {row["ms a question"] for row in rows} == {"left out for time"}
    frozen = {
        way: {row["decoder frozen, %"] for row in rows if row["way"] == way} for way in (chats.CHAT, chats.SHARED)
    }
    assert frozen[chats.CHAT] == frozen[chats.SHARED] == {0, chats.SHARE}, "what is compared learns in the same blocks"


def test_a_section_that_fails_does_not_take_the_others_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    done = []
    for module, name in SECTIONS:
        monkeypatch.setattr(module, name, lambda *_: done.append(1))
    monkeypatch.setattr(training, "throughput", lambda *_: 1 / 0)
    assert main(["--tiny", "--device", "cpu", "--out", str(tmp_path)]) == 1
    assert len(done) == 6 and "ZeroDivisionError" in capsys.readouterr().out
    assert json.loads((tmp_path / "bench-gpu.json").read_text())["failed"] == ["training"]


def test_a_gpu_that_is_not_there_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one")
    assert main(["--out", str(tmp_path)]) == 2
    assert "no CUDA device" in capsys.readouterr().out


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "qwen_vl_utils" else object())
    assert main(["--tiny", "--device", "cpu"]) == 2
    assert "qwen-vl-utils" in capsys.readouterr().out


def test_flops_are_those_torch_counts() -> None:
    """On one plain sequence; torch counts masked pairs and the (few) products of the positions too."""
    vlm = qwen(CPU, torch.float32, tiny=True, attn="eager")
    batch = vlm.codec.train_batch(asked(sheets([60]), 1))
    done = work(batch)
    with FlopCounterMode(display=False) as counter:
        vlm.loss(batch)[0].backward()
    expected = training_flops(vlm.bare.config, RANK, replace(done, pairs=done.tokens**2))
    assert counter.get_total_flops() == pytest.approx(expected, rel=0.01)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        vlm.page_features(batch)
    assert counter.get_total_flops() == pytest.approx(tower_flops(vlm.bare.config.vision_config, *done.pages), rel=0.01)


def test_flops_of_a_packed_row_are_those_torch_counts() -> None:
    """Its last layer is computed where an answer token is predicted; torch counts masked pairs too."""
    vlm = qwen(CPU, torch.float32, tiny=True, attn="eager")
    batch = vlm.codec.packed_batch(asked(sheets([60]), 3))
    done, split = work(batch), int((batch["segments"] == 0).sum())
    pairs = split**2 + (done.tokens - split) * done.tokens
    unmasked = replace(done, pairs=pairs, spared_pairs=pairs - done.answers * done.tokens)
    with FlopCounterMode(display=False) as counter:
        vlm.loss(batch)[0].backward()
    assert counter.get_total_flops() == pytest.approx(training_flops(vlm.bare.config, RANK, unmasked), rel=0.01)
    read = done.pairs - done.spared_pairs
    assert split * done.answers < read < done.tokens * done.answers, "they see the page and some of their own branch"


def test_work_is_what_the_layout_needs() -> None:
    vlm = qwen(CPU, torch.float32, tiny=True)
    examples = asked(sheets([12, 20]), 3)
    plain, shared = work(vlm.codec.train_batch(examples)), work(vlm.codec.packed_batch(examples))
    assert plain.answers == shared.answers and len(plain.pages) == 6 and len(shared.pages) == 2
    alone = [work(vlm.codec.train_batch([example])) for example in examples]
    assert plain == sum(alone[1:], alone[0]), "padding is not counted"
    one = work(vlm.codec.packed_batch(examples[:1]))
    assert (one.tokens, one.pairs) == (alone[0].tokens, alone[0].pairs), "one branch is a plain sequence"


def test_micro_batches_keep_pages_whole_and_in_order() -> None:
    settings = Settings.full(CPU)
    pages = sheets(list(settings.mixed))
    for variant in (PLAIN, SHARED, STORED):
        groups = micro_batches(pages, 4, settings.budget, variant)
        assert [one for group in groups for one in group] == asked(pages, 4)
        assert all(len(group) % 4 == 0 and group for group in groups)
    assert len(micro_batches(pages, 4, settings.budget, PLAIN)) > len(micro_batches(pages, 4, settings.budget, SHARED))


def test_rows_are_kept_as_they_come(tmp_path: Path) -> None:
    report = Report(tmp_path, {"device": "cpu"})
    report.table("A table", ["what", "figure"])
    report.row("one", 1.5)
    assert json.loads((tmp_path / "bench-gpu.json").read_text())["tables"][0]["rows"] == [
        {"what": "one", "figure": 1.5}
    ]
    assert Deadline(-1).left() < 0


@pytest.mark.parametrize(("name", "peak"), [("NVIDIA H200", 989e12), ("NVIDIA H100 PCIe", 756e12), ("cpu", None)])
def test_peaks_are_found_by_name(name: str, peak: float | None) -> None:
    assert peak_flops(name) == peak
