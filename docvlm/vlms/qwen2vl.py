"""Qwen2-VL, and Qwen2.5-VL, whose classes have the same shape: a decoder that reads pages of any size as patches.

Pages are resized by qwen-vl-utils, as in the published Quick Start, between `min_pixels` and `max_pixels`; training and
evaluation go through the same code. Prompt and answer are tokenised apart, so that what training puts before an answer
is token for token what generation gets. Source: Wang et al. 2024, arXiv:2409.12191, and the model card's code.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor
from transformers import (
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2VLForConditionalGeneration,
    Qwen2VLProcessor,
)

from docvlm.data.packing import Branch, by_pages, pack, positions, split_of
from docvlm.errors import DocvlmError
from docvlm.vlms.attention import use_fast_paths
from docvlm.vlms.base import IGNORED, VLM, Block
from docvlm.vlms.branches import branch_mask, use_branches
from docvlm.vlms.checkpoint import load_processor, load_weights, model_type
from docvlm.vlms.codec import Budget, Codec, Prompts, SharedPrompts, as_tensor, padded
from docvlm.vlms.decoding import greedy_on_pages
from docvlm.vlms.pages import open_page, open_pages
from docvlm.vlms.prefix import entered, observed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PIL.Image import Image
    from transformers import PreTrainedModel

    from docvlm.data.example import Example, Page

END = "<|im_end|>"
_CLASSES: dict[str, tuple[type[PreTrainedModel], type]] = {
    "qwen2_vl": (Qwen2VLForConditionalGeneration, Qwen2VLProcessor),
    "qwen2_5_vl": (Qwen2_5_VLForConditionalGeneration, Qwen2_5_VLProcessor),
}
_UTILS_MERGE = 2  # qwen-vl-utils makes sides multiples of patch x 2, whatever the checkpoint says


class Qwen2VLCodec(Codec):
    """Chat prompt `pages, question + instruction`; budget `min_pixels`/`max_pixels`, default the processor's own."""

    prompt = "chat template: pages, then question + instruction"

    def __init__(self, processor: Qwen2VLProcessor, budget: Budget) -> None:
        self.processor = processor
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

    def _prompts(self, examples: Sequence[Example]) -> Prompts:
        """Pages: `pixel_values` (patches x values) and `image_grid_thw` (pages x 3)."""
        pixels, tokens = self._pages(examples)
        rows = [self._prompt(example, counts) for example, counts in zip(examples, tokens, strict=True)]
        return Prompts(pixels, rows)

    def _pages(self, examples: Sequence[Example]) -> tuple[dict[str, Tensor], list[list[int]]]:
        """Pixels of the examples' pages, and how many tokens each page of each example becomes."""
        pages = open_pages(examples, self._resized)
        flat = [image for images in pages for image in images]
        # Whole batches in torch: pages of equal size are normalised and cut into patches together.
        pixels = self.processor.image_processor(images=flat, do_resize=False, return_tensors="pt")
        counts = iter((pixels["image_grid_thw"].prod(-1) // self.merge**2).tolist())
        tokens = [[next(counts) for _ in images] for images in pages]
        return {name: pixels[name] for name in ("pixel_values", "image_grid_thw")}, tokens

    def _stored_pages(self, examples: Sequence[Example], dtype: str) -> tuple[dict[str, Tensor], list[list[int]]]:
        """As `_pages`, with what the store has of every page in place of their pixels: `features` (tokens x D) or
        `prefix` (patches x D).
        """
        assert self.stored is not None
        digests = self.stored.digests([page for example in examples for page in example.pages])
        found = self.stored.features(digests, dtype)  # each (rows x columns x D) of the page's tokens or patches
        if found is None:
            pixels, tokens = self._pages(examples)
            return pixels | {"digests": as_tensor(digests)}, tokens
        name, side = ("features", self.merge) if self.stored.whole else ("prefix", 1)
        grid = torch.tensor([[1, f.shape[0] * side, f.shape[1] * side] for f in found])
        counts = iter((grid.prod(-1) // self.merge**2).tolist())
        pages = {name: torch.cat([f.flatten(0, 1) for f in found]), "image_grid_thw": grid}
        return pages, [[next(counts) for _ in example.pages] for example in examples]

    def _shared(self, examples: Sequence[Example], dtype: str | None = None) -> SharedPrompts:
        groups = by_pages(examples)
        firsts = [group[0] for group in groups]
        pixels, tokens = self._pages(firsts) if dtype is None else self._stored_pages(firsts, dtype)
        document = {example.pages: number for number, group in enumerate(groups) for example in group}
        page_of = [document[example.pages] for example in examples]
        whole = [self._prompt(e, tokens[number]) for e, number in zip(examples, page_of, strict=True)]
        cuts = [len(ids) - ids[::-1].index(self.image) + 1 for ids in whole]  # the pages end with <|vision_end|>
        first = {number: ids[:cut] for ids, cut, number in zip(whole, cuts, page_of, strict=True)}
        if any(ids[:cut] != first[number] for ids, cut, number in zip(whole, cuts, page_of, strict=True)):
            raise DocvlmError(
                "chat_template.jinja: it puts the question before the page, so questions cannot share one;"
                " set packing=off"
            )
        rows = [ids[cut:] for ids, cut in zip(whole, cuts, strict=True)]
        return SharedPrompts(pixels, rows, page_of, [first[number] for number in range(len(groups))])

    def _packed_labelled(self, shared: SharedPrompts, examples: Sequence[Example]) -> dict[str, Tensor]:
        """One row a document: its pages, then its questions as branches (`docvlm.data.packing`)."""
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
        content = [{"type": "image"} for _ in image_tokens]
        content.append({"type": "text", "text": example.question + example.instruction})
        chat = [{"role": "user", "content": content}]
        text = self.processor.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        ids = self._tokens(text)
        if ids.count(self.image) != len(image_tokens):
            raise DocvlmError(
                f"question {example.question_id}: it holds the special token {self.processor.image_token}; remove it"
            )
        counts = iter(image_tokens)
        return [token for one in ids for token in [one] * (next(counts) if one == self.image else 1)]

    def _text(self, rows: list[list[int]], side: str = "right") -> dict[str, Tensor]:
        ids = padded(rows, self.pad, side)
        return {
            "input_ids": ids,
            "attention_mask": padded([[1] * len(row) for row in rows], 0, side),
            "mm_token_type_ids": (ids == self.image).int(),
        }

    def _resized(self, page: Page) -> Image:
        """The page as qwen-vl-utils resizes it for this budget and patch size."""
        from qwen_vl_utils.vision_process import fetch_image, smart_resize  # brings in requests and video decoding

        image = open_page(page)
        limits = {"min_pixels": self.budget.min_pixels, "max_pixels": self.budget.max_pixels}
        height, width = smart_resize(image.height, image.width, factor=self.patch * _UTILS_MERGE, **limits)
        if not height or not width:
            raise DocvlmError(
                f"page {page.name}: {image.width} x {image.height} pixels do not fit"
                f" budget.max_pixels={self.budget.max_pixels} at this aspect ratio; raise it or cut the page"
            )
        resized: Image = fetch_image({"image": image, **limits}, image_patch_size=self.patch)
        return resized

    def _checked(self, budget: Budget) -> Budget:
        if budget.height is not None or budget.width is not None:
            raise DocvlmError("budget.height, budget.width: those are Florence-2's; give min_pixels and max_pixels")
        size = self.processor.image_processor.size
        least = size["shortest_edge"] if budget.min_pixels is None else budget.min_pixels
        most = size["longest_edge"] if budget.max_pixels is None else budget.max_pixels
        smallest = (self.patch * _UTILS_MERGE) ** 2
        if not 0 < least <= most or most < smallest:
            raise DocvlmError(
                f"budget.min_pixels={least}, budget.max_pixels={most}: they must rise, and the second be >= {smallest}"
            )
        return replace(budget, min_pixels=int(least), max_pixels=int(most))


class Qwen2VL(VLM):
    """Qwen2-VL or Qwen2.5-VL. Adapter targets are the language side's attention projections."""

    family = "qwen2vl"
    codec: Qwen2VLCodec
    language = "model.language_model"
    lora_targets: ClassVar[tuple[str, ...]] = ("q_proj", "k_proj", "v_proj", "o_proj")

    @classmethod
    def load(
        cls,
        checkpoint: str | Path,
        budget: Budget,
        *,
        dtype: torch.dtype = torch.float32,
        attn: str = "sdpa",
        offline: bool = False,
    ) -> Qwen2VL:
        """Load weights and processor from a folder or a hub id. Raises `DocvlmError` if they are another family's."""
        net_class, processor_class = _CLASSES[model_type(checkpoint, cls.family, tuple(_CLASSES), offline=offline)]
        codec = Qwen2VLCodec(load_processor(checkpoint, processor_class, offline=offline), budget)
        net = load_weights(net_class, checkpoint, dtype=dtype, attn=attn, offline=offline)
        use_fast_paths(net)
        use_branches(net)
        return cls(net, codec, checkpoint, dtype)

    def vision_blocks(self) -> list[Block]:
        """One a transformer block of the tower; the patch embedding belongs to the first, the merger to the last."""
        depth = len(self.bare.get_submodule("model.visual.blocks"))
        modules = [[f"model.visual.blocks.{index}"] for index in range(depth)]
        modules[0].insert(0, "model.visual.patch_embed")
        modules[-1].append("model.visual.merger")
        return [self._block(f"block {index}", names) for index, names in enumerate(modules)]

    def loss(self, batch: dict[str, Tensor]) -> tuple[Tensor, int]:
        """Summed cross-entropy over labelled tokens (scalar, nats) and how many there were."""
        inputs = self._unpacked(batch) if "segments" in batch else batch
        inputs = {name: tensor for name, tensor in inputs.items() if name != "labels"}
        with self.autocast():
            if "segments" in batch:
                inputs["inputs_embeds"] = self._embeds(batch)
            hidden = self.bare.model(**inputs, use_cache=False).last_hidden_state
        return self._answer_loss(hidden[:, :-1], batch["labels"][:, 1:])

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
            with entered(self.prefix, batch["prefix"]):
                return torch.cat(tuple(tower(batch["prefix"], grid).pooler_output))
        with observed(self.prefix) as seen:
            pages = tower(batch["pixel_values"], grid).pooler_output
        side = 1 if seen else self.codec.merge
        sizes, patches = (grid[:, 1:] // side).tolist(), grid.prod(-1).tolist()
        kept = zip(seen[0].split(patches) if seen else pages, sizes, strict=True)
        self._keep(batch, [page.unflatten(0, size) for page, size in kept])
        return torch.cat(tuple(pages))

    def _greedy(self, batch: dict[str, Tensor], max_new_tokens: int) -> Tensor:
        if "page_of" in batch:
            return greedy_on_pages(self.bare, batch, self._embeds(batch), max_new_tokens)
        ids: Tensor = self.bare.generate(**batch, max_new_tokens=max_new_tokens)  # type: ignore[operator]  # from a mixin
        return ids[:, batch["input_ids"].shape[1] :]
