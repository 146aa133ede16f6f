"""A decoder frozen from its input: what learns above, exact losses and gradients, and a stored prefill below."""

from __future__ import annotations

import pickle
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from torch import Tensor

from docvlm.config import TrainConfig
from docvlm.config.compose import load as config
from docvlm.data.loading.packing import split_of
from docvlm.errors import DocvlmError
from docvlm.files import read_json
from docvlm.training import feature_choice
from docvlm.vlms import saved
from docvlm.vlms.base import VLM
from docvlm.vlms.codec import Stored
from docvlm.vlms.feature_store import FeatureStore
from docvlm.vlms.prepare import apply
from docvlm.vlms.proof import prove
from docvlm.vlms.trainable import Lora, frozen_layers, plain_name
from tests.support import architectures
from tests.support.runs import result, rows, train
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


@pytest.mark.parametrize(
    ("family", "lora"),
    [("qwen2vl", Lora(4)), ("qwen2vl", Lora(0)), ("qwen3vl", DORA)],
    ids=["qwen2vl", "qwen2vl-full", "qwen3vl-dora"],
)
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


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")
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


@pytest.mark.parametrize(
    ("family", "lora", "freeze", "attn", "checkpointing"),
    [
        ("qwen2vl", Lora(4), 100, "eager", False), ("qwen2vl", Lora(0), 50, "sdpa", True),
        ("qwen2.5-vl", DORA, 100, "sdpa", True), ("qwen3vl", Lora(4), 50, "sdpa", False),
    ],
    ids=["qwen2vl", "qwen2vl-full-tower", "qwen2.5-vl-dora", "qwen3vl-tower"],
)  # fmt: skip
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


FAMILIES = (("qwen2vl", 50, "sdpa"), ("qwen2vl", 50, "eager"), ("qwen2.5-vl", 50, "sdpa"), ("qwen3vl", 66, "sdpa"))


def storing(vlm: VLM, folder: Path) -> VLM:
    vlm.codec.stored = Stored(FeatureStore(folder / "tower", 2**30), torch.float32, torch.float32)
    store = FeatureStore(folder / "decoder", 2**30)
    vlm.codec.prefilled = Stored(store, torch.float32, torch.float32, beside=vlm.codec.stored)
    return vlm


@pytest.mark.parametrize(("family", "share", "attn"), FAMILIES)
def test_a_stored_prefill_is_exact_in_training_and_in_answers(
    family: str, share: int, attn: str, tmp_path: Path
) -> None:
    """Against packing=off features=off, as it is made, and as it is read by a codec in another process."""
    vlm = prepared(family, share, Lora(4), attn)
    plain_loss, plain = gradients(vlm, vlm.codec.train_batch(ASKED))
    answers = vlm.generate(vlm.codec.eval_batch(ASKED, packed=False).prompts, 8)
    storing(vlm, tmp_path)
    made = vlm.codec.packed_batch(ASKED)
    assert "documents" in made and "pixel_values" in made
    losses = [gradients(vlm, made)]
    assert vlm.codec.prefilled is not None and vlm.codec.stored is not None
    vlm.codec.prefilled.store.flush()
    vlm.codec.stored.store.flush()
    storing(vlm, tmp_path)
    read = pickle.loads(pickle.dumps(vlm.codec)).packed_batch(ASKED)
    assert read["prefill"].shape == (3, split_of(made["segments"]), vlm.prefill_width)
    assert not read.keys() & {"pixel_values", "features", "documents"}
    computed = positions_computed(vlm)
    losses.append(gradients(vlm, read))
    below, length = len(vlm.frozen_layers), read["input_ids"].shape[1]
    assert computed[:below] == [length - read["prefill"].shape[1]] * below and computed[below] == length
    vlm.gradient_checkpointing()
    vlm.train()
    losses.append(gradients(vlm, read))
    for loss, shared in losses:
        assert loss == pytest.approx(plain_loss, rel=1e-5) and shared.keys() == plain.keys()
        away = sum((shared[name] - gradient).square().sum() for name, gradient in plain.items())
        assert away <= 1e-10 * sum(gradient.square().sum() for gradient in plain.values())
    batch = vlm.codec.eval_batch(ASKED)
    assert "prefill" in batch.prompts and "prefill" in batch.labelled
    assert vlm.generate(batch.prompts, 8) == answers
    vlm.codec.prefilled = Stored(FeatureStore(tmp_path / "empty", 2**30), torch.float32, torch.float32)
    assert vlm.generate(vlm.codec.eval_batch(ASKED).prompts, 8) == answers, "as it is made"


