"""Qwen2-VL, and Qwen2.5-VL, whose classes have the same shape: a decoder that reads pages of any size as patches.

Questions share the reading of their pages: in training as branches behind them (`branches`), in evaluation
as rows on an expanded cache (`docvlm.vlms.decoding`). Source: Wang et al. 2024, arXiv:2409.12191, and the model card.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor
from transformers import Qwen2_5_VLForConditionalGeneration, Qwen2VLForConditionalGeneration

from docvlm.data.loading.packing import positions, split_of
from docvlm.vlms.base import VLM, Block
from docvlm.vlms.decoding import Probabilities, greedy_on_pages
from docvlm.vlms.prefix import entered, observed
from docvlm.vlms.qwen2vl.attention import use_fast_paths
from docvlm.vlms.qwen2vl.branches import branch_mask, use_branches
from docvlm.vlms.qwen2vl.codec import Qwen2VLCodec
from docvlm.vlms.qwen2vl.last_layer import only_answers, use_last_layer
from docvlm.vlms.qwen2vl.recompute import use_recompute

if TYPE_CHECKING:
    from transformers import PreTrainedModel

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
        use_recompute(net)

    def set_budget(self, budget: Budget) -> None:
        """Pixels of a page, `min_pixels` to `max_pixels`."""
        self.codec = type(self.codec)(self.codec.processor, budget, self.codec.longest)

    def vision_blocks(self) -> list[Block]:
        """One a transformer block of the tower; the patch embedding belongs to the first, the merger to the last."""
        depth = len(self.bare.get_submodule("model.visual.blocks"))
        modules = [[f"model.visual.blocks.{index}"] for index in range(depth)]
        modules[0].insert(0, "model.visual.patch_embed")
        modules[-1].append("model.visual.merger")
        return [self._block(f"block {index}", names) for index, names in enumerate(modules)]

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
        mask, labels = only_answers(inputs["attention_mask"]["full_attention"], batch["labels"])
        inputs["attention_mask"] = {"full_attention": mask}
        with self.autocast():
            hidden = self.bare.model(**inputs, inputs_embeds=self._embeds(batch), use_cache=False).last_hidden_state
        return self._answer_loss(hidden, labels)

    def _unpacked(self, batch: dict[str, Tensor]) -> dict[str, Any]:
        """Mask and positions of a packed batch's branches, as the Transformers model takes them."""
        segments = batch["segments"]
        split = split_of(segments)
        prefix, _ = self.bare.model.get_rope_index(
            input_ids=batch["input_ids"][:, :split],
            mm_token_type_ids=batch["mm_token_type_ids"][:, :split],
            image_grid_thw=batch["image_grid_thw"],
            attention_mask=(segments[:, :split] == 0).long(),
        )
        additive = self.bare.config.get_text_config()._attn_implementation.endswith("eager")
        return {
            "position_ids": positions(prefix, segments, batch["offsets"]),
            "attention_mask": {"full_attention": branch_mask(segments, split, additive=additive)},
        }

    def _embeds(self, batch: dict[str, Tensor]) -> Tensor:
        """Embeddings of `input_ids` (B x T x D) with each page's features in its place."""
        embeds: Tensor = self.bare.get_input_embeddings()(batch["input_ids"])
        image = (batch["input_ids"] == self.codec.image)[..., None]
        return embeds.masked_scatter(image, self.page_features(batch).to(embeds.dtype))

    def page_features(self, batch: dict[str, Tensor]) -> Tensor:
        """Tokens of all pages (tokens x D)."""
        if "features" in batch:
            return batch["features"]
        grid, tower = batch["image_grid_thw"], self.bare.model.get_image_features
        if "prefix" in batch:
            stored = self._stored_prefix(batch)
            with entered(self.prefix, stored):
                return torch.cat(tuple(tower(stored, grid).pooler_output))
        with observed(self.prefix) as seen:
            pages = tower(batch["pixel_values"], grid).pooler_output
        side = 1 if seen else self.codec.merge
        sizes, patches = (grid[:, 1:] // side).tolist(), grid.prod(-1).tolist()
        kept = zip(seen[0].split(patches) if seen else pages, sizes, strict=True)
        self._keep(batch, [page.unflatten(0, size) for page, size in kept])
        return torch.cat(tuple(pages))

    def _greedy(self, batch: dict[str, Tensor], max_new_tokens: int) -> tuple[Tensor, Tensor]:
        if "page_of" in batch:
            return greedy_on_pages(self.bare, batch, self._embeds(batch), max_new_tokens)
        sure = Probabilities()
        ids: Tensor = self.bare.generate(**batch, max_new_tokens=max_new_tokens, logits_processor=[sure])  # type: ignore[operator]  # from a mixin
        new = ids[:, batch["input_ids"].shape[1] :]
        return new, sure.of(new)
