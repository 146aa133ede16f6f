"""A model whose weights are spread over the devices of a run: FSDP2 (`torch.distributed.fsdp.fully_shard`).

Every layer of the language side is a unit: its weights are gathered for its forward and its backward pass and let go
again, so that a device holds its share of all and one or two layers whole (Zhao et al. 2023, arXiv:2304.11277). Blocks
of the tower that learn are units as well. Blocks that are frozen stay whole on every device: they are small beside the
language side, and devices then need not agree on who computes them and who reads what was stored of them. All else
(embeddings, norms, the vocabulary) belongs to the root, which is whole during a loss or an answer.

Gathering is collective: whatever runs a sharded layer must run it on all devices equally often. `gather` makes the
model whole until `release`, where devices do different work, as they do when each generates its own answers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import ceil
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from peft.utils import ModulesToSaveWrapper
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor
from torch.utils.hooks import RemovableHandle
from transformers.modeling_layers import GradientCheckpointingLayer

from docvlm.errors import DocvlmError

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh

    from docvlm.vlms.base import VLM


@dataclass(frozen=True)
class Plan:
    """What becomes of each weight: `units` are gathered one by one, `whole` parameters stay on every device.

    All else is the root's, which is whole while a unit computes.
    """

    units: tuple[nn.Module, ...]
    whole: frozenset[nn.Parameter]


def plan(vlm: VLM) -> Plan:
    """What `shard` does to a prepared model. Raises as it does."""
    if vlm.trainable is None:
        raise ValueError("shard: call prepare.apply first")
    language = vlm.bare.get_submodule(vlm.language)
    layers = [module for module in language.modules() if isinstance(module, GradientCheckpointingLayer)]
    if not layers:
        raise DocvlmError(
            f"trainer=fsdp: {vlm.family}'s language side ({vlm.language}) has no layers of Transformers that could be"
            " gathered one by one; take trainer=ddp or one device"
        )
    frozen = {vlm.bare.get_submodule(name) for name in vlm.frozen_modules}
    whole = frozenset(parameter for module in frozen for parameter in module.parameters())
    return Plan((*layers, *_learning_blocks(vlm)), whole)


def _learning_blocks(vlm: VLM) -> Iterator[nn.Module]:
    """The tower's modules that learn, as they compute; of those that PEFT has a copy of, the original too, unused."""
    assert vlm.trainable is not None
    for block in vlm.trainable.blocks[vlm.trainable.frozen_blocks :]:
        for name in block.modules:
            module = vlm.bare.get_submodule(name)
            if isinstance(module, ModulesToSaveWrapper):
                yield from (module.original_module, *module.modules_to_save.values())
            else:
                yield module


def shard(vlm: VLM, mesh: DeviceMesh) -> None:
    """Spread the weights of a prepared model over the devices of `mesh` (of one dimension), in place and once.

    Names stay, parameters are new objects: `vlm.trainable` has those. Raises `DocvlmError` for a language side without
    layers, `ValueError` before `prepare.apply`.
    """
    found = plan(vlm)
    for module in found.units:
        fully_shard(module, mesh=mesh, reshard_after_forward=True)
    # The root too lets go after a pass: between two of them every parameter is the one that the optimizer holds
    fully_shard(vlm, mesh=mesh, reshard_after_forward=True, ignored_params=set(found.whole))
    for method in ("loss", "generate"):
        register_fsdp_forward_method(vlm, method)
    named, trainable = dict(vlm.net.named_parameters()), vlm.trainable
    assert trainable is not None
    language, vision = ({name: named[name] for name in side} for side in (trainable.language, trainable.vision))
    vlm.trainable = replace(trainable, language=language, vision=vision)


def is_sharded(vlm: nn.Module) -> bool:
    """Whether `shard` was called."""
    return isinstance(vlm, FSDPModule)


def gather(vlm: nn.Module) -> None:
    """Make a sharded model whole on every device, until `release`: no forward pass is collective meanwhile."""
    for unit in _units(vlm):
        unit.set_reshard_after_forward(False, recurse=False)
        unit.unshard()


def release(vlm: nn.Module) -> None:
    """Let go again of what belongs to other devices."""
    for unit in _units(vlm):
        unit.set_reshard_after_forward(True, recurse=False)
        unit.reshard()


def _units(vlm: nn.Module) -> list[FSDPModule]:
    return [module for module in vlm.modules() if isinstance(module, FSDPModule)]


