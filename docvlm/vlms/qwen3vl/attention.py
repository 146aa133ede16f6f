"""Queries and keys of Qwen3-VL kept for the backward pass once: before their norm, not behind their rotation as well.

Qwen3-VL norms each head's queries and keys before it rotates them. The norm keeps its input, attention what comes out
of the rotation: both in every layer, an eighth of all that a step keeps. Norm and rotation are elementwise, so
attention keeps how to make its input again, and makes it when it is wanted: selective recomputation, as in
`docvlm.vlms.qwen2vl.recompute`. Values and gradients are the same to the bit; where autocast casts what attention gets,
the cast copies are kept as before. Under full checkpointing, which keeps neither, it is off.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.qwen3_vl import modeling_qwen3_vl as qwen3

from docvlm.vlms.qwen2vl.heads import rotated

KEPT = 1 << 18  # values; of a step with as many or fewer in a layer's input, both are kept


class _Made:
    """A tensor that is made again when one of the views of it that were kept is wanted, and held until the last is."""

    def __init__(self, make: Callable[[], Tensor]) -> None:
        self._make, self._wanted = make, 0
        self._tensor: Tensor | None = None

    def keep(self, view: Tensor) -> Callable[[], Tensor]:
        """How to come by `view` again."""
        self._wanted += 1
        return partial(self._view, view.size(), view.stride(), int(view.storage_offset()))

    def _view(self, size: torch.Size, stride: tuple[int, ...], offset: int) -> Tensor:
        if (tensor := self._tensor) is None:
            with torch.no_grad():
                tensor = self._make()
        self._wanted -= 1
        self._tensor = tensor if self._wanted > 0 else None
        return tensor.as_strided(size, stride, offset)


@contextmanager
def made_again(*made: tuple[Tensor, Callable[[], Tensor]]) -> Iterator[None]:
    """Keep, of each tensor or a view of it that an operation keeps for the backward pass, how it is made."""
    known = {tensor.untyped_storage().data_ptr(): _Made(make) for tensor, make in made}

    def pack(tensor: Tensor) -> Tensor | Callable[[], Tensor]:
        found = known.get(tensor.untyped_storage().data_ptr())
        return tensor if found is None else found.keep(tensor)

    def unpack(kept: Tensor | Callable[[], Tensor]) -> Tensor:
        return kept if isinstance(kept, Tensor) else kept()

    with saved_tensors_hooks(pack, unpack):
        yield


class _Attention(qwen3.Qwen3VLTextAttention):
    lean: bool = True

    def forward(
        self,
        hidden_states: Tensor,
        position_embeddings: tuple[Tensor, Tensor],
        attention_mask: Any,
        past_key_values: Any = None,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor | None]:
        small = hidden_states.numel() <= KEPT
        if small or not self.lean or past_key_values is not None or not torch.is_grad_enabled():
            out: tuple[Tensor, Tensor | None] = super().forward(
                hidden_states, position_embeddings, attention_mask, past_key_values, **kwargs
            )
            return out
        query, query_again = self._headed("q", hidden_states, position_embeddings)
        key, key_again = self._headed("k", hidden_states, position_embeddings)
        value = self.v_proj(hidden_states).unflatten(-1, (-1, self.head_dim)).transpose(1, 2)
        name = self.config._attn_implementation
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(name, qwen3.eager_attention_forward)
        options = {"dropout": self.attention_dropout if self.training else 0.0, "scaling": self.scaling, **kwargs}
        with made_again((query, query_again), (key, key_again)):
            attended, weights = attend(self, query, key, value, attention_mask, **options)
        return self.o_proj(attended.flatten(2).contiguous()), weights

    def _headed(self, which: str, hidden: Tensor, places: tuple[Tensor, Tensor]) -> tuple[Tensor, Callable[[], Tensor]]:
        """Queries or keys (B x heads x T x width), normed and rotated, and what makes them again."""
        projected = getattr(self, f"{which}_proj")(hidden).unflatten(-1, (-1, self.head_dim))
        norm = getattr(self, f"{which}_norm")

        def make(heads: Tensor) -> Tensor:
            return rotated(norm(heads).transpose(1, 2), *places)

        return make(projected), partial(make, projected.detach())


def use_lean_attention(net: nn.Module) -> None:
    """Let the language side's attention of `net` keep queries and keys once, in place."""
    for module in net.modules():
        if type(module) is qwen3.Qwen3VLTextAttention:
            module.__class__ = _Attention


def no_lean_attention(net: nn.Module) -> None:
    """Undo it, for a net whose layers keep nothing but their input."""
    for module in net.modules():
        if isinstance(module, _Attention):
            module.lean = False
