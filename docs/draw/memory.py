"""Print the table of docs/guide/clusters.md, memory a device with `trainer=fsdp`: `python docs/draw/memory.py`.

Models are made without weights, prepared as a run prepares them, and counted as a run shares them out. Some seconds.
"""

from __future__ import annotations

import sys
from typing import Any

import torch
from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration

from docvlm.vlms import sharded
from docvlm.vlms.base import VLM
from docvlm.vlms.prepare import apply
from docvlm.vlms.qwen2vl.model import Qwen2VL
from docvlm.vlms.trainable import Lora
from docvlm.writing import one_line_errors

DEVICES = 8
SIZES: dict[str, dict[str, int]] = {  # as config.json of the checkpoints on the hub says
    "7B": {
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
    },
    "72B": {
        "hidden_size": 8192,
        "intermediate_size": 29568,
        "num_hidden_layers": 80,
        "num_attention_heads": 64,
        "num_key_value_heads": 8,
    },
}
METHODS = {"LoRA, r=16": 16, "in full": 0}
HEAD = (
    "Qwen2-VL", "language side", "tower", "weights", "gradients", "optimizer", "gathered", "training", "evaluation",
)  # fmt: skip


def model(size: str, r: int) -> VLM:
    """Qwen2-VL of a size without weights, its tower frozen, its language side with an adapter or in full."""
    text: dict[str, Any] = SIZES[size] | {"vocab_size": 152064, "tie_word_embeddings": False}
    vision = {"hidden_size": text["hidden_size"]}
    config = Qwen2VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=False)
    codec: Any = None  # nothing is read
    with torch.device("meta"):
        vlm = Qwen2VL(Qwen2VLForConditionalGeneration(config), codec, size, torch.bfloat16)
        apply(vlm, 100, Lora.of(Lora(r)))
    return vlm


def lines() -> list[str]:
    """The table, in GiB."""
    found: list[tuple[str, ...]] = [HEAD, ("---",) * 2 + ("---:",) * 7]
    for size in SIZES:
        for name, r in METHODS.items():
            counted = sharded.memory(model(size, r), DEVICES)
            parts = (counted.whole, counted.weights, counted.gradients, counted.optimizer, counted.gathered)
            numbers = (*parts, counted.training, counted.evaluation)
            found.append((size, name, *(f"{number / 2**30:.1f}" for number in numbers)))
    return [f"| {' | '.join(row)} |" for row in found]


@one_line_errors
def main(words: list[str]) -> None:
    """Print it."""
    print("\n".join(lines()))


if __name__ == "__main__":
    main(sys.argv[1:])
