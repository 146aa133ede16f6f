"""Train, save, load: the same numbers, through docvlm and through plain transformers + peft; nothing by halves."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft import get_peft_model_state_dict
from safetensors.torch import load_file, save_file

from docvlm.errors import DocvlmError
from docvlm.vlms import FAMILIES, embedded, load_family
from docvlm.vlms import saved as adapter
from docvlm.vlms.base import VLM
from docvlm.vlms.codec import Budget
from docvlm.vlms.families import Miniature
from docvlm.vlms.prepare import apply
from docvlm.vlms.trainable import Lora
from tests.support.tiny import checkpoint, example, load, widen

EXAMPLES = [example(0), example(1), example(2)]
BUDGETS = {
    "qwen2vl": Budget(min_pixels=784, max_pixels=28 * 28 * 30),
    "qwen3vl": Budget(min_pixels=1024, max_pixels=32 * 32 * 30),
    "florence2": Budget(height=112, width=196),
}
DORA = (66, Lora(r=4, use_dora=True))
SETTINGS = [
    (100, Lora(r=4)), (50, Lora(r=4, target_modules=["q_proj", "v_proj"])), (0, Lora(r=0)), (66, Lora(r=0)), DORA,
]  # fmt: skip


def trained(family: str, freeze: float, lora: Lora) -> VLM:
    """A model after some large steps, so that its answers are not the base's."""
    torch.manual_seed(1)
    vlm = load(family, BUDGETS[family])
    trainable = apply(vlm, freeze, lora)
    parameters = [p for group in trainable.groups.values() for p in group]
    optimizer = torch.optim.AdamW(parameters, lr=0.02)
    batch = vlm.codec.train_batch(EXAMPLES)
    for _ in range(3):
        optimizer.zero_grad()
        vlm.loss(batch)[0].backward()
        optimizer.step()
    return vlm.eval()


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete adapter folder; copy it before breaking it."""
    folder = tmp_path_factory.mktemp("saved") / "best"
    adapter.save(trained("qwen2vl", 100, Lora(r=4)), folder)
    return folder


@pytest.mark.parametrize(("freeze", "lora"), SETTINGS, ids=["lora", "lora+vision", "full", "full-66", "dora"])
@pytest.mark.parametrize("family", BUDGETS)
def test_what_was_saved_is_what_loads(family: str, freeze: float, lora: Lora, tmp_path: Path) -> None:
    vlm = trained(family, freeze, lora)
    adapter.save(vlm, tmp_path / "best")
    again = adapter.load(tmp_path / "best", offline=True)
    batch, prompts = vlm.codec.train_batch(EXAMPLES), vlm.codec.prompt_batch(EXAMPLES)
    assert again.codec.budget == vlm.codec.budget
    for name, tensor in again.codec.train_batch(EXAMPLES).items():
        assert torch.equal(tensor, batch[name]), name
    assert torch.equal(vlm.loss(batch)[0], again.loss(batch)[0])
    assert vlm.generate(prompts, 8) == again.generate(prompts, 8)
    base = load(family, BUDGETS[family])
    assert not torch.equal(base.loss(batch)[0], vlm.loss(batch)[0]), "training should have changed something"
    assert again.trainable is not None and vlm.trainable is not None
    assert again.trainable.count == vlm.trainable.count
    assert again.checkpoint == vlm.checkpoint
    assert not list(tmp_path.glob(".*")), "nothing is left beside the folder"


PLAIN = """
import json, sys, torch, transformers
from peft import PeftModel

def answers(base, folder, prompts, kind):
    net = getattr(transformers, kind).from_pretrained(base)
    if base != folder:
        net = PeftModel.from_pretrained(net, folder)
    batch = torch.load(prompts)
    settings = transformers.GenerationConfig.from_pretrained(folder)
    ids = net.eval().generate(**batch, generation_config=settings, max_new_tokens=8)
    if not net.config.is_encoder_decoder:
        ids = ids[:, batch["input_ids"].shape[1]:]
    texts = transformers.AutoProcessor.from_pretrained(folder).batch_decode(ids, skip_special_tokens=True)
    return [text.strip() for text in texts]

