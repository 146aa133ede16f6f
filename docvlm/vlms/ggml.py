"""The two halves of a model as llama.cpp is given it: what its files say of them, and what its tensors are called."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor

Renamed = Iterator[tuple[str, Tensor]]


@dataclass(frozen=True)
class Halves:
    """An architecture of llama.cpp: a language model called `name` there, and a tower that is always called `clip`.

    `text(writer, config)` and `vision(writer, config)` put the sizes of each into a `gguf.GGUFWriter`.
    `tensors(name, tensor)` gives a tensor of a checkpoint under the names by which `gguf` knows it, in as many parts as
    llama.cpp has of it; those that begin with `tower` are the tower's. `unable(config)` says what llama.cpp computes
    otherwise than the config has it; None where it does not.
    """

    name: str
    text: Callable[[Any, Any], None]
    vision: Callable[[Any, Any], None]
    tensors: Callable[[str, Tensor], Renamed]
    unable: Callable[[Any], str | None]
    tower: str