def positions_computed(vlm: VLM) -> list[int]:
    """How many positions the blocks of the decoder get from now on, block by block as they compute."""
    seen: list[int] = []
    for layer in vlm.bare.get_submodule(LAYERS):  # type: ignore[union-attr]
        layer.self_attn.k_proj.register_forward_pre_hook(lambda _, args: seen.append(args[0].shape[1]))
    return seen


def test_a_prefill_belongs_to_all_that_stands_before_the_question(tmp_path: Path) -> None:
    """Another page, another order of pages, a page's number, another budget or dtype: none of it is found."""
    vlm = storing(prepared("qwen2vl", 50, Lora(4)), tmp_path)
    vlm.loss(vlm.codec.packed_batch(ASKED))
    assert "prefill" in vlm.codec.packed_batch(ASKED[-1:])
    assert "prefill" in vlm.codec.packed_batch([example(9, pages=TWO, question="Where is")])
    alike = (Paper("third"), TWO[1])
    for pages, numbers in ((TWO[::-1], ()), (TWO[:1], ()), (alike, ()), (TWO, (1, 2))):
        assert "prefill" not in vlm.codec.packed_batch([replace(ASKED[-1], pages=pages, numbers=numbers)])
    shared = replace(vlm.codec.budget, document_pixels=28 * 28 * 8)
    codec = type(vlm.codec)(vlm.codec.processor, shared, vlm.codec.longest)
    codec.stored, codec.prefilled = vlm.codec.stored, vlm.codec.prefilled
    assert "prefill" not in codec.packed_batch(ASKED[-1:])
    assert vlm.codec.prefilled is not None
    vlm.codec.prefilled.training = str(torch.bfloat16)
    vlm.codec.stored = None
    with torch.autocast("cpu", torch.bfloat16):
        made = vlm.loss(vlm.codec.packed_batch(ASKED))[0]
        batch = vlm.codec.packed_batch(ASKED)
        assert "prefill" in batch and vlm.loss(batch)[0].item() == pytest.approx(made.item(), rel=1e-3)