print(json.dumps([answers(*case) for case in json.loads(sys.argv[1])]))
assert "docvlm" not in sys.modules
"""


def test_plain_transformers_and_peft_give_the_same_text(tmp_path: Path) -> None:
    """Adapters with vision blocks, and full model, of every family; one process: imports are most of the time."""
    cases, ours, bases = [], [], []
    for family in BUDGETS:
        for number, (freeze, lora) in enumerate((SETTINGS[1], SETTINGS[3], DORA)):
            vlm = trained(family, freeze, lora)
            best = tmp_path / f"{family}-{number}" / "best"
            best.parent.mkdir()
            adapter.save(vlm, best)
            prompts = vlm.codec.prompt_batch(EXAMPLES)
            torch.save(prompts, best.parent / "prompts.pt")
            base = checkpoint(family) if lora.r else best
            cases.append([str(base), str(best), str(best.parent / "prompts.pt"), type(vlm.bare).__name__])
            ours.append([answer.text for answer in vlm.generate(prompts, 8)])
            bases.append([answer.text for answer in load(family, BUDGETS[family]).generate(prompts, 8)])
    done = subprocess.run(
        [sys.executable, "-I", "-c", PLAIN, json.dumps(cases)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == ours
    assert all(a != b for a, b in zip(ours, bases, strict=True)), "training should have changed what is said"


def test_the_record_says_how_to_put_it_together(saved: Path) -> None:
    record = adapter.read(saved)
    assert (record["family"], record["freeze"]) == ("qwen2vl", 100)
    assert record["lora"] == {"r": 4, "alpha": 8, "dropout": 0.0, "target_modules": None, "use_dora": False}
    assert record["budget"]["max_pixels"] == 28 * 28 * 30
    assert record["checkpoint"] == str(checkpoint("qwen2vl"))


def test_jpeg_quality_is_saved_and_a_folder_from_before_it_loads(tmp_path: Path) -> None:
    budget = replace(BUDGETS["qwen2vl"], jpeg_quality=85)
    vlm = load("qwen2vl", budget)
    apply(vlm, 100, Lora(r=4))
    adapter.save(vlm, tmp_path / "best")
    assert adapter.load(tmp_path / "best", offline=True).codec.budget == budget
    assert adapter.load_base(tmp_path / "best", offline=True).codec.budget == budget
    record = json.loads((tmp_path / "best" / adapter.RECORD).read_text())
    del record["budget"]["jpeg_quality"]
    (tmp_path / "best" / adapter.RECORD).write_text(json.dumps(record))
    assert adapter.load(tmp_path / "best", offline=True).codec.budget == replace(budget, jpeg_quality=None)


def test_the_file_holds_adapter_weights_and_nothing_else(saved: Path) -> None:
    weights = load_file(saved / adapter.WEIGHTS)
    assert weights and all(".lora_" in name for name in weights)
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32}
    assert not [file for file in saved.iterdir() if file.suffix in (".bin", ".pt", ".pkl")]


def test_saving_again_replaces_the_folder(tmp_path: Path) -> None:
    vlm = trained("qwen2vl", 100, Lora(r=4))
    adapter.save(vlm, tmp_path / "best")
    (tmp_path / "best" / "stale").write_text("x")
    adapter.save(vlm, tmp_path / "best")
    assert not (tmp_path / "best" / "stale").exists()
    assert adapter.load(tmp_path / "best", offline=True).trainable is not None


def broken(saved: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "best"
    shutil.copytree(saved, folder)
    return folder


def refused(folder: Path, said: str, **options: Path) -> None:
    with pytest.raises(DocvlmError, match=said) as caught:
        adapter.load(folder, offline=True, **options)
    assert "\n" not in str(caught.value)


def test_a_half_written_folder_is_refused(saved: Path, tmp_path: Path) -> None:
    folder = broken(saved, tmp_path)
    whole = (folder / adapter.WEIGHTS).read_bytes()
    (folder / adapter.WEIGHTS).write_bytes(whole[: len(whole) // 2])
    refused(folder, r"adapter_model.safetensors: not readable")
    (folder / adapter.WEIGHTS).unlink()
    refused(folder, r"adapter_model.safetensors: not readable")
    (folder / adapter.RECORD).write_text('{"family": "qwen2vl"')
    refused(folder, r"docvlm.json: not readable")
    (folder / adapter.RECORD).write_text('{"family": "qwen2vl"}')
    refused(folder, r"docvlm.json: base_fingerprint, budget, .* missing")
    (folder / adapter.RECORD).unlink()
    refused(folder, r"no docvlm.json in it")


def test_another_rank_is_refused(saved: Path, tmp_path: Path) -> None:
    folder = broken(saved, tmp_path)
    record = json.loads((folder / adapter.RECORD).read_text())
    record["lora"]["r"] = 8
    (folder / adapter.RECORD).write_text(json.dumps(record))
    refused(folder, r"adapter_config.json says r=4, docvlm.json lora.r=8")
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(config | {"r": 8}))
    refused(folder, r"32 of 32 keys do not match qwen2vl with r=8")


def test_a_missing_or_extra_key_is_refused(saved: Path, tmp_path: Path) -> None:
    folder = broken(saved, tmp_path)
    weights = load_file(folder / adapter.WEIGHTS)
    name = sorted(weights)[0]
    extra = weights | {"base_model.model.other.lora_A.weight": torch.zeros(2)}
    for changed in ({k: v for k, v in weights.items() if k != name}, extra):
        save_file(changed, folder / adapter.WEIGHTS)
        refused(folder, r"1 of 32 keys do not match")


def test_another_base_is_refused(saved: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(checkpoint("qwen2vl"), other)
    vlm = load("qwen2vl")
    widen(vlm.net, 1.001)
    vlm.bare.save_pretrained(other)
    refused(saved, r"trained on .* with fingerprint [0-9a-f]{16}, but .*other has [0-9a-f]{16}", checkpoint=other)


def test_another_familys_base_is_refused(saved: Path) -> None:
    refused(saved, r"model_type is 'florence2', but family qwen2vl needs qwen2_vl", checkpoint=checkpoint("florence2"))


def test_a_base_that_moved_can_be_named(saved: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(checkpoint("qwen2vl"), moved)
    again = adapter.load(saved, checkpoint=moved, offline=True)
    assert len(get_peft_model_state_dict(again.net, save_embedding_layers=False)) == 32


def test_an_embedded_base_is_recorded_by_its_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its path belongs to one installation; the run may be evaluated in another."""
    here, there, own = tmp_path / "here", tmp_path / "there", FAMILIES["qwen2vl"]
    for place in (here, there):
        shutil.copytree(checkpoint("qwen2vl"), place / "qwen2vl")
    monkeypatch.setitem(FAMILIES._records, "qwen2vl", replace(own, embedded=Miniature(here / "qwen2vl")))
    vlm = load_family("qwen2vl").load(embedded.checkpoint("qwen2vl"), Budget(), offline=True)
    apply(vlm, 100, Lora(r=4))
    adapter.save(vlm, tmp_path / "best")
    assert adapter.read(tmp_path / "best")["checkpoint"] == "embedded"
    shutil.rmtree(here)
    monkeypatch.setitem(FAMILIES._records, "qwen2vl", replace(own, embedded=Miniature(there / "qwen2vl")))
    assert adapter.load(tmp_path / "best", offline=True).checkpoint == str(there / "qwen2vl")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(DocvlmError, match="best: cannot be written"):
        adapter.save(trained("qwen2vl", 100, Lora(r=4)), tmp_path / "best")


def test_a_file_in_the_way_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    with pytest.raises(DocvlmError, match="best: cannot be written"):
        adapter.save(trained("qwen2vl", 100, Lora(r=4)), tmp_path / "run" / "best")
