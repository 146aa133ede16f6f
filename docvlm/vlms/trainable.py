"""What learns, in numbers: blocks of the vision tower, and LoRA or all of the language side.

`docvlm.vlms.prepare` makes it so.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, Protocol

from torch import nn

from docvlm.errors import DocvlmError
from docvlm.vlms.quant import FOUR, NONE

MOST_FROZEN = 99  # percent of a decoder's blocks: a language side that does not learn at all is no training
MAGNITUDE = ".lora_magnitude_vector."  # in the names of DoRA's magnitude vectors, as PEFT calls them


@dataclass(frozen=True, slots=True)
class Block:
    """One block of a vision tower: its name, its modules, and the names of all parameters that belong to it.

    Names are those of the plain Transformers model, also where an adapter is wrapped around it.
    """

    name: str
    modules: tuple[str, ...]
    parameters: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Parts:
    """Names of a model's vision tower and of the list of its blocks, where a user says them; None: as found."""

    tower: str | None = None
    blocks: str | None = None


class LoraLike(Protocol):
    """The adapter's settings as a config gives them (`docvlm.config.LoraConf`)."""

    @property
    def r(self) -> int: ...
    @property
    def alpha(self) -> float | None: ...
    @property
    def dropout(self) -> float: ...
    @property
    def target_modules(self) -> list[str] | None: ...
    @property
    def use_dora(self) -> bool: ...


@dataclass(frozen=True)
class Lora:
    """The adapter's settings. `r=0`: no adapter; `alpha=None`: 2r; `target_modules=None`: the family's own."""

    r: int
    alpha: float | None = None
    dropout: float = 0.0
    target_modules: list[str] | None = None
    use_dora: bool = False

    @classmethod
    def of(cls, lora: LoraLike) -> Lora:
        """The settings resolved: alpha is a number. Raises `DocvlmError` for an impossible rank or share."""
        if lora.r < 0:
            raise DocvlmError(f"lora.r={lora.r}: a rank is 1 or more; 0 means that the language side learns in full")
        if not 0 <= lora.dropout < 1:
            raise DocvlmError(f"lora.dropout={lora.dropout:g}: it is a probability, from 0 to less than 1")
        targets = None if lora.target_modules is None else list(lora.target_modules)
        return cls(lora.r, 2 * lora.r if lora.alpha is None else lora.alpha, lora.dropout, targets, lora.use_dora)


@dataclass(frozen=True)
class Trainable:
    """What learns, by side, and how much of the whole that is. Percentages are of 100.

    `layers` are the decoder's blocks, 0 where the language side is no decoder; the first `frozen_layers` do not learn.
    """

    freeze: float
    lora: Lora
    blocks: tuple[Block, ...]
    frozen_blocks: int
    language: dict[str, nn.Parameter]
    vision: dict[str, nn.Parameter]
    total: int
    tower: int
    quant: str = NONE
    freeze_language: int = 0
    layers: int = 0
    frozen_layers: int = 0

    @property
    def groups(self) -> dict[str, list[nn.Parameter]]:
        """Optimizer groups that are not empty: "language" and "vision"."""
        sides = {"language": self.language, "vision": self.vision}
        return {side: list(parameters.values()) for side, parameters in sides.items() if parameters}

    @property
    def magnitudes(self) -> dict[str, nn.Parameter]:
        """DoRA's magnitude vectors, which are part of `language`; none without DoRA."""
        return {name: parameter for name, parameter in self.language.items() if MAGNITUDE in name}

    @property
    def count(self) -> int:
        """Parameters that learn."""
        return count(self.language) + count(self.vision)

    @property
    def percent(self) -> float:
        """Parameters that learn, of all, the adapter's own included."""
        return 100 * self.count / self.total

    @property
    def language_frozen_blocks(self) -> float:
        """Blocks of the decoder that do not learn, of all its blocks."""
        return 100 * self.frozen_layers / self.layers if self.layers else 0.0

    @property
    def vision_trainable_blocks(self) -> float:
        """Learning blocks of the tower, of all its blocks."""
        return 100 - 100 * self.frozen_blocks / len(self.blocks)

    @property
    def vision_trainable_parameters(self) -> float:
        """Learning parameters of the tower, of all its parameters."""
        return 100 * count(self.vision) / self.tower

    def __str__(self) -> str:
        method = "DoRA" if self.lora.use_dora else "LoRA"
        language = f"{method} r={self.lora.r} alpha={self.lora.alpha:g}" if self.lora.r else "in full"
        language += " on 4-bit weights" if self.quant == FOUR else ""
        if self.frozen_layers:
            language += f" in the last {self.layers - self.frozen_layers} of {self.layers} blocks"
        return (
            f"learning {self.count / 1e6:.3f} M of {self.total / 1e6:.3f} M parameters ({self.percent:.2f} %):"
            f" language {language}; vision {len(self.blocks) - self.frozen_blocks} of {len(self.blocks)} blocks"
            f" ({self.vision_trainable_parameters:.1f} % of its parameters)"
        )


def describe(trainable: Trainable) -> dict[str, Any]:
    """What learns, in numbers."""
    return {
        "parameters": trainable.count,
        "total": trainable.total,
        "percent": trainable.percent,
        "freeze": trainable.freeze,
        "lora_r": trainable.lora.r,
        "lora_alpha": trainable.lora.alpha,
        "lora_use_dora": trainable.lora.use_dora,
        "quant": trainable.quant,
        "freeze_language": trainable.freeze_language,
        "language_frozen_blocks_percent": trainable.language_frozen_blocks,
        "vision_frozen_blocks_percent": 100 * trainable.frozen_blocks / len(trainable.blocks),
        "vision_trainable_blocks_percent": trainable.vision_trainable_blocks,
        "vision_frozen_parameters_percent": 100 - trainable.vision_trainable_parameters,
        "vision_trainable_parameters_percent": trainable.vision_trainable_parameters,
    }


def plain_name(name: str) -> str:
    """A parameter's name in the plain Transformers model, from its name in one that PEFT has wrapped."""
    name = name.removeprefix("base_model.model.")
    return re.sub(r"\.(modules_to_save\.default|original_module|base_layer)(?=\.)", "", name)


def frozen_blocks(freeze: float, blocks: int) -> int:
    """How many of `blocks` blocks `freeze` percent are, to the nearest whole one (half a block counts as one)."""
    if not 0 <= freeze <= 100:
        raise DocvlmError(f"freeze={freeze:g}: it is a percentage of the vision tower's blocks, from 0 to 100")
    return math.floor(freeze / 100 * blocks + 0.5)


def frozen_layers(freeze_language: int, layers: int) -> int:
    """How many of a decoder's `layers` blocks `freeze_language` percent are, to the nearest whole one; one learns."""
    if not 0 <= freeze_language <= MOST_FROZEN:
        raise DocvlmError(
            f"freeze_language={freeze_language}: it is a percentage of the decoder's blocks, from 0 to {MOST_FROZEN}"
        )
    return min(math.floor(freeze_language / 100 * layers + 0.5), max(layers - 1, 0))


def count(parameters: dict[str, nn.Parameter]) -> int:
    """Values in the parameters, none of them packed."""
    return sum(parameter.numel() for parameter in parameters.values())
