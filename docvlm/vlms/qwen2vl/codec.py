"""Pages and questions as Qwen2-VL's tokens: chat template, patches, and how long a row will be.

Pages are resized by qwen-vl-utils, as in the published Quick Start, between `min_pixels` and `max_pixels`; training and
evaluation go through the same code. lmms-eval encodes each page as JPEG first, which `jpeg_quality` repeats. Prompt and
answer are tokenised apart, so that what training puts before an answer is token for token what generation gets.
"""

from __future__ import annotations

import hashlib
import math
from copy import copy
from dataclasses import replace
from io import BytesIO
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import PIL.Image
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import Qwen2_5_VLProcessor, Qwen2VLProcessor

from docvlm.data.loading.batching import Lengths
from docvlm.data.loading.packing import IGNORED, Branch, pack
from docvlm.errors import DocvlmError
from docvlm.vlms.checkpoint import load_config, load_processor
from docvlm.vlms.codec import Budget, Codec, Prompts, SharedPrompts, as_tensor, padded
from docvlm.vlms.feature_store import DIGEST
from docvlm.vlms.message import user
from docvlm.vlms.page_images import open_page, open_pages

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from PIL.Image import Image
    from transformers import ProcessorMixin

    from docvlm.data.example import Example, Page
    from docvlm.vlms.codec import Stored

END = "<|im_end|>"
PATCH = 14  # of Qwen2-VL and Qwen2.5-VL; the processor of a server is not there to be asked
_JPEG_SIDE = 65_500  # libjpeg's limit
_UTILS_MERGE = 2  # qwen-vl-utils makes sides multiples of patch x 2, whatever the checkpoint says


