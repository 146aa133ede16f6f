"""Any image-text-to-text model of Transformers, by its own forward and `generate`.

Nothing of a model is replaced, so that a new architecture of Transformers needs no code here: what differs from one to
the next is read from its module tree (`tree`), its processor (`codec`) and its chat template (`template`).
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AutoModelForImageTextToText

from docvlm.data.loading.packing import IGNORED
from docvlm.vlms.base import VLM, Block
from docvlm.vlms.chat import tree
from docvlm.vlms.chat.codec import ChatCodec
from docvlm.vlms.decoding import Probabilities

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

    from docvlm.vlms.codec import Budget
    from docvlm.vlms.trainable import Parts


class Chat(VLM):
    """A checkpoint of any architecture that Transformers knows and loads without its own code."""

    family = "chat"
    codec: ChatCodec

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
    def lora_targets(self) -> tuple[str, ...]:
        """The linear layers of its attention."""
        return tree.lora_targets(self.bare, self.language)

    def set_budget(self, budget: Budget) -> None:
        """Terms of the checkpoint's image processor."""
        codec = self.codec
        self.codec = type(codec)(codec.processor, budget, codec.longest, codec.stops)

    def vision_blocks(self) -> list[Block]:
        """The tower's blocks. What comes before them is the first's, what comes after, projectors too, the last's."""
        found = []
        for name, modules, loose in tree.blocks(self.bare, self._tree):
            block = self._block(name, modules)
            found.append(Block(name, block.modules, (*loose, *block.parameters)))
        return found

    def loss(self, batch: dict[str, Tensor]) -> tuple[Tensor, int]:
        """Summed cross-entropy over labelled tokens (scalar, nats) and how many there were."""
        labels = batch["labels"]
        first = int((labels != IGNORED).any(dim=0).int().argmax())
        kept = labels.shape[1] - first + 1  # the position before each label speaks of it
        inputs = {name: tensor for name, tensor in batch.items() if name != "labels"}
        with self.autocast():
            logits = self.bare(**inputs, use_cache=False, logits_to_keep=kept).logits
        said, wanted = logits[:, -kept:-1].float(), labels[:, first:]
        answers = wanted != IGNORED
        return F.cross_entropy(said[answers], wanted[answers], reduction="sum"), int(answers.sum())

    def page_features(self, batch: dict[str, Tensor]) -> Tensor:
        """Not asked for: nothing of a page is stored."""
        raise NotImplementedError

    def _greedy(self, batch: dict[str, Tensor], max_new_tokens: int) -> tuple[Tensor, Tensor]:
        sure = Probabilities()
        ids: Tensor = self.bare.generate(**batch, max_new_tokens=max_new_tokens, logits_processor=[sure])  # type: ignore[operator]  # from a mixin
        new = ids[:, batch["input_ids"].shape[1] :]
        return new, sure.of(new)
