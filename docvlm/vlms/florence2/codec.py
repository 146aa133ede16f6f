"""Pages and questions as Florence-2's tokens: one page at one fixed size, and the task token before every question.

Every question of every benchmark follows `<DocVQA>`, as in the published fine-tuning of Florence-2, and no
instruction. The decoder starts as the checkpoint does (hub checkpoints force `<s>` first); that start is given, not
learned. Source: huggingface.co/blog/finetune-florence2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers import Florence2Processor

from docvlm.data.loading.batching import Lengths
from docvlm.data.loading.packing import IGNORED
from docvlm.errors import DocvlmError
from docvlm.vlms.checkpoint import load_config, load_generation_config, load_processor
from docvlm.vlms.codec import Budget, Codec, Prompts, SharedPrompts, as_tensor, padded
from docvlm.vlms.page_images import open_page, open_pages

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from transformers import Florence2Config, GenerationConfig

    from docvlm.data.example import Example, Page

TASK = "<DocVQA>"


class Florence2Codec(Codec):
    """Prompt `page, <DocVQA>question`; budget `height` x `width` pixels, default the processor's own."""

    family = "florence2"
    prompt = f"page, then {TASK} + question"

    def __init__(
        self, processor: Florence2Processor, config: Florence2Config, generation: GenerationConfig, budget: Budget
    ) -> None:
        self.processor = processor
        self.tokenizer = processor.tokenizer
        self.budget = _checked(budget, processor.image_processor.size)
        rows, columns = _grid(self.budget, config)
        images = processor.image_processor  # saved with the adapter, so that plain Transformers sees the same pixels
        images.size = images.crop_size = {"height": self.budget.height, "width": self.budget.width}
        images.image_seq_length = processor.num_image_tokens = rows * columns + 1
        self.page = [processor.image_token_id] * (rows * columns + 1)
        self.start = [generation.decoder_start_token_id]
        if generation.forced_bos_token_id is not None:
            self.start.append(generation.forced_bos_token_id)
        ends = generation.eos_token_id
        self.ends = ends if isinstance(ends, list) else [ends]  # what ends an answer of this checkpoint
        self.bos, self.end, self.pad = (self.tokenizer.convert_tokens_to_ids(t) for t in ("<s>", "</s>", "<pad>"))
        self.longest = config.text_config.max_position_embeddings

    @classmethod
    def load(cls, checkpoint: str | Path, budget: Budget, *, offline: bool, revision: str | None) -> Florence2Codec:
        """The processor with this budget, and how an answer begins."""
        processor = load_processor(checkpoint, Florence2Processor, offline=offline, revision=revision)
        config = load_config(checkpoint, offline=offline, revision=revision)
        generation = load_generation_config(checkpoint, config, offline=offline, revision=revision)
        return cls(processor, config, generation, budget)

    def lengths(self, examples: Sequence[Example]) -> Lengths:
        """Pages are all of one size; a row is a question with its page for the encoder, and its answer."""
        questions = self._counts([TASK + example.question for example in examples])
        answers = self._counts([example.target for example in examples])
        own = questions + answers + len(self.start) + 2  # <s> before the question, </s> after it
        return Lengths(np.full(len(examples), len(self.page)), own, shared=False)

    def _prompts(self, examples: Sequence[Example]) -> Prompts:
        """Pages: `pixel_values` (B x 3 x H x W)."""
        return Prompts(self._pages(examples), [self._prompt(example) for example in examples])

    def _pages(self, examples: Sequence[Example]) -> dict[str, Tensor]:
        self._single(examples)
        pages = [images[0] for images in open_pages(examples, open_page)]
        return {"pixel_values": self.processor.image_processor(images=pages, return_tensors="pt")["pixel_values"]}

    def _stored_pages(self, examples: Sequence[Example], dtype: str) -> dict[str, Tensor]:
        """`features` (pages x tokens x D) or `prefix` (pages x C x H x W) where the store has all, else pixels."""
        assert self.stored is not None
        self._single(examples)
        digests = self.stored.digests([example.pages[0] for example in examples])
        found = self.stored.features(digests, dtype)
        if found is None:
            return self._pages(examples) | {"digests": as_tensor(digests)}
        return {"features" if self.stored.whole else "prefix": torch.stack(found)}

    def _single(self, examples: Sequence[Example]) -> None:
        for example in examples:
            if refused := self._too_many(example):
                raise DocvlmError(f"question {example.question_id}: {refused}")

    def _page_tokens(self, page: Page) -> int:
        return len(self.page)

    def _too_long(self, example: Example, longest_answer: int) -> str:
        """Encoder and decoder have positions of their own."""
        asked = len(self.page) + 2 + len(self._tokens(TASK + example.question))
        if asked > self.longest:
            return f"page and question are {asked} tokens, but this checkpoint has positions for {self.longest}"
        learned = len(self.start) + 1 + (len(self._tokens(example.target)) if example.answers else 0)
        if learned > self.longest:
            return f"the answer is {learned} tokens, but this checkpoint has positions for {self.longest}"
        return ""

    def _shared(self, examples: Sequence[Example], dtype: str | None = None) -> SharedPrompts:
        """Page and question meet in the encoder, so the tower's output is all that questions can share."""
        firsts, page_of = self._documents(examples)
        pages = self._pages(firsts) if dtype is None else self._stored_pages(firsts, dtype)
        return SharedPrompts(pages, [self._prompt(example) for example in examples], page_of, [])

    def _packed_labelled(self, shared: SharedPrompts, examples: Sequence[Example]) -> dict[str, Tensor]:
        """As `train_batch`, with each page's pixels once; `page_of` (B) says which row asks about which page."""
        rows = self._labelled(Prompts(shared.pages, shared.rows), examples)
        return rows | {"page_of": torch.tensor(shared.page_of)}

    def _packed_unlabelled(self, shared: SharedPrompts) -> dict[str, Tensor]:
        return self._unlabelled(Prompts(shared.pages, shared.rows)) | {"page_of": torch.tensor(shared.page_of)}

    def _labelled(self, prompts: Prompts, examples: Sequence[Example]) -> dict[str, Tensor]:
        """Adds `decoder_input_ids` and `labels` (B x T), which is the same answer one step later."""
        answers = [[*self._tokens(example.target), self.end] for example in examples]
        for example, answer in zip(examples, answers, strict=True):
            self._fits(len(self.start) + len(answer), "answer", example)
        given = [IGNORED] * (len(self.start) - 1)
        return self._unlabelled(prompts) | {
            "decoder_input_ids": padded([self.start + answer[:-1] for answer in answers], self.pad),
            "labels": padded([given + answer for answer in answers], IGNORED),
        }

    def _unlabelled(self, prompts: Prompts) -> dict[str, Tensor]:
        """The encoder's `input_ids` and `attention_mask` (B x T)."""
        mask = padded([[1] * len(row) for row in prompts.rows], 0)
        return prompts.pages | {"input_ids": padded(prompts.rows, self.pad), "attention_mask": mask}

    def ids_and_pages(self, example: Example) -> tuple[list[int], list[Image.Image]]:
        """What stands behind the page's tokens in a prompt, and the resized page.

        For a runtime that has the rest of the image processor in its graph. Raises `DocvlmError` as a prompt does.
        """
        self._single([example])
        images = self.processor.image_processor
        sized = images(
            images=open_pages([example], open_page)[0], do_rescale=False, do_normalize=False, return_tensors="pt"
        )["pixel_values"]
        return self._prompt(example)[len(self.page) :], [Image.fromarray(sized[0].permute(1, 2, 0).numpy())]

    @property
    def in_steps(self) -> dict[str, Any]:
        """What whoever asks the graphs without this codec has to know: tokens, and how a page is resized."""
        resample = Image.Resampling(self.processor.image_processor.resample)
        size = (self.budget.width, self.budget.height)
        tokens = {"bos": self.bos, "end": self.end, "start": self.start, "ends": self.ends}
        return tokens | {"task": TASK, "size": size, "resample": resample.name}

    def _prompt(self, example: Example) -> list[int]:
        question = self._tokens(TASK + example.question)
        if self.processor.image_token_id in question:
            raise DocvlmError(
                f"question {example.question_id}: it holds the special token {self.processor.image_token}; remove it"
            )
        ids = [*self.page, self.bos, *question, self.end]
        self._fits(len(ids), "page and question", example)
        return ids

    def _fits(self, length: int, what: str, example: Example) -> None:
        if length > self.longest:
            raise DocvlmError(
                f"question {example.question_id}: {what} are {length} tokens, but this checkpoint has positions for"
                f" {self.longest}; shorten it or lower budget.height and budget.width"
            )


