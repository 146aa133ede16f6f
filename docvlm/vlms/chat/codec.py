"""Pages and questions as any processor with a chat template makes them.

A prompt is what the processor itself makes of a chat with pages and a question, with every tensor it returns: whatever
of them did not reach the model would change answers without a word. Prompts are padded on the left in training too, so
that all answers of a batch stand side by side at the end. Prompt and answer are tokenised apart: what training puts
before an answer is token for token what generation gets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from transformers import ProcessorMixin

from docvlm.data.example import EvalBatch
from docvlm.data.loading.batching import Lengths
from docvlm.data.loading.packing import IGNORED
from docvlm.errors import DocvlmError
from docvlm.vlms.chat import page_size
from docvlm.vlms.chat.page_tokens import PageTokens
from docvlm.vlms.chat.template import asked, turn_of
from docvlm.vlms.checkpoint import load_config, load_generation_config, load_processor
from docvlm.vlms.codec import Budget, Codec, Prompts, SharedPrompts, padded
from docvlm.vlms.page_images import open_page, open_pages

if TYPE_CHECKING:
    from pathlib import Path

    from PIL.Image import Image

    from docvlm.data.example import Example, Page

_UNBOUNDED = 1 << 20  # positions, where neither config nor tokenizer names a limit
_PROOF = "12.50"  # an answer that is tokenised and read back


class ChatCodec(Codec):
    """Chat prompt of the checkpoint's own template; budget in the terms of its image processor (`page_size`)."""

    family = "chat"
    prompt = "the checkpoint's chat template: pages, then question + instruction"

    def __init__(self, processor: Any, budget: Budget, longest: int, stops: Sequence[int]) -> None:
        self.processor = processor
        self.tokenizer = processor.tokenizer
        self.longest, self.stops = longest, tuple(stops)
        self.budget = page_size.apply(processor.image_processor, budget)
        ends = {self.tokenizer.convert_ids_to_tokens(stop): stop for stop in self.stops}
        usual = self.tokenizer.eos_token
        self.turn = turn_of(processor, ends, usual if usual in ends else next(iter(ends)))
        self.end = ends[self.turn.end]
        self.pad = self.end if self.tokenizer.pad_token_id is None else self.tokenizer.pad_token_id
        self.tokenizer.padding_side = "left"
        self.page_tokens = PageTokens(processor)
        read = self.tokenizer.decode(self._answer(_PROOF), skip_special_tokens=True)
        if read.strip() != _PROOF:
            raise DocvlmError(
                f"chat_template.jinja: the answer {_PROOF!r} would be learned as {read.strip()!r}; model=chat cannot"
                " train on this checkpoint"
            )

    @classmethod
    def load(cls, checkpoint: str | Path, budget: Budget, *, offline: bool, revision: str | None) -> ChatCodec:
        """The processor with this budget, the tokens that end an answer, and how many positions there are."""
        config = load_config(checkpoint, offline=offline, revision=revision)
        processor = load_processor(checkpoint, ProcessorMixin, offline=offline, revision=revision)
        stops = load_generation_config(checkpoint, config, offline=offline, revision=revision).eos_token_id
        if stops is None:
            raise DocvlmError(
                f"model.checkpoint={checkpoint}: generation_config.json is missing or has no eos_token_id"
            )
        positions = getattr(config.get_text_config(), "max_position_embeddings", None)
        longest = int(min(positions or _UNBOUNDED, _UNBOUNDED))
        return cls(processor, budget, longest, [stops] if isinstance(stops, int) else stops)

    def account(self) -> list[str]:
        """What was found out about the checkpoint: page budget, and what is learned where."""
        turn, images = self.turn, self.processor.image_processor
        portrait = self.page_tokens.of(1240, 1754)  # A4 at 150 dots an inch
        head = asked(self.processor, 1, "?").rpartition("?")[2][-40:]
        return [
            f"pages: {page_size.described(images)}; one of 1240 x 1754 pixels is {portrait} tokens",
            f"learned: {turn.before!r} + answer + {turn.after + turn.end!r}, after {head!r}; its own code never runs",
        ]

    def lengths(self, examples: Sequence[Example]) -> Lengths:
        """A row is a question with its pages and its answer."""
        pages = np.array([sum(map(self._page_tokens, example.pages)) for example in examples])
        own = self._counts([example.question + example.instruction for example in examples])
        own = own + self._counts([self.turn.before + example.target + self.turn.after for example in examples]) + 1
        around = {count: self._around(count) for count in {len(example.pages) for example in examples}}
        return Lengths(pages, own + np.array([around[len(example.pages)] for example in examples]), shared=False)

    def _around(self, pages: int) -> int:
        """Tokens of a prompt about so many pages, without those of pages and question."""
        return len(self._tokens(asked(self.processor, pages, ""))) - pages + self._extra

    @property
    def _extra(self) -> int:
        """Tokens that the tokenizer puts before a prompt that does not begin with its own first token."""
        text = asked(self.processor, 1, "")
        plain = len(self.tokenizer(text, add_special_tokens=self._adds(text))["input_ids"])
        return plain - len(self._tokens(text))

    def _page_tokens(self, page: Page) -> int:
        """Tokens of a page from its size; of one whose size is not known, as many as a large one has."""
        size = getattr(page, "size", None)  # pages in files have one
        return self.page_tokens.most if size is None else self.page_tokens.of(*size)

    def _too_small(self, page: Page) -> str:
        size = getattr(page, "size", None)
        try:
            return "" if size is None or self.page_tokens.of(*size) else "it leaves no token of a page"
        except ValueError as error:
            return _refused(page, size, self.processor, error)

    def _too_long(self, example: Example, longest_answer: int) -> str:
        lengths = self.lengths([example if example.answers else replace(example, answers=("",))])
        needed = int((lengths.pages + lengths.own).max()) + longest_answer
        if needed <= self.longest:
            return ""
        count = len(example.pages)
        return (
            f"{count} {'page' if count == 1 else 'pages'} and a question are up to {needed} tokens, but this model has"
            f" positions for {self.longest}; lower the page budget"
            f" ({page_size.described(self.processor.image_processor)}) or give fewer pages"
        )

    def _prompts(self, examples: Sequence[Example]) -> Prompts:
        """All that the processor makes of the prompts, padded on the left (`input_ids`, `attention_mask`: B x T)."""
        texts = [asked(self.processor, len(e.pages), e.question + e.instruction) for e in examples]
        return Prompts(self._processed(texts, open_pages(examples, open_page), examples), [])

    def _processed(self, texts: list[str], pages: list[list[Image]], examples: Sequence[Example]) -> dict[str, Tensor]:
        try:
            # nested by prompt: a flat list is for some processors the pages of one prompt
            found = self.processor(
                text=texts,
                images=pages,
                padding=True,
                padding_side="left",
                add_special_tokens=self._adds(texts[0]),
                return_tensors="pt",
            )
        except ValueError as error:
            if len(examples) == 1:
                page = examples[0].pages[0]
                raise DocvlmError(_refused(page, pages[0][0].size, self.processor, error)) from error
            for text, own, example in zip(texts, pages, examples, strict=True):
                self._processed([text], [own], [example])  # to name the page
            raise
        return {name: value for name, value in found.items() if isinstance(value, Tensor)}

    def _adds(self, text: str) -> bool:
        """Whether the tokenizer is to put its own first token before a prompt: not twice.

        As `ProcessorMixin.apply_chat_template` of Transformers 5.23 does it when it tokenises by itself.
        """
        first = self.tokenizer.bos_token
        return first is None or not text.startswith(first)

    def _labelled(self, prompts: Prompts, examples: Sequence[Example]) -> dict[str, Tensor]:
        """Answers behind the prompts, padded on the right; every input of a position goes on as at the last one."""
        answers = [[*self._answer(example.target), self.end] for example in examples]
        ids = padded(answers, self.pad)
        batch = {name: self._continued(prompts.pages, name, ids.shape[1]) for name in prompts.pages}
        before = prompts.pages["input_ids"]
        there = padded([[1] * len(answer) for answer in answers], 0)
        return batch | {
            "input_ids": torch.cat([before, ids], dim=1),
            "attention_mask": torch.cat([prompts.pages["attention_mask"], there], dim=1),
            "labels": torch.cat([torch.full_like(before, IGNORED), padded(answers, IGNORED)], dim=1),
        }

    def _continued(self, prompt: dict[str, Tensor], name: str, more: int) -> Tensor:
        """An input, longer by `more` positions where it has one value (or more) a position."""
        tensor, positions = prompt[name], prompt["input_ids"].shape
        if tensor.shape[:2] != positions:
            return tensor
        return torch.cat([tensor, tensor[:, -1:].expand(-1, more, *tensor.shape[2:])], dim=1)

    def _unlabelled(self, prompts: Prompts) -> dict[str, Tensor]:
        return prompts.pages

    def _answer(self, text: str) -> list[int]:
        return self._tokens(self.turn.before + text + self.turn.after)

    def packed_batch(self, examples: Sequence[Example]) -> dict[str, Tensor]:
        """A row a question: nothing is shared."""
        return self.train_batch(examples)

    def packed_prompt_batch(self, examples: Sequence[Example]) -> dict[str, Tensor]:
        """A row a question: nothing is shared."""
        return self.prompt_batch(examples)

    def eval_batch(self, examples: Sequence[Example], *, packed: bool = True) -> EvalBatch:
        """A row a question: nothing is shared."""
        return super().eval_batch(examples, packed=False)

    def _shared(self, examples: Sequence[Example], dtype: str | None) -> SharedPrompts:
        raise NotImplementedError

    def _packed_labelled(self, shared: SharedPrompts, examples: Sequence[Example]) -> dict[str, Tensor]:
        raise NotImplementedError

    def _packed_unlabelled(self, shared: SharedPrompts) -> dict[str, Tensor]:
        raise NotImplementedError


def _refused(page: Page, size: tuple[int, int] | None, processor: Any, error: Exception) -> str:
    sides = "" if size is None else f" of {size[0]} x {size[1]} pixels"
    reason = " ".join(str(error).split())[:200]
    return f"page {page.name}{sides}: {type(processor).__name__} refuses it: {reason}; cut or resize the page"
