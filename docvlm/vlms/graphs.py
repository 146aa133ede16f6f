"""A part of a model as a runtime without torch is given it: a function of tensors, with their names."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class Graph:
    """A part: `module` takes tensors like those of `example` by position, and gives the tensors named by `outputs`.

    `shapes` are the inputs' by their names, -1 for a length that varies. The last inputs and outputs are the cache,
    where `cached` names it: a runtime keeps it from one call to the next. `language`: of the language side, whose
    weights are those that 4 bits are for.
    """

    module: nn.Module
    example: tuple[Tensor, ...]
    shapes: dict[str, tuple[int, ...]]
    outputs: tuple[str, ...]
    cached: tuple[str, ...] = ()
    language: bool = False