def test_a_run_fills_the_store_and_the_next_cell_reads_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In training, in evaluations and on the test split."""
    monkeypatch.chdir(tmp_path)
    keys = ("freeze_language=50", "features_folder=kept", "lora.dropout=0", "trainer.max_epochs=1")
    keys += ("trainer.precision=32-true",)  # in bf16 a page of both training and answers is stored for each
    train(tmp_path / "outputs" / "one", *keys, "features=on")
    assert read_json(tmp_path / "outputs" / "one" / "manifest.json")["prefill"] == "on"
    said = re.search(r"prefill: 2 blocks make (\S+) KB of a token, \S+ GB of (\d+) documents, in kept", printed(capsys))
    assert said is not None and float(said[1]) == pytest.approx(4 * 128 * (1 + 2 * 2) / 1024, abs=0.05)
    held = [load_file(shard) for shard in Path("kept").rglob("*.safetensors")]
    prefills = [page for part in held for page in part.values() if page.ndim == 2]
    assert len(prefills) == int(said[2]) and {page.shape[1] for page in prefills} == {128 * 5}
    sizes = {path: path.stat().st_size for path in Path("kept").rglob("*.safetensors")}
    with monkeypatch.context() as patched:
        patched.setattr("docvlm.vlms.qwen2vl.model.read", None)  # not one page is read by the frozen blocks again
        train(tmp_path / "outputs" / "two", *keys, "features=on", "lora.r=2")
    assert {path: path.stat().st_size for path in Path("kept").rglob("*.safetensors")} == sizes


def test_a_store_belongs_to_the_weights_up_to_the_line_and_to_no_others(tmp_path: Path) -> None:
    cfg = config("train", TrainConfig, ["scale=tiny", f"features_folder={tmp_path}"])

    def folder(share: int, lora: Lora, changed: str = "", **settings: float) -> Path:
        vlm = fresh("qwen2vl")
        apply(vlm, 100, lora, share)
        for key, value in settings.items():
            setattr(vlm.bare.config.get_text_config(), key, value)
        if changed:
            with torch.no_grad():
                next(p for name, p in vlm.net.named_parameters() if plain_name(name).startswith(changed)).add_(1)
        return feature_choice._prefilled(cfg, vlm).store.folder

    one = folder(50, Lora(4))
    assert folder(50, Lora(8, use_dora=True)) == folder(50, Lora(4), f"{LAYERS}.2.") == folder(50, Lora(0)) == one
    below = (f"{LAYERS}.1.self_attn.k_proj", "model.language_model.embed_tokens", "model.visual.blocks.0.")
    others = [folder(50, Lora(4), name) for name in below]
    others += [folder(25, Lora(4)), folder(50, Lora(4), rms_norm_eps=1e-3)]
    assert len({one, *others}) == 6


@pytest.mark.slow
def test_a_run_comes_to_what_a_row_a_question_comes_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    keys = ("freeze_language=50", "lora.dropout=0", "rerun=true")
    train(tmp_path / "outputs" / "one", *keys, "features=on")
    train(tmp_path / "outputs" / "plain", *keys, "features=off", "packing=off")
    plain, one = (rows(tmp_path / "outputs" / name) for name in ("plain", "one"))
    assert [float(row["val_loss"]) for row in one] == pytest.approx([float(row["val_loss"]) for row in plain], rel=1e-4)
    first, second = (result(tmp_path / "outputs" / name) for name in ("plain", "one"))
    assert first["fingerprint"] == second["fingerprint"]
    assert first["headline"]["value"] == second["headline"]["value"]
    assert first["trainable"]["language_frozen_blocks_percent"] == 50


def printed(capsys: pytest.CaptureFixture[str]) -> str:
    return " ".join(capsys.readouterr().out.split())


def test_a_store_is_timed_unless_all_of_it_does_not_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    keys = ("features_folder=kept", "trainer.max_epochs=1", "freeze_language=50")
    train(tmp_path / "auto", *keys)
    chosen = read_json(tmp_path / "auto" / "manifest.json")["prefill"]
    assert f"prefill={chosen} (auto: a page takes " in (said := printed(capsys))
    assert " ms through the whole decoder, " in said and " ms from what is stored)" in said
    train(tmp_path / "small", *keys, "features_limit_gb=0.0001")
    assert "prefill=off (2 blocks make 2.5 KB of a token" in (said := printed(capsys))
    assert "; features_limit_gb=0.0001 is less)" in said
    assert read_json(tmp_path / "small" / "manifest.json")["prefill"] == "off"


@pytest.mark.parametrize(
    ("family", "share", "freeze", "reason"),
    [
        ("qwen2vl", 50, 100, ""), ("qwen3vl", 66, 100, ""),
        ("qwen2vl", 50, 66, "the tower learns below them, freeze=66"),
        ("qwen3vl", 33, 100, "DeepStack adds the page's features behind the first 2 blocks, and 1 are frozen"),
        ("chat", 50, 100, "chat model goes on from no stored page"),
    ],
)  # fmt: skip
def test_what_changes_with_every_step_is_not_stored(family: str, share: int, freeze: float, reason: str) -> None:
    vlm = load(family, source=architectures.checkpoint("smolvlm") if family == "chat" else None)
    apply(vlm, freeze, Lora(4), share)
    assert vlm.unprefilled == reason