def _checked(budget: Budget, size: dict[str, int]) -> Budget:
    if budget.min_pixels is not None or budget.max_pixels is not None:
        raise DocvlmError("budget.min_pixels, budget.max_pixels: all pages have one size; give height and width")
    if budget.jpeg_quality is not None:
        raise DocvlmError(f"budget.jpeg_quality={budget.jpeg_quality}: no page goes through JPEG here; set null")
    height = size["height"] if budget.height is None else budget.height
    width = size["width"] if budget.width is None else budget.width
    return Budget(height=int(height), width=int(width))


def _grid(budget: Budget, config: Florence2Config) -> tuple[int, int]:
    """Rows and columns of the tower's last feature map for a page of this size."""
    tower = config.vision_config
    sides = []
    for name in ("height", "width"):
        side: int = getattr(budget, name)
        cells = side
        for kernel, stride, padding in zip(tower.patch_size, tower.patch_stride, tower.patch_padding, strict=True):
            cells = (cells + 2 * padding - kernel) // stride + 1
        if not 0 < cells <= tower.max_position_embeddings:
            raise DocvlmError(
                f"budget.{name}={side}: {cells} cells a side, but this checkpoint has positions for 1 to"
                f" {tower.max_position_embeddings}"
            )
        sides.append(cells)
    return sides[0], sides[1]
