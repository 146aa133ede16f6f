"""Useful FLOPs of a LoRA training step of Qwen2-VL with a frozen tower: what its algorithm cannot do without.

A multiplication and an addition are two FLOPs. Counted are matrix products and attention; norms, activations and the
optimizer are not. A batch is counted as its own algorithm needs it: a plain one encodes a page for every question, a
packed one once, and one with stored features not at all; its last layer makes keys and values of all tokens, and the
rest where an answer token is predicted. Not counted are padding, masked attention (a causal square is its lower half)
and what checkpointing computes twice, so they show as a lower MFU. With D = hidden, A = heads x size of
a head, K = key-value heads x size of a head, F = MLP, r = rank, V = vocabulary, W = tower width, a token or pair costs

    linear     2 (D A + 2 D K + A D + 3 D F) a token and layer, forward; as much again backward, since the weights are
               frozen and only the gradient of the input is made. The first layer's q, k, v need not even that
    LoRA       2 r (in + out) of each of q, k, v, o; twice that backward (weights and input), without the first layer's
               gradient of the input
    attention  4 A a pair of query and key and layer, forward; twice that backward (gradients of all four factors)
    head       2 D V an answer token, forward; as much backward
    tower      2 (values W + depth (3 W W + W W + 2 W M)) + 4 depth W x patches of the page, a patch, forward only;
               its merger 2 (G G + G D) a page token, G = 4 W, M = tower MLP

Checked against `torch.utils.flop_counter` in tests/repository/test_bench_gpu.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from docvlm.data.loading.packing import IGNORED


@dataclass(frozen=True)
class Work:
    """A batch in numbers: patches of each page that is encoded, body tokens, attended pairs, projected positions.

    `spared_tokens` and `spared_pairs`: those of which the last layer needs no output.
    """

    pages: tuple[int, ...]
    tokens: int
    pairs: int
    answers: int
    spared_tokens: int = 0
    spared_pairs: int = 0

    def __add__(self, other: Work) -> Work:
        return Work(
            self.pages + other.pages,
            self.tokens + other.tokens,
            self.pairs + other.pairs,
            self.answers + other.answers,
            self.spared_tokens + other.spared_tokens,
            self.spared_pairs + other.spared_pairs,
        )


def work(batch: dict[str, Tensor]) -> Work:
    """What a training batch, packed or not, asks for; padding left out."""
    pages = tuple(batch["image_grid_thw"].prod(-1).tolist()) if "pixel_values" in batch else ()
    answers = int((batch["labels"] != IGNORED).sum())
    if "segments" not in batch:
        lengths = batch["attention_mask"].sum(dim=1).tolist()
        return Work(pages, sum(lengths), sum(_triangle(n) for n in lengths), answers)
    tokens = pairs = read = 0
    for row, labels, offsets in zip(batch["segments"], batch["labels"], batch["offsets"], strict=True):
        prefix, *branches = (int((row == number).sum()) for number in range(int(row.max()) + 1))
        tokens += prefix + sum(branches)
        pairs += _triangle(prefix) + sum(prefix * length + _triangle(length) for length in branches)
        read += int((prefix + offsets[labels != IGNORED]).sum())  # what the position before a label attends to
    return Work(pages, tokens, pairs, answers, tokens - answers, pairs - read)


def training_flops(config: Any, rank: int, done: Work) -> int:
    """Forward and backward of `done` in a model of `config` (`Qwen2VLConfig`) with LoRA of `rank` on q, k, v, o."""
    text = config.get_text_config()
    hidden, layers = text.hidden_size, text.num_hidden_layers
    size = hidden // text.num_attention_heads
    inner, shared = text.num_attention_heads * size, text.num_key_value_heads * size
    into = 2 * (hidden * inner + 2 * hidden * shared)  # q, k, v
    rest = 2 * (inner * hidden + 3 * hidden * text.intermediate_size)  # o and the MLP
    down_qkv, up_qkv = 2 * rank * 3 * hidden, 2 * rank * (inner + 2 * shared)
    lora = down_qkv + up_qkv + 2 * rank * (inner + hidden)
    per_token = layers * (2 * (into + rest) + 3 * lora) - into - down_qkv
    attention = 3 * 4 * inner * layers
    head = 2 * 2 * hidden * text.vocab_size
    body = per_token * done.tokens + attention * done.pairs + head * done.answers
    spared = 2 * (2 * hidden * inner + rest) + 3 * 2 * 2 * rank * (hidden + inner)  # q, o and the MLP of one layer
    body -= spared * done.spared_tokens + 3 * 4 * inner * done.spared_pairs
    return body + sum(tower_flops(config.vision_config, patches) for patches in done.pages)


def tower_flops(vision: Any, patches: int) -> int:
    """One page through the tower, forward; attention within the page is full."""
    width, depth = vision.embed_dim, vision.depth
    values = vision.in_channels * vision.temporal_patch_size * vision.patch_size**2
    mlp = int(width * vision.mlp_ratio)
    per_patch = 2 * (values * width + depth * (4 * width * width + 2 * width * mlp))
    merged = width * vision.spatial_merge_size**2
    merger = 2 * (merged * merged + merged * vision.hidden_size) * (patches // vision.spatial_merge_size**2)
    return (per_patch + 4 * depth * width * patches) * patches + merger


def _triangle(length: int) -> int:
    return length * (length + 1) // 2