@dataclass(frozen=True)
class Memory:
    """Bytes that one of several devices holds, activations aside (docs/guide/clusters.md has the formula).

    `whole` weights of frozen tower blocks; its share of the `weights`, `gradients` and `optimizer` state; `gathered`
    weights while a layer computes; all weights in an evaluation, once more, with `evaluation: gathered`.
    """

    whole: int
    weights: int
    gradients: int
    optimizer: int
    gathered: int
    everything: int

    @property
    def training(self) -> int:
        """The most there is in a training step."""
        return self.whole + self.weights + self.gradients + self.optimizer + self.gathered

    @property
    def evaluation(self) -> int:
        """The most there is while the model is whole on every device; gradients are gone by then."""
        return self.whole + self.weights + self.optimizer + self.everything


def memory(vlm: VLM, devices: int) -> Memory:
    """What a prepared model takes of one of `devices` once it is sharded; weights on the meta device will do.

    Gathered are the root, the layer that computes and the next one, and what the exchange itself buffers: as much as
    the largest of these. Of gradients a device also holds the root's and those of one layer whole. Adam has two float32
    values a weight.
    """
    found, seen = plan(vlm), {id(parameter) for parameter in plan(vlm).whole}
    units = []
    for module in (*found.units, vlm):
        own = {id(parameter): parameter for parameter in module.parameters() if id(parameter) not in seen}
        seen |= own.keys()
        units.append(list(own.values()))
    *layers, root = [_bytes(unit) for unit in units]
    largest = sorted(layers)[-2:]
    *learning, last = [_bytes([parameter for parameter in unit if parameter.requires_grad]) for unit in units]
    share = ceil(sum((*learning, last)) / devices)
    return Memory(
        whole=_bytes(found.whole),
        weights=ceil(sum((*layers, root)) / devices),
        gradients=share + last + max(learning),
        optimizer=2 * share,
        gathered=root + sum(largest) + max(root, *largest),
        everything=sum((*layers, root)),
    )


def _bytes(parameters: Iterable[Tensor]) -> int:
    return sum(parameter.numel() * parameter.element_size() for parameter in parameters)


@contextmanager
def whole_storages(vlm: nn.Module) -> Iterator[set[int]]:
    """Within, addresses of the storages of weights that are whole: those of a sharded model come and go."""
    here: set[int] = set()

    def look(*of_a_hook: Any) -> None:
        here.clear()
        whole = (parameter for parameter in vlm.parameters() if not isinstance(parameter, DTensor))
        here.update(parameter.untyped_storage().data_ptr() for parameter in whole)

    look()
    hooks: list[RemovableHandle] = []
    for unit in _units(vlm):
        assert isinstance(unit, nn.Module)
        hooks += [unit.register_forward_pre_hook(look), unit.register_forward_hook(look)]
    try:
        yield here
    finally:
        for hook in hooks:
            hook.remove()


def whole_weights(vlm: VLM, *, main: bool) -> dict[str, Tensor] | None:
    """What is saved of a sharded model, by name in `vlm.net`, on the CPU; None where it is not sharded.

    Collective. Only the process that is `main` keeps the tensors, one weight after the other; the others get {}. Beside
    an adapter that is what learns; else all of the model.
    """
    if not is_sharded(vlm):
        return None
    assert vlm.trainable is not None
    learning = {*vlm.trainable.language, *vlm.trainable.vision}
    found: dict[str, Tensor] = {}
    known: dict[int, Tensor] = {}  # tied weights stay one tensor, as in a model that is not sharded
    for name, tensor in vlm.net.state_dict(keep_vars=True).items():
        if vlm.trainable.lora.r and name not in learning:
            continue
        if id(tensor) not in known:
            full = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
            known[id(tensor)] = full.detach().cpu() if main else torch.empty(0)
        if main:
            found[name] = known[id(tensor)]
    return found


def local(tensor: Tensor) -> Tensor:
    """This device's part of a sharded tensor, by reference; any other tensor as it is."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def summed(numbers: Iterable[int], of: Sequence[Tensor]) -> list[int]:
    """Numbers (64 bits) that each device found in its part of the tensors `of`, summed over the devices.

    Of tensors that are not sharded the number is as it was. Collective where any is sharded.
    """
    found, places = list(numbers), [place for place, tensor in enumerate(of) if isinstance(tensor, DTensor)]
    if not places:
        return found
    first = of[places[0]]
    assert isinstance(first, DTensor)
    total = torch.tensor([found[place] for place in places], dtype=torch.int64, device=first.device)
    dist.all_reduce(total, group=first.device_mesh.get_group())
    for place, number in zip(places, total.tolist(), strict=True):
        found[place] = number
    return found
