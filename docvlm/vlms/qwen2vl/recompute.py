"""Norms and gated products of Qwen2-VL to Qwen3-VL computed again in the backward pass: their insides are not kept.

A normalisation keeps its input twice in float32 and a gated MLP up to four tensors of its wide inner size, though both
are elementwise and come back from what is kept anyway: the residual stream, and the two projections. That is selective
activation recomputation (Korthikanti et al. 2022, arXiv:2205.05198): the tensors that are cheap to make are made twice,
the matrix products once. Values and gradients are the same to the bit; weights and their names are untouched. What it
saves is in the memory column of docs/results/benchmarks.md; beside full checkpointing
(`trainer.gradient_checkpointing`), which makes the matrix products twice as well, it saves nothing more. Tensors so
small that keeping them costs next to nothing are kept: on a miniature model the bookkeeping was a fifth of a step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers.models.qwen2_5_vl import modeling_qwen2_5_vl as qwen25
from transformers.models.qwen2_vl import modeling_qwen2_vl as qwen2
from transformers.models.qwen3_vl import modeling_qwen3_vl as qwen3

KEPT = 1 << 20  # values; what takes as many or fewer is not computed again


def again(function: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    """`function` of `inputs`, of which only the inputs are kept for the backward pass; nothing random may be in it.

    Inputs of `KEPT` values or fewer take the plain way.
    """
    small = sum(tensor.numel() for tensor in inputs) <= KEPT
    if small or not torch.is_grad_enabled() or not any(tensor.requires_grad for tensor in inputs):
        return function(*inputs)
    out: Tensor = checkpoint(function, *inputs, use_reentrant=False, preserve_rng_state=False)
    return out


class _Norm(nn.Module):
    def forward(self, hidden_states: Tensor) -> Tensor:
        return again(super().forward, hidden_states)


class _GatedMLP(nn.Module):
    act_fn: Any
    gate_proj: nn.Linear
    up_proj: nn.Linear
    down_proj: nn.Linear

    def forward(self, x: Tensor) -> Tensor:
        product = again(lambda gate, up: self.act_fn(gate) * up, self.gate_proj(x), self.up_proj(x))
        return self.down_proj(product)  # type: ignore[no-any-return]  # nn.Module.__call__


class _Qwen2Norm(_Norm, qwen2.Qwen2VLRMSNorm): ...


class _Qwen25Norm(_Norm, qwen25.Qwen2_5_VLRMSNorm): ...


class _Qwen3Norm(_Norm, qwen3.Qwen3VLTextRMSNorm): ...


class _Qwen2MLP(_GatedMLP, qwen2.Qwen2MLP): ...


class _Qwen25MLP(_GatedMLP, qwen25.Qwen2MLP): ...


class _Qwen3MLP(_GatedMLP, qwen3.Qwen3VLTextMLP): ...


_LEAN: dict[type[nn.Module], type[nn.Module]] = {
    qwen2.Qwen2VLRMSNorm: _Qwen2Norm,
    qwen25.Qwen2_5_VLRMSNorm: _Qwen25Norm,
    qwen3.Qwen3VLTextRMSNorm: _Qwen3Norm,
    qwen2.Qwen2MLP: _Qwen2MLP,
    qwen25.Qwen2MLP: _Qwen25MLP,
    qwen3.Qwen3VLTextMLP: _Qwen3MLP,
}


def use_recompute(net: nn.Module) -> None:
    """Let the norms and gated MLPs of `net` keep no more than their inputs, in place."""
    for module in net.modules():
        if type(module) in _LEAN:
            module.__class__ = _LEAN[type(module)]
