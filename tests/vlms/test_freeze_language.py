"""A decoder frozen from its input: what learns above, exact losses and gradients, and a stored prefill below."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from torch import Tensor

from docvlm.errors import DocvlmError
from docvlm.vlms import saved
from docvlm.vlms.base import VLM
from docvlm.vlms.prepare import apply
from docvlm.vlms.proof import prove
from docvlm.vlms.trainable import Lora, frozen_layers, plain_name
from tests.support import architectures
from tests.support.tiny import Paper, checkpoint, example, load, qwen25

DORA = Lora(4, use_dora=True)
ONE, WIDE = (Paper("one"),), (Paper("wide", 560, 84),)
TWO = (Paper("first"), Paper("second", 112, 196))
ASKED = [example(number, pages=page) for number, page in enumerate((ONE, WIDE, ONE, ONE, WIDE, TWO, TWO))]
LAYERS = "model.language_model.layers"


def fresh(family: str, attn: str = "sdpa") -> VLM:
    """`family` may be "qwen2.5-vl" too, which loads as "qwen2vl"."""
    return load("qwen2vl", source=qwen25(), attn=attn) if family == "qwen2.5-vl" else load(family, attn=attn)


def prepared(family: str, share: int, lora: Lora, attn: str = "sdpa", freeze: float = 100) -> VLM:
    torch.manual_seed(1)
    vlm = fresh(family, attn)
    apply(vlm, freeze, lora, share)
    for name, parameter in vlm.named_parameters():
        if "lora_B" in name:  # which starts at zero, and with it every gradient of lora_A
            torch.nn.init.normal_(parameter, std=0.05)
    return vlm


def gradients(vlm: VLM, batch: dict[str, Tensor]) -> tuple[float, dict[str, Tensor]]:
    vlm.zero_grad()
    loss, tokens = vlm.loss(batch)
    (loss / tokens).backward()
    return loss.item(), {name: p.grad.clone() for name, p in vlm.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(
    ("share", "layers", "frozen"),
    [(0, 28, 0), (33, 28, 9), (66, 28, 18), (99, 28, 27), (50, 2, 1), (99, 2, 1), (24, 2, 0), (99, 1, 0)],
)
def test_the_share_is_the_nearest_whole_number_of_blocks_and_one_learns(share: int, layers: int, frozen: int) -> None:
    assert frozen_layers(share, layers) == frozen


@pytest.mark.parametrize("lora", [Lora(4), DORA, Lora(0)], ids=["lora", "dora", "full"])
@pytest.mark.parametrize("family", ["qwen2vl", "qwen3vl"])
def test_nothing_learns_below_the_line(family: str, lora: Lora) -> None:
    vlm = prepared(family, 50, lora)
    trainable = vlm.trainable
    assert trainable is not None and 0 < trainable.frozen_layers < trainable.layers
    above = tuple(f"{LAYERS}.{index}." for index in range(trainable.frozen_layers, trainable.layers))
    names = {plain_name(name) for name in trainable.language}
    of_layers = {name for name in names if name.startswith(LAYERS)}
    assert of_layers and all(name.startswith(above) for name in of_layers)
    assert {name.split(".")[3] for name in of_layers} == {above_.split(".")[3] for above_ in above}, "each block above"
    assert names - of_layers == (set() if lora.r else {"model.language_model.norm.weight"}), "words belong to the first"
    assert not any(vlm.bare.get_submodule(name).training for name in vlm.frozen_layers)
    line = prove(vlm, vlm.codec.packed_batch(ASKED))
    assert f" in {trainable.layers - trainable.frozen_layers} blocks" in line
    assert f"in the last {trainable.layers - trainable.frozen_layers} of {trainable.layers} blocks" in str(trainable)


def test_any_chat_models_decoder_is_found() -> None:
    for model_type in ("smolvlm", "gemma3"):
        vlm = load("chat", source=architectures.checkpoint(model_type))
        trainable = apply(vlm, 100, Lora(4), 50)
        assert 0 < trainable.frozen_layers < trainable.layers
        learning = {plain_name(name).split(".lora_")[0].rsplit(".", 2)[0] for name in trainable.language}
        frozen = set(vlm.frozen_layers)
        assert learning and not any(name.rpartition(".")[0] in frozen or name in frozen for name in learning)
        assert "step undone" in prove(vlm, vlm.codec.train_batch(ASKED[:1]))


def test_florence2_is_refused() -> None:
    with pytest.raises(DocvlmError, match="freeze_language=33: Florence-2 has no decoder whose blocks read the page"):
        apply(load("florence2"), 100, Lora(4), 33)


def test_a_saved_adapter_holds_the_upper_blocks_and_plain_peft_loads_it(tmp_path: Path) -> None:
    vlm = prepared("qwen2vl", 50, Lora(4))
    assert vlm.trainable is not None
    frozen, batch = vlm.trainable.frozen_layers, vlm.codec.prompt_batch(ASKED[:3])
    vlm.eval()
    with torch.no_grad():
        ours = vlm.bare(**batch).logits[:, -1]
    saved.save(vlm, tmp_path / "best")
    held = {int(name.split(".layers.")[1].split(".")[0]) for name in load_file(tmp_path / "best" / saved.WEIGHTS)}
    assert held == set(range(frozen, vlm.trainable.layers))
    assert saved.read(tmp_path / "best")["freeze_language"] == 50
    again = saved.load(tmp_path / "best", offline=True)
    with torch.no_grad():
        assert torch.equal(again.bare(**batch).logits[:, -1], ours)
        assert not torch.allclose(fresh("qwen2vl").bare(**batch).logits[:, -1], ours, atol=1e-3)
    plain = PeftModel.from_pretrained(type(vlm.bare).from_pretrained(checkpoint("qwen2vl")), tmp_path / "best").eval()
    with torch.no_grad():
        assert torch.allclose(plain(**batch).logits[:, -1], ours, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("attn", ["eager", "sdpa"])
@pytest.mark.parametrize(
    ("family", "lora", "freeze"),
    [("qwen2vl", Lora(4), 100), ("qwen2vl", Lora(0), 50), ("qwen2.5-vl", DORA, 100), ("qwen3vl", Lora(4), 50)],
    ids=["qwen2vl", "qwen2vl-full-tower", "qwen2.5-vl-dora", "qwen3vl-tower"],
)
def test_shared_pages_are_exact_and_no_graph_is_built_below(
    family: str, lora: Lora, freeze: float, attn: str, checkpointing: bool
) -> None:
    """Against a row a question. Where the tower learns, its gradient still comes through the frozen blocks."""
    vlm = prepared(family, 50, lora, attn, freeze)
    plain_loss, plain = gradients(vlm, vlm.codec.train_batch(ASKED))
    if checkpointing:
        vlm.gradient_checkpointing()
        vlm.train()
    graphs: list[bool] = []
    for index, name in enumerate(f"{LAYERS}.{index}" for index in range(vlm.trainable.layers)):  # type: ignore[union-attr]
        layer = vlm.bare.get_submodule(name)
        layer.register_forward_hook(lambda module, args, out, index=index: graphs.insert(index, out.requires_grad))
    loss, shared = gradients(vlm, vlm.codec.packed_batch(ASKED))
    assert loss == pytest.approx(plain_loss, rel=1e-5) and shared.keys() == plain.keys()
    away = sum((shared[name] - gradient).square().sum() for name, gradient in plain.items())
    assert away <= 1e-10 * sum(gradient.square().sum() for gradient in plain.values())
    below = vlm.trainable.frozen_layers  # type: ignore[union-attr]
    assert graphs[:below] == [freeze < 100] * below and all(graphs[below : vlm.trainable.layers])  # type: ignore[union-attr]
