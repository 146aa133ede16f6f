"""Random models of middle size with the cost shares of the published ones, and the same one for every competitor.

A ratio depends on what share of a step is tower, body and vocabulary. Per question on a page of about 1 000 tokens
Qwen2-VL-2B spends 1.5 to 2 times its language body on the tower, forward and backward, and 0.16 of the body on the
vocabulary: depth and width of `qwen2vl` are chosen for that, with a few seconds a step on two cores. `qwen3vl` has
these widths too, and three levels of DeepStack as the published ones. Florence-2 is Florence-2-base at a quarter of its
width. Attention heads are as wide as the published ones: on a CPU the backward pass
of narrow ones is several times as slow. The tokenizer is the embedded one, which spells; here it knows the words of the
questions, since spelt questions would be several times as long as real ones. "tiny" is the embedded architecture.
"""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from tokenizers import AddedToken
from transformers import (
    AutoModelForImageTextToText,
    Florence2ForConditionalGeneration,
    PreTrainedModel,
    Qwen2VLForConditionalGeneration,
    Qwen2VLImageProcessor,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
)

from docvlm.vlms import load_family
from docvlm.vlms.base import VLM
from docvlm.vlms.codec import Budget
from docvlm.vlms.prepare import apply
from docvlm.vlms.trainable import Lora
from pretraining.architecture import untrained

RANK = 16
CLASSES: dict[str, Any] = {
    "qwen2vl": Qwen2VLForConditionalGeneration,
    "qwen3vl": Qwen3VLForConditionalGeneration,
    "florence2": Florence2ForConditionalGeneration,
    "chat": AutoModelForImageTextToText,
}
VOCABULARY = 6656  # 0.16 of the language body's parameters, as 151 936 x 1 536 are of Qwen2-VL-2B's


def checkpoint(family: str, size: str, words: list[str], folder: Path) -> Path:
    """A randomly initialised checkpoint in `folder`; its tokenizer has a token for each of `words`."""
    small, processor = _newer(*untrained("qwen2vl")) if family == "qwen3vl" else untrained(family)
    if size == "mid":
        learn_words(processor.tokenizer, words, VOCABULARY)
        _resize(family, small.config)
    torch.manual_seed(0)
    net = type(small)(small.config)
    net.generation_config = small.generation_config
    if family == "florence2":
        net.generation_config.forced_bos_token_id = processor.tokenizer.bos_token_id  # as the published checkpoints do
    net.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def _newer(small: Any, processor: Any) -> tuple[Qwen3VLForConditionalGeneration, Qwen3VLProcessor]:
    """A miniature of Qwen3-VL from one of Qwen2-VL: its widths, tokenizer and template."""
    vision, text = small.config.vision_config, small.config.text_config
    special = ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id")
    layers = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    tokens = ("num_key_value_heads", "max_position_embeddings", "bos_token_id", "eos_token_id", "pad_token_id")
    config = Qwen3VLConfig(
        vision_config={
            "depth": vision.depth,
            "hidden_size": vision.embed_dim,
            "intermediate_size": vision.embed_dim * vision.mlp_ratio,
            "num_heads": vision.num_heads,
            "out_hidden_size": text.hidden_size,
            "deepstack_visual_indexes": [0, 1, 2],
        },
        text_config={name: getattr(text, name) for name in (*layers, *tokens)}
        | {
            "head_dim": text.hidden_size // text.num_attention_heads,
            "rope_parameters": {"rope_type": "default", "rope_theta": 5e6, "mrope_section": [6, 5, 5]},
        },
        tie_word_embeddings=True,
        **{name: getattr(small.config, name) for name in special},
    )
    net = Qwen3VLForConditionalGeneration(config)
    net.generation_config = small.generation_config
    size = {"shortest_edge": 4 * 32 * 32, "longest_edge": 240 * 32 * 32}
    geometry = {"patch_size": 16, "merge_size": 2, "temporal_patch_size": 2, "size": size}
    half = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    images, videos = Qwen2VLImageProcessor(**geometry, **half), Qwen3VLVideoProcessor(**geometry, **half)
    return net, Qwen3VLProcessor(images, processor.tokenizer, videos, chat_template=processor.chat_template)


