"""Stored features: the same numbers and text without the tower; shards that survive damage, rivals and a full disk."""

from __future__ import annotations

import pickle
import shutil
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers.models.qwen2_vl.modeling_qwen2_vl import Qwen2VLModel

from docvlm import machine
from docvlm.config import TrainConfig
from docvlm.config.compose import load as config
from docvlm.data.generated import documents
from docvlm.errors import DocvlmError
from docvlm.evaluation.subjects import identity, of_checkpoint
from docvlm.files import read_json, write_json
from docvlm.training import feature_choice as training_features
from docvlm.vlms.base import VLM
from docvlm.vlms.codec import Budget, Stored, as_tensor
from docvlm.vlms.feature_store import FeatureStore
from docvlm.vlms.prepare import apply
from docvlm.vlms.trainable import Lora
from tests.support.runs import result, train
from tests.support.tiny import load

ASKED = [example for document in documents("docvqa", "test", 3, "tiny", 0) for example in document]


def store(folder: Path, limit: int = 2**30) -> FeatureStore:
    return FeatureStore(folder, limit)


def calls(vlm: VLM) -> list[int]:
    """Counts how often the tower's first block computes."""
    counted: list[int] = []
    block = vlm.bare.get_submodule(vlm.trainable.blocks[0].modules[-1])  # type: ignore[union-attr]
    norm = next(module for module in block.modules() if isinstance(module, torch.nn.LayerNorm))
    norm.register_forward_hook(lambda *_: counted.append(1))
    return counted


def learn(vlm: VLM, batch: dict[str, Tensor]) -> tuple[float, dict[str, Tensor]]:
    vlm.zero_grad()
    loss, tokens = vlm.loss(batch)
    (loss / tokens).backward()
    return loss.item(), {name: p.grad.clone() for name, p in vlm.named_parameters() if p.grad is not None}


def test_pages_through_jpeg_have_other_features_and_other_answers(tmp_path: Path) -> None:
    """What is stored of plain pages is never taken for what is made of pages that went through JPEG."""
    folders, answered = set(), set()
    cfg = config("train", TrainConfig, ["scale=tiny", f"features_folder={tmp_path}"])
    for quality in (None, 85, 50):
        vlm = load("qwen2vl", Budget(min_pixels=784, max_pixels=65536, jpeg_quality=quality))
        apply(vlm, 100, Lora(4))
        folders.add(training_features._stored(cfg, vlm).store.folder)
        zero_shot = of_checkpoint("qwen2vl", vlm.checkpoint, vlm.codec.budget, "float32", "sdpa", None, True)
        answered.add(identity(zero_shot, vlm, {}))
    assert len(folders) == len(answered) == 3


DORA = Lora(4, use_dora=True)


@pytest.mark.parametrize(
    ("family", "lora", "freeze"),
    [
        *(("qwen2vl", Lora(4), freeze) for freeze in (33, 66, 100)),
        *(("florence2", Lora(0), freeze) for freeze in (33, 66, 100)),
        *(("qwen3vl", lora, freeze) for lora, freeze in ((Lora(4), 33), (Lora(0), 66), (Lora(4), 100))),
        ("qwen2vl", DORA, 66), ("florence2", DORA, 100),
    ],
    ids=lambda value: ("dora" if value.use_dora else f"r{value.r}") if isinstance(value, Lora) else str(value),
)  # fmt: skip
def test_stored_features_are_the_towers(family: str, lora: Lora, freeze: float, tmp_path: Path) -> None:
    """The loss, every gradient and every answer, and frozen blocks do not compute again.

    Bit for bit for a whole tower; DaViT's later blocks get the same numbers in another memory order.
    """
    vlm = load(family)
    apply(vlm, freeze, lora)
    whole = freeze == 100
    loss, gradients = learn(vlm, vlm.codec.packed_batch(ASKED))
    answers = vlm.generate(vlm.codec.eval_batch(ASKED).prompts, 8)
    vlm.codec.stored = Stored(store(tmp_path), torch.float32, torch.float32, whole=whole)
    learn(vlm, vlm.codec.packed_batch(ASKED))
    vlm.codec.stored.store.flush()
    vlm.codec.stored = Stored(store(tmp_path), torch.float32, torch.float32, whole=whole)  # another process
    ran = calls(vlm)
    batch = pickle.loads(pickle.dumps(vlm.codec)).packed_batch(ASKED)
    assert "pixel_values" not in batch and ("features" if whole else "prefix") in batch
    assert any(name.startswith("vision") for name in vlm.trainable.groups) is not whole  # type: ignore[union-attr]
    again, stored = learn(vlm, batch)
    if whole:
        assert again == loss and all(torch.equal(stored[name], gradient) for name, gradient in gradients.items())
    assert again == pytest.approx(loss, rel=1e-6) and stored.keys() == gradients.keys()
    away = sum((stored[name] - gradient).square().sum() for name, gradient in gradients.items())
    assert away <= 1e-10 * sum(gradient.square().sum() for gradient in gradients.values())
    assert vlm.generate(vlm.codec.eval_batch(ASKED).prompts, 8) == answers
    assert ran == []


