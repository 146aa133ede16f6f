"""Devices that share the weights of a model learn and answer what one device does, and take up what others left."""

from __future__ import annotations

import dataclasses
import pickle
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file
from torch.distributed import checkpoint as dcp
from torch.distributed.device_mesh import init_device_mesh

from docvlm.config import TrainConfig
from docvlm.config.compose import load
from docvlm.errors import DocvlmError
from docvlm.runs import identity
from docvlm.scoring import predictions
from docvlm.training import checkpoint, shards_on_disk
from docvlm.vlms import sharded
from docvlm.vlms.prepare import apply
from docvlm.vlms.proof import prove
from docvlm.vlms.trainable import Lora
from tests.support import devices, runs, tiny

TWO = ("trainer=fsdp", "trainer.accelerator=cpu", "trainer.devices=2", "trainer.accumulate_grad_batches=1")
EXAMPLES = [tiny.example(number) for number in (1, 2)]
ALONE = (*TWO[:2], "trainer.devices=1", "trainer.accumulate_grad_batches=2")


@pytest.fixture
def alone() -> Iterator[Any]:
    """A mesh of this process alone."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    dist.destroy_process_group()


@pytest.mark.parametrize("family", tiny.MINIATURES)
@pytest.mark.parametrize("r", [4, 0], ids=["adapter", "in full"])
def test_a_sharded_model_is_the_model_and_is_saved_as_it(family: str, r: int, alone: Any) -> None:
    vlms = [tiny.load(family) for _ in range(2)]
    for vlm in vlms:
        torch.manual_seed(0)
        apply(vlm, 50, Lora(r))
    plain, shared = vlms
    batch = plain.codec.packed_batch(EXAMPLES)
    lines = [prove(plain, batch)]
    sharded.shard(shared, alone)
    lines.append(prove(shared, batch))
    assert lines[0] == lines[1]
    counted = sharded.memory(shared, 1)
    assert counted == sharded.memory(plain, 1)
    assert counted.whole + counted.weights == sum(p.numel() * p.element_size() for p in plain.parameters())
    losses = [vlm.loss(batch)[0] for vlm in vlms]
    for loss in losses:
        loss.backward()
    torch.testing.assert_close(losses[1], losses[0])
    assert shared.trainable is not None and plain.trainable is not None
    for name, weight in {**shared.trainable.language, **shared.trainable.vision}.items():
        expected = {**plain.trainable.language, **plain.trainable.vision}[name].grad
        torch.testing.assert_close(sharded.local(weight.grad), expected)
    weights = sharded.whole_weights(shared, main=True)
    assert weights is not None and sharded.whole_weights(plain, main=True) is None
    own = plain.net.state_dict()
    assert weights.keys() <= own.keys() and all(torch.equal(weight, own[name]) for name, weight in weights.items())
    prompts = plain.codec.packed_prompt_batch(EXAMPLES)
    answers = [vlm.generate(prompts, 4) for vlm in vlms]
    sharded.gather(shared)
    answers.append(shared.generate(prompts, 4))
    sharded.release(shared)
    assert answers[0] == answers[1] == answers[2]
    assert all(sharded.is_sharded(vlm) == (vlm is shared) for vlm in vlms)


def index(folder: Path, value: Any) -> Path:
    """A folder with `value` as the index of what was written into it."""
    (folder / shards_on_disk.INDEX).write_bytes(pickle.dumps(value))
    return folder


class Harm:
    """What a pickle can do."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return pytest.fail, ("was executed",)


def test_an_index_of_shards_is_read_and_executes_nothing(tmp_path: Path) -> None:
    dcp.save({"a": torch.zeros(2, 3), "b": torch.zeros(4, dtype=torch.bfloat16)}, checkpoint_id=tmp_path)
    found = shards_on_disk.shapes(tmp_path)
    assert found == {"a": ((2, 3), torch.float32), "b": ((4,), torch.bfloat16)}
    for bad in (Harm(), {"a": 1}):
        with pytest.raises(pickle.UnpicklingError, match=r"\.metadata"):
            shards_on_disk.shapes(index(tmp_path, bad))
    dcp.save({"a": "words"}, checkpoint_id=tmp_path)
    with pytest.raises(pickle.UnpicklingError):
        shards_on_disk.shapes(tmp_path)


