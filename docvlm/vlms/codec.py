"""Examples to tensors and tokens to text: what a family's processor is to training and evaluation.

A codec holds no weights, so it pickles into data-loader workers. All families have the same shape; what they share is
here. Packed or not, a batch asks the same questions: packed, it holds each page once.
"""

from __future__ import annotations

import hashlib
import re
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from docvlm.data.example import EvalBatch, Example, Page
from docvlm.data.loading.packing import by_pages
from docvlm.data.reading import ALL_PAGES, Reading
from docvlm.data.rows import BadRow
from docvlm.vlms.families import FAMILIES
from docvlm.vlms.feature_store import DIGEST, FeatureStore, digest
from docvlm.vlms.page_images import open_page

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from docvlm.data.loading.batching import Lengths


@dataclass(frozen=True, slots=True, repr=False)
class Budget:
    """How many pixels of a page a model sees: `min_pixels` to `max_pixels`, or `height` x `width`, as its family reads.

    Families that take any checkpoint take the terms of its own processor; `longest_edge` (pixels of the longer side)
    and `max_tiles` (pieces a page is cut into) are such. What is None, which all is where a checkpoint is asked as it
    comes (`docvlm-predict --checkpoint`), the checkpoint's processor says.
    `jpeg_quality`: the page goes through JPEG of that quality before it is resized, as in lmms-eval.
    `document_pixels`: what all pages of a document may have together; each gets an equal share of it.
    """

    min_pixels: int | None = None
    max_pixels: int | None = None
    height: int | None = None
    width: int | None = None
    jpeg_quality: int | None = None
    longest_edge: int | None = None
    max_tiles: int | None = None
    document_pixels: int | None = None

    def __repr__(self) -> str:
        """Stands in the names of stores and results."""
        return f"Budget({', '.join(f'{key}={value}' for key, value in self.decided.items())})"

    @property
    def decided(self) -> dict[str, int | None]:
        """The keys as results were first named by them; one that came later is there only where it is set."""
        values = asdict(self)
        return {key: values[key] for key in values if key != "document_pixels" or values[key] is not None}

    def of_each(self, pages: int) -> Budget:
        """The budget of each page in a document of so many: its share of `document_pixels`, where that is less."""
        if self.document_pixels is None:
            return self
        share = self.document_pixels // pages
        most = share if self.max_pixels is None else min(self.max_pixels, share)
        least = most if self.min_pixels is None else min(self.min_pixels, most)
        return replace(self, min_pixels=least, max_pixels=most)


@dataclass(frozen=True, slots=True)
class Prompts:
    """What does not depend on the answer: tensors of the pages, and each example's prompt ids."""

    pages: dict[str, Tensor]
    rows: list[list[int]]


@dataclass(frozen=True, slots=True)
class SharedPrompts:
    """The same with each document's pages once: `page_of` says which document each row asks about.

    A decoder's row begins after its document's `prefixes`; an encoder-decoder has none and its rows are whole.
    """

    pages: dict[str, Tensor]
    rows: list[list[int]]
    page_of: list[int]
    prefixes: list[list[int]]


