"""What is said to learn learns, what is frozen does not move, and the frozen tower costs no backward pass."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import torch
from torch import nn

from docvlm.errors import DocvlmError
from docvlm.vlms import proof
from docvlm.vlms.base import VLM
from docvlm.vlms.prepare import apply
from docvlm.vlms.proof import fingerprint, prove
from docvlm.vlms.trainable import Lora, frozen_blocks, plain_name
from tests.support.tiny import example, load

FAMILIES = ("qwen2vl", "florence2")
EXAMPLES = [example(0), example(1), example(2)]
TOWER = {"qwen2vl": ("model.visual.",), "florence2": ("model.vision_tower.", "model.multi_modal_projector.")}


@pytest.fixture(params=FAMILIES)
def vlm(request: pytest.FixtureRequest) -> VLM:
    return load(request.param)


def test_vision_blocks_partition_the_tower(vlm: VLM) -> None:
    blocks = vlm.vision_blocks()
    names = [name for block in blocks for name in block.parameters]
    tower = [name for name, _ in vlm.net.named_parameters() if name.startswith(TOWER[vlm.family])]
    assert len(names) == len(set(names)) and set(names) == set(tower)
    assert len(blocks) >= 6 and all(block.parameters for block in blocks)


def test_stem_merger_and_convolutions_are_in_their_blocks() -> None:
    qwen, florence = load("qwen2vl").vision_blocks(), load("florence2").vision_blocks()
    assert qwen[0].modules == ("model.visual.patch_embed", "model.visual.blocks.0")
    assert qwen[-1].modules == ("model.visual.blocks.5", "model.visual.merger")
    assert florence[0].modules == ("model.vision_tower.convs.0", "model.vision_tower.blocks.0.0")
    assert florence[2].modules == ("model.vision_tower.convs.2", "model.vision_tower.blocks.2.0")
    assert florence[3].modules == ("model.vision_tower.blocks.2.1",)
    assert florence[-1].modules == ("model.vision_tower.blocks.2.3", "model.multi_modal_projector")


@pytest.mark.parametrize(
    ("freeze", "frozen"),
    [(0, 0), (8, 0), (8.4, 1), (33, 2), (50, 3), (66, 4), (75, 5), (91, 5), (92, 6), (100, 6)],
)
def test_freeze_is_the_nearest_whole_number_of_blocks(freeze: float, frozen: int) -> None:
    assert frozen_blocks(freeze, 6) == frozen


@pytest.mark.parametrize(("freeze", "frozen"), [(0, 0), (33, 2), (66, 4), (100, 6)])
@pytest.mark.parametrize("family", FAMILIES)
def test_blocks_are_frozen_from_the_input(family: str, freeze: float, frozen: int) -> None:
    vlm = load(family)
    blocks = vlm.vision_blocks()
    sizes = {name: parameter.numel() for name, parameter in vlm.net.named_parameters()}
    trainable = apply(vlm, freeze, Lora(r=2))
    assert trainable.frozen_blocks == frozen
    expected = {name for block in blocks[frozen:] for name in block.parameters}
    assert {plain_name(name) for name in trainable.vision} == expected
    share = 100 * sum(sizes[name] for name in expected) / sum(sizes[n] for b in blocks for n in b.parameters)
    assert trainable.vision_trainable_parameters == pytest.approx(share)
    assert trainable.vision_trainable_blocks == pytest.approx(100 * (6 - frozen) / 6)


def test_adapters_are_on_the_language_sides_attention_only(vlm: VLM) -> None:
    trainable = apply(vlm, 0, Lora(r=4))
    adapted = {plain_name(name).split(".lora_")[0] for name in trainable.language}
    assert all("lora_" in name for name in trainable.language)
    attentions = [name for name, _ in vlm.bare.named_modules() if name.endswith(("self_attn", "encoder_attn"))]
    wanted = {f"{name}.{target}" for name in attentions for target in vlm.about.lora_targets}
    assert adapted == wanted and all(name.startswith("model.language_model.") for name in adapted)


def test_counts_are_those_of_the_parameters(vlm: VLM) -> None:
    plain = sum(parameter.numel() for parameter in vlm.net.parameters())
    trainable = apply(vlm, 66, Lora(r=4))
    learning = [parameter for parameter in vlm.parameters() if parameter.requires_grad]
    assert trainable.count == sum(parameter.numel() for parameter in learning)
    assert trainable.total == plain + sum(parameter.numel() for parameter in trainable.language.values())
    assert {id(p) for group in trainable.groups.values() for p in group} == {id(p) for p in learning}


def test_rank_zero_releases_the_whole_language_side(vlm: VLM) -> None:
    names = {name for name, _ in vlm.net.named_parameters()}
    trainable = apply(vlm, 100, Lora(r=0))
    assert set(trainable.language) == {name for name in names if not name.startswith(TOWER[vlm.family])}
    assert not trainable.vision and set(trainable.groups) == {"language"}


def test_alpha_is_twice_the_rank_unless_given() -> None:
    for alpha, scaling in ((None, 2.0), (4.0, 0.5), (0.0, 0.0)):
        vlm = load("qwen2vl")
        apply(vlm, 100, Lora(r=8, alpha=alpha))
        layer = vlm.bare.get_submodule("model.language_model.layers.0.self_attn.q_proj")
        assert layer.scaling == {"default": scaling}


@pytest.mark.parametrize(
    ("freeze", "lora", "said"),
    [
        (120, Lora(r=4), "freeze=120"),
        (-1, Lora(r=4), "freeze=-1"),
        (100, Lora(r=-1), "lora.r=-1"),
        (100, Lora(r=4, dropout=1.5), "lora.dropout=1.5"),
        (100, Lora(r=4, target_modules=["q_proj", "qkv"]), "qkv matches no module"),
        (100, Lora(r=4, target_modules=[]), "an empty list matches no module"),
    ],
)
def test_an_impossible_setting_is_one_line(vlm: VLM, freeze: float, lora: Lora, said: str) -> None:
    with pytest.raises(DocvlmError, match=re.escape(said)):
        apply(vlm, freeze, lora)


def test_an_unknown_target_lists_the_candidates() -> None:
    with pytest.raises(DocvlmError, match="choose from down_proj, gate_proj, k_proj, o_proj, q_proj, up_proj, v_proj"):
        apply(load("qwen2vl"), 100, Lora(r=4, target_modules=["query"]))


@pytest.mark.parametrize(
    ("freeze", "lora"),
    [(0, Lora(r=4)), (66, Lora(r=4)), (100, Lora(r=4)), (50, Lora(r=0)), (100, Lora(r=4, dropout=0.1, use_dora=True))],
    ids=["0-r4", "66-r4", "100-r4", "50-r0", "100-dora"],
)
def test_the_proof_holds_and_undoes_its_step(vlm: VLM, freeze: float, lora: Lora) -> None:
    trainable = apply(vlm, freeze, lora)
    batch = vlm.codec.train_batch(EXAMPLES)
    before, state = fingerprint(vlm.named_parameters()), torch.random.get_rng_state()
    line = prove(vlm, batch)
    assert f"vision {6 - trainable.frozen_blocks} blocks" in line and "\n" not in line
    assert f"language {len(trainable.language)} tensors" in line and ("DoRA" in line) is lora.use_dora
    assert fingerprint(vlm.named_parameters()) == before
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(parameter.grad is None for parameter in vlm.parameters())


def test_the_proof_catches_a_part_without_gradient(vlm: VLM) -> None:
    trainable = apply(vlm, 66, Lora(r=4))
    part = vlm.bare.get_submodule(trainable.blocks[-2].modules[0])
    part.register_forward_hook(lambda module, args, out: out.detach())
    with pytest.raises(DocvlmError, match=f"freeze=66, lora.r=4: vision {trainable.blocks[4].name} got no gradient"):
        prove(vlm, vlm.codec.train_batch(EXAMPLES))


def test_dora_learns_one_magnitude_an_adapted_matrix_and_the_proof_counts_them(vlm: VLM) -> None:
    trainable = apply(vlm, 100, Lora(r=4, use_dora=True))
    matrices = [name for name in trainable.language if ".lora_B." in name]
    assert len(trainable.magnitudes) == len(matrices) == len(trainable.language) / 3
    for name, magnitude in trainable.magnitudes.items():
        weight = vlm.bare.get_submodule(plain_name(name).partition(".lora_")[0]).get_base_layer().weight
        assert torch.equal(magnitude, weight.norm(dim=1)), "DoRA starts as the base: norms of rows"
    assert "DoRA r=4 alpha=8" in str(trainable)
    line = prove(vlm, vlm.codec.train_batch(EXAMPLES))
    assert f"language {3 * len(matrices)} tensors, {len(matrices)} of them DoRA magnitudes" in line


def test_dora_norms_are_taken_once_an_answer_and_never_kept_for_other_weights(vlm: VLM) -> None:
    trainable = apply(vlm, 100, Lora(r=4, use_dora=True))
    vlm.eval()
    prompts, taken = vlm.codec.prompt_batch(EXAMPLES), []
    for name in trainable.magnitudes:
        layer = vlm.bare.get_submodule(plain_name(name).partition(".lora_")[0])
        layer.lora_A["default"].register_forward_pre_hook(
            lambda module, args: taken.append(1) if len(args[0]) == args[0].shape[-1] else None  # an identity matrix
        )
    before = vlm.generate(prompts, 6)
    assert max(answer.tokens for answer in before) > 1 and len(taken) == len(trainable.magnitudes)
    with torch.no_grad():
        for parameter in trainable.language.values():
            parameter.add_(0.5 * torch.randn_like(parameter))
    after = vlm.generate(prompts, 6)
    assert len(taken) == 2 * len(trainable.magnitudes) and after != before
    plain = [vlm.generate(vlm.codec.prompt_batch([one]), 6)[0] for one in EXAMPLES]
    assert plain == after


def test_the_proof_catches_a_magnitude_that_stands_still(vlm: VLM) -> None:
    trainable = apply(vlm, 100, Lora(r=4, use_dora=True))
    name, magnitude = list(trainable.magnitudes.items())[3]
    magnitude.register_hook(torch.zeros_like)
    module = plain_name(name).partition(".lora_")[0]
    with pytest.raises(DocvlmError, match=f"DoRA magnitude of {re.escape(module)} got no gradient"):
        prove(vlm, vlm.codec.train_batch(EXAMPLES))


def test_the_proof_catches_a_frozen_weight_that_moves(vlm: VLM, monkeypatch: pytest.MonkeyPatch) -> None:
    apply(vlm, 100, Lora(r=4))
    frozen = next(p for p in vlm.parameters() if not p.requires_grad)
    step = proof._step

    def careless(parameters: list[nn.Parameter]) -> None:
        step(parameters)
        frozen.data.flatten()[0] += 1

    monkeypatch.setattr(proof, "_step", careless)
    with pytest.raises(DocvlmError, match="a frozen weight changed"):
        prove(vlm, vlm.codec.train_batch(EXAMPLES))


def test_the_proof_catches_a_loss_that_is_no_number(vlm: VLM) -> None:
    apply(vlm, 100, Lora(r=4))
    batch = vlm.codec.train_batch(EXAMPLES)
    batch["pixel_values"] = torch.full_like(batch["pixel_values"], torch.nan)
    with pytest.raises(DocvlmError, match="the loss is nan"):
        prove(vlm, batch)


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("freeze", [50, 100])
def test_autograd_stops_below_the_first_learning_block(vlm: VLM, freeze: float, checkpointing: bool) -> None:
    trainable = apply(vlm, freeze, Lora(r=4))
    if checkpointing:
        vlm.gradient_checkpointing()
        vlm.train()
    graphs: dict[str, bool] = {}
    for index, block in enumerate(trainable.blocks):
        for name in block.modules:
            vlm.bare.get_submodule(name).register_forward_hook(
                lambda module, args, out, index=index: graphs.update({index: out.requires_grad})
            )
    loss, _ = vlm.loss(vlm.codec.train_batch(EXAMPLES))
    loss.backward()
    assert graphs == {index: index >= trainable.frozen_blocks for index in range(6)}


def test_gradient_checkpointing_recomputes_and_changes_no_gradient(vlm: VLM) -> None:
    apply(vlm, 66, Lora(r=4))
    vlm.train()
    batch = vlm.codec.train_batch(EXAMPLES)

    def gradients() -> dict[str, torch.Tensor]:
        vlm.zero_grad()
        vlm.loss(batch)[0].backward()
        return {name: p.grad.clone() for name, p in vlm.named_parameters() if p.grad is not None}

    plain = gradients()
    calls = []
    layer = {"qwen2vl": "layers.1.mlp", "florence2": "decoder.layers.1.fc1"}[vlm.family]
    vlm.bare.get_submodule(f"{vlm.about.language}.{layer}").register_forward_pre_hook(lambda *_: calls.append(1))
    vlm.gradient_checkpointing()
    again = gradients()
    assert len(calls) == 2, "forward once, recomputed once"
    assert plain.keys() == again.keys()
    for name, gradient in plain.items():
        assert torch.allclose(gradient, again[name], rtol=1e-4, atol=1e-6 * gradient.abs().max().item()), name


def test_frozen_blocks_stay_in_eval_mode(vlm: VLM) -> None:
    trainable = apply(vlm, 50, Lora(r=4))
    for _ in range(2):
        for index, block in enumerate(trainable.blocks):
            modes = {module.training for name in block.modules for module in vlm.bare.get_submodule(name).modules()
                     if "original_module" not in name}  # fmt: skip
            assert modes == {index >= 3}, block.name
        vlm.generate(vlm.codec.prompt_batch(EXAMPLES), 2)  # goes to eval mode and comes back
    assert vlm.eval() is vlm and not any(module.training for module in vlm.modules())


def test_a_frozen_tower_drops_no_paths() -> None:
    """DaViT's DropPath in training mode would make a frozen tower's output random."""
    vlm = load("florence2")
    for block in vlm.bare.get_submodule("model.vision_tower.blocks").modules():
        if hasattr(block, "drop_path1"):
            block.drop_path1 = type("Drop", (nn.Dropout,), {})(0.5)
    apply(vlm, 100, Lora(r=4))
    vlm.train()
    batch = vlm.codec.train_batch(EXAMPLES)
    assert torch.equal(vlm.loss(batch)[0], vlm.loss(batch)[0])


def test_frozen_weights_are_held_in_the_load_dtype_and_learning_ones_in_float32(vlm: VLM) -> None:
    half = load(vlm.family, dtype=torch.bfloat16)
    trainable = apply(half, 50, Lora(r=4))
    learning = {id(p) for group in trainable.groups.values() for p in group}
    for name, parameter in half.named_parameters():
        assert parameter.dtype == (torch.float32 if id(parameter) in learning else torch.bfloat16), name
    batch = half.codec.train_batch(EXAMPLES)
    half.eval()
    assert half.loss(batch)[0].item() == pytest.approx(vlm.loss(batch)[0].item(), rel=0.2)
    assert "step undone" in prove(half, batch)
    assert len(half.generate(half.codec.prompt_batch(EXAMPLES), 4)) == 3


def test_a_model_is_prepared_once(vlm: VLM) -> None:
    apply(vlm, 100, Lora(r=4))
    with pytest.raises(ValueError, match="prepared already"):
        apply(vlm, 100, Lora(r=4))


def test_the_line_that_is_printed(vlm: VLM) -> None:
    line = str(apply(vlm, 66, Lora(r=4)))
    assert "LoRA r=4 alpha=8; vision 2 of 6 blocks" in line
    assert "in full" in str(apply(load(vlm.family), 66, replace(Lora(r=4), r=0)))
