"""Greedy answers to many questions from one reading of each page (decoder-only families).

The pages are prefilled once; every question continues a copy of its document's cache, and all questions decode as one
batch. The text is that of decoding one by one with Transformers' `generate` (exact in float32, tests/data);
`generate` itself can do this only through the model's leftover `rope_deltas`. Memory: the cache of the pages for every
question of the batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from transformers import Cache, DynamicCache, LogitsProcessor, PreTrainedModel


class Probabilities(LogitsProcessor):
    """Watches a greedy `generate` and changes nothing: keeps the probability of the token each step takes.

    One number a question and step; `output_scores=True` would keep the whole vocabulary.
    """

    def __init__(self) -> None:
        self._steps: list[Tensor] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        self._steps.append(probability(scores, scores.argmax(-1)))
        return scores

    def of(self, ids: Tensor) -> Tensor:
        """Probabilities (B x T) of `ids` (B x T), the last T tokens that were generated."""
        return torch.stack(self._steps[-ids.shape[1] :], dim=1)


def probability(logits: Tensor, token: Tensor) -> Tensor:
    """Softmax probability (B) of `token` (B) among `logits` (B x V)."""
    return (logits.gather(-1, token[:, None])[:, 0] - logits.logsumexp(-1)).exp()


def greedy_on_pages(
    net: PreTrainedModel, batch: dict[str, Tensor], read: Callable[..., object], max_new_tokens: int, *, in_step: bool
) -> tuple[Tensor, Tensor]:
    """New ids (questions x T, T <= max_new_tokens), up to an end token, then padding; and the probability of each.

    `batch`: `input_ids` and `attention_mask` (documents x P), `question_ids` and `question_mask` (questions x Q), all
    padded on the left, and `page_of` (questions). `read` is the language side on the pages' embeddings, with their
    features in their places: it takes mask, positions and the cache that it fills. `in_step`: see `continued`.
    """
    cache, first = _prefill(net, batch, read)

    def logits(**inputs: Any) -> Tensor:
        places = inputs.pop("position_ids").expand(3, -1, -1)
        hidden = net.model(**inputs, position_ids=places).last_hidden_state
        projected: Tensor = net.get_output_embeddings()(hidden[:, -1])
        return projected

    return continued(net, batch, cache, first, logits, max_new_tokens, in_step=in_step)


def continued(
    net: PreTrainedModel,
    batch: dict[str, Tensor],
    cache: Cache,
    first: Tensor,
    logits: Callable[..., Tensor],
    max_new_tokens: int,
    *,
    in_step: bool,
) -> tuple[Tensor, Tensor]:
    """As `greedy_on_pages`, from the `cache` of the documents' pages, behind which questions begin.

    `first` are the positions (documents) at which they do. `logits(**inputs)` gives those of the last position
    (questions x V); `inputs` are what a forward pass takes, with `position_ids` (questions x T). `in_step`: go on until
    the answers of all devices have ended, which makes padding here; Transformers calls it `synced_gpus`.
    """
    page_of, asked = batch["page_of"], batch["question_mask"]
    cache.batch_select_indices(page_of)
    first, mask = first[page_of, None], torch.cat([batch["attention_mask"][page_of], asked], dim=1)
    generation: Any = net.generation_config
    ends = torch.as_tensor(generation.eos_token_id, device=asked.device).flatten()
    step, places = batch["question_ids"], first + (asked.cumsum(1) - 1).clamp(min=0)
    new: list[Tensor] = []
    sure: list[Tensor] = []
    done = torch.zeros(len(page_of), dtype=torch.bool, device=asked.device)
    while len(new) < max_new_tokens and _unfinished(done, in_step):
        found = logits(
            input_ids=step, attention_mask=mask, position_ids=places, past_key_values=cache, use_cache=True
        ).float()
        token = found.argmax(-1)
        sure.append(probability(found, token))
        token = token.masked_fill(done, generation.pad_token_id)
        new.append(token)
        done = done | torch.isin(token, ends)
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
        step, places = token[:, None], places[:, -1:] + 1
    return torch.stack(new, dim=1), torch.stack(sure, dim=1)


def _unfinished(done: Tensor, in_step: bool) -> bool:
    """Whether a question is left whose answer has not ended: here, or on any device."""
    left = ~done.all()
    if in_step:
        anywhere = left.int()
        dist.all_reduce(anywhere, dist.ReduceOp.MAX)
        left = anywhere.bool()
    return bool(left)


def _prefill(
    net: PreTrainedModel, batch: dict[str, Tensor], read: Callable[..., object]
) -> tuple[DynamicCache, Tensor]:
    """Cache of the documents' pages, and the M-RoPE position (documents) at which their questions begin."""
    where, _ = net.model.get_rope_index(
        input_ids=batch["input_ids"],
        mm_token_type_ids=batch["mm_token_type_ids"],
        image_grid_thw=batch["image_grid_thw"],
        attention_mask=batch["attention_mask"],
    )
    cache = DynamicCache(config=net.config.get_text_config())
    read(attention_mask=batch["attention_mask"], position_ids=where, past_key_values=cache, use_cache=True)
    first = where.masked_fill(batch["attention_mask"] == 0, 0).amax(dim=(0, 2)) + 1
    return cache, first