class Stored:
    """A feature store as a codec uses it: training and evaluation may compute in different dtypes.

    `training` and `evaluation` are the names of those dtypes, part of a feature's name in the store. `whole`: a page's
    feature is the tower's output, `features` in a batch; else that of the tower's frozen blocks, `prefix` in a batch.
    `beside` is another store of the same codec, which has opened the pages already.
    """

    def __init__(
        self,
        store: FeatureStore,
        training: torch.dtype,
        evaluation: torch.dtype,
        *,
        whole: bool = True,
        beside: Stored | None = None,
    ) -> None:
        self.store = store
        self.training, self.evaluation = str(training), str(evaluation)
        self.whole = whole
        self._seen: dict[Page, tuple[str, tuple[int, int]]] = {} if beside is None else beside._seen

    def digests(self, pages: Sequence[Page], shown: str = "") -> list[str]:
        """Content address of each page; a page is opened for it once in a process.

        `shown`: how they are shown, where it is otherwise than the store's name says.
        """
        self._open(pages)
        found = [self._seen[page][0] for page in pages]
        return (
            [hashlib.blake2b(f"{one} {shown}".encode(), digest_size=DIGEST).hexdigest() for one in found]
            if shown
            else found
        )

    def sizes(self, pages: Sequence[Page]) -> list[tuple[int, int]]:
        """Width and height of each page in pixels, as it is opened."""
        self._open(pages)
        return [self._seen[page][1] for page in pages]

    def _open(self, pages: Sequence[Page]) -> None:
        for page in pages:
            if page not in self._seen:
                image = open_page(page)
                self._seen[page] = digest(image), image.size

    def features(self, digests: Sequence[str], dtype: str) -> list[Tensor] | None:
        """The features of pages, or None unless all of them are there."""
        found = [self.store.read(f"{name}.{dtype}") for name in digests]
        return None if any(feature is None for feature in found) else [f for f in found if f is not None]

    def keep(self, digests: Tensor, features: Sequence[Tensor]) -> None:
        """Store what the tower made of pages; `digests` (pages x 16) are those their batch came with.

        Named by what the tower computed in, which is not always what came out: CUDA's autocast makes norms in float32,
        and a projector may end with one.
        """
        names = (bytes(row).hex() for row in digests.tolist())
        rows = zip(names, features, strict=True)
        self.store.write({f"{name}.{computing_dtype(feature)}": feature for name, feature in rows})


def computing_dtype(tensor: Tensor) -> torch.dtype:
    """What matrix products with `tensor` are computed in: autocast's dtype where it is on, else the tensor's own."""
    on = tensor.device.type
    return torch.get_autocast_dtype(on) if torch.is_autocast_enabled(on) else tensor.dtype


def as_tensor(digests: Sequence[str]) -> Tensor:
    """Digests as a batch carries them (pages x 16, uint8)."""
    return torch.tensor([list(bytes.fromhex(name)) for name in digests], dtype=torch.uint8)


