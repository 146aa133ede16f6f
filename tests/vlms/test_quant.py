"""`quant=4bit`: packed language weights under an adapter.

bitsandbytes also has kernels for processors, so real 4-bit weights go forward and backward here, behind the seam that
says which devices may hold them (`quant.DEVICES`). What only CUDA's kernels can show is marked `gpu`.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from torch import Tensor, nn

from docvlm.errors import DocvlmError
from docvlm.evaluate import main as evaluate
from docvlm.reporting.naming import name as called
from docvlm.runs.finished import read
from docvlm.scoring import predictions
from docvlm.train import main as train
from docvlm.vlms import proof, quant, saved
from docvlm.vlms.base import VLM
from docvlm.vlms.prepare import apply
from docvlm.vlms.trainable import Lora
from tests.support import runs
from tests.support.tiny import checkpoint, example, load

FAMILIES = ("qwen2vl", "florence2")
EXAMPLES = [example(0), example(1), example(2)]
LORA, DORA = Lora(r=4), Lora(r=4, use_dora=True)


@pytest.fixture
def cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The seam: a processor may hold 4-bit weights."""
    modules = pytest.importorskip("bitsandbytes").nn.modules
    monkeypatch.setattr(quant, "DEVICES", ("cpu",))
    # Processors with AVX512-BF16 repack weights for inference in place, after which there is no way back to training.
    monkeypatch.setattr(modules, "has_avx512bf16", lambda: False)


def four(family: str, lora: Lora = LORA, freeze: float = 100) -> VLM:
    torch.manual_seed(1)
    vlm = load(family, quant="4bit")
    apply(vlm, freeze, lora)
    return vlm


def learn(vlm: VLM) -> tuple[float, dict[str, Tensor]]:
    for name, parameter in vlm.named_parameters():
        if "lora_B" in name:  # zero at first, and with it every gradient of lora_A
            nn.init.constant_(parameter, 0.02)
    vlm.zero_grad()
    loss, tokens = vlm.loss(vlm.codec.packed_batch(EXAMPLES))
    (loss / tokens).backward()
    return loss.item(), {name: p.grad.clone() for name, p in vlm.net.named_parameters() if p.grad is not None}


@pytest.mark.usefixtures("cpu")
@pytest.mark.parametrize("family", FAMILIES)
def test_the_language_side_is_packed_and_nothing_else(family: str) -> None:
    vlm = load(family, quant="4bit")
    linear = {name for name, module in load(family).bare.named_modules() if isinstance(module, nn.Linear)}
    found = {name for name, module in vlm.bare.named_modules() if type(module).__name__ == "Linear4bit"}
    assert found == {name for name in linear if name.startswith(vlm.about.language)} != set()
    assert all(quant.packed(vlm.bare.get_submodule(name).weight) for name in found)
    rest = [p for p in vlm.bare.parameters() if not quant.packed(p)]
    assert {parameter.dtype for parameter in rest} == {torch.float32}
    settings = vlm.bare.config.quantization_config
    assert (settings.bnb_4bit_quant_type, settings.bnb_4bit_use_double_quant) == ("nf4", True)


@pytest.mark.usefixtures("cpu")
@pytest.mark.parametrize("lora", [LORA, DORA], ids=["lora", "dora"])
@pytest.mark.parametrize("family", FAMILIES)
def test_loss_and_gradients_are_those_of_the_unpacked_weights(family: str, lora: Lora) -> None:
    """A model in full precision that holds the very values which 4 bits can say computes the same."""
    from bitsandbytes.functional import dequantize_4bit

    packed = load(family, quant="4bit")
    plain = load(family)
    for name, module in packed.bare.named_modules():
        if type(module).__name__ == "Linear4bit":
            weight = plain.bare.get_submodule(name).weight
            values = dequantize_4bit(module.weight.data, module.weight.quant_state)
            assert 0 < (values - weight).abs().max() < weight.abs().max(), "4 bits say less than 32"
            weight.data = values
    for vlm in (packed, plain):
        torch.manual_seed(1)
        apply(vlm, 50, lora)
    (loss, gradients), (expected, wanted) = learn(packed), learn(plain)
    assert loss == pytest.approx(expected, rel=1e-5)
    assert gradients.keys() == wanted.keys() and any(name.startswith("base_model.model.model.vis") for name in wanted)
    away = sum((gradients[name] - gradient).square().sum() for name, gradient in wanted.items())
    assert away <= 1e-8 * sum(gradient.square().sum() for gradient in wanted.values())


