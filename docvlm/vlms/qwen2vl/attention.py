"""Exact fast paths for the vision towers of Qwen2-VL to Qwen3-VL, as subclasses in place of the library's own modules.

Transformers embeds patches with a Conv3d whose kernel is the whole patch, which is one matrix product done slowly, and
attends page by page in a Python loop. Here it is the matrix product, and pages of equal size attend as one batch; pages
of different sizes and FlashAttention take the library's own path. Weights and their names are untouched, so what is
saved is a plain checkpoint. Equal to the stock modules to float error (tests/vlms/test_qwen2vl.py).
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.qwen2_5_vl import modeling_qwen2_5_vl as qwen25
from transformers.models.qwen2_vl import modeling_qwen2_vl as qwen2
from transformers.models.qwen3_vl import modeling_qwen3_vl as qwen3


class _LinearPatches(nn.Module):
    """Patch embedding of (patches x values) as one matrix product."""

    proj: nn.Conv3d

    def forward(self, hidden_states: Tensor) -> Tensor:
        weight = self.proj.weight
        return F.linear(hidden_states.to(weight.dtype), weight.flatten(1), self.proj.bias)


class _PagesTogether(nn.Module):
    """Self-attention of (patches x D) within pages, whose borders are `cu_seqlens` (pages + 1)."""

    config: Any
    num_heads: int
    scaling: float
    qkv: nn.Linear
    proj: nn.Linear

    def forward(
        self,
        hidden_states: Tensor,
        cu_seqlens: Tensor,
        position_embeddings: tuple[Tensor, Tensor] | None = None,
        **kwargs: Any,
    ) -> Tensor:
        lengths = cu_seqlens.diff()
        flash = "flash" in self.config._attn_implementation
        if flash or len(lengths) == 1 or bool((lengths != lengths[0]).any()):
            out: Tensor = super().forward(hidden_states, cu_seqlens, position_embeddings=position_embeddings, **kwargs)
            return out
        return self.equal_pages(hidden_states, cu_seqlens, position_embeddings)

    def equal_pages(
        self,
        hidden_states: Tensor,
        cu_seqlens: Tensor,
        position_embeddings: tuple[Tensor, Tensor] | None = None,
        **kwargs: Any,
    ) -> Tensor:
        """`forward` where all pages are known to be of one size: nothing here depends on a value."""
        patches, pages = len(hidden_states), len(cu_seqlens) - 1
        assert position_embeddings is not None
        query, key, value = self.qkv(hidden_states).view(patches, 3, self.num_heads, -1).unbind(1)
        query, key = qwen2.apply_rotary_pos_emb_vision(query, key, *position_embeddings)
        query, key, value = (t.unflatten(0, (pages, -1)).transpose(1, 2) for t in (query, key, value))
        implementation = self.config._attn_implementation
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(implementation, qwen2.eager_attention_forward)
        out, _ = attend(self, query, key, value, attention_mask=None, scaling=self.scaling, is_causal=False)
        return self.proj(out.reshape(patches, -1))  # type: ignore[no-any-return]  # nn.Module.__call__


class _Qwen2Patches(_LinearPatches, qwen2.PatchEmbed): ...


class _Qwen25Patches(_LinearPatches, qwen25.Qwen2_5_VisionPatchEmbed): ...


class _Qwen3Patches(_LinearPatches, qwen3.Qwen3VLVisionPatchEmbed): ...


class _Qwen2Attention(_PagesTogether, qwen2.VisionAttention): ...


class _Qwen25Attention(_PagesTogether, qwen25.Qwen2_5_VLVisionAttention): ...


class _Qwen3Attention(_PagesTogether, qwen3.Qwen3VLVisionAttention): ...


_FAST: dict[type[nn.Module], type[nn.Module]] = {
    qwen2.PatchEmbed: _Qwen2Patches,
    qwen25.Qwen2_5_VisionPatchEmbed: _Qwen25Patches,
    qwen3.Qwen3VLVisionPatchEmbed: _Qwen3Patches,
    qwen2.VisionAttention: _Qwen2Attention,
    qwen25.Qwen2_5_VLVisionAttention: _Qwen25Attention,
    qwen3.Qwen3VLVisionAttention: _Qwen3Attention,
}


def use_fast_paths(net: nn.Module) -> None:
    """Let `net`'s patch embedding and vision attention be the fast ones, in place."""
    for module in net.modules():
        if type(module) in _FAST:
            module.__class__ = _FAST[type(module)]