class Codec(ABC):
    """Examples to tensors and tokens to text, for one family, checkpoint and budget. Picklable.

    A family's `__init__` sets what stands below without a value; `budget` with the processor's own where it was None.
    What a batch's tensors are called is between a codec and its model, but for `labels`, and `attention_mask` in a
    batch of prompts, whose sum is the tokens that were read. `digests`, `features` and `prefix` are of stored features,
    `documents` and `prefill` of stored prefills.
    """

    family: ClassVar[str]  # the name of its record (`docvlm.vlms.families`)
    budget: Budget
    processor: Any
    tokenizer: Any
    end: int  # the token that ends an answer
    reading: Reading = ALL_PAGES  # which pages of a document the model is, or was, trained to be shown
    stored: Stored | None = None  # features of pages a frozen tower has seen; packed batches hold them, not pixels
    prefilled: Stored | None = None  # likewise, what frozen blocks of the decoder make of the pages of a document
    prompt: ClassVar[str]  # how a prompt is put together, for the record
    longest: int  # tokens the model has positions for

    @classmethod
    @abstractmethod
    def load(cls, checkpoint: str | Path, budget: Budget, *, offline: bool, revision: str | None) -> Codec:
        """The codec of a folder or a hub id of the family. Raises `DocvlmError` if a file is missing.

        `docvlm.vlms.checkpoint.load_processor` does; `load_config` and `load_generation_config` beside it likewise.
        """

    def refusal(self, example: Example, longest_answer: int) -> BadRow | None:
        """Why a question cannot be asked of this model, or not learned; None where it can. Nothing is opened.

        `longest_answer`: tokens that are generated at most. Pages are judged by their size where it is known.
        """
        if reason := self._too_many(example):
            return BadRow(reason, f"more than {self._most_pages} page" if example.pages else "no page")
        if example.numbers and self._most_pages == 1:
            reason = "data.page_numbers=true, but the prompt of this model has no place for a page's number"
            return BadRow(f"{reason}; set it to false", reason)
        for what, text in (("question", example.question), *(("answer", answer) for answer in example.answers)):
            if (found := self._special.search(text)) is not None:
                reason = f"{what} holds {found[0]}"
                return BadRow(f"the {reason}, a special token of this model; remove it", reason)
        each = self.each_of(len(example.pages))
        if reason := next(filter(None, map(each._too_small, example.pages)), ""):
            return BadRow(reason, "page too thin for the budget")
        if self._at_most(example, longest_answer) <= self.longest:
            return None
        reason = self._too_long(example, longest_answer)
        return BadRow(reason, "more tokens than positions") if reason else None

    def each_of(self, pages: int) -> Codec:
        """This codec as it reads each page of a document of so many: itself, unless a budget is of documents."""
        return self

    def account(self) -> list[str]:
        """Lines on what was found out about a checkpoint and decides what is learned; none where the family says it."""
        return []

    def answer_lengths(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each answer, without its end."""
        return [int(count) for count in self._counts(texts)] if texts else []

    @property
    def _most_pages(self) -> int | None:
        return FAMILIES[self.family].pages

    def _too_many(self, example: Example) -> str:
        count, most = len(example.pages), self._most_pages
        if count and (most is None or count <= most):
            return ""
        more = " or ".join(f"model={name}" for name, one in FAMILIES.items() if one.pages is None)
        return (
            f"{count} pages, but this model reads {most or 'one or more'}; use {more}, or one page at a time:"
            " data.pages=first, each or best"
        )

    def _too_small(self, page: Page) -> str:
        """Why the budget leaves nothing of a page; "" where it does not."""
        return ""

    @abstractmethod
    def _too_long(self, example: Example, longest_answer: int) -> str:
        """Why the model has not enough positions for an example; "" where it has."""

    def _at_most(self, example: Example, longest_answer: int) -> int:
        """More tokens than an example has, without its tokenizer: a byte is at most one."""
        text = example.question + example.instruction + max(example.answers, key=len, default="")
        count = len(example.pages)
        pages = sum(map(self.each_of(count)._page_tokens, example.pages))
        if (kind := (count, example.numbers)) not in self._templates:
            self._templates[kind] = self._beside(example)
        return pages + len(text.encode()) * 2 + longest_answer + self._templates[kind]

    @cached_property
    def _templates(self) -> dict[tuple[int, tuple[int, ...]], int]:
        """What `_beside` found, by the number of pages and the numbers that are said of them."""
        return {}

    def _beside(self, example: Example) -> int:
        """Tokens that stand beside pages, question and answer in all prompts about so many pages as an example has."""
        empty = self.lengths([replace(example, question="", instruction="", answers=("",))])
        return int((empty.pages + empty.own).max()) - sum(
            map(self.each_of(len(example.pages))._page_tokens, example.pages)
        )

    @abstractmethod
    def _page_tokens(self, page: Page) -> int:
        """Tokens of a page from its size; of one whose size is not known, as many as the budget allows."""

    @cached_property
    def _special(self) -> re.Pattern[str]:
        """The tokens that a text cannot hold: read, they are no letters; written, they are skipped."""
        known = {token.content for token in self.tokenizer.added_tokens_decoder.values() if token.special}
        names = sorted(known | set(self.tokenizer.all_special_tokens), key=len, reverse=True)
        return re.compile("|".join(map(re.escape, names)) or r"(?!)")

    def train_batch(self, examples: Sequence[Example]) -> dict[str, Tensor]:
        """Inputs and `labels` (B x T); labels are -100 everywhere but on the answer and its end token."""
        return self._labelled(self._prompts(examples), examples)

    def packed_batch(self, examples: Sequence[Example]) -> dict[str, Tensor]:
        """The same questions with the work on a page shared by all that ask about it; the same loss and gradients."""
        dtype = next((one.training for one in (self.stored, self.prefilled) if one is not None), None)
        return self._packed_labelled(self._shared(examples, dtype), examples)

    def prompt_batch(self, examples: Sequence[Example]) -> dict[str, Tensor]:
        """Inputs to generate from: page and question, no answer. Decoder-only families pad on the left."""
        return self._unlabelled(self._prompts(examples))

    def packed_prompt_batch(self, examples: Sequence[Example]) -> dict[str, Tensor]:
        """As `prompt_batch`, with the work on a page shared by all that ask about it."""
        return self._packed_unlabelled(self._shared(examples, None))

    def eval_batch(self, examples: Sequence[Example], *, packed: bool = True) -> EvalBatch:
        """Inputs to generate from and the same examples with labels; pages are opened once, shared if `packed`."""
        if packed:
            dtype = next((one.evaluation for one in (self.stored, self.prefilled) if one is not None), None)
            shared = self._shared(examples, dtype)
            return EvalBatch(tuple(examples), self._packed_unlabelled(shared), self._packed_labelled(shared, examples))
        prompts = self._prompts(examples)
        return EvalBatch(tuple(examples), self._unlabelled(prompts), self._labelled(prompts, examples))

    @abstractmethod
    def lengths(self, examples: Sequence[Example]) -> Lengths:
        """Tokens of each example in a packed batch, without opening a page.

        A page whose size nobody has looked up counts as the largest the budget allows.
        """

    def _documents(self, examples: Sequence[Example]) -> tuple[list[Example], list[int]]:
        """The first example of each document, and the number of each example's document."""
        groups = by_pages(examples)
        number = {example.pages: place for place, group in enumerate(groups) for example in group}
        return [group[0] for group in groups], [number[example.pages] for example in examples]

    def _counts(self, texts: Sequence[str]) -> np.ndarray:
        """Tokens of each text."""
        return np.array([len(ids) for ids in self.tokenizer(list(texts), add_special_tokens=False)["input_ids"]])

    @abstractmethod
    def _prompts(self, examples: Sequence[Example]) -> Prompts:
        """Opened pages (`page_images.open_page`) as tensors, and each example's prompt."""

    @abstractmethod
    def _labelled(self, prompts: Prompts, examples: Sequence[Example]) -> dict[str, Tensor]:
        """A batch to learn from: `prompts` with each `example.target` and its end as `labels`."""

    @abstractmethod
    def _unlabelled(self, prompts: Prompts) -> dict[str, Tensor]:
        """A batch to generate from."""

    @abstractmethod
    def _shared(self, examples: Sequence[Example], dtype: str | None) -> SharedPrompts:
        """Pages once, as stored features of that dtype where all of them are stored, as pixels otherwise.

        What cannot be shared is not: a family may give every example its own page, and batches as unpacked ones.
        """

    @abstractmethod
    def _packed_labelled(self, shared: SharedPrompts, examples: Sequence[Example]) -> dict[str, Tensor]:
        """As `_labelled`, of shared pages; labels of the same answers in the order of `examples`."""

    @abstractmethod
    def _packed_unlabelled(self, shared: SharedPrompts) -> dict[str, Tensor]:
        """As `_unlabelled`, of shared pages."""

    def texts(self, ids: Tensor) -> list[str]:
        """Decode generated ids (B x T) to stripped strings without special tokens."""
        return [text.strip() for text in self.tokenizer.batch_decode(ids, skip_special_tokens=True)]

    def save(self, folder: Path) -> None:
        """Write the processor's files with the budget in them, so that plain Transformers sees the same pixels.

        The budget is in them where `__init__` put it into the processor.
        """
        self.processor.save_pretrained(folder)

    def _tokens(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids


def padded(rows: Sequence[list[int]], value: int, side: str = "right") -> Tensor:
    """Rows of ids as one tensor (B x T)."""
    tensors = [torch.tensor(row) for row in rows]
    return pad_sequence(tensors, batch_first=True, padding_value=value, padding_side=side)