@pytest.mark.usefixtures("cpu")
@pytest.mark.parametrize("family", FAMILIES)
def test_counts_are_of_values_and_not_of_bytes(family: str) -> None:
    plain = load(family)
    expected = apply(plain, 66, LORA)
    vlm = four(family, freeze=66)
    assert vlm.trainable is not None
    assert (vlm.trainable.count, vlm.trainable.total) == (expected.count, expected.total)
    assert "LoRA r=4 alpha=8 on 4-bit weights" in str(vlm.trainable)


@pytest.mark.usefixtures("cpu")
@pytest.mark.parametrize(("family", "lora"), [("qwen2vl", DORA), ("florence2", LORA)], ids=["qwen2vl", "florence2"])
def test_the_proof_reads_packed_weights_and_their_scales(
    family: str, lora: Lora, monkeypatch: pytest.MonkeyPatch
) -> None:
    vlm = four(family, lora)
    batch = vlm.codec.train_batch(EXAMPLES)
    count = sum(map(quant.packed, vlm.parameters()))
    assert f"{count} of them in 4 bits, unchanged" in proof.prove(vlm, batch)
    step = proof._step

    def changed(at: Callable[[], Tensor]) -> None:
        def careless(parameters: list[nn.Parameter]) -> None:
            step(parameters)
            at().flatten()[0] += 1

        monkeypatch.setattr(proof, "_step", careless)
        with pytest.raises(DocvlmError, match="a frozen weight changed"):
            proof.prove(vlm, batch)

    weight = next(parameter for parameter in vlm.parameters() if quant.packed(parameter))
    changed(lambda: weight.data)
    changed(lambda: weight.quant_state.absmax)


