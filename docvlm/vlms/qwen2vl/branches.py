"""Attention over packed rows in two calls, so that no mask covers pages times pages.

A page token attends to the page tokens before it: a plain causal call, row by row where rows have not equally many.
A question or answer token attends to its pages and its own branch: one call with a mask of branch tokens x all tokens,
a few hundred rows where the page has thousands. So memory grows with the tokens of a document, not with their square;
eager attention, which holds all weights anyway, gets its mask. Installed as an attention implementation of the language
side (`branches_sdpa`, `branches_eager`) that hands every other mask on to the library's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, causal_mask_function
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.qwen2_vl.modeling_qwen2_vl import eager_attention_forward

from docvlm.errors import DocvlmError

PREFIX = "branches_"


@dataclass(frozen=True)
class BranchMask:
    """What the two calls see. `split`: columns of the pages; `starts`: in which of them each row's begin, None where
    all begin in the first; `branches`: B x 1 x Q x (P + Q). `wanted`: branch columns whose output is used (B x W), or
    None for all. `pages`: B x 1 x P x P where a mask is added, else None.
    """

    split: int
    starts: tuple[int, ...] | None
    branches: Tensor
    wanted: Tensor | None = None
    pages: Tensor | None = None

    ndim = 3  # to Transformers it is a mask from which the one of the attention implementation is yet to be made

    @property
    def shape(self) -> torch.Size:
        """B x Q x (P + Q)."""
        return self.branches[:, 0].shape


def branch_mask(segments: Tensor, split: int, *, additive: bool) -> BranchMask:
    """Masks of packed rows from their `segments` (B x T); `additive` for an implementation that adds its mask."""
    seen = segments[:, :split] == 0
    own = segments[:, split:]
    same = (own[:, :, None] == own[:, None, :]).tril()
    branches = torch.cat([seen[:, None, :].expand(-1, own.shape[1], -1), same], dim=-1)[:, None]
    if not additive:
        first = seen.int().argmax(dim=1).tolist()
        return BranchMask(split, tuple(first) if any(first) else None, branches)
    causal = torch.ones(split, split, dtype=torch.bool, device=segments.device).tril()
    itself = torch.eye(split, dtype=torch.bool, device=segments.device)  # padding must see something
    pages = (causal & (seen[:, None, :] | itself))[:, None]
    return BranchMask(split, None, _additive(branches), pages=_additive(pages))


def use_branches(net: PreTrainedModel) -> None:
    """Let the language side of `net` take a `BranchMask`, where it attends by SDPA or in plain operations."""
    name = net.config.get_text_config()._attn_implementation
    if name in _INNER:
        net.set_attn_implementation({"text_config": PREFIX + name})


def _additive(visible: Tensor) -> Tensor:
    lowest = torch.finfo(torch.float32).min
    return torch.zeros(visible.shape, device=visible.device).masked_fill_(~visible, lowest)


def _attend(
    inner: Any, module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Any, **kwargs: Any
) -> tuple[Tensor, Tensor | None]:
    if not isinstance(attention_mask, BranchMask):
        out, weights = inner(module, query, key, value, attention_mask, **kwargs)
        return out, weights
    at = attention_mask.split
    query, rest = query.split((at, query.shape[2] - at), dim=2)
    (first_keys, key), (first_values, value) = (_WithFirst.apply(part, at) for part in (key, value))
    first = [query, first_keys, first_values]
    if attention_mask.pages is not None:
        pages, _ = inner(module, *first, attention_mask.pages, **kwargs)
    else:
        causal = partial(inner, module, attention_mask=None, **kwargs | {"is_causal": True})
        pages = _row_by_row(causal, first, attention_mask.starts) if attention_mask.starts else causal(*first)[0]
    if not rest.shape[2]:  # pages alone
        return pages, None
    branches, _ = inner(module, rest, key, value, attention_mask.branches, **kwargs)
    return torch.cat([pages, branches], dim=1), None


class _WithFirst(Function):
    """The first columns of (B x heads x T x width), and all: a slice's own gradient would be padded to all of them."""

    @staticmethod
    def forward(ctx: Any, part: Tensor, columns: int) -> tuple[Tensor, Tensor]:
        ctx.columns = columns
        return part[:, :, :columns], part.view_as(part)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, first: Tensor, whole: Tensor) -> tuple[Tensor, None]:
        out = torch.empty_like(whole)
        torch.add(whole[:, :, : ctx.columns], first, out=out[:, :, : ctx.columns])
        out[:, :, ctx.columns :] = whole[:, :, ctx.columns :]
        return out, None


def _row_by_row(causal: Any, parts: list[Tensor], starts: tuple[int, ...]) -> Tensor:
    """Causal attention (B x P x heads x width) of rows that begin in the columns `starts`; nothing before these."""
    found = []
    for row, start in enumerate(starts):
        out, _ = causal(*(part[row : row + 1, :, start:] for part in parts))
        found.append(F.pad(out, (0, 0, 0, 0, start, 0)))
    return torch.cat(found)


def _mask(inner: Any, *, mask_function: Any, attention_mask: Any, **kwargs: Any) -> Any:
    if not isinstance(attention_mask, BranchMask):
        return inner(mask_function=mask_function, attention_mask=attention_mask, **kwargs)
    if mask_function is not causal_mask_function:
        raise DocvlmError(
            "config.json: layers attend in sliding windows, which packed questions cannot; set packing=off"
        )
    return attention_mask


_INNER = {"sdpa": ALL_ATTENTION_FUNCTIONS["sdpa"], "eager": eager_attention_forward}
for _name, _inner in _INNER.items():
    AttentionInterface.register(PREFIX + _name, partial(_attend, _inner))
    AttentionMaskInterface.register(PREFIX + _name, partial(_mask, ALL_MASK_ATTENTION_FUNCTIONS[_name]))
