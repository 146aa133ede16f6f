"""Qwen3-VL: Qwen2-VL's shape, with features of several tower blocks for a page (DeepStack) in place of the last alone.

What some blocks of the tower give is merged like the tower's output and added to the hidden states at the page's tokens
behind the first decoder layers. Here a page's features hold all of it side by side, the tower's output first, so that
they are stored and read as one tensor. Source: Bai et al. 2025, arXiv:2511.21631; Meng et al. 2024, arXiv:2406.04334.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, Qwen3VLForConditionalGeneration

from docvlm.vlms.base import Block
from docvlm.vlms.qwen2vl.model import Qwen2VL
from docvlm.vlms.qwen3vl.attention import no_lean_attention, use_lean_attention


class Qwen3VL(Qwen2VL):
    """Qwen3-VL, dense. Adapter targets are the language side's attention projections."""

    family = "qwen3vl"
    classes: ClassVar = {"qwen3_vl": Qwen3VLForConditionalGeneration}

    @classmethod
    def adjust(cls, net: PreTrainedModel) -> None:
        """As Qwen2-VL, and queries and keys kept once."""
        super().adjust(net)
        use_lean_attention(net)

    def gradient_checkpointing(self) -> None:
        """Recompute activations in the backward pass; layers that are, keep none of what attention makes again."""
        super().gradient_checkpointing()
        no_lean_attention(self.bare)

    def vision_blocks(self) -> list[Block]:
        """As Qwen2-VL's; the mergers of what blocks inside the tower give belong to the last block as well."""
        mergers = [f"deepstack_merger_list.{level}" for level in range(len(self._levels))]
        return self._blocks(["patch_embed", "pos_embed"], ["merger", *mergers])

    @property
    def _levels(self) -> list[int]:
        """The tower's blocks whose output the language side reads beside that of the last one."""
        blocks: list[int] = self.bare.config.vision_config.deepstack_visual_indexes
        return blocks

    @property
    def prefix(self) -> tuple[nn.Module, ...]:
        """The tower's frozen modules but for the table of positions, whose input is none of another module's."""
        return tuple(module for module in super().prefix if not isinstance(module, nn.Embedding))

    @property
    def kept_of_prefix(self) -> tuple[nn.Module, ...]:
        """The last frozen block, and those before it that a merger behind them reads, which learns."""
        frozen = self.prefix
        blocks: Any = self.bare.get_submodule("model.visual.blocks")
        read = {blocks[index] for index in self._levels} | set(frozen[-1:])
        return tuple(module for module in frozen if module in read)

    def _tower(self, pixels: Tensor, grid: Tensor) -> Tensor:
        """What the tower makes of pages (tokens x (1 + levels) D): its output, and each level behind it."""
        tower = self.bare.model.visual
        found = tower(pixels.type(tower.dtype), grid_thw=grid, return_dict=True)
        return torch.cat([found.pooler_output, *found.deepstack_features], dim=-1)

    @property
    def unprefilled(self) -> str:
        """Features of a page that reach blocks above the frozen ones are not in what those make of it."""
        levels, frozen = len(self._levels), len(self.frozen_layers)
        above = f"DeepStack adds the page's features behind the first {levels} blocks, and {frozen} are frozen"
        return super().unprefilled or (above if frozen < levels else "")

    def _embedded(self, batch: dict[str, Tensor]) -> dict[str, Any]:
        """Embeddings with each page's features in its place, and what the first layers add there.

        What the last layer would add at a page's tokens nobody reads.
        """
        features, *levels = self.page_features(batch).chunk(1 + len(self._levels), dim=-1)
        layers: int = self.bare.config.get_text_config().num_hidden_layers
        return {
            "inputs_embeds": self._in_place(batch, features),
            "visual_pos_masks": batch["input_ids"] == self.codec.image,
            "deepstack_visual_embeds": levels[: layers - 1],
        }
