"""What the frozen blocks of a decoder make of a page: its keys and values, and its hidden states behind them.

Below the first block that learns nothing of a page depends on what learns. So these blocks read it once (`read`), and
questions go on from there: through the frozen blocks with the cache of their page, through the blocks above it as in
one pass. The library's own forward stays in charge of every pass: blocks that have no part in it hand their input on.
Losses, gradients and answers are the same to float error (tests/vlms/test_freeze_language.py). As one tensor a page
has (hidden size + 2 x blocks x key-value heads x head width) values a token: 21 KB in bfloat16 for 18 of the 28 blocks
of Qwen2-VL-2B, which is why the size of all pages is said before they are stored.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedModel

from docvlm.vlms.prefix import entered
from docvlm.vlms.qwen2vl.branches import BranchMask


def width(net: PreTrainedModel, blocks: int) -> int:
    """Values a token that the first `blocks` of a decoder make."""
    text = net.config.get_text_config()
    return int(text.hidden_size + 2 * blocks * text.num_key_value_heads * _head(text))


@dataclass(frozen=True)
class Prefill:
    """Of pages (B x P): `hidden` states (B x P x D), and `keys` and `values` of each block (B x heads x P x width)."""

    hidden: Tensor
    keys: Sequence[Tensor]
    values: Sequence[Tensor]

    @classmethod
    def of(cls, stored: Tensor, net: PreTrainedModel, blocks: int) -> Prefill:
        """From what is stored (B x P x values), padded on the left."""
        text = net.config.get_text_config()
        hidden, rest = stored.split([text.hidden_size, stored.shape[-1] - text.hidden_size], dim=-1)
        parts = rest.unflatten(-1, (2 * blocks, text.num_key_value_heads, _head(text))).transpose(1, 3).unbind(2)
        return cls(hidden, parts[:blocks], parts[blocks:])

    def stored(self, lengths: Sequence[int]) -> list[Tensor]:
        """What is stored of each row (its length x values), whose last columns are its page."""
        parts = [part.transpose(1, 2).flatten(2) for part in (*self.keys, *self.values)]
        whole = torch.cat([self.hidden, *parts], dim=-1)
        return [row[len(row) - length :] for row, length in zip(whole, lengths, strict=True)]

    def fill(self, cache: DynamicCache) -> None:
        """Put keys and values into a cache in which their blocks have none."""
        for layer, keys, values in zip(cache.layers, self.keys, self.values, strict=False):
            layer.lazy_initialization(keys, values)
            layer.keys, layer.values = keys, values  # `update` would copy them


def read(net: PreTrainedModel, blocks: int, **inputs: Any) -> Prefill:
    """What the first `blocks` make of pages; `inputs` are the language model's, without cache."""
    text: Any = net.model.language_model
    cache = DynamicCache(config=net.config.get_text_config())
    with torch.no_grad(), only_below(text, blocks):
        hidden = text(**inputs, past_key_values=cache, use_cache=True).last_hidden_state
    layers = cache.layers[:blocks]
    return Prefill(hidden, [layer.keys for layer in layers], [layer.values for layer in layers])


def continued(net: PreTrainedModel, prefill: Prefill, branches: Tensor, places: Tensor, mask: BranchMask) -> Tensor:
    """Hidden states (B x (P + Q) x D) behind the frozen blocks, of pages and of what follows them.

    `branches` are the embeddings of that (B x Q x D), `places` its positions (3 x B x Q).
    """
    text: Any = net.model.language_model
    cache = DynamicCache(config=net.config.get_text_config())
    prefill.fill(cache)
    with torch.no_grad(), only_below(text, len(prefill.keys)):
        inputs = {"inputs_embeds": branches, "position_ids": places, "attention_mask": mask.branches}
        own = text(**inputs, past_key_values=cache, use_cache=True).last_hidden_state
    return torch.cat([prefill.hidden, own], dim=1)


@contextmanager
def only_below(text: nn.Module, blocks: int) -> Iterator[None]:
    """Within, the first `blocks` of a language model compute, and give what comes out of the last of them."""
    layers: Any = text.layers
    with entered([*layers[blocks:], text.norm], {}):  # type: ignore[list-item]  # a module
        yield


@contextmanager
def only_above(text: nn.Module, blocks: int) -> Iterator[None]:
    """Within, a language model begins behind its first `blocks`, on hidden states in place of embeddings."""
    layers: Any = text.layers
    with entered(layers[:blocks], {}):
        yield


def _head(text: Any) -> int:
    """Width of a head, which older configs do not say."""
    return int(getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads)
