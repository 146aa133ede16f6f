"""One training run: what it says, what it leaves, and how it fails."""

from __future__ import annotations

import json
import tempfile
import weakref
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from docvlm import build
from docvlm.answering import answer
from docvlm.config import TrainConfig
from docvlm.config.compose import load
from docvlm.config.train import PRECISIONS
from docvlm.data.loading.datamodule import DocumentDataModule
from docvlm.errors import DocvlmError
from docvlm.evaluation.subjects import of_run
from docvlm.metrics import METRICS
from docvlm.runs.finished import read
from docvlm.runs.identity import identify
from docvlm.scoring import predictions as records
from docvlm.train import main
from docvlm.training import run as stages
from docvlm.training.module import AnswerModule
from docvlm.vlms import saved
from docvlm.vlms.base import VLM
from tests.support import runs
from tests.support.tiny import checkpoint


def test_a_run_leaves_the_files_of_the_design() -> None:
    folder = runs.finished()
    names = {path.name for path in folder.iterdir()} - {".lock"}
    assert names == {"manifest.json", "epochs.csv", "predictions.jsonl", "result.json", "checkpoints", "logs"}
    assert not [path for path in folder.rglob("*") if "=" in path.name]
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["fingerprint"] == runs.result(folder)["fingerprint"]
    assert manifest["code"]["fingerprint"] == runs.result(folder)["code"]
    assert {"training": 1, "vlms.qwen2vl": 1}.items() <= manifest["code"]["revisions"].items()
    assert manifest["config"]["lora"]["r"] == 4 and manifest["seed"] == 42
    assert manifest["trainable"]["parameters"] < manifest["trainable"]["total"]
    assert manifest["versions"]["torch"] and manifest["hardware"]["cores"] >= 1
    assert manifest["budget"]["max_pixels"] == 65536


def test_epochs_start_with_a_row_before_training() -> None:
    rows = runs.rows(runs.finished())
    assert [row["epoch"] for row in rows] == ["0", "1", "2"]
    assert rows[0]["step"] == "0" and rows[0]["train_loss"] == "" and float(rows[0]["val_loss"]) > 0
    for row in rows[1:]:
        assert float(row["lr_language"]) > 0 and float(row["questions_per_second"]) > 0
        assert float(row["peak_memory_mb"]) > 100
        assert set(METRICS) <= set(row)


def test_the_result_names_its_split_and_counts_every_question_once() -> None:
    folder = runs.finished()
    result, predictions = runs.result(folder), records.read(folder / "predictions.jsonl")
    assert result["status"] == "finished" and result["benchmark"] == "docvqa-generated"
    assert result["headline"]["split"] == "test" and result["selection"]["split"] == "val"
    assert result["headline"]["questions"] == len(predictions) == result["examples"]["expected"]
    assert result["headline"]["low"] <= result["headline"]["value"] <= result["headline"]["high"]
    assert result["zero_shot"]["epoch"] == 0 and result["cost"]["seconds"] > 0
    assert {"anls", "accuracy"} <= set(predictions[0].scores)