@pytest.mark.usefixtures("cpu")
@pytest.mark.parametrize("lora", [LORA, DORA], ids=["lora", "dora"])
def test_an_adapter_names_its_base_and_loads_on_either(lora: Lora, tmp_path: Path) -> None:
    """Through docvlm, which packs the base again, and through plain peft, on a base in 4 bits and on one in full."""
    vlm = four("qwen2vl", lora)
    learn(vlm)
    saved.save(vlm.eval(), tmp_path / "best")
    batch, prompts = vlm.codec.packed_batch(EXAMPLES), vlm.codec.prompt_batch(EXAMPLES)
    config = json.loads((tmp_path / "best" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(checkpoint("qwen2vl"))
    assert saved.read(tmp_path / "best")["quant"] == "4bit"
    again, full = saved.load(tmp_path / "best"), saved.load(tmp_path / "best", quant="none")
    assert (again.quant, full.quant) == ("4bit", "none")
    assert torch.equal(again.loss(batch)[0], vlm.loss(batch)[0])
    assert again.generate(prompts, 6) == vlm.generate(prompts, 6)
    assert full.loss(batch)[0].item() != vlm.loss(batch)[0].item()
    for expected in (again, full):
        other = load("qwen2vl", quant=expected.quant)
        other.net = PeftModel.from_pretrained(other.bare, tmp_path / "best")
        assert other.eval().loss(batch)[0].item() == pytest.approx(expected.loss(batch)[0].item(), rel=1e-6)


@pytest.mark.usefixtures("cpu")
def test_a_run_trains_says_so_and_is_evaluated_in_4_bits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "outputs" / "run"
    runs.train(folder, "quant=4bit", "lora.use_dora=true", "freeze=66")
    out = capsys.readouterr().out
    assert "DoRA r=4 alpha=8 on 4-bit weights" in out and "of them in 4 bits, unchanged" in out
    run = read(folder)
    assert run.manifest["config"]["quant"] == run.manifest["trainable"]["quant"] == "4bit"
    assert called("qwen2vl", run).endswith("QDoRA r=4 freeze=66")
    monkeypatch.chdir(tmp_path)
    evaluate(["scale=tiny", f"run={folder}", "limit=6", "data.docvqa.max_new_tokens=2"])
    (row,) = json.loads((folder / "eval" / "table.json").read_text())["rows"]
    ours, base = Path(row["ours"]["folder"]), Path(row["baseline"]["folder"])
    assert {json.loads((place / "evaluation.json").read_text())["quant"] for place in (ours, base)} == {"4bit"}
    said = [
        {one.question_id: one.prediction for one in predictions.read(place / "predictions.jsonl")}
        for place in (ours, folder)
    ]
    assert said[0] == said[1]


def refused(capsys: pytest.CaptureFixture[str], *overrides: str) -> str:
    """The one line of a training that must fail, on a checkpoint that is not there: nothing was read before."""
    with pytest.raises(SystemExit) as ended:
        train(["scale=tiny", "model.checkpoint=/no/such/checkpoint", "data.source=generated", "quant=4bit", *overrides])
    said = capsys.readouterr()
    (line,) = [line for line in said.err.splitlines() if line.startswith("error: ")]
    assert ended.value.code == 1 and "data: " not in said.out
    return line


@pytest.mark.skipif(torch.cuda.is_available(), reason="is about machines without a CUDA device")
def test_without_a_cuda_device_training_and_evaluation_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(importlib.util, "find_spec", spec(installed=True))
    assert "quant=4bit: weights in 4 bits need a CUDA device, and none is here; train with quant=none" in refused(
        capsys
    )
    best = tmp_path / "best"
    shutil.copytree(runs.finished() / "checkpoints" / "best", best)
    record = json.loads((best / saved.RECORD).read_text())
    (best / saved.RECORD).write_text(json.dumps(record | {"quant": "4bit"}))
    with pytest.raises(DocvlmError, match="weights in 4 bits need a CUDA device"):
        saved.load(best)
    assert saved.load(best, quant="none").quant == "none"


def test_without_bitsandbytes_it_is_refused_with_the_extra_s_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(importlib.util, "find_spec", spec(installed=False))
    assert "bitsandbytes is not installed; pip install 'docvlm[quant]'" in refused(capsys)


def spec(*, installed: bool) -> Callable[..., ModuleSpec | None]:
    """`find_spec` of an environment with or without bitsandbytes."""
    find = importlib.util.find_spec

    def found(name: str, *more: str | None) -> ModuleSpec | None:
        if name == "bitsandbytes":
            return ModuleSpec(name, None) if installed else None
        return find(name, *more)

    return found


def test_a_record_of_an_older_version_was_not_packed(tmp_path: Path) -> None:
    best = tmp_path / "best"
    shutil.copytree(runs.finished() / "checkpoints" / "best", best)
    record = json.loads((best / saved.RECORD).read_text())
    del record["quant"]
    (best / saved.RECORD).write_text(json.dumps(record))
    assert saved.load(best).quant == "none"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("family", FAMILIES)
def test_on_a_gpu_a_run_trains_and_its_exam_reads_it_back(family: str, tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    folder = tmp_path / "outputs" / "run"
    runs.train(folder, *runs.overrides(family), "quant=4bit", "model.dtype=bfloat16", "trainer.precision=bf16-mixed")
    assert runs.result(folder)["status"] == "finished"
    vlm = saved.load(folder / "checkpoints" / "best", dtype=torch.bfloat16)
    assert vlm.quant == "4bit" and vlm.device.type == "cuda"
