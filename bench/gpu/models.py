"""Models with published dimensions and random weights, made where they are used, and pages to ask them about.

Qwen2-VL-2B and Florence-2-base (`bench.dimensions`). The vocabulary has the published size, but the embedded tokenizer
spells into its first ids; questions and answers are worded so that they are about as many tokens as DocVQA's. Random
weights say ids, not words, so a text here is its ids. `tiny` builds the embedded miniatures instead, for a CPU.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np
import torch
from peft import PeftModel, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from PIL import Image, ImageDraw
from torch import Tensor, nn
from transformers import Florence2ForConditionalGeneration, Qwen2VLConfig
from transformers import Qwen2VLForConditionalGeneration as Qwen2VLNet

from bench.dimensions import florence2_base, qwen2vl_2b
from docvlm.data.example import Example
from docvlm.vlms.base import VLM
from docvlm.vlms.codec import Budget
from docvlm.vlms.florence2.codec import Florence2Codec
from docvlm.vlms.florence2.model import Florence2
from docvlm.vlms.prepare import apply
from docvlm.vlms.qwen2vl.model import Qwen2VL, Qwen2VLCodec
from docvlm.vlms.trainable import Lora
from pretraining.architecture import florence2, qwen2vl

CELL = 28  # pixels of a page token's side
RANK = 16
QUESTION, ANSWERS = "What is the date of the letter", ("7 May", "12.50", "Smith", "no", "1987")
INSTRUCTION = "\nAnswer the question using a single word or phrase."


@dataclass(frozen=True)
class Sheet:
    """A page of lines of noise, `rows` x `columns` cells, different for every `number`."""

    number: int
    rows: int
    columns: int

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"sheet {self.number}"

    def open(self) -> Image.Image:
        """Draw it."""
        width, height = self.columns * CELL, self.rows * CELL
        image = Image.new("RGB", (width, height), "white")
        draw, random = ImageDraw.Draw(image), np.random.default_rng(self.number)
        for top in range(CELL // 2, height - CELL // 2, CELL):
            for left in range(CELL // 2, width - CELL // 2, CELL // 2):
                if random.random() < 0.7:
                    draw.rectangle((left, top, left + int(random.integers(2, CELL // 2)), top + 9), fill="black")
        return image


def sheets(tokens: list[int]) -> list[Sheet]:
    """Upright pages of about so many tokens each, with the sides of A4."""
    pages = []
    for number, count in enumerate(tokens):
        rows = round(sqrt(count * sqrt(2)))
        pages.append(Sheet(number, rows, round(count / rows)))
    return pages


def asked(pages: list[Sheet], questions: int) -> list[Example]:
    """So many questions on each page, those of a page in a row."""
    return [
        Example(
            question_id=f"{page.number}-{number}",
            question=f"{QUESTION} {number}?",
            answers=(ANSWERS[(page.number + number) % len(ANSWERS)],),
            document=page.name,
            pages=(page,),
            benchmark="docvqa",
            instruction=INSTRUCTION,
        )
        for page in pages
        for number in range(questions)
    ]


class _SpokenIds(Qwen2VLCodec):
    """Texts are the ids up to an end token."""

    def texts(self, ids: Tensor) -> list[str]:
        rows = ids.tolist()
        return [" ".join(map(str, row[: row.index(self.end)] if self.end in row else row)) for row in rows]


def qwen(
    device: torch.device, dtype: torch.dtype, *, tiny: bool, attn: str = "sdpa", freeze_language: int = 0
) -> Qwen2VL:
    """Qwen2-VL-2B with LoRA r=16 on q, k, v, o and a frozen tower; adapters start away from zero, so that all count.

    Of the decoder's blocks `freeze_language` percent, from the input, get no adapter.
    """
    small, processor = qwen2vl()
    net, config = _qwen_net(small, device, dtype, tiny=tiny, attn=attn)
    Qwen2VL.adjust(net)
    longest = config.get_text_config().max_position_embeddings
    codec = _SpokenIds(processor, Budget(min_pixels=CELL**2, max_pixels=4096 * CELL**2), longest)
    vlm = Qwen2VL(net, codec, "random", dtype)
    _prepared(vlm, 100, RANK, freeze_language)
    return vlm


def stock_qwen(vlm: VLM, *, tiny: bool) -> PeftModel:
    """The same weights and adapter as of `qwen` in untouched Transformers and PEFT classes, for others' trainers."""
    net, _ = _qwen_net(qwen2vl()[0], vlm.device, vlm.dtype, tiny=tiny, attn="sdpa")
    net.requires_grad_(False)
    assert isinstance(vlm.net, PeftModel)
    wrapped = get_peft_model(net, deepcopy(vlm.net.peft_config["default"]))
    assert isinstance(wrapped, PeftModel)
    set_peft_model_state_dict(wrapped, get_peft_model_state_dict(vlm.net, save_embedding_layers=False))
    return wrapped


def _qwen_net(small: Any, device: torch.device, dtype: torch.dtype, *, tiny: bool, attn: str) -> tuple[Any, Any]:
    """A net as Transformers has it, and its config."""
    config = _shallow(small.config) if tiny else qwen2vl_2b(small.config)
    net = _made(Qwen2VLNet, config, device, dtype, attn)
    net.generation_config = small.generation_config
    return net, config


def florence(device: torch.device, dtype: torch.dtype, freeze: float, *, tiny: bool) -> Florence2:
    """Florence-2-base whose language side learns in full, and its tower above `freeze` percent of its blocks."""
    small, processor = florence2()
    config = small.config if tiny else florence2_base(small.config)
    net = _made(Florence2ForConditionalGeneration, config, device, dtype, "sdpa")
    net.generation_config = small.generation_config
    budget = Budget() if tiny else Budget(height=768, width=768)
    vlm = Florence2(net, Florence2Codec(processor, config, small.generation_config, budget), "random", dtype)
    _prepared(vlm, freeze, 0)
    return vlm


def _made(cls: Any, config: Any, device: torch.device, dtype: torch.dtype, attn: str) -> Any:
    """A net with random weights, drawn on the device in their own dtype."""
    torch.manual_seed(0)
    with torch.device(device):
        net = cls._from_config(config, dtype=dtype, attn_implementation=attn)
    return net.to(device)


def _prepared(vlm: VLM, freeze: float, rank: int, freeze_language: int = 0) -> None:
    torch.manual_seed(1)
    apply(vlm, freeze, Lora(rank), freeze_language)
    for name, parameter in vlm.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.02)


def _shallow(small: Qwen2VLConfig) -> Qwen2VLConfig:
    """Two layers a side: what runs is the same code."""
    text = small.get_text_config()
    small.vision_config.depth = text.num_hidden_layers = 2
    text.layer_types = text.layer_types[:2]
    return small