@pytest.mark.parametrize(("select", "kept"), [("loss", 2), ("score", 1)])
def test_the_epoch_is_chosen_by_what_the_setting_names(
    select: str, kept: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two epochs of which the first has the better score and the second the lower loss, as 59 questions once said."""
    found = {0: (0.17, 1.70), 1: (0.860, 0.192), 2: (0.822, 0.136)}
    finish = AnswerModule.on_validation_epoch_end

    def measured(self: AnswerModule) -> None:
        finish(self)
        assert self.evaluation is not None
        score, loss = found[self.at_epoch]
        interval = replace(self.evaluation.interval, mean=score)
        self.evaluation = replace(self.evaluation, interval=interval, loss=loss)

    monkeypatch.setattr(AnswerModule, "on_validation_epoch_end", measured)
    folder = tmp_path / "outputs" / "run"
    runs.train(folder, f"select={select}")
    chosen = runs.result(folder)["selection"]
    assert (chosen["epoch"], chosen["by"], chosen["value"]) == (kept, select, found[kept][0])
    assert f"best epoch {kept}, by val {select}" in capsys.readouterr().out
    last = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    best = runs.weights(folder)
    names = {name: name.removeprefix("vlm.net.").replace(".default.", ".") for name in last}
    assert all(torch.equal(last[name], best[short]) for name, short in names.items()) == (kept == 2)


def test_the_saved_weights_give_the_answers_of_the_run(tmp_path: Path) -> None:
    """Invariant 4: train, save, load, evaluate."""
    from docvlm import build

    run = read(runs.finished())
    vlm = of_run(run, None, offline=True).load()
    data: DocumentDataModule = build.datamodule(load("train", TrainConfig, runs.overrides()).data)
    found = answer.answer(vlm, data, data.test, tmp_path / "predictions.jsonl")
    before = records.read(runs.finished() / "predictions.jsonl")
    assert {p.question_id: (p.prediction, p.scores) for p in found} == {
        p.question_id: (p.prediction, p.scores) for p in before
    }


def test_the_trained_model_is_gone_before_the_best_weights_are_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two models of two billion parameters in float32 did not fit into 24 GB."""
    trained: list[weakref.ref[VLM]] = []
    there: list[bool] = []
    load_trained, load_best = stages.load, saved.load

    def loads(*args: Any, **options: Any) -> VLM:
        vlm = load_trained(*args, **options)
        trained.append(weakref.ref(vlm))
        return vlm

    def loads_best(*args: Any, **options: Any) -> VLM:
        there.append(trained[0]() is not None)
        return load_best(*args, **options)

    monkeypatch.setattr(stages, "load", loads)
    monkeypatch.setattr(saved, "load", loads_best)
    runs.train(tmp_path)
    assert there == [False]


def test_first_lines_say_data_what_learns_and_the_proof(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And early stopping ends a run whose score does not rise; and a loss that breaks a run is written down."""
    runs.train(
        tmp_path / "outputs" / "a", "trainer.max_epochs=9", "callbacks.early_stopping.patience=1", "data.limit_train=4"
    )
    out = capsys.readouterr().out
    assert "docvqa-generated, " in out and "learning 0.0" in out and "proof: one step moved language" in out
    rows = runs.rows(tmp_path / "outputs" / "a")
    assert 2 < len(rows) < 10
    assert f"epoch {rows[-1]['epoch']}/9" in out and "val split" in out

    def broken(*args: object) -> None:
        raise DocvlmError("page 7: truncated")

    monkeypatch.setattr(AnswerModule, "training_step", broken)
    with pytest.raises(DocvlmError, match="page 7"):
        runs.train(tmp_path / "outputs" / "b", "seed=1")
    result = runs.result(tmp_path / "outputs" / "b")
    assert (result["status"], result["reason"]) == ("failed", "page 7: truncated")


def test_another_family_s_checkpoint_fails_in_one_line_and_says_so_in_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["model=qwen2vl", f"model.checkpoint={checkpoint('florence2')}", *runs.SMALL])
    assert ended.value.code == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: model.checkpoint=") and "family qwen2vl needs" in error
    (folder,) = (tmp_path / "outputs").iterdir()
    assert runs.result(folder)["status"] == "failed"


def test_more_than_one_device_in_a_sweep_is_refused_with_advice(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["scale=tiny", "trainer=ddp", "trainer.devices=2", "lora.r=2,4", "-m"])
    assert "torchrun" in capsys.readouterr().err


def test_paths_and_loggers_do_not_make_another_run() -> None:
    from docvlm import build

    def fingerprint(*more: str) -> str:
        cfg = load("train", TrainConfig, runs.overrides("qwen2vl", *more))
        data = build.datamodule(cfg.data)
        return identify(cfg, data, "weights").run

    same = fingerprint()
    assert fingerprint("logger=tensorboard", "data.num_workers=2", "offline=true", "rerun=true", "name=mine") == same
    for word in (
        "seed=1", "lora.r=8", "lora.use_dora=true", "quant=4bit", "optim.lr=1e-4", "data.limit_train=8",
        "trainer.max_epochs=3", "freeze=50", "select=score",
    ):  # fmt: skip
        assert fingerprint(word) != same, word


@pytest.mark.slow
def test_loggers_by_choice(tmp_path: Path) -> None:
    for logger, pattern in (
        ("wandb", "logs/0/wandb/offline-run-*"),
        ("tensorboard", "logs/0/tensorboard/events.out.*"),
    ):
        folder = tmp_path / "outputs" / logger
        runs.train(folder, f"logger={logger}", "trainer.max_epochs=1", "data.limit_train=4", f"name={logger}")
        assert list(folder.glob(pattern)), logger
        assert "val/score" in (folder / "logs" / "0" / "metrics.csv").read_text()


@pytest.mark.slow
def test_gradient_checkpointing_learns_the_same(tmp_path: Path) -> None:
    runs.train(tmp_path / "outputs" / "a", "trainer.gradient_checkpointing=true", "lora.dropout=0.0")
    runs.train(tmp_path / "outputs" / "b", "lora.dropout=0.0")
    losses = [[float(row["val_loss"]) for row in runs.rows(tmp_path / "outputs" / name)] for name in "ab"]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


@pytest.mark.slow
def test_max_steps_ends_within_an_epoch_and_is_still_evaluated(tmp_path: Path) -> None:
    runs.train(tmp_path / "outputs" / "a", "trainer.max_steps=2")
    assert [row["step"] for row in runs.rows(tmp_path / "outputs" / "a")] == ["0", "2"]


ONE = (
    "data.limit_train=6",
    "data.limit_val=2",
    "data.limit_test=2",
    "trainer.max_epochs=1",
    "optim.optimizer.fused=false",
)
BF16 = ("bf16-mixed", "bfloat16")


@pytest.mark.parametrize(("precision", "dtype"), [*((one, "float32") for one in PRECISIONS), BF16])
def test_every_precision_trains_or_is_refused_before_anything_is_read(
    precision: str, dtype: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What learns stays in float32, the record says what was computed in, and the loss is that of float32."""
    words = (*ONE, f"trainer.precision={precision}", f"model.dtype={dtype}")
    if precision == "16-mixed" and not torch.cuda.is_available():
        monkeypatch.setattr(build, "datamodule", None)  # calling it would raise
        with pytest.raises(DocvlmError, match=r"^trainer.precision=16-mixed: a CPU does not train in float16"):
            runs.train(tmp_path / "run", *words)
        return
    computed: list[torch.dtype] = []
    step = AnswerModule.training_step

    def watched(module: AnswerModule, batch: dict[str, torch.Tensor], index: int) -> torch.Tensor:
        linear = module.vlm.bare.get_submodule("model.language_model.layers.0.self_attn.q_proj")
        with linear.register_forward_hook(lambda *found: computed.append(found[2].dtype)):
            return step(module, batch, index)

    monkeypatch.setattr(AnswerModule, "training_step", watched)
    runs.train(tmp_path / "run", *words)
    half = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
    assert set(computed) == {half.get(precision, torch.float32)}
    assert {tensor.dtype for tensor in runs.weights(tmp_path / "run").values()} == {torch.float32}
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["config"]["trainer"]["precision"] == precision
    losses = [float(row["train_loss"]) for row in runs.rows(tmp_path / "run")[1:]]
    assert losses == pytest.approx([plain_loss()], rel=2e-2)


@cache
def plain_loss() -> float:
    """Training loss of that run in float32."""
    folder = Path(tempfile.mkdtemp()) / "run"
    runs.train(folder, *ONE, "trainer.precision=32-true")
    return float(runs.rows(folder)[1]["train_loss"])