class Qwen2VLCodec(Codec):
    """Chat prompt `pages, question + instruction`; budget `min_pixels`/`max_pixels`, default the processor's own."""

    family = "qwen2vl"
    prompt = "chat template: pages, then question + instruction"
    processors: ClassVar[Mapping[str, type[ProcessorMixin]]] = {
        "qwen2_vl": Qwen2VLProcessor,
        "qwen2_5_vl": Qwen2_5_VLProcessor,
    }  # of each `model_type`

    def __init__(self, processor: Any, budget: Budget, longest: int) -> None:
        self.processor = processor
        self.longest = longest
        self.tokenizer = processor.tokenizer
        images = processor.image_processor
        if processor.chat_template is None:
            raise DocvlmError("chat_template.jinja: the checkpoint has none, so there is no prompt to build")
        self.patch, self.merge = images.patch_size, images.merge_size
        if _UTILS_MERGE % self.merge:
            raise DocvlmError(f"preprocessor_config.json: merge_size={self.merge}; qwen-vl-utils supports 1 and 2")
        self.budget = self._checked(budget)
        size = {"shortest_edge": self.budget.min_pixels, "longest_edge": self.budget.max_pixels}
        images.size = size  # saved with the adapter, so that plain Transformers resizes to the same budget
        if processor.video_processor is not None:
            processor.video_processor.size = size
        self.end = self.tokenizer.convert_tokens_to_ids(END)
        self.image = processor.image_token_id
        self.pad = self.tokenizer.pad_token_id

    @classmethod
    def load(cls, checkpoint: str | Path, budget: Budget, *, offline: bool, revision: str | None) -> Qwen2VLCodec:
        """The processor with this budget, and how many positions the language side has."""
        config = load_config(checkpoint, offline=offline, revision=revision)
        processor = load_processor(checkpoint, cls.processors[config.model_type], offline=offline, revision=revision)
        return cls(processor, budget, config.get_text_config().max_position_embeddings)

    def lengths(self, examples: Sequence[Example]) -> Lengths:
        """A row is a document: the chat up to the end of its pages, then its questions with their answers."""
        each = [self.each_of(len(example.pages)) for example in examples]
        pages = np.array(
            [sum(one._page_tokens(page) + 2 for page in e.pages) for one, e in zip(each, examples, strict=True)]
        )
        asked = self._counts([example.question + example.instruction for example in examples])
        own = asked + self._counts([example.target for example in examples]) + 1  # the end of the answer
        around = {key: self._around(*key) for key in {(len(e.pages), e.numbers) for e in examples}}
        before, after = np.array([around[len(e.pages), e.numbers] for e in examples]).T
        return Lengths(pages + before, own + after, shared=True)

    def _around(self, pages: int, numbers: tuple[int, ...]) -> tuple[int, int]:
        """Tokens of a prompt before its question and after it, without those of pages."""
        chat, asked = self._chat("x", [1] * pages, numbers), len(self._tokens("x"))
        cut = self._cut(chat)
        return cut - 3 * pages, len(chat) - cut - asked  # a page has a token before it and one after it

    def each_of(self, pages: int) -> Qwen2VLCodec:
        """This codec at the budget of each page of a document of so many."""
        budget = self.budget.of_each(pages)
        if budget == self.budget:
            return self
        found = copy(self)
        found.budget = budget
        return found

    def _page_tokens(self, page: Page) -> int:
        """Tokens of a page from its size; of one whose size is not known, as many as the budget allows."""
        size = getattr(page, "size", None)  # pages in files have one
        if size is None:
            assert self.budget.max_pixels is not None
            return self.budget.max_pixels // (self.patch * self.merge) ** 2
        height, width = _sides(size[1], size[0], self.budget, self.patch)
        return height * width // (self.patch * self.merge) ** 2

    def _too_small(self, page: Page) -> str:
        size = getattr(page, "size", None)
        if size is None:
            return ""
        if self.budget.jpeg_quality is not None and max(size) > _JPEG_SIDE:
            return _no_jpeg(page, size)
        return "" if all(_sides(size[1], size[0], self.budget, self.patch)) else _no_room(page, size, self.budget)

    def _too_long(self, example: Example, longest_answer: int) -> str:
        lengths = self.lengths([example if example.answers else replace(example, answers=("",))])
        needed = int((lengths.pages + lengths.own).max()) + longest_answer
        if needed <= self.longest:
            return ""
        count = len(example.pages)
        return (
            f"{count} {'page' if count == 1 else 'pages'} and a question are up to {needed} tokens, but this model has"
            f" positions for {self.longest}; lower budget.max_pixels, give budget.document_pixels, or give fewer pages"
        )

    def _prompts(self, examples: Sequence[Example]) -> Prompts:
        """Pages: `pixel_values` (patches x values) and `image_grid_thw` (pages x 3)."""
        pixels, tokens = self._pages(examples)
        rows = [self._prompt(example, counts) for example, counts in zip(examples, tokens, strict=True)]
        return Prompts(pixels, rows)

    def _pages(self, examples: Sequence[Example]) -> tuple[dict[str, Tensor], list[list[int]]]:
        """Pixels of the examples' pages, and how many tokens each page of each example becomes."""
        pages = self._opened(examples)
        flat = [image for images in pages for image in images]
        # Whole batches in torch: pages of equal size are normalised and cut into patches together.
        pixels = self.processor.image_processor(images=flat, do_resize=False, return_tensors="pt")
        counts = iter((pixels["image_grid_thw"].prod(-1) // self.merge**2).tolist())
        tokens = [[next(counts) for _ in images] for images in pages]
        return {name: pixels[name] for name in ("pixel_values", "image_grid_thw")}, tokens

    def _opened(self, examples: Sequence[Example]) -> list[list[Image]]:
        """The resized pages of each example, those of documents of one length together: they have one budget."""
        lengths = {len(example.pages) for example in examples}
        opened = {
            length: iter(open_pages([e for e in examples if len(e.pages) == length], self.each_of(length)._resized))
            for length in lengths
        }
        return [next(opened[len(example.pages)]) for example in examples]

    def _digests(self, examples: Sequence[Example], stored: Stored) -> list[str]:
        found = []
        for example in examples:
            each = self.each_of(len(example.pages))
            found += stored.digests(example.pages, "" if each is self else str(each.budget))
        return found

    def _stored_pages(self, examples: Sequence[Example], dtype: str) -> tuple[dict[str, Tensor], list[list[int]]]:
        """As `_pages`, with what the store has of every page in place of their pixels: `features` (tokens x D) or
        `prefix` (patches x D).
        """
        if self.stored is None:
            return self._pages(examples)
        digests = self._digests(examples, self.stored)
        found = self.stored.features(digests, dtype)  # each (rows x columns x D) of the page's tokens or patches
        if found is None:
            pixels, tokens = self._pages(examples)
            return pixels | {"digests": as_tensor(digests)}, tokens
        name, side = ("features", self.merge) if self.stored.whole else ("prefix", 1)
        grid = torch.tensor([[1, f.shape[0] * side, f.shape[1] * side] for f in found])
        counts = iter((grid.prod(-1) // self.merge**2).tolist())
        pages = {name: torch.cat([f.flatten(0, 1) for f in found]), "image_grid_thw": grid}
        return pages, [[next(counts) for _ in example.pages] for example in examples]

    def _prefilled_pages(self, examples: Sequence[Example], dtype: str) -> tuple[dict[str, Tensor], list[list[int]]]:
        """As `_stored_pages`, with what frozen blocks of the decoder made of every document's pages, if all have it.

        `prefill` is that (documents x P x values), padded on the left; else `documents` are the names to keep it under.
        A document goes by all tokens of its prompt before the question, and by its pages: positions follow from both.
        """
        assert self.prefilled is not None
        grids = [self._grids(example) for example in examples]
        tokens = [[math.prod(grid) // self.merge**2 for grid in each] for each in grids]
        names = []
        for example, counts in zip(examples, tokens, strict=True):
            ids = self._prompt(example, counts)
            content = f"{self._digests([example], self.prefilled)} {ids[: self._cut(ids)]}"
            names.append(hashlib.blake2b(content.encode(), digest_size=DIGEST).hexdigest())
        found = self.prefilled.features(names, dtype)
        if found is None:
            pages, tokens = self._stored_pages(examples, dtype)
            return pages | {"documents": as_tensor(names)}, tokens
        grid = torch.tensor([[1, *grid] for each in grids for grid in each])
        alone = len(found) == 1  # then it is not copied
        prefill = found[0][None] if alone else pad_sequence(found, True, padding_side="left")
        return {"prefill": prefill, "image_grid_thw": grid}, tokens

    def _grids(self, example: Example) -> list[tuple[int, int]]:
        """Rows and columns of patches of each page, from its size."""
        assert self.prefilled is not None
        budget = self.each_of(len(example.pages)).budget
        sides = [_sides(height, width, budget, self.patch) for width, height in self.prefilled.sizes(example.pages)]
        return [(height // self.patch, width // self.patch) for height, width in sides]

    def _shared(self, examples: Sequence[Example], dtype: str | None = None) -> SharedPrompts:
        firsts, page_of = self._documents(examples)
        if dtype is None:
            pixels, tokens = self._pages(firsts)
        elif self.prefilled is not None:
            pixels, tokens = self._prefilled_pages(firsts, dtype)
        else:
            pixels, tokens = self._stored_pages(firsts, dtype)
        whole = [self._prompt(e, tokens[number]) for e, number in zip(examples, page_of, strict=True)]
        cuts = [self._cut(ids) for ids in whole]
        first = {number: ids[:cut] for ids, cut, number in zip(whole, cuts, page_of, strict=True)}
        if any(ids[:cut] != first[number] for ids, cut, number in zip(whole, cuts, page_of, strict=True)):
            raise DocvlmError(
                "chat_template.jinja: it puts the question before the page, so questions cannot share one;"
                " set packing=off"
            )
        rows = [ids[cut:] for ids, cut in zip(whole, cuts, strict=True)]
        return SharedPrompts(pixels, rows, page_of, [first[number] for number in range(len(firsts))])

    def _cut(self, ids: list[int]) -> int:
        """Where the question begins: the pages end with <|vision_end|>."""
        return len(ids) - ids[::-1].index(self.image) + 1

    def _packed_labelled(self, shared: SharedPrompts, examples: Sequence[Example]) -> dict[str, Tensor]:
        """One row a document: its pages, then its questions as branches (`docvlm.data.loading.packing`)."""
        branches: list[list[Branch]] = [[] for _ in shared.prefixes]
        for example, prompt, number in zip(examples, shared.rows, shared.page_of, strict=True):
            branches[number].append(Branch(prompt, [*self._tokens(example.target), self.end]))
        packed = pack(list(zip(shared.prefixes, branches, strict=True)), self.pad)
        return shared.pages | packed | {"mm_token_type_ids": (packed["input_ids"] == self.image).int()}

    def _packed_unlabelled(self, shared: SharedPrompts) -> dict[str, Tensor]:
        """A row a document and a row a question, both padded on the left; `page_of` (B) joins them."""
        questions = {
            "question_ids": padded(shared.rows, self.pad, "left"),
            "question_mask": padded([[1] * len(row) for row in shared.rows], 0, "left"),
            "page_of": torch.tensor(shared.page_of),
        }
        return shared.pages | self._text(shared.prefixes, "left") | questions

    def _labelled(self, prompts: Prompts, examples: Sequence[Example]) -> dict[str, Tensor]:
        """Padded on the right."""
        answers = [[*self._tokens(example.target), self.end] for example in examples]
        pairs = list(zip(prompts.rows, answers, strict=True))
        labels = [[IGNORED] * len(prompt) + answer for prompt, answer in pairs]
        text = self._text([prompt + answer for prompt, answer in pairs])
        return prompts.pages | text | {"labels": padded(labels, IGNORED)}

    def _unlabelled(self, prompts: Prompts) -> dict[str, Tensor]:
        """Padded on the left, so that every row's answer starts in the same column."""
        return prompts.pages | self._text(prompts.rows, "left")

    def _prompt(self, example: Example, image_tokens: list[int]) -> list[int]:
        """Prompt ids; the one image token the template writes for a page becomes as many as the page has."""
        ids = self._chat(example.question + example.instruction, image_tokens, example.numbers)
        if ids.count(self.image) != sum(image_tokens):
            raise self._like_a_page(example)
        return ids

    def _like_a_page(self, example: Example) -> DocvlmError:
        token = self.processor.image_token
        return DocvlmError(f"question {example.question_id}: it holds the special token {token}; remove it")

    def chat_and_pages(self, example: Example) -> tuple[str, list[Image]]:
        """The chat as text, with one image token a page, and the resized pages.

        For a runtime that cuts pages into patches and puts as many tokens in their places by itself. Raises
        `DocvlmError` for a question that holds such a token too.
        """
        text = self._chat_text(example.question + example.instruction, len(example.pages), example.numbers)
        if text.count(self.processor.image_token) != len(example.pages):
            raise self._like_a_page(example)
        return text, self._opened([example])[0]

    def _chat_text(self, question: str, pages: int, numbers: Sequence[int]) -> str:
        chat = [user(question, pages, numbers)]
        return str(self.processor.apply_chat_template(chat, tokenize=False, add_generation_prompt=True))

    def _chat(self, question: str, image_tokens: list[int], numbers: Sequence[int]) -> list[int]:
        ids = self._tokens(self._chat_text(question, len(image_tokens), numbers))
        counts = iter(image_tokens)
        return [token for one in ids for token in [one] * (next(counts, 1) if one == self.image else 1)]

    def _text(self, rows: list[list[int]], side: str = "right") -> dict[str, Tensor]:
        ids = padded(rows, self.pad, side)
        return {
            "input_ids": ids,
            "attention_mask": padded([[1] * len(row) for row in rows], 0, side),
            "mm_token_type_ids": (ids == self.image).int(),
        }

    def _resized(self, page: Page) -> Image:
        return resized(page, self.budget, self.patch)

    def _checked(self, budget: Budget) -> Budget:
        if budget.height is not None or budget.width is not None:
            raise DocvlmError("budget.height, budget.width: pages keep their own size; give min_pixels and max_pixels")
        size = self.processor.image_processor.size
        least = size["shortest_edge"] if budget.min_pixels is None else budget.min_pixels
        most = size["longest_edge"] if budget.max_pixels is None else budget.max_pixels
        smallest = (self.patch * _UTILS_MERGE) ** 2
        if not 0 < least <= most or most < smallest:
            raise DocvlmError(
                f"budget.min_pixels={least}, budget.max_pixels={most}: they must rise, and the second be >= {smallest}"
            )
        if budget.document_pixels is not None and budget.document_pixels < smallest:
            raise DocvlmError(
                f"budget.document_pixels={budget.document_pixels}: a page alone needs {smallest}; raise it"
            )
        if budget.jpeg_quality is not None and not 1 <= budget.jpeg_quality <= 100:
            raise DocvlmError(f"budget.jpeg_quality={budget.jpeg_quality}: a quality from 1 to 100, or null")
        return replace(budget, min_pixels=int(least), max_pixels=int(most))


def resized(page: Page, budget: Budget, patch: int) -> Image:
    """The page as qwen-vl-utils resizes it for this budget and patch size. Raises `DocvlmError` if nothing is left."""
    from qwen_vl_utils.vision_process import fetch_image  # brings in requests and video decoding

    image = open_page(page)
    height, width = _sides(image.height, image.width, budget, patch)
    if not height or not width:
        raise DocvlmError(_no_room(page, image.size, budget))
    if budget.jpeg_quality is not None:
        image = _through_jpeg(page, image, budget.jpeg_quality)
    limits = {"min_pixels": budget.min_pixels, "max_pixels": budget.max_pixels}
    seen: Image = fetch_image({"image": image, **limits}, image_patch_size=patch)
    return seen


def served(page: Page, budget: Budget) -> Image:
    """The page as a server is sent it: its own processor leaves it as it is, bit for bit."""
    return resized(page, budget, PATCH)


def _no_room(page: Page, size: tuple[int, int], budget: Budget) -> str:
    share = "" if budget.document_pixels is None else f", its share of budget.document_pixels={budget.document_pixels},"
    return (
        f"page {page.name}: {size[0]} x {size[1]} pixels do not fit budget.max_pixels={budget.max_pixels}{share} at"
        " this aspect ratio; raise it or cut the page"
    )


def _no_jpeg(page: Page, size: tuple[int, int]) -> str:
    return (
        f"page {page.name}: {size[0]} x {size[1]} pixels, but JPEG holds {_JPEG_SIDE} a side;"
        " set budget.jpeg_quality=null or cut the page"
    )


def _through_jpeg(page: Page, image: Image, quality: int) -> Image:
    """The RGB page written as JPEG and read again, with Pillow's defaults but for the quality, as lmms-eval does it."""
    if max(image.size) > _JPEG_SIDE:
        raise DocvlmError(_no_jpeg(page, image.size))
    encoded = BytesIO()
    image.save(encoded, "JPEG", quality=quality)
    return PIL.Image.open(encoded).convert("RGB")


def _sides(height: int, width: int, budget: Budget, patch: int) -> tuple[int, int]:
    """Sides of a page as qwen-vl-utils makes them for this budget and patch size."""
    from qwen_vl_utils.vision_process import smart_resize

    limits = {"min_pixels": budget.min_pixels, "max_pixels": budget.max_pixels}
    sides: tuple[int, int] = smart_resize(height, width, factor=patch * _UTILS_MERGE, **limits)
    return sides
