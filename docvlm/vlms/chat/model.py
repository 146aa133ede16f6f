"""Any image-text-to-text model of Transformers, by its own forward and `generate`.

Nothing of a model is replaced, so that a new architecture of Transformers needs no code here: what differs from one to
the next is read from its module tree (`tree`), its processor (`codec`) and its chat template (`template`).
"""

from __future__ import annotations

import inspect
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AutoModelForImageTextToText, DynamicCache

from docvlm.data.loading.packing import IGNORED, by_pages
from docvlm.errors import DocvlmError
from docvlm.vlms.base import VLM, Block
from docvlm.vlms.chat import tree
from docvlm.vlms.chat.codec import ChatCodec
from docvlm.vlms.chat.page_part import EMPTY
from docvlm.vlms.decoding import Probabilities, continued

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from transformers import PreTrainedConfig

    from docvlm.data.example import Example
    from docvlm.vlms.codec import Budget
    from docvlm.vlms.trainable import Parts

_OF_A_TOWER = {"last_hidden_state", "pooler_output", "hidden_states", "attentions"}
_TRIED = 4  # tokens of the answers that are compared
_UNSHARED = (
    ArithmeticError,
    AttributeError,
    LookupError,
    NotImplementedError,
    RuntimeError,
    TypeError,
    ValueError,
)