@pytest.mark.parametrize(("family", "r"), [("qwen2vl", 4), ("florence2", 0)])
def test_a_feature_belongs_to_a_dtype_and_a_page(family: str, r: int, tmp_path: Path) -> None:
    vlm = load(family)
    apply(vlm, 100, Lora(r))
    vlm.codec.stored = Stored(store(tmp_path), torch.bfloat16, torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        vlm.loss(vlm.codec.packed_batch(ASKED))
    assert "features" in vlm.codec.packed_batch(ASKED)
    assert vlm.codec.packed_batch(ASKED)["features"].dtype == torch.bfloat16
    assert "features" not in vlm.codec.eval_batch(ASKED).prompts, "evaluation computes in float32"
    other = documents("docvqa", "val", 1, "tiny", 0)[0]
    assert "features" not in vlm.codec.packed_batch([*ASKED, *other]), "one page is missing"


def test_what_one_process_writes_another_reads_and_nothing_is_half_written(tmp_path: Path) -> None:
    first, second = store(tmp_path), store(tmp_path)
    assert "a" not in second and second.read("a") is None
    first.write({"a": torch.arange(6.0).view(2, 3), "b": torch.ones(4, dtype=torch.bfloat16)})
    assert torch.equal(first.read("a"), torch.arange(6.0).view(2, 3)) and "a" not in second  # type: ignore[arg-type]
    first.flush()
    second.write({"a": torch.arange(6.0).view(2, 3)})  # both had it: one more shard would hold nothing new
    second.flush()
    assert torch.equal(second.read("b"), torch.ones(4, dtype=torch.bfloat16))  # type: ignore[arg-type]
    assert [path.suffix for path in tmp_path.iterdir()] == [".safetensors"]


def test_damage_is_found_and_removed(tmp_path: Path) -> None:
    whole = store(tmp_path)
    whole.write({"a": torch.arange(1000.0)})
    whole.flush()
    (shard,) = tmp_path.iterdir()
    content = bytearray(shard.read_bytes())
    content[-5] ^= 1
    shard.write_bytes(content)
    with pytest.warns(UserWarning, match="checksum does not match"):
        assert store(tmp_path).read("a") is None
    assert list(tmp_path.iterdir()) == []
    shard.write_bytes(content[:300])
    with pytest.warns(UserWarning, match="removed, its pages are encoded anew"):
        assert store(tmp_path).read("a") is None


def test_over_the_limit_the_oldest_shards_go(tmp_path: Path) -> None:
    small = store(tmp_path, limit=9000)
    for name in "abc":
        small.write({name: torch.zeros(1000)})
        small.flush()
    fresh = store(tmp_path, limit=9000)
    assert [name in fresh for name in "abc"] == [False, True, True]
    assert torch.equal(small.read("a"), torch.zeros(1000)), "who has it open may go on reading"  # type: ignore[arg-type]


def test_a_folder_may_go_and_one_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    kept = store(tmp_path / "kept")
    kept.write({"a": torch.ones(3)})
    kept.flush()
    assert "a" in kept
    shutil.rmtree(tmp_path / "kept")
    assert "b" not in kept and "a" not in kept
    kept.write({"a": torch.ones(3)})
    kept.flush()
    assert "a" in store(tmp_path / "kept")
    shutil.rmtree(tmp_path / "kept")
    (tmp_path / "kept").write_text("a file where the folder was")
    kept.write({"c": torch.ones(3)})
    with pytest.raises(DocvlmError, match=r"cannot be written .* features=off"):
        kept.flush()


def test_a_run_fills_the_store_and_the_next_one_reads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    keys = ("features=on", "features_folder=kept")
    train(tmp_path / "outputs" / "one", *keys)
    sizes = {path: path.stat().st_size for path in Path("kept").rglob("*.safetensors")}
    assert sizes and read_json(tmp_path / "outputs" / "one" / "manifest.json")["features"] == "on"
    with monkeypatch.context() as patched:
        patched.setattr(Qwen2VLModel, "get_image_features", None)  # not one page of train, val or test is encoded again
        train(tmp_path / "outputs" / "two", *keys, "lora.r=2")
    assert {path: path.stat().st_size for path in Path("kept").rglob("*.safetensors")} == sizes
    with monkeypatch.context() as patched:  # Pillow 13 resizes pages of odd width otherwise than 12
        patched.setattr(machine, "version", lambda name: "99.0" if name == "pillow" else version(name))
        train(tmp_path / "outputs" / "later", *keys, "rerun=true")
    assert read_json(tmp_path / "outputs" / "later" / "manifest.json")["versions"]["pillow"] == "99.0"
    stores = {path.parent for path in Path("kept").rglob("*.safetensors")}
    assert len(stores) == 2, "what another version resized was read"
    plain = tmp_path / "outputs" / "plain"
    train(plain, "features=off", "packing=off", "rerun=true")
    assert result(plain)["fingerprint"] == result(tmp_path / "outputs" / "one")["fingerprint"]


def test_frozen_blocks_of_a_tower_that_learns_behind_them_are_stored_for_themselves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for freeze in (33, 66, 100):
        train(tmp_path / "outputs" / str(freeze), f"freeze={freeze}", "features=on", "features_folder=kept")
        assert read_json(tmp_path / "outputs" / str(freeze) / "manifest.json")["features"] == "on"
    stores = [folder for folder in Path("kept").iterdir() if folder.name != "hashes"]  # the audit's lie beside them
    folders = [{path.stat().st_size for path in folder.iterdir()} for folder in stores]
    assert len(folders) == 3 and all(folders), "a store for each prefix"


def test_auto_says_what_it_chose_and_a_learning_tower_is_not_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    train(tmp_path / "outputs" / "auto")
    chosen = read_json(tmp_path / "outputs" / "auto" / "manifest.json")["features"]
    assert f"features={chosen} (auto: a page takes" in capsys.readouterr().out
    with pytest.raises(DocvlmError, match=r"features=on: .* freeze=0"):
        train(tmp_path / "outputs" / "refused", "freeze=0", "features=on")


@pytest.mark.slow
def test_auto_believes_an_earlier_run_where_that_is_decisive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Pages are few, and a cell of a sweep that encoded some only for their time would notice."""
    monkeypatch.chdir(tmp_path)
    train(tmp_path / "outputs" / "first", "features_folder=kept")
    assert "to encode, " in capsys.readouterr().out
    (costs,) = Path("kept").rglob("encoding.json")
    (machine,) = read_json(costs)
    for said, again in ((1000.0, False), (0.0, True)):
        write_json(costs, {machine: said, "another machine": 2.0})
        train(tmp_path / "outputs" / f"after {said}", "features_folder=kept", "rerun=true")
        assert ("1000000.0 ms to encode (in an earlier run), " in capsys.readouterr().out) is not again
        assert (read_json(costs)[machine] != said) is again and read_json(costs)["another machine"] == 2.0
    costs.write_text('{"a machine": []}', encoding="utf-8")
    with pytest.raises(DocvlmError, match=r"encoding.json: no times of encoding .* delete it"):
        train(tmp_path / "outputs" / "damaged", "features_folder=kept", "rerun=true")


def test_a_gpu_too_small_for_the_trial_pages_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*given: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("docvlm.training.feature_choice._measure", full)
    with pytest.raises(DocvlmError, match=r"out of memory: 8 pages encoded .* the budget"):
        train(tmp_path / "outputs" / "small")


def test_a_feature_is_found_by_what_the_tower_computed_in(tmp_path: Path) -> None:
    """CUDA's autocast makes norms in float32, and Florence-2's tower ends with one."""
    stored = Stored(FeatureStore(tmp_path, 2**20), torch.bfloat16, torch.float32)
    feature, name = torch.ones(3, 4), "00" * 16
    with torch.autocast("cpu", torch.bfloat16):
        stored.keep(as_tensor([name]), [feature])
    found = stored.features([name], stored.training)
    assert found is not None and found[0].dtype == torch.float32
    assert stored.features([name], stored.evaluation) is None


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_auto_measures_on_the_gpu_that_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    train(tmp_path / "outputs" / "auto", "features_folder=kept", "trainer.accelerator=gpu")
    (costs,) = Path("kept").rglob("encoding.json")
    assert list(read_json(costs)) == [torch.cuda.get_device_name()]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("family", ["qwen2vl", "florence2"])
def test_on_a_gpu_in_bf16_too(family: str, tmp_path: Path) -> None:
    vlm = load(family, dtype=torch.bfloat16)
    apply(vlm, 100, Lora(4))
    vlm.cuda()
    vlm.codec.stored = Stored(store(tmp_path), torch.bfloat16, torch.bfloat16)
    losses = []
    for _ in range(2):
        batch = vlm.codec.packed_batch(ASKED)
        losses.append(vlm.loss({name: tensor.cuda() for name, tensor in batch.items()})[0].item())
    assert "features" in batch and losses[0] == pytest.approx(losses[1], rel=1e-3)
