"""Florence-2 in three parts that OpenVINO runs, as modules that can be traced: a page, a question about it, a step.

OpenVINO GenAI has no pipeline for it, so its loop is docvlm's own (`docvlm.answering.runtime_worker`), and the parts
are cut for that: the page is resized and nothing else before the first, keys and values that every step looks up are
made once by the second, and the third holds the answer so far as its state. The layers are those of Transformers; what
is written here is what the decoder's own forward pass does with objects that a trace cannot follow. A question at a
time: rows of a batch would need masks.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import PreTrainedModel

from docvlm.vlms.graphs import Graph


class Tower(nn.Module):
    """Pixels of a resized page (1 x H x W x 3, 0 to 255) to its tokens (1 x tokens x D): tower and projector.

    Rescaling and normalising, the image processor's last steps, are the first of the graph.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, model: Any, images: Any) -> None:
        super().__init__()
        self.tower, self.projector = model.vision_tower, model.multi_modal_projector
        for name, values in (("mean", images.image_mean), ("std", images.image_std)):
            self.register_buffer(name, torch.tensor(values) / images.rescale_factor)

    def forward(self, pixels: Tensor) -> Tensor:
        values = ((pixels.float() - self.mean) / self.std).permute(0, 3, 1, 2)
        features: Tensor = self.projector(self.tower(values).last_hidden_state)
        return features


class Encoder(nn.Module):
    """A page's tokens and the question (1 x T) to keys and values of each decoder layer's cross-attention in turn.

    Each is 1 x heads x (tokens and T) x head.
    """

    def __init__(self, language: Any) -> None:
        super().__init__()
        self.encoder = language.encoder
        self.cross = nn.ModuleList(layer.encoder_attn for layer in language.decoder.layers)

    def forward(self, page: Tensor, input_ids: Tensor) -> tuple[Tensor, ...]:
        embedded = torch.cat((page, self.encoder.embed_tokens(input_ids)), dim=1)
        hidden = self.encoder(inputs_embeds=embedded).last_hidden_state
        layers: Any = self.cross
        return tuple(_heads(project(hidden), layer) for layer in layers for project in (layer.k_proj, layer.v_proj))


class Decoder(nn.Module):
    """The next tokens (1 x T) to the logits of the last of them (1 x 1 x vocabulary) and the cache with them.

    `others`: the encoder's keys and values, then those of the answer so far (1 x heads x past x head).
    """

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.decoder, self.head = net.model.language_model.decoder, net.lm_head

    def forward(self, input_ids: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
        count = 2 * len(self.decoder.layers)
        cross, cache = others[:count], _Cache(others[count:])
        past, new = others[count].shape[2], input_ids.shape[1]
        columns = torch.arange(past + new)
        places = columns[past:]
        causal = (columns[None] <= places[:, None])[None, None]
        hidden = self.decoder.embed_tokens(input_ids) + self.decoder.embed_positions(input_ids, position_ids=places)
        hidden = self.decoder.layernorm_embedding(hidden)
        for index, layer in enumerate(self.decoder.layers):
            said, _ = layer.self_attn(hidden, past_key_values=cache, attention_mask=causal)
            hidden = layer.self_attn_layer_norm(hidden + said)
            seen = _looked_up(layer.encoder_attn, hidden, *cross[2 * index : 2 * index + 2])
            hidden = layer.encoder_attn_layer_norm(hidden + seen)
            inner = layer.activation_fn(layer.fc1(hidden))
            hidden = layer.final_layer_norm(hidden + layer.fc2(inner))
        return (self.head(hidden[:, -1:]), *cache.states)


class _Cache:
    """What BART's attention asks of a cache, over tensors that are there from the first call on."""

    def __init__(self, states: tuple[Tensor, ...]) -> None:
        self.states = list(states)

    def update(self, keys: Tensor, values: Tensor, layer: int) -> tuple[Tensor, Tensor]:
        for place, new in ((2 * layer, keys), (2 * layer + 1, values)):
            self.states[place] = torch.cat((self.states[place], new), dim=-2)
        return self.states[2 * layer], self.states[2 * layer + 1]


def _heads(projected: Tensor, attention: Any) -> Tensor:
    return projected.view(1, -1, attention.num_heads, attention.head_dim).transpose(1, 2)


def _looked_up(attention: Any, hidden: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    seen = scaled_dot_product_attention(_heads(attention.q_proj(hidden), attention), keys, values)
    found: Tensor = attention.out_proj(seen.transpose(1, 2).reshape(hidden.shape))
    return found


def graphs(net: PreTrainedModel, processor: Any) -> dict[str, Graph]:
    """The parts of a plain Transformers model by the names their files have.

    `processor` says the size of every page: the tower's windows are counted while it is traced, so its graph reads that
    size only. Lengths of the examples differ from each other, so that none is taken for another.
    """
    whole: Any = net  # its attributes are those of its class
    text, images = whole.config.text_config, processor.image_processor
    size, tokens = (1, images.size["height"], images.size["width"], 3), images.image_seq_length
    heads, wide = text.decoder_attention_heads, text.d_model
    names = [f"{layer}.{kind}" for layer in range(text.decoder_layers) for kind in ("key", "value")]
    state: tuple[int, ...] = (1, heads, -1, wide // heads)
    cross = dict.fromkeys((f"cross.{name}" for name in names), state)
    past = dict.fromkeys((f"past_key_values.{name}" for name in names), state)
    asked: dict[str, tuple[int, ...]] = {"input_ids": (1, -1)}
    states = [torch.rand(1, heads, length, wide // heads) for length in (9, 5) for _ in names]
    return {
        "vision": Graph(
            Tower(whole.model, images), (torch.zeros(size, dtype=torch.uint8),), {"pixels": size}, ("page",)
        ),
        "encoder": Graph(
            Encoder(whole.model.language_model),
            (torch.rand(1, tokens, wide), torch.ones(1, 7).long()),
            {"page": (1, tokens, wide)} | asked,
            tuple(cross),
            language=True,
        ),
        "decoder": Graph(
            Decoder(whole),
            (torch.ones(1, 3).long(), *states),
            asked | cross | past,
            ("logits", *(f"present.{name}" for name in names)),
            tuple(names),
            language=True,
        ),
    }