def outputs(folder: Path) -> Path:
    """The one run in a folder."""
    (found,) = (folder / "outputs").iterdir()
    return found


def weights(run: Path) -> dict[str, torch.Tensor]:
    """What a run reports."""
    (file,) = (run / "checkpoints" / "best").glob("*model.safetensors")
    return load_file(file)


def assert_same(one: Path, other: Path, *, atol: float) -> None:
    for name in ("train_loss", "val_loss", "score"):
        values = [[float(row[name] or 0) for row in runs.rows(run)] for run in (one, other)]
        assert values[1] == pytest.approx(values[0], rel=1e-5), name
    found, expected = weights(other), weights(one)
    assert found.keys() == expected.keys()
    for name, weight in expected.items():
        torch.testing.assert_close(found[name], weight, rtol=1e-4, atol=atol)
    texts = [{p.question_id: p.prediction for p in predictions.read(run / "predictions.jsonl")} for run in (one, other)]
    assert texts[0] == texts[1] and len(texts[1]) == runs.result(other)["headline"]["questions"]


FULL = ("lora.r=0", "freeze=50", "features=on", "data.eval_batch_size=1")  # 5 batches of test on two devices
BF16 = ("model.dtype=bfloat16", "trainer.precision=bf16-mixed")
CASES = [
    # the embedded weights answer in words of different length
    ("qwen2vl", "sharded", ("model.checkpoint=embedded", "data.max_new_tokens=12", "data.eval_batch_size=1"), 1e-6),
    ("qwen2vl", "gathered", ("freeze=50", "trainer.gradient_checkpointing=true", *BF16), 1e-3),
    ("florence2", "sharded", FULL, 1e-3),  # what Adam makes of a gradient near zero
    ("florence2", "gathered", (*FULL, "packing=off", "features=auto"), 1e-3),
]


@pytest.mark.slow
@pytest.mark.parametrize(("family", "evaluation", "more", "atol"), CASES)
def test_two_devices_learn_and_answer_what_one_does(
    family: str, evaluation: str, more: tuple[str, ...], atol: float, tmp_path: Path, root: Path
) -> None:
    lone = ("data.batch_size=2", "trainer.accumulate_grad_batches=2")
    one = devices.command(tmp_path / "one", root, devices.TORCHRUN[:1], *more, *lone, family=family)
    words = (*more, *TWO, f"trainer.strategy.evaluation={evaluation}")
    # without torchrun Lightning starts the second process
    launcher = devices.TORCHRUN if evaluation == "sharded" else devices.TORCHRUN[:1]
    both = devices.command(tmp_path / "two", root, launcher, *words, family=family)
    lines = [re.findall("^proof: .*", out, re.MULTILINE) for out in (one, both)]
    assert lines[0] == lines[1] and len(lines[1]) == 1
    assert both.count("MB predicted for the largest batch") == 1
    assert_same(outputs(tmp_path / "one"), outputs(tmp_path / "two"), atol=atol)
    if "embedded" in more[0]:
        answers = predictions.read(outputs(tmp_path / "two") / "predictions.jsonl")
        assert len({len(answer.prediction) for answer in answers}) > 1


SENT = """
import os, signal, sys
from docvlm.train import main
from docvlm.training.module import AnswerModule
from tests.support.runs import on_call
call, number = int(sys.argv.pop(1)), int(sys.argv.pop(1))
send = lambda: os.kill(os.getpid(), number)
AnswerModule.training_step = on_call(call, send, AnswerModule.training_step)
main()
"""


def stopped(folder: Path, root: Path, launcher: list[str], call: int, *more: str) -> Path:
    """A run in `folder` that is asked to stop within a call of `training_step`, on every device."""
    script = folder / "sent.py"
    folder.mkdir()
    script.write_text(SENT)
    devices.run(folder, root, launcher, *more, target=(str(script), str(call), str(int(signal.SIGTERM))))
    run = outputs(folder)
    assert runs.result(run)["status"] == "interrupted"
    return run


LONGER = ("trainer.max_steps=-1", "data.limit_train=12", "trainer.max_epochs=2", "trainer.checkpoint_every_n_steps=100")
"""Two epochs of 12 questions, 3 steps each; nothing is saved within an epoch unless the run is asked to stop."""


