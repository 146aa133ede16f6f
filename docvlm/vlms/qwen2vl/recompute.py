"""Norms and gated products of Qwen2-VL to Qwen3-VL that keep their inputs only and pass over memory less often.

A normalisation keeps its input twice in float32 and a gated MLP up to four tensors of its wide inner size, though both
are elementwise and come back from what is kept anyway: the residual stream, and the two projections. That is selective
activation recomputation (Korthikanti et al. 2022, arXiv:2205.05198): the tensors that are cheap to make are made twice,
the matrix products once. Weights and their names are untouched. What it saves is in the memory column of
docs/results/benchmarks.md; beside full checkpointing (`trainer.gradient_checkpointing`), which makes the matrix
products twice as well, it saves nothing more.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers.activations import SiLUActivation
from transformers.models.qwen2_5_vl import modeling_qwen2_5_vl as qwen25
from transformers.models.qwen2_vl import modeling_qwen2_vl as qwen2
from transformers.models.qwen3_vl import modeling_qwen3_vl as qwen3

from docvlm.vlms.fused import RMSNorm, SwiGLU, learns


class _Norm(nn.Module):
    weight: nn.Parameter
    variance_epsilon: float

    def forward(self, hidden_states: Tensor) -> Tensor:
        if hidden_states.dtype == torch.float64 or not learns(hidden_states, self.weight):  # ours ends in float32
            return super().forward(hidden_states)  # type: ignore[no-any-return,misc]  # of the class it is mixed into
        out: Tensor = RMSNorm.apply(hidden_states, self.weight, self.variance_epsilon)
        return out


class _GatedMLP(nn.Module):
    act_fn: nn.Module
    gate_proj: nn.Linear
    up_proj: nn.Linear
    down_proj: nn.Linear

    def forward(self, x: Tensor) -> Tensor:
        gate, up = self.gate_proj(x), self.up_proj(x)
        silu = isinstance(self.act_fn, nn.SiLU | SiLUActivation)
        product = SwiGLU.apply(gate, up) if silu and learns(gate, up) else self.act_fn(gate) * up
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
