"""The proof of invariant 2, made at the start of a run: what is said to learn learns, and what is frozen stays.

One real step on one batch, by the sign of the gradient so that its size does not depend on the loss; then every weight
and the random state are put back bit for bit. DoRA's magnitude vectors are looked at one by one: beside the matrices
of an adapter nobody would notice that they stand still. It costs one training step, a copy of what learns, and two
readings of the frozen weights (< 1 s a billion of them on a GPU). Of sharded weights every device looks at its part,
and what is found counts wherever it is: the fingerprint is that of the same weights on one device.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from docvlm.errors import DocvlmError
from docvlm.vlms import quant
from docvlm.vlms.sharded import local, summed
from docvlm.vlms.trainable import MAGNITUDE, plain_name

if TYPE_CHECKING:
    from collections.abc import Iterable

    from docvlm.vlms.base import VLM
    from docvlm.vlms.trainable import Trainable

STEP = 1e-3
_BITS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def fingerprint(parameters: Iterable[tuple[str, Tensor]]) -> str:
    """16 hex digits of names and values. Sums the bit patterns where the weights are: nothing is copied off a GPU."""
    digest, ordered = hashlib.sha256(), sorted(parameters, key=lambda item: item[0])
    sums = summed((_bits(parameter) for _, parameter in ordered), [parameter for _, parameter in ordered])
    for (name, parameter), bits in zip(ordered, sums, strict=True):
        digest.update(f"{name} {tuple(parameter.shape)} {bits}".encode())
    return digest.hexdigest()[:16]


def _bits(parameter: Tensor) -> int:
    """Sum of the bit patterns of this device's part."""
    bits = local(parameter.detach()).contiguous().view(_BITS[parameter.element_size()])
    return int(bits.sum(dtype=torch.int64))


def prove(vlm: VLM, batch: dict[str, Tensor]) -> str:
    """One line that says what one step on `batch` moved and what it left. The step is undone.

    Every part that should learn (each learning block of the tower, the language side, each of DoRA's magnitude vectors)
    must get a non-zero gradient and a changed weight; no frozen parameter may get a gradient or change. Raises
    `DocvlmError` naming the first part that breaks this, `ValueError` before `prepare.apply`.
    """
    trainable = vlm.trainable
    if trainable is None:
        raise ValueError("prove: call prepare.apply first")
    parts = _parts(trainable)
    learning = {id(parameter) for part in parts.values() for parameter in part}
    frozen = [(name, p) for name, p in vlm.net.named_parameters() if id(p) not in learning]
    frozen_before = _fingerprint_packed(frozen)
    before = {id(parameter): local(parameter.detach()).clone() for part in parts.values() for parameter in part}
    on_device = {name: tensor.to(vlm.device) for name, tensor in batch.items()}
    devices = [vlm.device] if vlm.device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        loss, tokens = vlm.loss(on_device)
        loss.backward()
    try:
        _step([parameter for part in parts.values() for parameter in part])
        problem = _first_problem(parts, before, frozen)
        if _fingerprint_packed(frozen) != frozen_before:
            problem = "a frozen weight changed"
    finally:
        _undo(vlm, parts, before)
    if not torch.isfinite(loss):
        problem = f"the loss is {loss.item()}"
    if problem:
        below = f"freeze_language={trainable.freeze_language}, " if trainable.frozen_layers else ""
        raise DocvlmError(
            f"freeze={trainable.freeze:g}, {below}lora.r={trainable.lora.r}: {problem} after one step"
            f" on {tokens} answer tokens; check that the first batch has answers and readable pages"
        )
    magnitudes = f", {len(trainable.magnitudes)} of them DoRA magnitudes" if trainable.magnitudes else ""
    vision = len(trainable.blocks) - trainable.frozen_blocks
    blocks = f" in {trainable.layers - trainable.frozen_layers} blocks" if trainable.frozen_layers else ""
    sides = f"language {len(trainable.language)} tensors{blocks}{magnitudes}, vision {vision} blocks"
    four = sum(quant.packed(parameter) for _, parameter in frozen)
    still = f"{len(frozen)} frozen tensors{f', {four} of them in 4 bits,' if four else ''} unchanged"
    return f"proof: one step moved {sides}; {still} ({frozen_before}); step undone"


def _fingerprint_packed(frozen: list[tuple[str, nn.Parameter]]) -> str:
    return fingerprint([*frozen, *quant.scales(frozen)])


def _parts(trainable: Trainable) -> dict[str, list[nn.Parameter]]:
    """What has to move on its own account: the language side, each magnitude, every learning block of the tower."""
    owner = {name: block.name for block in trainable.blocks for name in block.parameters}
    rest = [parameter for name, parameter in trainable.language.items() if name not in trainable.magnitudes]
    parts: dict[str, list[nn.Parameter]] = {"language": rest}
    for name, parameter in trainable.magnitudes.items():
        parts[f"DoRA magnitude of {plain_name(name).partition(MAGNITUDE)[0]}"] = [parameter]
    for name, parameter in trainable.vision.items():
        parts.setdefault(f"vision {owner[plain_name(name)]}", []).append(parameter)
    return parts


def _step(parameters: list[nn.Parameter]) -> None:
    with torch.no_grad():
        for parameter in parameters:
            if parameter.grad is not None:
                local(parameter).sub_(STEP * local(parameter.grad).sign())


def _first_problem(
    parts: dict[str, list[nn.Parameter]], before: dict[int, Tensor], frozen: list[tuple[str, nn.Parameter]]
) -> str:
    learning = [parameter for parameters in parts.values() for parameter in parameters]
    driven = iter(summed((int(p.grad is not None and bool(local(p.grad).any())) for p in learning), learning))
    moved = iter(summed((int(not torch.equal(local(p.detach()), before[id(p)])) for p in learning), learning))
    for part, parameters in parts.items():
        driven_here, moved_here = ([next(found) for _ in parameters] for found in (driven, moved))
        if not any(driven_here):
            return f"{part} got no gradient"
        if not any(moved_here):
            return f"{part} did not change"
    with_gradient = [name for name, parameter in frozen if parameter.grad is not None]
    return f"frozen {with_gradient[0]} got a gradient" if with_gradient else ""


def _undo(vlm: VLM, parts: dict[str, list[nn.Parameter]], before: dict[int, Tensor]) -> None:
    with torch.no_grad():
        for parameter in (p for part in parts.values() for p in part):
            local(parameter).copy_(before[id(parameter)])
    vlm.zero_grad(set_to_none=True)
