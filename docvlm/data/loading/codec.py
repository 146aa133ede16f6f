"""What loading asks of a model's codec; the codecs themselves stand beside their models (`docvlm.vlms.codec`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch

    from docvlm.data.example import EvalBatch, Example
    from docvlm.data.loading.batching import Lengths
    from docvlm.data.reading import Reading
    from docvlm.data.rows import BadRow


class Codec(Protocol):
    """What turns examples into batches: a model's codec, which holds no weights and goes into workers."""

    def refusal(self, example: Example, longest_answer: int) -> BadRow | None:
        """Why the model cannot take an example, None where it can."""

    def answer_lengths(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each answer."""

    @property
    def reading(self) -> Reading:
        """Which pages of a document the model was trained to be shown."""

    def lengths(self, examples: Sequence[Example]) -> Lengths:
        """Tokens of each example's page and of its question with answer."""

    def train_batch(self, examples: Sequence[Example]) -> dict[str, torch.Tensor]:
        """A training batch, a row an example."""

    def packed_batch(self, examples: Sequence[Example]) -> dict[str, torch.Tensor]:
        """The same with each document's pages once."""

    def eval_batch(self, examples: Sequence[Example], *, packed: bool = True) -> EvalBatch:
        """Prompts, and the same with labels."""