@pytest.mark.slow
def test_a_stopped_run_goes_on_with_any_number_of_devices(tmp_path: Path, root: Path) -> None:
    alone, two, one, other = (tmp_path / name for name in ("alone", "two", "one", "other"))
    lone = ("data.batch_size=2", "trainer.accumulate_grad_batches=2")
    devices.command(alone, root, devices.TORCHRUN[:1], *LONGER, *lone)
    run = stopped(two, root, devices.TORCHRUN, 2, *LONGER, *TWO)
    assert (run / "checkpoints" / "last.ckpt" / shards_on_disk.INDEX).exists()
    shutil.copytree(two, one)
    out = devices.command(two, root, devices.TORCHRUN, *LONGER, *TWO)
    assert "continuing after 0 epochs and 2 batches" in out and "go on with it" not in out
    out = devices.command(one, root, devices.TORCHRUN[:1], *LONGER, *ALONE)
    assert "2 devices began this run, 1 go on with it: trainer.accumulate_grad_batches=2" in out
    stopped(other, root, devices.TORCHRUN[:1], 3, *LONGER, *ALONE)
    out = devices.command(other, root, devices.TORCHRUN, *LONGER, *TWO)
    assert "1 devices began this run, 2 go on with it: trainer.accumulate_grad_batches=1" in out
    for folder in (two, one, other):
        assert_same(outputs(alone), outputs(folder), atol=1e-5)
        assert [row["step"] for row in runs.rows(outputs(folder))] == ["0", "3", "6"]


def test_steps_that_devices_cannot_share_are_refused() -> None:
    trainer: Any = SimpleNamespace(world_size=2, accumulate_grad_batches=1)
    checkpoint.share_steps(trainer, {"devices": 3, "accumulated": 4})
    assert trainer.accumulate_grad_batches == 6
    with pytest.raises(DocvlmError, match=r"trainer.devices: 2 devices .* a number that divides 3"):
        checkpoint.share_steps(trainer, {"devices": 3, "accumulated": 1})


@pytest.mark.parametrize(("tokens", "loader", "refused"), [(None, 5, False), (512, 6, False), (512, 5, True)])
def test_the_place_in_an_epoch_is_counted_in_batches_of_the_devices_that_go_on(
    tokens: int | None, loader: int, refused: bool
) -> None:
    counts = {"ready": 2, "completed": 1}
    place = {"total": dict(counts), "current": dict(counts)}
    loops = {"state_dict": {"combined_loader": [{"epoch": 0, "batches": 2}]}, "epoch_loop.batch_progress": place}
    said = {"devices": 2, "accumulated": 1, "batch": 2, "batches": 3}
    data = SimpleNamespace(batch_tokens=tokens, train_dataloader=lambda: range(loader))
    one: Any = SimpleNamespace(world_size=1, datamodule=data)
    last: Any = checkpoint.LastCheckpoint(Path("last.ckpt"), identity=None, every_n_steps=1)  # type: ignore[arg-type]
    saved = {"docvlm": said, "loops": {"fit_loop": loops}}
    if refused:
        with pytest.raises(DocvlmError, match=r"an epoch of 6 batches on 2 devices, which are 5 on 1; go on with 2"):
            last.on_load_checkpoint(one, None, saved)
        return
    last.on_load_checkpoint(one, None, saved)
    assert loops["state_dict"] == {"combined_loader": [{"epoch": 0, "batches": 4}]}
    assert place == {"total": {"ready": 4, "completed": 3}, "current": {"ready": 4, "completed": 3}}


def test_a_sharded_run_is_told_by_the_batches_of_a_step_and_not_by_devices() -> None:
    def deciding(*more: str) -> dict[str, Any]:
        cfg = load("train", TrainConfig, runs.overrides("qwen2vl", *more))
        decided: dict[str, Any] = identity._deciding(dataclasses.asdict(cfg))["trainer"]
        return decided

    assert deciding(*TWO) == deciding(*ALONE) == deciding(*TWO, "trainer.strategy.evaluation=sharded")
    assert deciding(*TWO) != deciding(*TWO[:3], "trainer.accumulate_grad_batches=2") != deciding()
    assert deciding("trainer=fsdp") != deciding("trainer=fsdp", "trainer.accumulate_grad_batches=3")
    ddp = ("trainer=ddp", *TWO[1:])
    assert deciding(*ddp) != deciding("trainer=ddp", *ALONE[1:])
