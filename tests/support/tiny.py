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

from docvlm.data.example import Example
from docvlm.vlms import FAMILIES, load_family
from docvlm.vlms.base import VLM
from docvlm.vlms.codec import Budget
from pretraining.architecture import untrained

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
    """A folder with an untrained checkpoint of the embedded architecture."""
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


def load(family: str, budget: Budget | None = None, **options: Any) -> VLM:
    """A fresh model of the family, nothing prepared for training."""
    return load_family(family).load(checkpoint(family), budget or Budget(), offline=True, **options)


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
