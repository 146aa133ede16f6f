"""Qwen2-VL in the four parts that OpenVINO GenAI runs, as modules that can be traced.

Its pipeline cuts a page into patches, computes positions and samples by itself, and asks each part by the names of its
inputs (`src/cpp/src/visual_language/qwen2vl` of openvinotoolkit/openvino.genai). The layers are those of Transformers;
what is written here is what its own forward passes do in ways that a trace cannot follow: pages apart in a loop, a
cache as an object, a mask that is made or left out.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import PreTrainedModel

from docvlm.errors import DocvlmError
from docvlm.vlms.graphs import Graph

FULL = "full_attention"


class Tower(nn.Module):
    """Embedded patches to the tokens of a page: the blocks and the merger.

    `hidden_states` (patches x D); `attention_mask` (1 x patches x patches), 0 within a page and -inf between pages;
    `rotary_pos_emb` (patches x half a head), the angles of each patch's row and column.
    """

    def __init__(self, visual: Any) -> None:
        super().__init__()
        self.visual = visual

    def forward(self, hidden_states: Tensor, attention_mask: Tensor, rotary_pos_emb: Tensor) -> Tensor:
        angles = torch.cat((rotary_pos_emb, rotary_pos_emb), -1)
        cos, sin = angles.cos(), angles.sin()
        for block in self.visual.blocks:
            hidden_states = hidden_states + _attention(block, hidden_states, attention_mask, cos, sin)
            hidden_states = hidden_states + block.mlp(block.norm2(hidden_states))
        merged: Tensor = self.visual.merger(hidden_states)
        return merged


def _attention(block: Any, hidden: Tensor, mask: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    count, heads = hidden.shape[0], block.attn.num_heads
    query, key, value = block.attn.qkv(block.norm1(hidden)).reshape(count, 3, heads, -1).permute(1, 2, 0, 3).unbind(0)
    query, key = (part * cos + _half_turned(part) * sin for part in (query, key))  # each heads x patches x head
    seen = scaled_dot_product_attention(query[None], key[None], value[None], attn_mask=mask[None])
    attended: Tensor = block.attn.proj(seen[0].transpose(0, 1).reshape(count, -1))
    return attended


def _half_turned(part: Tensor) -> Tensor:
    first, second = part.chunk(2, dim=-1)
    return torch.cat((-second, first), dim=-1)


class Language(nn.Module):
    """Embeddings (B x T x D) and the cache so far to logits (B x T x vocabulary) and the cache with them.

    `attention_mask` (B x past and T), `position_ids` (3 x B x T); the cache is keys and values of each layer in turn
    (B x heads x past x head).
    """

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.text, self.head = net.model.language_model, net.lm_head

    def forward(
        self, attention_mask: Tensor, position_ids: Tensor, inputs_embeds: Tensor, *past: Tensor
    ) -> tuple[Tensor, ...]:
        cache = _Cache(past)
        total, new = attention_mask.shape[1], inputs_embeds.shape[1]
        columns = torch.arange(total)
        causal = columns[None] <= columns[total - new :][:, None]
        mask = causal[None, None] & attention_mask.bool()[:, None, None]
        hidden = self.text(
            inputs_embeds=inputs_embeds,
            attention_mask={FULL: mask},
            position_ids=position_ids,
            past_key_values=cache,
            use_cache=True,
        ).last_hidden_state
        return (self.head(hidden), *cache.states)


class _Cache:
    """What Transformers' layers ask of a cache, over tensors that are there from the first call on."""

    def __init__(self, states: tuple[Tensor, ...]) -> None:
        self.states = list(states)

    def get_seq_length(self, layer: int = 0) -> int:
        return self.states[2 * layer].shape[-2]

    def update(self, keys: Tensor, values: Tensor, layer: int, *_: object, **__: object) -> tuple[Tensor, Tensor]:
        for place, new in ((2 * layer, keys), (2 * layer + 1, values)):
            self.states[place] = torch.cat((self.states[place], new), dim=-2)
        return self.states[2 * layer], self.states[2 * layer + 1]


def graphs(net: PreTrainedModel, processor: object = None) -> dict[str, Graph]:
    """The parts of a plain Transformers model by the names their files have. Raises `DocvlmError` for other attention.

    Pages are of any size, so nothing is asked of a `processor`. Lengths of the examples differ from each other, so that
    none is taken for another.
    """
    whole: Any = net  # its attributes are those of its class
    vision, text = whole.config.vision_config, whole.config.text_config
    if other := set(text.layer_types) - {FULL}:
        raise DocvlmError(f"config.json: text_config.layer_types has {', '.join(sorted(other))}; only {FULL} is read")
    patch, wide = vision.in_channels * vision.temporal_patch_size * vision.patch_size**2, vision.embed_dim
    half, count = vision.embed_dim // vision.num_heads // 2, 4 * vision.spatial_merge_size**2
    masks = {"hidden_states": (-1, wide), "attention_mask": (1, -1, -1), "rotary_pos_emb": (-1, half)}
    return {
        "vision_embeddings": Graph(
            whole.model.visual.patch_embed, (torch.rand(count, patch),), {"hidden_states": (-1, patch)}, (_HIDDEN,)
        ),
        "vision_embeddings_merger": Graph(
            Tower(whole.model.visual),
            (torch.rand(count, wide), torch.zeros(1, count, count), torch.rand(count, half)),
            masks,
            (_HIDDEN,),
        ),
        "text_embeddings": Graph(
            whole.get_input_embeddings(), (torch.ones(2, 3).long(),), {"input": (-1, -1)}, ("inputs_embeds",)
        ),
        "language": _language(whole, text),
    }


_HIDDEN = "last_hidden_state"


def _language(net: Any, text: Any) -> Graph:
    rows, past, new = 2, 5, 3
    heads, head = text.num_key_value_heads, text.hidden_size // text.num_attention_heads
    names = [f"{layer}.{kind}" for layer in range(text.num_hidden_layers) for kind in ("key", "value")]
    positions = torch.arange(past, past + new).expand(3, rows, new)
    example = (torch.ones(rows, past + new).long(), positions, torch.rand(rows, new, text.hidden_size))
    shapes = {"attention_mask": (-1, -1), "position_ids": (3, -1, -1), "inputs_embeds": (-1, -1, text.hidden_size)}
    return Graph(
        Language(net),
        (*example, *(torch.rand(rows, heads, past, head) for _ in names)),
        shapes | {f"past_key_values.{name}": (-1, heads, -1, head) for name in names},
        ("logits", *(f"present.{name}" for name in names)),
        tuple(names),
        language=True,
    )
