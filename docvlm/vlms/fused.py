"""Elementwise work around matrix products done in fewer passes over memory: norms, gated products, rotations, LoRA.

On a processor these are a third of a step, since each of PyTorch's operations reads and writes whole tensors. Here each
is one autograd function: what can be written in place is, a product adds to what is there (`addmm`), and of the input
no more is kept than what the gradient needs. Values and gradients are the library's to float error
(tests/vlms/test_fused.py).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable


def learns(*inputs: Tensor) -> bool:
    """Whether a gradient is wanted of any of these. Without, the library's own operations keep nothing either."""
    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in inputs)


class RMSNorm(Function):
    """`weight * (x / rms(x))` over the last dimension, in float32 inside, as `transformers` computes it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        wide = x.float()
        scale = wide.square().mean(-1, keepdim=True).add_(eps).rsqrt_()
        ctx.save_for_backward(x, weight, scale)
        normed = (wide * scale).to(x.dtype)
        return normed.mul_(weight) if normed.dtype == torch.promote_types(x.dtype, weight.dtype) else normed * weight

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, weight, scale = ctx.saved_tensors
        of_x, of_weight, _ = ctx.needs_input_grad
        grad, normed = grad.float(), x.float() * scale
        weight_grad = (grad * normed).flatten(0, -2).sum(0).to(weight.dtype) if of_weight else None
        if not of_x:
            return None, weight_grad, None
        weighed = grad * weight
        along = torch.linalg.vecdot(weighed, normed).unsqueeze_(-1).div_(-x.shape[-1])
        return weighed.addcmul_(normed, along).mul_(scale).to(x.dtype), weight_grad, None


class SwiGLU(Function):
    """`silu(gate) * up`; both are kept, and nothing of their size beside them."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        ctx.save_for_backward(gate, up)
        return F.silu(gate).mul_(up)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        gate, up = ctx.saved_tensors
        of_gate = torch.ops.aten.silu_backward(grad * up, gate)
        return of_gate, F.silu(gate).mul_(grad)


class Rotation(Function):
    """Heads (B x heads x T x width) turned by angles of their positions (B x 1 x T x width), which alone are kept."""

    @staticmethod
    def forward(ctx: Any, heads: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        out = heads * cos
        (first, second), half = heads.chunk(2, -1), heads.shape[-1] // 2
        out[..., :half].addcmul_(second, sin[..., :half], value=-1)
        out[..., half:].addcmul_(first, sin[..., half:])
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        out = grad * cos
        (first, second), half = grad.chunk(2, -1), grad.shape[-1] // 2
        out[..., :half].addcmul_(second, sin[..., half:])
        out[..., half:].addcmul_(first, sin[..., :half], value=-1)
        return out, None, None


class LoraLinear(Function):
    """`x W' + b + s (x A') B'` with W and b frozen; the small products are added where the large ones are."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, down: Tensor, up: Tensor, scaling: float
    ) -> Tensor:
        low = F.linear(x, down)
        ctx.save_for_backward(x, weight, down, up, low)
        ctx.scaling = scaling
        out = F.linear(x, weight, bias)
        _add_product(out.view(-1, out.shape[-1]), low.flatten(0, -2), up.T, scaling)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, None, None, Tensor | None, Tensor | None, None]:
        x, weight, down, up, low = ctx.saved_tensors
        rows = grad.flatten(0, -2)
        of_low = (rows @ up).mul_(ctx.scaling)
        of_x = None
        if ctx.needs_input_grad[0]:
            of_x = _add_product(rows @ weight, of_low, down).view_as(x)
        of_down = of_low.T @ x.flatten(0, -2) if ctx.needs_input_grad[3] else None
        of_up = (rows.T @ low.flatten(0, -2)).mul_(ctx.scaling) if ctx.needs_input_grad[4] else None
        return of_x, None, None, of_down, of_up, None


def _add_product(out: Tensor, left: Tensor, right: Tensor, scaling: float = 1.0) -> Tensor:
    """Add the scaled product to `out`, in place; PyTorch's counter of operations passes over `addmm_` (2.15)."""
    return torch.addmm(out, left, right, alpha=scaling, out=out)
