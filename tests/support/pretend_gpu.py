"""Tensors that say they are on a GPU and are computed on the processor: where devices mix, they raise as CUDA does.

For machines without a GPU: the forward pass of a loss and the generation of answers run whole, `.tolist()` and
`.item()` included, which fake tensors cannot. Not shown: kernels, autocast, and the backward pass, whose streams are
CUDA's own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

GPU = torch.device("cuda:0")
MIXING = ("aten::_to_copy", "aten::copy_", "aten::index.Tensor")  # what CUDA, too, takes from both


class OnGpu(Tensor):
    """`held`, a tensor of the processor, as one of a GPU."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> OnGpu:
        out: OnGpu = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, held.size(), strides=held.stride(), storage_offset=held.storage_offset(), dtype=held.dtype, device=GPU
        )
        out.held = held
        return out

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _called(func, args, kwargs or {})

    def __repr__(self) -> str:  # type: ignore[override]  # torch's takes what a tensor holds
        return f"OnGpu({self.held!r})"

    def tolist(self) -> Any:
        """torch has it for plain tensors only."""
        return self.held.tolist()


class _Gpu(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _called(func, args, kwargs or {})


@contextmanager
def gpu() -> Iterator[None]:
    """Within, what is made on "cuda" is an `OnGpu`."""
    plain = torch.tensor

    def tensor(data: Any, *, device: Any = None, **kwargs: Any) -> Tensor:
        if isinstance(data, list):  # of tensors too, which torch would read on their device
            data = [one.item() if isinstance(one, Tensor) and one.dim() == 0 else one for one in data]
        made = plain(data, **kwargs)
        return made if device is None else made.to(device)

    torch._C._ensureCUDADeviceGuardSet()  # type: ignore[attr-defined]  # one that does nothing, as for fake tensors
    torch._C._set_only_lift_cpu_tensors(True)  # what is made of numbers is made on the processor, then moved
    try:
        with pytest.MonkeyPatch.context() as patch, _Gpu():
            patch.setattr(torch, "tensor", tensor)
            patch.setattr(torch.cuda, "_lazy_init", lambda: None)
            yield
    finally:
        torch._C._set_only_lift_cpu_tensors(False)


def place(module: nn.Module) -> None:
    """Every weight and buffer onto that GPU."""
    for part in module.modules():
        for name, weight in part._parameters.items():
            if weight is not None:
                part._parameters[name] = nn.Parameter(OnGpu(weight.detach()), requires_grad=weight.requires_grad)
        for name, buffer in part._buffers.items():
            if buffer is not None:
                part._buffers[name] = OnGpu(buffer)


def _called(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    there = [tensor for tensor in tensors if isinstance(tensor, OnGpu)]
    here = [tuple(tensor.shape) for tensor in tensors if not isinstance(tensor, OnGpu) and tensor.dim()]
    if there and here and func.name() not in MIXING:
        raise RuntimeError(f"{func.name()}: tensors on the GPU and, of {here}, on the processor")
    device = kwargs.get("device")
    on_gpu = bool(there) if device is None else torch.device(device).type == "cuda"
    kwargs = kwargs if device is None else kwargs | {"device": torch.device("cpu")}
    out = func(*tree_map(_real, args), **tree_map(_real, kwargs))
    if func._schema.is_mutable and func.name().partition(".")[0].endswith("_"):
        return args[0]
    return tree_map(lambda leaf: OnGpu(leaf) if on_gpu and isinstance(leaf, Tensor) else leaf, out)


def _real(leaf: Any) -> Any:
    return leaf.held if isinstance(leaf, OnGpu) else leaf
