"""The last decoder layer of packed rows, computed only where an answer token is predicted.

The layers read each other's output at every position, as keys and values. What the last one puts out is read by the
loss alone, and only at the few positions before an answer token. So the last layer makes keys and values of all tokens,
but queries, attention, projection and MLP of those positions only. Losses and gradients are the same to float error
(tests/data/test_packing.py); weights and their names are untouched.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.qwen2_5_vl import modeling_qwen2_5_vl as qwen25
from transformers.models.qwen2_vl import modeling_qwen2_vl as qwen2
from transformers.models.qwen3_vl import modeling_qwen3_vl as qwen3

from docvlm.data.loading.packing import IGNORED
from docvlm.vlms.qwen2vl.branches import BranchMask
from docvlm.vlms.qwen2vl.heads import heads, rotated


def only_answers(mask: BranchMask, labels: Tensor) -> tuple[BranchMask, Tensor]:
    """`mask` with the positions before an answer token as its `wanted` ones, and the labels there (B x W).

    `labels` are those of the whole rows (B x T). A row with fewer answer tokens than another has other branch positions
    as well, whose label is ignored.
    """
    following = labels[:, mask.split + 1 :]
    answers = following != IGNORED
    most = int(answers.sum(dim=1).max())
    columns = answers.int().argsort(dim=1, descending=True, stable=True)[:, :most]
    return replace(mask, wanted=mask.split + columns), following.gather(1, columns)


def use_last_layer(net: PreTrainedModel) -> None:
    """Let the last decoder layer of `net` compute what a `BranchMask` wants, in place."""
    layer = net.get_submodule("model.language_model.layers")[-1]  # type: ignore[index]  # a ModuleList
    layer.__class__ = _LAST[type(layer)]


class _LastLayer(nn.Module):
    input_layernorm: nn.Module
    self_attn: Any
    post_attention_layernorm: nn.Module
    mlp: nn.Module

    def forward(self, hidden_states: Tensor, attention_mask: Any = None, **kwargs: Any) -> Tensor:
        if not isinstance(attention_mask, BranchMask) or attention_mask.wanted is None:
            everything: Tensor = super().forward(hidden_states, attention_mask=attention_mask, **kwargs)
            return everything
        wanted = attention_mask.wanted[..., None]
        normed = self.input_layernorm(hidden_states)
        hidden = torch.take_along_dim(hidden_states, wanted, dim=1)
        hidden = hidden + _attended(self.self_attn, normed, attention_mask, **kwargs)
        out: Tensor = hidden + self.mlp(self.post_attention_layernorm(hidden))
        return out


def _attended(
    attention: Any, hidden: Tensor, mask: BranchMask, *, position_embeddings: tuple[Tensor, Tensor], **kwargs: Any
) -> Tensor:
    """Self-attention of the wanted positions (B x W x D) over all of `hidden` (B x T x D)."""
    assert mask.wanted is not None
    wanted = mask.wanted[..., None]
    here = [torch.take_along_dim(part, wanted, dim=1) for part in (hidden, *position_embeddings)]
    query = rotated(heads(attention, "q", here[0]), *here[1:])
    key = rotated(heads(attention, "k", hidden), *position_embeddings)
    value = heads(attention, "v", hidden)
    seen = torch.take_along_dim(mask.branches, wanted[:, None] - mask.split, dim=2)
    name = attention.config._attn_implementation
    attend = ALL_ATTENTION_FUNCTIONS.get_interface(name, qwen2.eager_attention_forward)
    dropout = attention.attention_dropout if attention.training else 0.0
    out, _ = attend(attention, query, key, value, seen, dropout=dropout, scaling=attention.scaling)
    return attention.o_proj(out.flatten(2))  # type: ignore[no-any-return]  # nn.Module.__call__


class _Qwen2LastLayer(_LastLayer, qwen2.Qwen2VLDecoderLayer): ...


class _Qwen25LastLayer(_LastLayer, qwen25.Qwen2_5_VLDecoderLayer): ...


class _Qwen3LastLayer(_LastLayer, qwen3.Qwen3VLTextDecoderLayer): ...


_LAST: dict[type[nn.Module], type[nn.Module]] = {
    qwen2.Qwen2VLDecoderLayer: _Qwen2LastLayer,
    qwen25.Qwen2_5_VLDecoderLayer: _Qwen25LastLayer,
    qwen3.Qwen3VLTextDecoderLayer: _Qwen3LastLayer,
}
