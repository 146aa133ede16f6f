"""Qwen2-VL, and Qwen2.5-VL, whose classes have the same shape: a decoder that reads pages of any size as patches.

Questions share the reading of their pages: in training as branches behind them (`branches`), in evaluation
as rows on an expanded cache (`docvlm.vlms.decoding`). Source: Wang et al. 2024, arXiv:2409.12191, and the model card.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor
from transformers import Qwen2_5_VLForConditionalGeneration, Qwen2VLForConditionalGeneration

from docvlm.data.loading.packing import positions, split_of
from docvlm.vlms.base import VLM, Block
from docvlm.vlms.decoding import Probabilities, greedy_on_pages
from docvlm.vlms.prefix import entered, observed
from docvlm.vlms.qwen2vl.attention import use_fast_paths
from docvlm.vlms.qwen2vl.branches import BranchMask, branch_mask, use_branches
from docvlm.vlms.qwen2vl.codec import Qwen2VLCodec
from docvlm.vlms.qwen2vl.heads import use_fast_heads
from docvlm.vlms.qwen2vl.last_layer import only_answers, use_last_layer
from docvlm.vlms.qwen2vl.prefill import Prefill, continued, only_above, read, width
from docvlm.vlms.qwen2vl.recompute import use_recompute

if TYPE_CHECKING:
    from transformers import DynamicCache, PreTrainedModel

    from docvlm.vlms.codec import Budget


class Qwen2VL(VLM):
    """Qwen2-VL or Qwen2.5-VL. Adapter targets are the language side's attention projections."""

    family = "qwen2vl"
    classes: ClassVar = {
        "qwen2_vl": Qwen2VLForConditionalGeneration,
        "qwen2_5_vl": Qwen2_5_VLForConditionalGeneration,
    }
    codec: Qwen2VLCodec

    @classmethod
    def adjust(cls, net: PreTrainedModel) -> None:
        """Fast vision, packed questions, a last layer of answers only, and less kept for the backward pass."""
        use_fast_paths(net)
        use_branches(net)
        use_last_layer(net)
        use_fast_heads(net)
        use_recompute(net)

    def set_budget(self, budget: Budget) -> None:
        """Pixels of a page, `min_pixels` to `max_pixels`."""
        reading = self.codec.reading
        self.codec = type(self.codec)(self.codec.processor, budget, self.codec.longest)
        self.codec.reading = reading

    def vision_blocks(self) -> list[Block]:
        """One a transformer block of the tower; the patch embedding belongs to the first, the merger to the last."""
        return self._blocks(["patch_embed"], ["merger"])

    def _blocks(self, before: list[str], after: list[str]) -> list[Block]:
        """The tower's blocks, with its modules `before` them and `after` them."""
        modules = [[f"blocks.{index}"] for index in range(len(self.bare.get_submodule("model.visual.blocks")))]
        modules[0] = before + modules[0]
        modules[-1] += after
        names = [[f"model.visual.{module}" for module in block] for block in modules]
        return [self._block(f"block {index}", block) for index, block in enumerate(names)]

    def loss(self, batch: dict[str, Tensor]) -> tuple[Tensor, int]:
        """Summed cross-entropy over labelled tokens (scalar, nats) and how many there were."""
        if "segments" in batch:
            return self._packed_loss(batch)
        inputs = {name: tensor for name, tensor in batch.items() if name != "labels"}
        with self.autocast():
            hidden = self.bare.model(**inputs, use_cache=False).last_hidden_state
        return self._answer_loss(hidden[:, :-1], batch["labels"][:, 1:])

    def _packed_loss(self, batch: dict[str, Tensor]) -> tuple[Tensor, int]:
        inputs = self._unpacked(batch)
        mask: BranchMask = inputs["attention_mask"]
        inputs["attention_mask"], labels = only_answers(mask, batch["labels"])
        language, below = self.bare.model.language_model, self._prefilled(batch)
        with self.autocast():
            inputs |= self._behind(batch, inputs["position_ids"], mask) if below else self._embedded(batch)
            with only_above(language, below):
                hidden = language(**inputs, use_cache=False).last_hidden_state
        return self._answer_loss(hidden, labels)

    def _behind(self, batch: dict[str, Tensor], places: Tensor, mask: BranchMask) -> dict[str, Any]:
        """What the blocks above the frozen ones read in place of embeddings: hidden states of pages and branches."""
        pages = self._prefill(batch, places)
        branches = self.bare.get_input_embeddings()(batch["input_ids"][:, mask.split :])
        return {"inputs_embeds": continued(self.bare, pages, branches, places[:, :, mask.split :], mask)}

    def _prefilled(self, batch: dict[str, Tensor]) -> int:
        """How many blocks of the decoder read the pages of this batch apart; 0 where all are read together."""
        return len(self.frozen_layers) if "prefill" in batch or "documents" in batch else 0

    def _prefill(self, batch: dict[str, Tensor], places: Tensor) -> Prefill:
        """What the frozen blocks make of the pages of a batch, as it brings it, or computed and kept.

        `places` are the positions of at least the pages (3 x B x P).
        """
        if "prefill" in batch:
            return Prefill.of(batch["prefill"], self.bare, len(self.frozen_layers))
        mask: Any
        if "segments" in batch:
            split = split_of(batch["segments"])
            pages, segments = batch["input_ids"][:, :split], batch["segments"][:, :split]
            seen, mask = segments == 0, branch_mask(segments, split, additive=self._additive)
            places = places[:, :, :split]
        else:
            pages, seen, mask = batch["input_ids"], batch["attention_mask"], batch["attention_mask"]
        embedded = self._embedded(batch | {"input_ids": pages})
        found = read(self.bare, len(self.frozen_layers), **embedded, position_ids=places, attention_mask=mask)
        if "documents" in batch and self.codec.prefilled is not None:
            self.codec.prefilled.keep(batch["documents"], found.stored(seen.sum(dim=1).tolist()))
        return found

    @property
    def unprefilled(self) -> str:
        """Blocks of a tower that learn give other pages with every step."""
        assert self.trainable is not None
        return f"the tower learns below them, freeze={self.trainable.freeze:g}" if self.learns_below else ""

    @property
    def prefill_width(self) -> int:
        """Values a token that are stored: hidden states, keys and values."""
        return width(self.bare, len(self.frozen_layers))

    def _unpacked(self, batch: dict[str, Tensor]) -> dict[str, Any]:
        """Mask and positions of a packed batch's branches, as the language model takes them."""
        segments = batch["segments"]
        split = split_of(segments)
        prefix, _ = self.bare.model.get_rope_index(
            input_ids=batch["input_ids"][:, :split],
            mm_token_type_ids=batch["mm_token_type_ids"][:, :split],
            image_grid_thw=batch["image_grid_thw"],
            attention_mask=(segments[:, :split] == 0).long(),
        )
        return {
            "position_ids": positions(prefix, segments, batch["offsets"]),
            "attention_mask": branch_mask(segments, split, additive=self._additive),
        }

    @property
    def _additive(self) -> bool:
        """Whether attention adds its mask."""
        return str(self.bare.config.get_text_config()._attn_implementation).endswith("eager")

    def _embedded(self, batch: dict[str, Tensor]) -> dict[str, Any]:
        """What the language model reads in place of `input_ids`: embeddings with each page's features in its place."""
        return {"inputs_embeds": self._in_place(batch, self.page_features(batch))}

    def _in_place(self, batch: dict[str, Tensor], features: Tensor) -> Tensor:
        """Embeddings of `input_ids` (B x T x D), those of image tokens replaced by `features` (tokens x D)."""
        embeds: Tensor = self.bare.get_input_embeddings()(batch["input_ids"])
        image = (batch["input_ids"] == self.codec.image)[..., None]
        return embeds.masked_scatter(image, features.to(embeds.dtype))

    def page_features(self, batch: dict[str, Tensor]) -> Tensor:
        """Tokens of all pages (tokens x D)."""
        if "features" in batch:
            return batch["features"]
        grid = batch["image_grid_thw"]
        if "prefix" in batch:
            taken = self.kept_of_prefix
            given = [part.contiguous() for part in self._stored_prefix(batch).chunk(len(taken), dim=-1)]
            with entered(self.prefix, dict(zip(taken, given, strict=True))):
                return self._tower(given[-1], grid)
        with observed(self.kept_of_prefix) as seen:
            features = self._tower(batch["pixel_values"], grid)
        side, made = (1, torch.cat(seen, dim=-1)) if seen else (self.codec.merge, features)
        pages = made.split((grid.prod(-1) // side**2).tolist())
        sizes = (grid[:, 1:] // side).tolist()
        self._keep(batch, [page.unflatten(0, size) for page, size in zip(pages, sizes, strict=True)])
        return features

    def _tower(self, pixels: Tensor, grid: Tensor) -> Tensor:
        """What the tower makes of pages (tokens x D) from their `pixels` (patches x values)."""
        return torch.cat(tuple(self.bare.model.get_image_features(pixels, grid).pooler_output))

    def _greedy(self, batch: dict[str, Tensor], max_new_tokens: int) -> tuple[Tensor, Tensor]:
        if "page_of" in batch:
            if self._prefilled(batch):
                read = partial(self._read_above, batch)
            else:
                read = partial(self.bare.model.language_model, **self._embedded(batch))
            return greedy_on_pages(self.bare, batch, read, max_new_tokens, in_step=self.in_step)
        sure = Probabilities()
        ids = self._generated(batch, max_new_tokens, sure)
        new = ids[:, batch["input_ids"].shape[1] :]
        return new, sure.of(new)

    def _read_above(
        self, batch: dict[str, Tensor], *, position_ids: Tensor, past_key_values: DynamicCache, **inputs: Any
    ) -> None:
        """The language side on the pages of a batch, from what its frozen blocks made of them; fills the cache."""
        pages, language = self._prefill(batch, position_ids), self.bare.model.language_model
        inputs |= {"inputs_embeds": pages.hidden, "position_ids": position_ids, "past_key_values": past_key_values}
        with only_above(language, len(self.frozen_layers)):
            language(**inputs)
        pages.fill(past_key_values)  # afterwards: its length is that of the first block
