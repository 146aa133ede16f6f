"""Pages with all their questions as one training batch, for each family, without encoding a page twice.

Qwen2-VL: one row a page, `[prompt+page][transcription][question answer]...`; every branch sees the page and itself,
not its siblings, and its positions restart after the page (3 x B x T). Florence-2: the encoder mixes page and question,
so a row is one question and only the tower's output is shared. Both give the plain loss of one question a sequence; the
prompts are the ones the processors make (tests compare them).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pretraining.pages import BasePage

READ = "Read the page."
Sequence = tuple[list[int], list[int], Tensor, list[int], list[int]]


@dataclass
class Answers:
    """Logits at every labelled position, the label ids, and which answer (page, branch) each belongs to."""

    logits: Tensor  # N x V
    labels: Tensor  # N
    owner: Tensor  # N, index into `kinds`
    kinds: list[str]  # kind of the page, or "read" for a transcription


def _multiple(length: int, of: int) -> int:
    """Round up: few distinct lengths, because every new shape is compiled anew."""
    return -(-length // of) * of


def branches(page: BasePage) -> list[tuple[str, str, str]]:
    """(kind, prompt, target) of a page: its transcription first, if it has one, then its questions."""
    asked = [(page.kind, ask, answer) for ask, answer in page.questions]
    return [("read", READ, page.transcription)] * page.transcribed + asked


class Qwen2VLBatcher:
    """Shared-page batches for the embedded Qwen2-VL. All pages of a batch have one size."""

    def __init__(self, net: Any, processor: Any) -> None:
        self.net, self.processor = net, processor
        self.tokenizer = processor.tokenizer
        self.end = self.tokenizer.convert_tokens_to_ids("<|im_end|>")

    def ids(self, text: str) -> list[int]:
        """Token ids of a text without special tokens added."""
        return self.tokenizer(text, add_special_tokens=False).input_ids

    def prefix(self, height: int, width: int) -> tuple[list[int], Tensor]:
        """Ids of system prompt, user turn and page, and their M-RoPE positions (3 x P); `height` x `width` tokens."""
        before = self.ids(
            "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n<|vision_start|>"
        )
        pad, close = self.ids("<|image_pad|>"), self.ids("<|vision_end|>")
        first = len(before)
        text = torch.arange(first).expand(3, -1)
        grid = torch.stack(
            [
                torch.full((height * width,), first),
                first + torch.arange(height).repeat_interleave(width),
                first + torch.arange(width).repeat(height),
            ]
        )
        last = torch.full((3, 1), first + max(height, width))
        return before + pad * (height * width) + close, torch.cat([text, grid, last], dim=1)

    def __call__(self, pages: list[BasePage]) -> dict[str, Any]:
        """Tensors of a batch; labels sit on the answer and its end token."""
        image = self.processor.image_processor(images=[page.image() for page in pages], return_tensors="pt")
        _, rows, columns = image["image_grid_thw"][0].tolist()
        head, head_positions = self.prefix(rows // 2, columns // 2)
        start = int(head_positions.max()) + 1
        sequences: list[Sequence] = []
        kinds: list[str] = []
        for page in pages:
            ids, labels, positions, segments, owner = (
                list(head),
                [-100] * len(head),
                [],
                [0] * len(head),
                [-1] * len(head),
            )
            for segment, (kind, ask, answer) in enumerate(branches(page), start=1):
                prompt = self.ids(f"{ask}<|im_end|>\n<|im_start|>assistant\n")
                target = [*self.ids(answer), self.end]
                ids += prompt + target
                labels += [-100] * len(prompt) + target
                length = len(prompt) + len(target)
                positions.append(torch.arange(start, start + length))
                segments += [segment] * length
                owner += [len(kinds)] * length
                kinds.append(kind)
            sequences.append(
                (ids, labels, torch.cat([head_positions, torch.cat(positions).expand(3, -1)], 1), segments, owner)
            )
        return self._pad(sequences) | {"image": image, "kinds": kinds}

    def _pad(self, sequences: list[Sequence]) -> dict[str, Tensor]:
        longest = _multiple(max(len(ids) for ids, *_ in sequences), 32)
        batch = len(sequences)
        out = {
            "input_ids": torch.full((batch, longest), self.net.config.text_config.pad_token_id),
            "labels": torch.full((batch, longest), -100),
            "position_ids": torch.zeros(3, batch, longest, dtype=torch.long),
            "segments": torch.full((batch, longest), -1),
            "owner": torch.full((batch, longest), -1),
        }
        for row, (ids, labels, positions, segments, owner) in enumerate(sequences):
            length = len(ids)
            out["input_ids"][row, :length] = torch.tensor(ids)
            out["labels"][row, :length] = torch.tensor(labels)
            out["position_ids"][:, row, :length] = positions
            out["segments"][row, :length] = torch.tensor(segments)
            out["owner"][row, :length] = torch.tensor(owner)
        return out

    def answers(self, batch: dict[str, Any]) -> Answers:
        """Run the model; only labelled positions reach the vocabulary."""
        segments, length = batch["segments"], batch["segments"].shape[1]
        causal = torch.ones(length, length, dtype=torch.bool).tril()
        same = (segments[:, :, None] == segments[:, None, :]) | (segments[:, None, :] == 0)
        visible = (same & causal)[:, None]
        mask = torch.zeros(visible.shape).masked_fill_(~visible, torch.finfo(torch.bfloat16).min)
        features = self.net.model.visual(batch["image"]["pixel_values"], grid_thw=batch["image"]["image_grid_thw"])
        features = features.pooler_output
        embeds = self.net.get_input_embeddings()(batch["input_ids"])
        image = batch["input_ids"] == self.net.config.image_token_id
        embeds = embeds.masked_scatter(image[..., None], features.to(embeds.dtype))
        hidden = self.net.model.language_model(
            inputs_embeds=embeds,
            attention_mask={"full_attention": mask},
            position_ids=batch["position_ids"],
            use_cache=False,
        ).last_hidden_state
        labels = batch["labels"][:, 1:]
        chosen = labels != -100
        logits = self.net.lm_head(hidden[:, :-1][chosen])
        return Answers(logits.float(), labels[chosen], batch["owner"][:, 1:][chosen], batch["kinds"])


class Florence2Batcher:
    """Batches for the embedded Florence-2: the tower sees a page once, the encoder once a question."""

    def __init__(self, net: Any, processor: Any) -> None:
        self.net, self.processor = net, processor
        self.tokenizer = processor.tokenizer

    def __call__(self, pages: list[BasePage]) -> dict[str, Any]:
        """Tensors of a batch: pixels a page, one row a branch. Pages of one size, not resized."""
        images = [page.image() for page in pages]
        pixels = self.processor.image_processor(images=images, do_resize=False, return_tensors="pt")["pixel_values"]
        tokens = (images[0].height // 28) * (images[0].width // 28) + 1
        rows = [(index, *branch) for index, page in enumerate(pages) for branch in branches(page)]
        rows.sort(key=lambda row: row[1] != "read")
        asks = [ask.split(chr(10))[0] for _, _, ask, _ in rows]
        inputs = self._tokens(["<image>" * tokens + f"<s><DocVQA>{ask}</s>" for ask in asks], 32)
        return {
            "pixel_values": pixels,
            "input_ids": inputs["input_ids"],
            "attention_mask": inputs["attention_mask"],
            "read": self._labels([target for _, kind, _, target in rows if kind == "read"], 32),
            "asked": self._labels([target for _, kind, _, target in rows if kind != "read"], 16),
            "page_of": torch.tensor([index for index, *_ in rows]),
            "kinds": [kind for _, kind, *_ in rows],
        }

    def _tokens(self, texts: list[str], multiple: int) -> Any:
        return self.tokenizer(
            texts,
            add_special_tokens=False,
            return_tensors="pt",
            padding=True,
            pad_to_multiple_of=multiple,
            padding_side="right",
        )

    def _labels(self, texts: list[str], multiple: int) -> Tensor:
        if not texts:
            return torch.zeros(0, multiple, dtype=torch.long)
        tokens = self._tokens([f"{text}</s>" for text in texts], multiple)
        return tokens["input_ids"].masked_fill(tokens["attention_mask"] == 0, -100)

    def answers(self, batch: dict[str, Any]) -> Answers:
        """Run the model; the tower's output is repeated for each question of its page.

        Transcriptions and answers are decoded apart: padding answers to a transcription's length would be most of it.
        """
        features = self.net.model.get_image_features(batch["pixel_values"]).pooler_output[batch["page_of"]]
        embeds = self.net.get_input_embeddings()(batch["input_ids"])
        image = batch["input_ids"] == self.net.config.image_token_id
        encoded = self.net.model.language_model.encoder(
            inputs_embeds=embeds.masked_scatter(image[..., None], features.to(embeds.dtype)),
            attention_mask=batch["attention_mask"],
        )[0]
        logits, chosen, owner, first = [], [], [], 0
        for labels in (batch["read"], batch["asked"]):
            rows = slice(first, first + len(labels))
            if not len(labels):
                continue
            hidden = self.net.model.language_model.decoder(
                input_ids=self._shifted(labels),
                encoder_hidden_states=encoded[rows],
                encoder_attention_mask=batch["attention_mask"][rows],
                use_cache=False,
            ).last_hidden_state
            kept = labels != -100
            logits.append(self.net.lm_head(hidden[kept]).float())
            chosen.append(labels[kept])
            owner.append((torch.arange(len(labels)) + first)[:, None].expand_as(labels)[kept])
            first += len(labels)
        return Answers(torch.cat(logits), torch.cat(chosen), torch.cat(owner), batch["kinds"])

    def _shifted(self, labels: Tensor) -> Tensor:
        text = self.net.config.text_config
        decoder = labels.new_full(labels.shape, text.decoder_start_token_id)
        decoder[:, 1:] = labels[:, :-1].masked_fill(labels[:, :-1] == -100, text.pad_token_id)
        return decoder


BATCHERS: dict[str, type[Any]] = {"qwen2vl": Qwen2VLBatcher, "florence2": Florence2Batcher}
"""What makes the recipe's batches, of a model or its config and a processor."""
