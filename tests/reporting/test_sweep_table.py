"""The table of a sweep, from the files its cells left."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import pytest

from docvlm.reporting.sweeps.sweep import collect, render, summarise_sweep
from docvlm.runs.finished import finished


def cell(sweep: Path, number: int, override: str, **learned: Any) -> Path:
    """A finished cell as `docvlm.train` leaves it, with numbers of its own."""
    folder = sweep / str(number)
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra" / "overrides.yaml").write_text(f"- model=qwen2vl\n- {override}\n")
    trainable = {
        "parameters": 250_000, "percent": 12.5, "freeze": 100.0, "lora_r": 16, "vision_frozen_blocks_percent": 100.0,
        "vision_trainable_blocks_percent": 0.0, "vision_frozen_parameters_percent": 100.0,
        "vision_trainable_parameters_percent": 0.0,
    }  # fmt: skip
    result = {
        "status": "finished", "reason": None, "family": "qwen2vl", "benchmark": "docvqa-generated",
        "headline": {"metric": "anls", "value": 0.5, "low": 0.4, "high": 0.6, "questions": 240, "documents": 60},
        "secondary": {"accuracy": 0.41, "anls": 0.5, "relaxed": 0.43, "em": 0.42, "f1": 0.44},
        "selection": {"value": 0.55, "epoch": 2},
        "zero_shot": {"score": 0.1, "val_loss": 3.0}, "best": {"val_loss": 0.7},
        "benchmarks": {"docvqa-generated": {"metric": "anls"}},
        "trainable": {**trainable, **learned}, "cost": {"seconds": 90.0, "peak_memory_mb": 812.4},
    }  # fmt: skip
    (folder / "result.json").write_text(json.dumps(result))
    seed = int(found[1]) if (found := re.search(r"(?m)^(?:- )?seed=(\d+)", override)) else 42
    config = {"seed": seed, "scale": {"name": "tiny"}, **{part: {} for part in ("data", "trainer", "model", "budget")}}
    manifest = {
        "family": "qwen2vl", "seed": seed, "checkpoint": {"name": "embedded", "fingerprint": "c"},
        "data": {"fingerprint": "d"}, "config": config | {"trained": learned},
    }  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def test_a_rank_sweep_shows_score_interval_share_minutes_and_memory(tmp_path: Path) -> None:
    cell(tmp_path, 1, "lora.r=32", lora_r=32)
    cell(tmp_path, 0, "lora.r=16")
    text = render(collect(tmp_path))
    assert text.startswith("qwen2vl from embedded, docvqa-generated: anls, test split of 240 questions on 60 documents")
    first, second = (line.split() for line in text.splitlines() if line.startswith("lora"))
    assert first == ["lora.r=16", "0.100", "0.550", "0.500", "[0.400,", "0.600]", "0.250", "12.50", "1.5", "812"]
    assert second[0] == "lora.r=32"
    assert "frozen" not in text


def test_a_freezing_sweep_shows_both_shares_by_blocks_and_parameters(tmp_path: Path) -> None:
    cell(tmp_path, 0, "freeze=0", freeze=0.0, vision_frozen_blocks_percent=0.0, vision_trainable_blocks_percent=100.0)
    cell(tmp_path, 1, "freeze=33", freeze=33.0, vision_frozen_parameters_percent=8.3)
    text = render(collect(tmp_path))
    assert "vision frozen %" in text and "vision trainable %" in text
    row = next(line.split() for line in text.splitlines() if line.startswith("freeze=33"))
    assert row[:5] == ["freeze=33", "100.0", "8.3", "0.0", "0.0"]
    assert row[-6:] == ["0.410", "0.500", "0.420", "0.440", "0.700", "1.5"]


def test_a_sweep_over_the_decoder_shows_its_frozen_share_beside_what_learns(tmp_path: Path) -> None:
    """Cells of before there was the key stand for 0."""
    cell(tmp_path, 0, "lora.r=16")
    cell(tmp_path, 1, "freeze_language=66", freeze_language=66, language_frozen_blocks_percent=64.3, percent=4.5)
    rows = collect(tmp_path)
    assert [row["freeze_language"] for row in rows] == [0, 66]
    text = render(rows)
    assert "decoder frozen" in text and "vision" not in text
    first, second = (line.split() for line in text.splitlines() if line.startswith(("lora", "freeze_language")))
    assert first[:2] == ["lora.r=16", "0.0"] and second[:2] == ["freeze_language=66", "64.3"]
    assert "4.50" in second and "12.50" in first


def answered(folder: Path, right: float, seed: int = 0, questions: int = 200) -> None:
    """The cell's answers: 4 questions a page, each right with the same chance, the same questions hard for all."""
    rng, hard = np.random.default_rng(seed), np.random.default_rng(9).random(questions)
    said = np.where(rng.random(questions) < 0.9, hard, rng.random(questions)) < right
    rows = [
        {
            "question_id": str(i), "document": f"p{i // 4}", "benchmark": "docvqa-generated", "question": "?",
            "prediction": "yes" if said[i] else "", "answers": ["yes"],
        }
        for i in range(questions)
    ]  # fmt: skip
    (folder / "predictions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = json.loads((folder / "result.json").read_text())
    result["headline"]["value"] = float(np.mean(said))
    (folder / "result.json").write_text(json.dumps(result))


def said_below(sweep: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The lines under the table."""
    summarise_sweep(sweep)
    capsys.readouterr()
    return (sweep / "sweep.txt").read_text().split("\n\n")[-1].splitlines()


def test_cells_that_differ_are_named_after_holm(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number, right in enumerate((0.5, 0.8, 0.52)):
        answered(cell(tmp_path, number, f"lora.r={2**number}"), right, seed=number)
    best, second, rest, *about = said_below(tmp_path, capsys)
    assert {line.split(" by +0.")[0] for line in (best, second)} == {
        "the run of lora.r=2 above that of lora.r=1", "the run of lora.r=2 above that of lora.r=4",
    }  # fmt: skip
    assert best.endswith("p <0.001 (Holm over 3 comparisons)")
    assert rest == "the other 1 of 3 do not differ beyond chance on such documents"
    assert about == ["one seed a cell: this is about these weights, and cannot tell the settings apart"]
    with (tmp_path / "comparisons.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["first"], row["second"]) for row in rows] == [
        ("lora.r=1", "lora.r=2"), ("lora.r=1", "lora.r=4"), ("lora.r=2", "lora.r=4"),
    ]  # fmt: skip
    assert {(row["questions"], row["documents"], row["metric"]) for row in rows} == {("200", "50", "anls")}
    assert all(float(row["p_holm"]) >= float(row["p"]) for row in rows)


def test_without_a_difference_the_power_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(3):
        answered(cell(tmp_path, number, f"lora.r={2**number}"), 0.5, seed=number)
    line, _ = said_below(tmp_path, capsys)
    assert line.startswith(
        "no two runs differ by more than their interval over documents (Holm over 3 comparisons); 200 questions on"
    )
    size = re.search(r"on 50 documents show a difference of (0\.\d+)(?: to 0\.\d+)? four times in five$", line)
    assert size is not None and 0.02 < float(size[1]) < 0.2
    for number in range(3):
        answered(tmp_path / str(number), 0.5)  # the very same answers: no spread to tell a power from
    line = "no two runs differ by more than their interval over documents (Holm over 3 comparisons)"
    assert said_below(tmp_path, capsys)[0] == line


def test_many_cells_are_compared_with_the_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(9):
        answered(cell(tmp_path, number, f"lora.r={number + 1}"), 0.5, seed=number)
    assert "Holm over 8 comparisons" in said_below(tmp_path, capsys)[0]
    with (tmp_path / "comparisons.csv").open(newline="") as file:
        assert {row["first"] for row in csv.DictReader(file)} == {"lora.r=1"}


def test_seeds_are_gathered(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(6):
        folder = cell(tmp_path, number, f"lora.r={16 if number < 3 else 64}\n- seed={number % 3}")
        answered(folder, 0.5 if number < 3 else 0.9, seed=number)
    (apart,) = said_below(tmp_path, capsys)
    assert (
        apart.startswith("lora.r=64 above lora.r=16 by +0.")
        and "(the only comparison; over 50 documents and 3 seeds)" in apart
    )
    with (tmp_path / "comparisons.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    rows = collect(tmp_path)
    scores = [row["score"] for row in rows[:3]]
    assert (row["seeds_first"], row["seeds_second"]) == ("3", "3")
    assert float(row["difference"]) == pytest.approx(mean(row["score"] for row in rows[3:]) - mean(scores))

    text = (tmp_path / "sweep.txt").read_text()
    lines = [line.split() for line in text.splitlines() if line.startswith("lora.r=")]
    assert [line[:2] for line in lines[:8]] == [
        ["lora.r=16", "3"], ["lora.r=64", "3"],
        *(["lora.r=16", f"seed={seed}"] for seed in range(3)), *(["lora.r=64", f"seed={seed}"] for seed in range(3)),
    ]  # fmt: skip
    with (tmp_path / "seeds.csv").open(newline="") as file:
        low, high = csv.DictReader(file)
    assert lines[0][2:] == [
        "0.100", "0.550", "±", "0.000", f"{mean(scores):.3f}", "±", f"{stdev(scores):.3f}",
        f"[{float(low['low']):.3f},", f"{float(low['high']):.3f}]", "0.250", "12.50", "1.5", "812",
    ]  # fmt: skip
    assert (low["settings"], low["seeds"], low["cells"], high["settings"]) == ("lora.r=16", "3", "0 1 2", "lora.r=64")
    found = [float(low[name]) for name in ("score", "score_sd", "score_min", "score_max")]
    assert found == pytest.approx([mean(scores), stdev(scores), min(scores), max(scores)])


def seeded(sweep: Path, rights: dict[str, Sequence[float]]) -> None:
    """A sweep of cells `settings` with one run for each chance to be right, its own seed and its own luck."""
    runs = [(settings, right, seed) for settings, part in rights.items() for seed, right in enumerate(part)]
    for number, (settings, right, seed) in enumerate(runs):
        answered(cell(sweep, number, f"{settings}\n- seed={seed}"), right, seed=number)


def test_seeds_that_overlap_tell_no_settings_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The run of one seed lies far above the other setting's; the settings do not, and what would show it is said."""
    seeded(tmp_path, {"lora.r=16": (0.4, 0.7, 0.8), "lora.r=32": (0.7, 0.8, 0.85)})
    (line,) = said_below(tmp_path, capsys)
    assert line.startswith("no two settings differ by more than their interval over 50 documents and 3 seeds (the only")
    assert re.search(
        r"these show a difference of 0\.\d+ four times in five; 0\.02 takes more than 10 seeds a cell$", line
    )
    (row,) = csv.DictReader((tmp_path / "comparisons.csv").open(newline=""))
    assert row["about"] == "settings" and float(row["low"]) < 0 < float(row["high"]) and float(row["p"]) > 0.2


def test_a_cell_with_one_seed_borrows_the_spread_of_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seeded(tmp_path, {"lora.r=16": (0.5, 0.52, 0.48, 0.5), "lora.r=32": (0.9,)})
    apart, borrowed = said_below(tmp_path, capsys)
    assert apart.startswith("lora.r=32 above lora.r=16 by +0.") and "over 50 documents and 1 to 4 seeds" in apart
    assert re.fullmatch(r"lora\.r=32: one seed; the spread of lora\.r=16 \(sd 0\.0\d\d\) stands in", borrowed)


def test_a_sweep_of_one_seed_borrows_the_spread_of_seeds_elsewhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An earlier sweep trained one setting with three seeds, on the same questions; one on others lends nothing."""
    now, before = tmp_path / "now", tmp_path / "before"
    for number, right in enumerate((0.5, 0.9)):
        answered(cell(now, number, f"lora.r={16 * (number + 1)}"), right, seed=number)
    assert said_below(now, capsys)[-1].startswith("one seed a cell")
    for seed in range(3):
        folder = cell(before, seed, f"seed={seed}")
        (folder / "checkpoints" / "best").mkdir(parents=True)
        answered(folder, 0.5, seed=seed, questions=100)
        manifest = json.loads((folder / "manifest.json").read_text())
        manifest["seed"] = manifest["config"]["seed"] = seed
        (folder / "manifest.json").write_text(json.dumps(manifest))
    assert said_below(now, capsys)[-1].startswith("one seed a cell")
    for seed in range(3):
        answered(before / str(seed), 0.5, seed=seed)
    apart, lent = said_below(now, capsys)
    assert apart.startswith("lora.r=32 above lora.r=16 by +0.") and "over 50 documents and 1 seed)" in apart
    assert "lora.r=16, lora.r=32: one seed; the spread of the 3 seeds of " in lent and "before/0 (sd 0." in lent


def test_one_seed_a_cell_names_the_command_that_would_tell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(2):
        answered(cell(tmp_path, number, f"lora.r={16 * (number + 1)}"), 0.5, seed=number)
    text = "hydra:\n  overrides:\n    hydra: [hydra.mode=MULTIRUN]\n    task: [model=qwen2vl, 'lora.r=16,32', seed=7]\n"
    (tmp_path / "multirun.yaml").write_text(text)
    line = said_below(tmp_path, capsys)[-1]
    assert line == "what would: python -m docvlm.train model=qwen2vl lora.r=16,32 seed=7 seeds=3 -m"


def test_the_interval_of_a_setting_is_over_documents_and_seeds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Equal answers from every seed leave the documents' part; seeds that lie apart widen it; one seed borrows."""
    for number in range(6):
        word = f"lora.r={8 if number < 2 else 16 if number < 5 else 32}\n- seed={number}"
        answered(cell(tmp_path, number, word), (0.5, 0.5, 0.3, 0.5, 0.7, 0.5)[number], seed=0)
    (tmp_path / "5" / "predictions.jsonl").unlink()
    said_below(tmp_path, capsys)
    same, apart, gone = csv.DictReader((tmp_path / "seeds.csv").open(newline=""))
    widths = [float(row["high"]) - float(row["low"]) for row in (same, apart)]
    assert float(same["score_sd"]) == 0 and 0.1 < widths[0] < 0.3 and widths[1] > 1.8 * widths[0]
    assert (gone["seeds"], gone["score_sd"], gone["low"]) == ("1", "", "")
    answered(tmp_path / "5", 0.5)
    said_below(tmp_path, capsys)
    *_, one = csv.DictReader((tmp_path / "seeds.csv").open(newline=""))
    assert one["score_sd"] == "" and float(one["high"]) - float(one["low"]) > widths[1], "the spread of the others"
    lines = (tmp_path / "sweep.txt").read_text().splitlines()
    (row,) = (line.split() for line in lines if line.startswith("lora.r=32 ") and "seed" not in line)
    assert row[1] == "1" and "±" not in row and row[5].startswith("[0.")


def test_seeds_alone_are_one_row_and_no_comparison(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(3):
        answered(cell(tmp_path, number, f"seed={number}", freeze=66.0), 0.5, seed=number)
    (tmp_path / "2" / "result.json").write_text(json.dumps({"status": "failed", "reason": "stopped"}))
    summarise_sweep(tmp_path)
    out = capsys.readouterr().out
    lines = [line.split()[:3] for line in out.splitlines()]
    assert [line for line in lines if line[:1] == ["these"]] == [["these", "settings", "2"]]
    assert lines.index(["these", "settings", "2"]) < lines.index(["single", "runs", "epoch"])
    assert "differ" not in out and not (tmp_path / "comparisons.csv").exists()


def test_what_an_optimiser_chose_comes_best_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number, score in enumerate((0.3, 0.7, 0.5)):
        folder = cell(tmp_path, number, f"optim.lr=0.000{number + 1}23456789")
        result = json.loads((folder / "result.json").read_text())
        (folder / "result.json").write_text(json.dumps({**result, "selection": {"value": score, "epoch": 1}}))
        chosen_by = "hydra_plugins.hydra_optuna_sweeper.optuna_sweeper.OptunaSweeper"
        (folder / ".hydra" / "hydra.yaml").write_text(f"hydra:\n  sweeper:\n    _target_: {chosen_by}\n")
    broken = cell(tmp_path, 3, "optim.lr=1") / "result.json"
    broken.write_text(json.dumps({"status": "failed", "reason": "it fell"}))
    summarise_sweep(tmp_path)
    out = capsys.readouterr().out
    assert [line.split()[0] for line in out.splitlines() if line.startswith("optim.lr=0")][:3] == [
        "optim.lr=0.0002235", "optim.lr=0.0003235", "optim.lr=0.0001235",
    ]  # fmt: skip
    rows = json.loads((tmp_path / "sweep.json").read_text())
    assert [row["cell"] for row in rows] == [1, 2, 0, 3] and rows[0]["settings"] == "optim.lr=0.000223456789"


def test_only_the_same_questions_are_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answered(cell(tmp_path, 0, "data.limit_test=100"), 0.5, questions=100)
    answered(cell(tmp_path, 1, "data.limit_test=200"), 0.9)
    assert said_below(tmp_path, capsys) == ["the cells answered different questions, so none are compared"]
    assert not (tmp_path / "comparisons.csv").exists()
    (tmp_path / "0" / "predictions.jsonl").unlink()
    assert said_below(tmp_path, capsys) == ["data.limit_test=100: not compared, its predictions.jsonl is missing"]


def test_checkpoints_of_one_name_are_two_models(tmp_path: Path) -> None:
    for number, place in enumerate(("mine/Reader", "hub/models--you--Reader/snapshots/0a")):
        folder = cell(tmp_path / "multirun" / "now", number, f"model.checkpoint={place}")
        (folder / "checkpoints" / "best").mkdir(parents=True)
        manifest = json.loads((folder / "manifest.json").read_text())
        base = {"name": place, "fingerprint": f"{number}" * 16}
        (folder / "manifest.json").write_text(json.dumps(manifest | {"family": "chat", "checkpoint": base}))
    rows = collect(tmp_path / "multirun" / "now", finished([tmp_path / "multirun"]))
    assert [(row["family"], row["base"]) for row in rows] == [
        ("Reader-00000000", "mine/Reader"), ("Reader-11111111", "you/Reader")
    ]  # fmt: skip


def test_cells_that_did_not_finish_say_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cell(tmp_path, 0, "lora.r=16")
    broken = cell(tmp_path, 1, "lora.r=-1") / "result.json"
    broken.write_text(json.dumps({"status": "failed", "reason": "lora.r=-1: a rank of 1 or more"}))
    (cell(tmp_path, 2, "lora.r=64") / "result.json").unlink()
    summarise_sweep(tmp_path)
    out = capsys.readouterr().out
    assert "lora.r=-1: failed: lora.r=-1: a rank of 1 or more" in out
    assert "lora.r=64: missing: it left no result" in out
    rows = json.loads((tmp_path / "sweep.json").read_text())
    assert [row["status"] for row in rows] == ["finished", "failed", "missing"]
    assert rows[1]["score"] is None
    with (tmp_path / "sweep.csv").open() as file:
        assert [row["settings"] for row in csv.DictReader(file)] == ["lora.r=16", "lora.r=-1", "lora.r=64"]
    assert (tmp_path / "sweep.txt").read_text().strip() in out
