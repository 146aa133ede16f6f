"""The canary set: a few questions whose answers tell at once whether an export is still the same model.

Each question is asked alone, as `docvlm-predict` asks it, and the logits of every step are kept where they leave the
model. Comparing them through the answer of the served path, and not on given answers, leaves nothing out: tower,
decoder, cache and vocabulary projection of each model are all in it. Once two answers part, they continue from
different tokens, so logits are compared up to and with the step in which they part.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from docvlm.answering.outside import Outside

if TYPE_CHECKING:
    from docvlm.data.example import Example
    from docvlm.vlms.base import VLM


@dataclass(frozen=True)
class Reply:
    """An answer: its text, and the logits of each of its steps (steps x vocabulary) in float32.

    `logits` is None of a runtime that keeps them to itself.
    """

    text: str
    logits: Tensor | None


@dataclass(frozen=True)
class Comparison:
    """`equal` of `questions` answers are the same text; `logits` is the largest difference of a logit, where known."""

    questions: int
    equal: int
    logits: float | None
    example: str

    @property
    def share(self) -> float:
        """Equal answers of all."""
        return self.equal / self.questions


def chosen(examples: Sequence[Example], most: int) -> list[Example]:
    """The first question of each of at most `most` documents, spread evenly over the split."""
    firsts = list({example.document: example for example in reversed(examples)}.values())[::-1]
    count = min(most, len(firsts))
    return [firsts[index * len(firsts) // count] for index in range(count)]


def ask(model: VLM | Outside, examples: Sequence[Example], max_new_tokens: int) -> list[Reply]:
    """Each question alone on its pages."""
    if isinstance(model, Outside):
        return [Reply(model.ask(example, max_new_tokens).text, None) for example in examples]
    vlm, replies = model, []
    for example in examples:
        batch = {name: tensor.to(vlm.device) for name, tensor in vlm.codec.prompt_batch([example]).items()}
        with _logits(vlm) as steps:
            (answer,) = vlm.generate(batch, max_new_tokens)
        replies.append(Reply(answer.text, torch.stack(steps[vlm.forced_tokens :])))
    return replies


def compare(before: Sequence[Reply], after: Sequence[Reply]) -> Comparison:
    """`after` against `before`, answers to the same questions. A NaN among the logits is an infinite difference."""
    equal, example, differences = 0, "", []
    for old, new in zip(before, after, strict=True):
        same = old.text == new.text
        equal += same
        example = example or ("" if same else f"{new.text!r} for {old.text!r}")
        if old.logits is not None and new.logits is not None:
            steps = _together(old.logits, new.logits)
            difference = (new.logits[:steps] - old.logits[:steps]).abs().max()
            differences.append(float(difference.nan_to_num(nan=torch.inf)))
    return Comparison(len(before), equal, max(differences, default=None), example)


def _together(old: Tensor, new: Tensor) -> int:
    """Steps up to and with the first that took another token, the one with the largest logit."""
    pairs = list(zip(old.argmax(-1).tolist(), new.argmax(-1).tolist(), strict=False))
    parted = next((step for step, (first, second) in enumerate(pairs) if first != second), len(pairs) - 1)
    return parted + 1


@contextmanager
def _logits(vlm: VLM) -> Iterator[list[Tensor]]:
    """The list fills with the logits (vocabulary) of every step for a single question."""
    steps: list[Tensor] = []

    def keep(module: object, inputs: object, output: Tensor) -> None:
        steps.append(output.reshape(-1, output.shape[-1])[-1].float().cpu())

    handle = vlm.bare.get_output_embeddings().register_forward_hook(keep)
    try:
        yield steps
    finally:
        handle.remove()