class Chat(VLM):
    """A checkpoint of any architecture that Transformers knows and loads without its own code."""

    family = "chat"
    codec: ChatCodec
    _settled = False

    @classmethod
    def net_class(cls, model_type: str) -> Any:
        """The auto class: it knows the architecture of every `model_type`."""
        return AutoModelForImageTextToText

    @classmethod
    def kept(cls, config: PreTrainedConfig, parts: Parts) -> tuple[str, ...]:
        """All but the language side, found in a model without weights, and the vocabulary projection."""
        with torch.device("meta"):
            net = AutoModelForImageTextToText.from_config(config)
        head = net.get_output_embeddings()
        return (*tree.found(net, parts).outside, *(name for name, one in net.named_modules() if one is head))

    @cached_property
    def _tree(self) -> tree.Tree:
        return tree.found(self.bare, self.parts)

    @property
    def language(self) -> str:
        """The module of the language side."""
        return self._tree.language

    @cached_property
    def decoder(self) -> str:
        """The longest list of like modules in the language side."""
        return tree.longest(self.bare.get_submodule(self.language), self.language)

    @cached_property
    def lora_targets(self) -> tuple[str, ...]:
        """The linear layers of its attention."""
        return tree.lora_targets(self.bare, self.language)

    def set_budget(self, budget: Budget) -> None:
        """Terms of the checkpoint's image processor, read anew: what a smaller budget took from it has to come back."""
        codec = self.codec
        self.codec = ChatCodec.load(self.checkpoint, budget, offline=True, revision=self.revision)
        for found in ("shares", "continues", "learns_from_cache", "reading"):
            setattr(self.codec, found, getattr(codec, found))

    def gradient_checkpointing(self) -> None:
        """Recompute activations in the backward pass; layers that are, keep no cache for questions to go on from."""
        super().gradient_checkpointing()
        self.run_layers_once()

    def run_layers_once(self) -> None:
        """Let no question go on from the cache of its page."""
        self.codec.learns_from_cache = False

    def vision_blocks(self) -> list[Block]:
        """The tower's blocks. What comes before them is the first's, what comes after, projectors too, the last's."""
        found = []
        for name, modules, loose in tree.blocks(self.bare, self._tree):
            block = self._block(name, modules)
            found.append(Block(name, block.modules, (*loose, *block.parameters)))
        return found

    def loss(self, batch: dict[str, Tensor]) -> tuple[Tensor, int]:
        """Summed cross-entropy over labelled tokens (scalar, nats) and how many there were."""
        said, wanted = self._said(batch)
        return F.cross_entropy(said, wanted, reduction="sum"), len(wanted)

    def _said(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Logits (N x V, float32) of all labelled tokens, and the tokens (N)."""
        labels = batch["labels"]
        first = int((labels != IGNORED).any(dim=0).int().argmax())
        kept = labels.shape[1] - first + 1  # the position before each label speaks of it
        inputs: dict[str, Any] = {name: tensor for name, tensor in batch.items() if name != "labels"}
        with self.autocast():
            if "question_ids" in batch:
                inputs = self._behind_pages(batch)
            else:
                inputs = (self._embedded(inputs) if "parts" in batch else inputs) | {"use_cache": False}
            logits = self.bare(**inputs, logits_to_keep=kept).logits
        said, wanted = logits[:, -kept:-1].float(), labels[:, first:]
        answers = wanted != IGNORED
        return said[answers], wanted[answers]

    def _behind_pages(self, batch: dict[str, Tensor]) -> dict[str, Any]:
        """Inputs of questions and answers behind the cache of their pages, through which gradients reach the pages."""
        cache, first = self._read(batch)
        page_of, mask = batch["page_of"], batch["question_mask"]
        cache.batch_select_indices(page_of)
        return {
            "input_ids": batch["question_ids"],
            "attention_mask": torch.cat([batch["attention_mask"][page_of], mask], dim=1),
            "position_ids": first[page_of, None] + (mask.cumsum(1) - 1).clamp(min=0),
            "past_key_values": cache,
            "use_cache": True,
        }

    def _read(self, batch: dict[str, Tensor]) -> tuple[DynamicCache, Tensor]:
        """Cache of the pages of a batch, and the positions (documents) at which questions begin behind them."""
        mask = batch["attention_mask"]
        cache = DynamicCache(config=self.bare.config.get_text_config())
        places = (mask.cumsum(dim=1) - 1).clamp(min=0)
        self.bare(**self._embedded(batch), position_ids=places, past_key_values=cache, use_cache=True, logits_to_keep=1)
        return cache, mask.sum(dim=1)

    def _embedded(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Inputs of rows with each page's features in their places, in place of ids and pixels."""
        ids = batch["input_ids"]
        image = self._of_pages(ids)
        embeds: Tensor = self.bare.get_input_embeddings()(ids.masked_fill(image, self.codec.pad))
        features = self.page_features(batch).to(embeds.dtype)
        if "question_ids" not in batch:  # a row a question: its page's features once more
            pages = features.split(self._counts(batch))
            features = torch.cat([pages[number] for number in batch["page_of"].tolist()])
        rows = {name: tensor for name, tensor in batch.items() if name in (*self.codec.row_inputs, "attention_mask")}
        return rows | {"inputs_embeds": embeds.masked_scatter(image[..., None], features)}

    def _counts(self, batch: dict[str, Tensor]) -> list[int]:
        """Features of every document."""
        counts: list[int] = self._of_pages(batch["parts"][:, 0]).sum(dim=1).tolist()
        return counts

    def _of_pages(self, ids: Tensor) -> Tensor:
        """Which of the positions are those of pages."""
        assert self.codec.image is not None  # or pages were not shared
        return ids.eq(self.codec.image)

    def page_features(self, batch: dict[str, Tensor]) -> Tensor:
        """What goes into the image tokens of all documents (tokens x D), by the model's own `get_image_features`."""
        if "features" in batch:
            return batch["features"]
        takes = inspect.signature(self.bare.get_image_features).parameters
        found: Any = self.bare.get_image_features(**{name: one for name, one in batch.items() if name in takes})
        if more := [name for name, one in found.items() if one is not None and name not in _OF_A_TOWER]:
            raise DocvlmError(f"get_image_features gives {', '.join(more)} beside what image tokens stand for")
        pooled = found.pooler_output
        features = torch.cat([one.flatten(0, -2) for one in pooled])
        if "digests" in batch and self.codec.stored is not None:
            self._keep(batch, features.split(self._counts(batch)))
            names = (f"{bytes(row).hex()}.{self.codec.wording}" for row in batch["digests"].tolist())
            parts = [part[:, part[0] != EMPTY] for part in batch["parts"]]
            self.codec.stored.store.write(dict(zip(names, parts, strict=True)))
        return features

    @property
    def unstored(self) -> str:
        """A tower that learns from some block on gives other features with every step."""
        assert self.trainable is not None
        if not self.codec.shares:
            return "questions do not share a page here"
        whole = self.trainable.frozen_blocks == len(self.trainable.blocks)
        return (
            "" if whole else f"only the output of a whole frozen tower is stored, and freeze={self.trainable.freeze:g}"
        )

    @torch.no_grad()
    def settle(self, examples: Sequence[Example]) -> str:
        """Compare losses and answers with and without sharing on a few examples; share where they are the same."""
        if self._settled:
            return ""
        self._settled = True
        codec, stored, training = self.codec, self.codec.stored, self.training
        codec.stored = None
        self.eval()
        two = _two_documents(examples)
        said = self._tried(self._other_answer, two) or self._tried(self._other_loss, two)
        codec.continues = not said
        lost = said and self._tried(self._other_loss, two)
        self.train(training)
        codec.stored, codec.shares, codec.continues = stored, not lost, not said
        if lost:
            return f"pages are not shared by their questions ({lost})"
        return (
            f"questions share the tower's work on a page in training, and nothing in evaluation ({said})"
            if said
            else ""
        )

    def _tried(self, compare: Callable[[Sequence[Example]], str], examples: Sequence[Example]) -> str:
        if self.codec.image is None:
            return "its config names no image token"
        try:
            return compare(examples)
        except DocvlmError as error:
            return str(error)
        except _UNSHARED as error:  # whatever an architecture says to inputs that it was not written for
            return f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"

    def _other_loss(self, examples: Sequence[Example]) -> str:
        """What the loss would be with pages shared, where it is another one."""
        learned = [example for example in examples if example.answers]
        if not learned:
            return ""
        alone, wanted = self._said(self._here(self.codec.train_batch(learned)))
        shared, _ = self._said(self._here(self.codec.packed_batch(learned)))
        if (alone - shared).abs().max() <= 10 * self._exact * alone.std():
            return ""
        first, second = (F.cross_entropy(said, wanted, reduction="sum").item() for said in (alone, shared))
        return f"the loss would be {second:.4f} in place of {first:.4f}"

    def _other_answer(self, examples: Sequence[Example]) -> str:
        """The first answer that would be another from the cache of its page."""
        alone = self.generate(self._here(self.codec.prompt_batch(examples)), _TRIED)
        shared = self.generate(self._here(self.codec.packed_prompt_batch(examples)), _TRIED)
        for one, other in zip(alone, shared, strict=True):
            if abs(one.confidence - other.confidence) > self._exact:
                return f"an answer would be {other.text!r} in place of {one.text!r}"
        return ""

    @property
    def _exact(self) -> float:
        """What may lie between two ways to the same number."""
        return 1e-4 if self.dtype == torch.float32 else 2e-2

    def _here(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: tensor.to(self.device) for name, tensor in batch.items()}

    def _greedy(self, batch: dict[str, Tensor], max_new_tokens: int) -> tuple[Tensor, Tensor]:
        if "question_ids" in batch:
            return self._greedy_on_pages(batch, max_new_tokens)
        sure = Probabilities()
        ids = self._generated(batch, max_new_tokens, sure)
        new = ids[:, batch["input_ids"].shape[1] :]
        return new, sure.of(new)

    def _greedy_on_pages(self, batch: dict[str, Tensor], max_new_tokens: int) -> tuple[Tensor, Tensor]:
        """Pages are read once; every question goes on from a copy of its document's cache."""
        cache, first = self._read(batch)

        def logits(**inputs: Any) -> Tensor:
            found: Tensor = self.bare(**inputs, logits_to_keep=1).logits
            return found[:, -1]

        return continued(self.bare, batch, cache, first, logits, max_new_tokens, in_step=self.in_step)


def _two_documents(examples: Sequence[Example]) -> list[Example]:
    """Up to two questions about each of the first two documents: what is shared, and what is told apart."""
    groups = by_pages(examples[:64])[:2]
    return [example for group in groups for example in group[:2]]
