"""PEFT's LoRA layers with the small products added inside of the large ones' results.

PEFT makes three tensors of the layer's output size where one is enough: the base's, the adapter's, and their sum. A
layer that is not plain takes PEFT's own path: DoRA, dropout, merged or disabled adapters, several at once, a base that
is quantised or learns. Names, weights and what is saved are PEFT's.
"""

from __future__ import annotations

from typing import Any

import torch
from peft.tuners.lora.layer import Linear
from torch import Tensor, nn

from docvlm.vlms.fused import LoraLinear


def use_one_sum(net: nn.Module) -> None:
    """Let the LoRA layers of `net` add in place."""
    for module in net.modules():
        if type(module) is Linear:
            module.__class__ = _Linear


class _Linear(Linear):  # type: ignore[misc]  # PEFT has no types
    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if args or kwargs or not torch.is_grad_enabled() or (name := self._plain()) is None:
            out: Tensor = super().forward(x, *args, **kwargs)
            return out
        base = self.base_layer
        dtype = torch.get_autocast_dtype(x.device.type) if torch.is_autocast_enabled(x.device.type) else x.dtype
        parts = (x, base.weight, base.bias, self.lora_A[name].weight, self.lora_B[name].weight)
        summed: Tensor = LoraLinear.apply(*(p if p is None else p.to(dtype) for p in parts), self.scaling[name])
        return summed

    def _plain(self) -> str | None:
        """The one adapter that is added; None where PEFT has more to do."""
        base, active = self.base_layer, self.active_adapters
        if self.disable_adapters or self.merged or len(active) != 1 or type(base) is not nn.Linear:
            return None
        name = str(active[0])
        if name not in self.lora_A or name in self.lora_variant or base.weight.requires_grad:
            return None
        dropped = self.training and not isinstance(self.lora_dropout[name], nn.Identity)
        plain = not dropped and self.lora_B[name].bias is None and (base.bias is None or not base.bias.requires_grad)
        return name if plain else None
