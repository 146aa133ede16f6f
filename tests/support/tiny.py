"""Small random checkpoints of both families, and pages to ask them about. Untrained: what they say is nonsense, but it
depends on page and question, because the weights are drawn wider than a training would start from."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageDraw
from transformers import Qwen2_5_VLForConditionalGeneration
from transformers.models.qwen2_5_vl import Qwen2_5_VLConfig, Qwen2_5_VLProcessor

from docvlm.data.example import Example
from docvlm.vlms import FAMILIES, load_family
from docvlm.vlms.base import VLM
from docvlm.vlms.codec import Budget
from pretraining.architecture import untrained
from tests.support import architectures

MINIATURES = tuple(name for name, one in FAMILIES.items() if one.embedded is not None)
"""Families with an embedded checkpoint: the two that docvlm knows by name."""
INSTRUCTION = "\nAnswer the question using a single word or phrase."


@dataclass(frozen=True)
class Paper:
    """A page with its name on it."""

    name: str
    width: int = 280
    height: int = 168

    def open(self) -> Image.Image:
        image = Image.new("RGB", (self.width, self.height), "white")
        draw = ImageDraw.Draw(image)
        for row in range(4):
            draw.text((8, 8 + 20 * row), f"{self.name} {row * 37}", fill="black")
        draw.rectangle((sum(map(ord, self.name)) % self.width, 100, self.width, 120), fill="black")
        return image


@lru_cache
def checkpoint(family: str) -> Path:
    """A folder with an untrained checkpoint of the embedded architecture, or of the smallest one where none is."""
    if family not in MINIATURES:
        return architectures.checkpoint(FAMILIES[family].model_types[0])
    folder = Path(tempfile.mkdtemp(prefix=f"docvlm-{family}-"))
    torch.manual_seed(0)
    net, processor = untrained(family)
    widen(net)
    net.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def widen(net: torch.nn.Module, factor: float = 6.0) -> None:
    """Larger weights, so that outputs depend visibly on inputs."""
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.ndim == 2:
                parameter.mul_(factor)


@lru_cache
def qwen25() -> Path:
    """The like of Qwen2.5-VL, which is of the family "qwen2vl"; two query heads share a key-value head."""
    base = load("qwen2vl")
    text = base.bare.config.text_config.to_dict()
    config = Qwen2_5_VLConfig(
        vision_config={"depth": 2, "hidden_size": 64, "out_hidden_size": 128, "num_heads": 2, "intermediate_size": 128,
                       "fullatt_block_indexes": [1], "window_size": 56},
        text_config={key: text[key] for key in ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers",
                                                "num_attention_heads", "rope_parameters",
                                                "bos_token_id", "eos_token_id", "pad_token_id")}
                    | {"num_key_value_heads": 2},
        image_token_id=base.codec.image, vision_start_token_id=base.bare.config.vision_start_token_id,
        tie_word_embeddings=True,
    )  # fmt: skip
    torch.manual_seed(0)
    net = Qwen2_5_VLForConditionalGeneration(config)
    widen(net, 4.0)
    net.generation_config = base.bare.generation_config
    own = base.codec.processor
    processor = Qwen2_5_VLProcessor(own.image_processor, own.tokenizer, own.video_processor, own.chat_template)
    folder = Path(tempfile.mkdtemp(prefix="docvlm-qwen25-"))
    net.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def load(family: str, budget: Budget | None = None, source: Path | None = None, **options: Any) -> VLM:
    """A fresh model of the family, from `source` or the untrained checkpoint, nothing prepared for training."""
    return load_family(family).load(source or checkpoint(family), budget or Budget(), offline=True, **options)


def example(number: int, *, pages: tuple[Paper, ...] | None = None, question: str = "What is the total") -> Example:
    """Questions and answers of different lengths, each on a page of its own unless `pages` are given."""
    return Example(
        question_id=f"q{number}",
        question=f"{question} {'of it ' * number}?",
        answers=(f"{number}{number}.00 EUR", "0") if number % 2 else (str(number),),
        document=f"d{number}",
        pages=pages or (Paper(f"page {number}"),),
        benchmark="docvqa",
        instruction=INSTRUCTION,
    )
