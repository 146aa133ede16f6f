"""Any chat model: `model=chat` on models of middle size with the cost shares of SmolVLM2-256M and of Idefics3-8B.

What sharing a page saves depends on what share of the work on it is the tower's. Forward, a tile of a page costs

- SmolVLM2-256M: 1 024 patches through SigLIP-base (12 layers of 768), 213 GFLOPs, and 64 tokens through 30 layers of
  576, 15.4 GFLOPs at 832 tokens a page: tower : language = 13.8. Here 256 patches through 4 layers of 256, 1.88
  GFLOPs, and 64 tokens through 2 layers of 192: 0.13 GFLOPs, 15.
- Idefics3-8B: 676 patches through SigLIP-SO400M (27 layers of 1 152), 612 GFLOPs, and 169 tokens through Llama-3-8B
  (32 layers of 4 096), 2 456 GFLOPs at 2 197 tokens a page: 0.25. Here 144 patches through 2 layers of 144, 0.16
  GFLOPs, and 36 tokens through 3 layers of 512: 0.69 GFLOPs, 0.24.

(2 FLOPs a weight and token, 4 a key and channel in attention, half of the keys in causal layers.) The vocabulary costs
what it costs there beside a token's body, 0.27 and 0.075. Heads are as wide as the published ones. A page is 3 x 2
tiles and the whole.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForImageTextToText, GenerationConfig

from bench import evaluation, models, pages, peers, precision
from bench.ours import Learner
from bench.suite import Cell, Column, Row, Section, Suite, each
from bench.training import OFF, SHARED, STORED, TRAINER, Exact, add, rows
from docvlm.vlms import load_family
from docvlm.vlms.codec import Budget
from tests.support.architectures import idefics

QUESTIONS = 4
SIDES = {"smolvlm": 256, "idefics3": 168}  # pixels of a tile
LIKE = {"smolvlm": "like SmolVLM2-256M", "idefics3": "like Idefics3-8B"}


def cells(suite: Suite) -> list[Cell]:
    """Training and evaluation of both."""
    return each(trained, suite, [(name,) for name in SIDES]) + each(answered, suite, [(name,) for name in SIDES])


def trained(suite: Suite, name: str) -> list[Row]:
    """Transformers' trainer and plain against shared and stored; the tower is frozen."""
    folder = suite.folder / f"{name}-steps"
    steps = pages.cut(pages.drawn(folder, _page(suite, name), [QUESTIONS] * (suite.steps + 1), suite.preset), 1)
    vlm = models.prepared("chat", checkpoint(suite, name), Budget())
    if alone := vlm.settle(steps[0]):
        raise RuntimeError(f"{name}: {alone}")
    learner = Learner(vlm, steps, folder / "features")
    learner.fill()
    peer = peers.hugging_face(models.stock(vlm), vlm.codec, steps, folder / "trainer")
    exact: dict[str, Exact] = {TRAINER: peer.exact}
    run: dict[str, Callable[[int], float]] = {TRAINER: peer.step}
    ways = {OFF: {"packed": False}, SHARED: {"packed": True}, STORED: {"packed": True, "stored": True}}
    add(learner, ways, exact, run)
    nets = [vlm, peer.trainer.model]
    return rows(f"{LIKE[name]}, training", exact, run, [QUESTIONS] * suite.steps, nets)


def answered(suite: Suite, name: str) -> list[Row]:
    """Four questions about one page."""
    folder = suite.folder / f"{name}-answers"
    (examples,) = pages.drawn(folder, _page(suite, name), [QUESTIONS], suite.preset)
    vlm = load_family("chat").load(checkpoint(suite, name), Budget(), attn="sdpa", offline=True)
    if alone := vlm.settle(examples):
        raise RuntimeError(f"{name}: {alone}")
    return evaluation.answered(f"{LIKE[name]}, evaluation", vlm, examples, folder, suite.steps)


def checkpoint(suite: Suite, name: str) -> Path:
    """The random checkpoint of a shape, built once."""
    folder = suite.folder / name
    if not folder.exists():
        parts: Any = getattr(idefics, name)()
        if suite.size == "mid":
            _resize(name, parts.config, parts.processor)
            words = pages.words(suite.preset)
            models.learn_words(parts.processor.tokenizer, words, parts.config.text_config.vocab_size)
        torch.manual_seed(0)
        net = AutoModelForImageTextToText.from_config(parts.config)
        net.generation_config = GenerationConfig(**parts.generation)
        net.save_pretrained(folder)
        parts.processor.save_pretrained(folder)
    return folder


def _resize(name: str, config: Any, processor: Any) -> None:
    vision, text, side = config.vision_config, config.text_config, SIDES[name]
    vision.image_size = side
    text.head_dim = 64 if name == "smolvlm" else 128
    if name == "smolvlm":
        vision.patch_size, vision.hidden_size, vision.intermediate_size = 16, 256, 1024
        vision.num_hidden_layers, vision.num_attention_heads = 4, 4
        text.hidden_size, text.intermediate_size, text.num_hidden_layers = 192, 512, 2
        text.num_attention_heads, text.num_key_value_heads, text.vocab_size = 3, 1, 1104
    else:
        vision.patch_size, vision.hidden_size, vision.intermediate_size = 14, 144, 538
        vision.num_hidden_layers, vision.num_attention_heads = 2, 2
        text.hidden_size, text.intermediate_size, text.num_hidden_layers = 512, 1536, 3
        text.num_attention_heads, text.num_key_value_heads, text.vocab_size = 4, 1, 1328
    processor.image_seq_len = (side // vision.patch_size // config.scale_factor) ** 2
    processor.image_processor.size = {"longest_edge": 3 * side}
    processor.image_processor.max_image_size = {"longest_edge": side}


def _page(suite: Suite, name: str) -> tuple[int, int]:
    side = SIDES[name] if suite.size == "mid" else idefics.TILE
    return 3 * side, 2 * side


SECTION = Section(
    name="chat",
    title="Any chat model",
    note=(
        f"`model=chat` at {QUESTIONS} questions a page, a page a step. Training: complete optimizer steps, LoRA r=16,"
        " the tower frozen; × peer is the time of Transformers' trainer with the usual collator over this one's, × off"
        " that of packing=off; differences as above. Evaluation:"
        f" {evaluation.NEW_TOKENS} new tokens an answer, × is one-by-one time over this one's, texts are compared in"
        " float32."
    ),
    columns=(
        Column("cell", "model"),
        Column("variant", "way"),
        Column("ms", "ms a question", ".0f"),
        Column("ratio", "× peer", ".1f"),
        Column("ratio_off", "× off", ".1f"),
        Column("peak_mb", "peak MB", ".0f"),
        Column("loss", "loss differs", ".1e"),
        Column("gradient", "gradient differs", ".1e"),
        Column("equal", "equal texts"),
    ),
    cells=cells,
    drawn=(SHARED, STORED),
    computes=precision.NAME,
)