def learn_words(tokenizer: Any, words: list[str], vocabulary: int) -> None:
    """Whole words as tokens, then fillers, so that every id of the model's vocabulary has a text."""
    free = vocabulary - len(tokenizer)
    known = [f" {word}" for word in words][:free]
    fillers = [f"‹{number}›" for number in range(free - len(known))]
    tokenizer.add_tokens([AddedToken(text, special=False, normalized=False) for text in [*known, *fillers]])
    assert len(tokenizer) == vocabulary


def _resize(family: str, config: Any) -> None:
    vision, text = config.vision_config, config.text_config
    text.vocab_size = VOCABULARY
    if family == "qwen2vl":
        vision.depth, vision.embed_dim, vision.num_heads, vision.hidden_size = 4, 384, 6, 512
        text.hidden_size, text.intermediate_size, text.num_hidden_layers = 512, 1408, 6
        text.layer_types = ["full_attention"] * text.num_hidden_layers
        text.num_attention_heads = text.num_key_value_heads = 4
        text.rope_parameters["mrope_section"] = [16, 24, 24]
        return
    if family == "qwen3vl":
        vision.depth, vision.hidden_size, vision.num_heads, vision.out_hidden_size = 4, 384, 6, 512
        vision.intermediate_size = 4 * vision.hidden_size
        text.hidden_size, text.intermediate_size, text.num_hidden_layers = 512, 1408, 6
        text.num_attention_heads = text.num_key_value_heads = 4
        text.head_dim = text.hidden_size // text.num_attention_heads
        text.rope_parameters["mrope_section"] = [24, 20, 20]
        return
    vision.depths, vision.embed_dim = [1, 1, 9, 1], [32, 64, 128, 256]
    vision.num_heads = vision.num_groups = [1, 2, 4, 8]
    vision.patch_size, vision.patch_stride, vision.patch_padding = [7, 3, 3, 3], [4, 2, 2, 2], [3, 1, 1, 1]
    vision.patch_prenorm, vision.window_size = [False, True, True, True], 12
    vision.projection_dim = text.d_model = 192
    text.encoder_layers = text.decoder_layers = text.num_hidden_layers = 6
    text.encoder_attention_heads = text.decoder_attention_heads = 3
    text.encoder_ffn_dim = text.decoder_ffn_dim = 768
    text.max_position_embeddings = 1024


def prepared(
    family: str, source: Path, budget: Budget, *, freeze: float = 100, r: int = RANK, freeze_language: int = 0
) -> VLM:
    """The model ready to learn; adapters start away from zero, so that every gradient counts in a comparison."""
    vlm = load_family(family).load(source, budget, attn="sdpa", offline=True)
    torch.manual_seed(1)
    apply(vlm, freeze, Lora(r), freeze_language)
    for name, parameter in vlm.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.02)
    return vlm


def stock(vlm: VLM) -> PreTrainedModel | PeftModel:
    """The same weights, and adapter if any, in untouched Transformers and PEFT classes, for the trainers of others."""
    net = CLASSES[vlm.family].from_pretrained(vlm.checkpoint, attn_implementation="sdpa", dtype=torch.float32)
    if not isinstance(vlm.net, PeftModel):
        learning = {name for name, parameter in vlm.net.named_parameters() if parameter.requires_grad}
        for name, parameter in net.named_parameters():
            parameter.requires_grad_(name in learning)
        return net
    net.requires_grad_(False)
    wrapped = get_peft_model(net, deepcopy(vlm.net.peft_config["default"]))
    assert isinstance(wrapped, PeftModel)
    set_peft_model_state_dict(wrapped, get_peft_model_state_dict(vlm.net, save_embedding_layers=False))
    return wrapped


def halve(net: torch.nn.Module) -> None:
    """Hold the frozen weights of `net` in bf16, as training at full scale does, and users of PEFT on a GPU."""
    for parameter in net.parameters():
        if not parameter.requires_grad:
            parameter.data = parameter.data.to(torch.bfloat16)


def millions(vlm: VLM) -> float:
    """Parameters, in millions."""
    return sum(parameter.numel() for parameter in vlm.parameters()) / 1e6
