"""One protocol for every model family: a codec that turns examples into tensors, and a model that learns and answers.

The codec holds no weights, so it pickles into data-loader workers. The model is plain torch: Lightning, Hydra and files
of a run stay outside. Both families have the same shape, so that a third is a copy of the shape and not of the code.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from docvlm.data.example import Example


@dataclass(frozen=True, slots=True)
class Budget:
    """How many pixels of a page a model sees. Qwen2-VL: `min_pixels`/`max_pixels`; Florence-2: `height` x `width`."""

    min_pixels: int | None = None
    max_pixels: int | None = None
    height: int | None = None
    width: int | None = None


@dataclass(frozen=True, slots=True)
class Block:
    """One block of a vision tower: its name and the names of all parameters that belong to it."""

    name: str
    parameters: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Generated:
    """One decoded answer: its text, how many tokens were generated, and whether `max_new_tokens` cut it."""

    text: str
    tokens: int
    truncated: bool


@dataclass(frozen=True)
class EvalBatch:
    """What one evaluation step needs: prompts to generate from, the same examples with labels, and the examples."""

    examples: tuple[Example, ...]
    prompts: dict[str, Tensor]
    labelled: dict[str, Tensor]


class Codec(ABC):
    """Examples to tensors and tokens to text, for one family, checkpoint and budget. Picklable."""

    budget: Budget

    @abstractmethod
    def train_batch(self, examples: Sequence[Example]) -> dict[str, Tensor]:
        """Inputs and `labels` (B x T); labels are -100 everywhere but on the answer and its end token."""

    @abstractmethod
    def prompt_batch(self, examples: Sequence[Example]) -> dict[str, Tensor]:
        """Inputs to generate from: page and question, no answer. Decoder-only families pad on the left."""

    @abstractmethod
    def texts(self, ids: Tensor) -> list[str]:
        """Decode generated ids (B x T) to stripped strings without special tokens."""

    def eval_batch(self, examples: Sequence[Example]) -> EvalBatch:
        """Prompts and labelled inputs of the same examples."""
        return EvalBatch(tuple(examples), self.prompt_batch(examples), self.train_batch(examples))


class VLM(nn.Module, ABC):
    """A vision-language model of one family with its codec."""

    family: ClassVar[str]
    lora_targets: ClassVar[tuple[str, ...]]
    net: nn.Module
    codec: Codec

    @classmethod
    @abstractmethod
    def load(
        cls,
        checkpoint: str | Path,
        budget: Budget,
        *,
        dtype: torch.dtype = torch.float32,
        attn: str = "sdpa",
        offline: bool = False,
    ) -> VLM:
        """Load weights and processor from a folder or a hub id. Raises `DocvlmError` if they are another family's."""

    @abstractmethod
    def vision_blocks(self) -> list[Block]:
        """The tower's blocks from input to output; together they hold every tower parameter exactly once."""

    @abstractmethod
    def loss(self, batch: dict[str, Tensor]) -> tuple[Tensor, int]:
        """Summed cross-entropy over labelled tokens (scalar, nats) and how many there were."""

    @abstractmethod
    def generate(self, batch: dict[str, Tensor], max_new_tokens: int) -> list[Generated]:
        """Greedy answers, one a row of the batch, in its order."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write the adapter, or the whole model where nothing is adapted, with its processor files."""
