"""Queries, keys and values of the language side, turned by their positions in fewer passes over memory.

For training only: with a cache, or where nothing learns, Transformers' own attention runs. Weights and their names are
untouched; equal to it to float error (tests/vlms/test_fused.py).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.qwen2_5_vl import modeling_qwen2_5_vl as qwen25
from transformers.models.qwen2_vl import modeling_qwen2_vl as qwen2

from docvlm.vlms.fused import Rotation, learns


def heads(attention: Any, which: str, hidden: Tensor) -> Tensor:
    """`hidden` (B x T x D) projected to queries, keys or values (B x heads x T x width), normed where Qwen3-VL does."""
    projected: Tensor = getattr(attention, f"{which}_proj")(hidden).unflatten(-1, (-1, attention.head_dim))
    norm = getattr(attention, f"{which}_norm", None)
    return (projected if norm is None else norm(projected)).transpose(1, 2)


def rotated(parts: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Heads (B x heads x T x width) turned by the angles of their positions (B x T x width)."""
    out: Tensor
    if learns(parts):
        out = Rotation.apply(parts, cos[:, None], sin[:, None])
    else:
        out = parts * cos[:, None] + qwen2.rotate_half(parts) * sin[:, None]
    return out


class _Attention(nn.Module):
    config: Any
    training: bool
    attention_dropout: float
    scaling: float
    o_proj: nn.Module

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Any = None,
        position_ids: Tensor | None = None,
        past_key_values: Any = None,
        position_embeddings: tuple[Tensor, Tensor] | None = None,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor | None]:
        if past_key_values is not None or position_embeddings is None or not torch.is_grad_enabled():
            given = {"position_ids": position_ids, "past_key_values": past_key_values, **kwargs}
            out: tuple[Tensor, Tensor | None] = super().forward(
                hidden_states, attention_mask, position_embeddings=position_embeddings, **given
            )
            return out
        query, key = (rotated(heads(self, which, hidden_states), *position_embeddings) for which in "qk")
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, qwen2.eager_attention_forward)
        options: dict[str, Any] = {"dropout": self.attention_dropout if self.training else 0.0, "scaling": self.scaling}
        options |= {"sliding_window": self.sliding_window, "position_ids": position_ids, **kwargs}
        value = heads(self, "v", hidden_states)
        attended, weights = attend(self, query, key, value, attention_mask, **options)
        return self.o_proj(attended.flatten(2).contiguous()), weights


class _Qwen2Attention(_Attention, qwen2.Qwen2VLAttention): ...


class _Qwen25Attention(_Attention, qwen25.Qwen2_5_VLAttention): ...


_FAST: dict[type[nn.Module], type[nn.Module]] = {
    qwen2.Qwen2VLAttention: _Qwen2Attention,
    qwen25.Qwen2_5_VLAttention: _Qwen25Attention,
}


def use_fast_heads(net: nn.Module) -> None:
    """Let the language side's attention of `net` rotate its heads in one pass, in place."""
    for module in net.modules():
        if type(module) in _FAST:
            module.__class__ = _FAST[type(module)]
