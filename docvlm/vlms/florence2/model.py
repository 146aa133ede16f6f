"""Florence-2, in Transformers' own classes: an encoder-decoder that sees a page at one fixed size.

Source: Xiao et al. 2023, arXiv:2311.06242.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from torch import Tensor
from transformers import Florence2ForConditionalGeneration

from docvlm.vlms.base import VLM, Block
from docvlm.vlms.decoding import Probabilities
from docvlm.vlms.florence2.codec import Florence2Codec
from docvlm.vlms.prefix import entered, observed

if TYPE_CHECKING:
    from docvlm.vlms.codec import Budget


class Florence2(VLM):
    """Florence-2. Adapter targets are BART's attention projections in encoder, decoder and cross-attention."""

    family = "florence2"
    classes: ClassVar = {"florence2": Florence2ForConditionalGeneration}
    codec: Florence2Codec

    def set_budget(self, budget: Budget) -> None:
        """Pixels of a page, `height` x `width`."""
        generation = self.bare.generation_config
        assert generation is not None
        reading = self.codec.reading
        self.codec = type(self.codec)(self.codec.processor, self.bare.config, generation, budget)
        self.codec.reading = reading

    @property
    def forced_tokens(self) -> int:
        """`<s>`, where the checkpoint forces it, is generated and belongs to no answer."""
        return len(self.codec.start) - 1

    def vision_blocks(self) -> list[Block]:
        """One a DaViT block over all stages; a stage's convolution is of its first block, the projector of the last."""
        tower = "model.vision_tower"
        stages = self.bare.get_submodule(f"{tower}.blocks")
        modules, names = [], []
        for stage, blocks in enumerate(stages.children()):
            for index in range(len(list(blocks.children()))):
                convolution = [] if index else [f"{tower}.convs.{stage}"]
                modules.append([*convolution, f"{tower}.blocks.{stage}.{index}"])
                names.append(f"stage {stage} block {index}")
        modules[-1].append("model.multi_modal_projector")
        return [self._block(name, owned) for name, owned in zip(names, modules, strict=True)]

    def loss(self, batch: dict[str, Tensor]) -> tuple[Tensor, int]:
        """Summed cross-entropy over labelled tokens (scalar, nats) and how many there were."""
        inputs = {name: tensor for name, tensor in batch.items() if name != "labels"}
        with self.autocast():
            hidden = self.bare.model(**self._spread(inputs), use_cache=False).last_hidden_state
        return self._answer_loss(hidden, batch["labels"])

    def _spread(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Put each page's features into the rows that ask about it, where pages are shared: the tower sees it once."""
        if "page_of" not in inputs:
            return inputs
        pages = ("input_ids", "page_of", "pixel_values", "features", "prefix", "digests")
        rest = {name: tensor for name, tensor in inputs.items() if name not in pages}
        embeds: Tensor = self.bare.get_input_embeddings()(inputs["input_ids"])
        image = (inputs["input_ids"] == self.codec.page[0])[..., None]
        features = self.page_features(inputs)[inputs["page_of"]]
        return rest | {"inputs_embeds": embeds.masked_scatter(image, features.to(embeds.dtype))}

    def page_features(self, batch: dict[str, Tensor]) -> Tensor:
        """Tokens of the pages (pages x tokens x D)."""
        if "features" in batch:
            return batch["features"]
        features: Tensor
        if "prefix" in batch:
            stored = self._stored_prefix(batch)
            with entered(self.prefix, {self.prefix[-1]: stored}):
                features = self.bare.model.get_image_features(stored).pooler_output
            return features
        with observed(self.kept_of_prefix) as seen:
            features = self.bare.model.get_image_features(batch["pixel_values"]).pooler_output
        self._keep(batch, list(seen[0] if seen else features))
        return features

    def _greedy(self, batch: dict[str, Tensor], max_new_tokens: int) -> tuple[Tensor, Tensor]:
        start, inputs, sure = len(self.codec.start), self._spread(batch), Probabilities()
        if "inputs_embeds" in inputs:  # which `generate` does not hand on to an encoder
            encoded = self.bare.model.language_model.encoder(**inputs)
            inputs = {"encoder_outputs": encoded, "attention_mask": batch["attention_mask"]}
        longest = max_new_tokens + start - 1
        ids = self._generated(inputs, longest, sure)
        return ids[:, start:], sure.of(ids[:, start:])
