"""Pages and questions as any processor with a chat template makes them.

A prompt is what the processor itself makes of a chat with pages and a question, with every tensor it returns: whatever
of them did not reach the model would change answers without a word. Prompts are padded on the left in training too, so
that all answers of a batch stand side by side at the end. Prompt and answer are tokenised apart: what training puts
before an answer is token for token what generation gets.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from transformers import ProcessorMixin

from docvlm.data.example import EvalBatch
from docvlm.data.loading.batching import Lengths
from docvlm.data.loading.packing import IGNORED
from docvlm.errors import DocvlmError
from docvlm.vlms.chat import page_size
from docvlm.vlms.chat.page_part import EMPTY, Rows, page_part, question_text, wording
from docvlm.vlms.chat.page_tokens import PageTokens
from docvlm.vlms.chat.template import asked, turn_of
from docvlm.vlms.checkpoint import load_config, load_generation_config, load_processor
from docvlm.vlms.codec import Budget, Codec, Prompts, SharedPrompts, as_tensor, padded
from docvlm.vlms.feature_store import DIGEST
from docvlm.vlms.page_images import open_page, open_pages

if TYPE_CHECKING:
    from pathlib import Path

    from docvlm.data.example import Example, Page

_UNBOUNDED = 1 << 20  # positions, where neither config nor tokenizer names a limit
BLANK = (330, 470)  # pixels of a page that shows what a processor returns
_PROOF = "12.50"  # an answer that is tokenised and read back


class ChatCodec(Codec):
    """Chat prompt of the checkpoint's own template; budget in the terms of its image processor (`page_size`)."""

    family = "chat"
    prompt = "the checkpoint's chat template: pages, then question + instruction"

    shares = True  # until `Chat.settle` finds that what the tower makes of a page cannot be put into several rows
    continues = True  # likewise, that a question cannot go on from the cache of its page
    learns_from_cache = True  # in training too, unless layers are computed anew in the backward pass

    def __init__(
        self, processor: Any, budget: Budget, longest: int, stops: Sequence[int], image: int | None = None
    ) -> None:
        self.processor = processor
        self.tokenizer = processor.tokenizer
        self.longest, self.stops, self.image = longest, tuple(stops), image
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
        image = getattr(config, "image_token_id", None)
        return cls(processor, budget, longest, [stops] if isinstance(stops, int) else stops, image)

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
        """A row is a question with its pages and answer, or with its answer alone where pages are rows of their own.

        Which of the two has to be settled before (`Chat.settle`).
        """
        counts = [len(example.pages) for example in examples]
        pages = [self.page_tokens.together([_size(page) for page in example.pages]) for example in examples]
        questions = self._counts([example.question + example.instruction for example in examples])
        answers = self._counts([self.turn.before + example.target + self.turn.after for example in examples]) + 1
        behind = {count: len(self._tokens(question_text(self.processor, count, ""))) for count in set(counts)}
        around = {key: self._around(*key) for key in {(len(e.pages), e.numbers) for e in examples}}
        before = [around[len(e.pages), e.numbers] - behind[len(e.pages)] for e in examples]
        shared = self.shares and self.continues and self.learns_from_cache
        return Lengths(
            np.array(pages) + before,
            questions + [behind[count] for count in counts] + answers,
            shared=shared,
            apart=shared,
            answers=answers,
        )

    def _around(self, pages: int, numbers: tuple[int, ...]) -> int:
        """Tokens of a prompt about so many pages, without those of pages and question."""
        return len(self._tokens(asked(self.processor, pages, "", numbers))) - pages + self._extra

    def _beside(self, example: Example) -> int:
        return self._around(len(example.pages), example.numbers) + len(self._answer("")) + 1

    @property
    def _extra(self) -> int:
        """Tokens that the tokenizer puts before a prompt that does not begin with its own first token."""
        text = asked(self.processor, 1, "")
        plain = len(self.tokenizer(text, add_special_tokens=self._adds(text))["input_ids"])
        return plain - len(self._tokens(text))

    def _page_tokens(self, page: Page) -> int:
        """Tokens of a page from its size; of one whose size is not known, as many as a large one has."""
        return self.page_tokens.together([_size(page)])

    def _too_small(self, page: Page) -> str:
        size = _size(page)
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
        texts = [asked(self.processor, len(e.pages), e.question + e.instruction, e.numbers) for e in examples]
        return Prompts(self._processed(texts, open_pages(examples, open_page), examples), [])

    def _called(self, texts: list[str], pages: list[list[Image.Image]]) -> dict[str, Tensor]:
        """The processor's tensors. Pages are nested by prompt: some take a flat list for the pages of one prompt."""
        found = self.processor(
            text=texts,
            images=pages,
            padding=True,
            padding_side="left",
            add_special_tokens=self._adds(texts[0]),
            return_tensors="pt",
        )
        return {name: value for name, value in found.items() if isinstance(value, Tensor)}

    def _processed(
        self, texts: list[str], pages: list[list[Image.Image]], examples: Sequence[Example]
    ) -> dict[str, Tensor]:
        try:
            return self._called(texts, pages)
        except ValueError as error:
            if len(examples) == 1:
                page = examples[0].pages[0]
                raise DocvlmError(_refused(page, pages[0][0].size, self.processor, error)) from error
            for text, own, example in zip(texts, pages, examples, strict=True):
                self._processed([text], [own], [example])  # to name the page
            raise

    def _adds(self, text: str) -> bool:
        """Whether the tokenizer is to put its own first token before a prompt: not twice.

        As `ProcessorMixin.apply_chat_template` of Transformers 5.23 does it when it tokenises by itself.
        """
        first = self.tokenizer.bos_token
        return first is None or not text.startswith(first)

    def _labelled(self, prompts: Prompts, examples: Sequence[Example]) -> dict[str, Tensor]:
        """Answers behind the prompts, padded on the right; every input of a position goes on as at the last one."""
        batch = dict(prompts.pages)
        ids, mask, labels = self._answered(batch["input_ids"], batch["attention_mask"], examples)
        more = ids.shape[1] - batch["input_ids"].shape[1]
        for name in self.row_inputs:
            last = batch[name][:, -1:]
            batch[name] = torch.cat([batch[name], last.expand(-1, more, *last.shape[2:])], dim=1)
        return batch | {"input_ids": ids, "attention_mask": mask, "labels": labels}

    def _answered(self, ids: Tensor, mask: Tensor, examples: Sequence[Example]) -> tuple[Tensor, Tensor, Tensor]:
        """Ids, mask and labels (each B x T) of prompts (B x P) with their answers behind them."""
        answers = [[*self._answer(example.target), self.end] for example in examples]
        return (
            torch.cat([ids, padded(answers, self.pad)], dim=1),
            torch.cat([mask, padded([[1] * len(answer) for answer in answers], 0)], dim=1),
            torch.cat([torch.full_like(ids, IGNORED), padded(answers, IGNORED)], dim=1),
        )

    def _unlabelled(self, prompts: Prompts) -> dict[str, Tensor]:
        return prompts.pages

    @cached_property
    def row_inputs(self) -> tuple[str, ...]:
        """Inputs that have a value a position, beside `input_ids` and `attention_mask`: seen on a blank page."""
        text = asked(self.processor, 1, "?")
        found = self._called([text], [[Image.new("RGB", BLANK, "white")]])
        positions = found["input_ids"].shape
        rows = (name for name, tensor in found.items() if tensor.shape[:2] == positions)
        return tuple(sorted(set(rows) - {"input_ids", "attention_mask"}))

    def _answer(self, text: str) -> list[int]:
        return self._tokens(self.turn.before + text + self.turn.after)

    def packed_batch(self, examples: Sequence[Example]) -> dict[str, Tensor]:
        """Each page once, by the language side too where questions go on from its cache; else as `train_batch`."""
        return super().packed_batch(examples) if self.shares else self.train_batch(examples)

    def packed_prompt_batch(self, examples: Sequence[Example]) -> dict[str, Tensor]:
        """A row a page and a row a question; as `prompt_batch` where pages are not shared."""
        return super().packed_prompt_batch(examples) if self.continues else self.prompt_batch(examples)

    def eval_batch(self, examples: Sequence[Example], *, packed: bool = True) -> EvalBatch:
        """Inputs to generate from and the same examples with labels."""
        return super().eval_batch(examples, packed=packed and self.continues)

    def _shared(self, examples: Sequence[Example], dtype: str | None) -> SharedPrompts:
        """`pages` of the documents: `parts` (documents x inputs x positions), and `features` or what they come from."""
        firsts, page_of = self._documents(examples)
        asks = [
            self._tokens(question_text(self.processor, len(e.pages), e.question + e.instruction, e.numbers))
            for e in examples
        ]
        own = [asks[page_of.index(number)] for number in range(len(firsts))]
        pages = self._pages_of(firsts, own) if dtype is None else self._stored_pages(firsts, own, dtype)
        return SharedPrompts(pages, asks, page_of, [])

    def _pages_of(self, firsts: Sequence[Example], own: Sequence[list[int]]) -> dict[str, Tensor]:
        """What the processor makes of the documents; `own` are the tokens of the question that each is asked with."""
        found = self._prompts(firsts).pages
        names = ("input_ids", *self.row_inputs)
        parts = []
        for number, (there, question) in enumerate(zip(found["attention_mask"], own, strict=True)):
            rows = Rows(names, torch.stack([found[name][number] for name in names])[:, there.bool()])
            parts.append(page_part(rows, question).values)
        rest = {name: tensor for name, tensor in found.items() if name not in (*names, "attention_mask")}
        return rest | {"parts": _stacked(parts)}

    def _stored_pages(self, firsts: Sequence[Example], own: Sequence[list[int]], dtype: str) -> dict[str, Tensor]:
        """`features` of all documents (tokens x D) where the store has them, else as `_pages_of`, to be stored."""
        assert self.stored is not None
        digests = [self._digest(self.stored.digests(example.pages), example.numbers) for example in firsts]
        parts = self.stored.features(digests, self.wording)
        features = self.stored.features(digests, dtype)
        if parts is None or features is None:
            return self._pages_of(firsts, own) | {"digests": as_tensor(digests)}
        return {"features": torch.cat(features), "parts": _stacked(parts)}

    @staticmethod
    def _digest(pages: Sequence[str], numbers: Sequence[int]) -> str:
        """That of a document from those of its pages: a processor may treat several otherwise than each alone."""
        joined = bytes.fromhex("".join(pages)) + repr(tuple(numbers)).encode() * bool(numbers)
        whole = len(pages) == 1 and not numbers
        return pages[0] if whole else hashlib.blake2b(joined, digest_size=DIGEST).hexdigest()

    @cached_property
    def wording(self) -> str:
        """What the part of a prompt before its question is stored under, beside the page's digest."""
        return wording(self.processor)

    def _parts(self, shared: SharedPrompts) -> list[Rows]:
        names = ("input_ids", *self.row_inputs)
        return [Rows(names, part[:, part[0] != EMPTY]) for part in shared.pages["parts"]]

    def _packed_labelled(self, shared: SharedPrompts, examples: Sequence[Example]) -> dict[str, Tensor]:
        """A row a page and a row a question with its answer (`labels`); `page_of` (B) says whose page a row is about.

        Where questions do not go on from a cache of pages, rows as in `train_batch`, but what comes of a page is there
        once.
        """
        if self.continues and self.learns_from_cache:
            batch = self._packed_unlabelled(shared)
            ids, mask, labels = self._answered(batch["question_ids"], batch["question_mask"], examples)
            return batch | {"question_ids": ids, "question_mask": mask, "labels": labels}
        parts = self._parts(shared)
        rows = [parts[n].followed(question) for n, question in zip(shared.page_of, shared.rows, strict=True)]
        whole = self._left_padded(rows)
        labelled = self._labelled(Prompts(whole, []), examples)
        return shared.pages | labelled | {"page_of": torch.tensor(shared.page_of)}

    def _packed_unlabelled(self, shared: SharedPrompts) -> dict[str, Tensor]:
        """A row a document and a row a question, both padded on the left; `page_of` (B) joins them."""
        questions = {
            "question_ids": padded(shared.rows, self.pad, "left"),
            "question_mask": padded([[1] * len(row) for row in shared.rows], 0, "left"),
            "page_of": torch.tensor(shared.page_of),
        }
        return shared.pages | self._left_padded([part.values for part in self._parts(shared)]) | questions

    def _left_padded(self, rows: Sequence[Tensor]) -> dict[str, Tensor]:
        """Rows of every input (inputs x positions) as its tensor (B x T), and their mask."""
        columns = {
            name: padded([row[place].tolist() for row in rows], 0 if place else self.pad, "left")
            for place, name in enumerate(("input_ids", *self.row_inputs))
        }
        return columns | {"attention_mask": padded([[1] * row.shape[1] for row in rows], 0, "left")}


def _stacked(parts: Sequence[Tensor]) -> Tensor:
    """Page parts as one tensor (documents x inputs x positions), filled up with `EMPTY`."""
    longest = max(part.shape[1] for part in parts)
    return torch.stack([F.pad(part, (0, longest - part.shape[1]), value=EMPTY) for part in parts])


def _size(page: Page) -> tuple[int, int] | None:
    """Width and height in pixels where they are known: pages in files have them."""
    size: tuple[int, int] | None = getattr(page, "size", None)
    return size


def _refused(page: Page, size: tuple[int, int] | None, processor: Any, error: Exception) -> str:
    sides = "" if size is None else f" of {size[0]} x {size[1]} pixels"
    reason = " ".join(str(error).split())[:200]
    return f"page {page.name}{sides}: {type(processor).__name__} refuses it: {reason}; cut or resize the page"
