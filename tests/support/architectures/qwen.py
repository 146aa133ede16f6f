"""Qwen's models: a page keeps its proportions, between two numbers of pixels."""

from __future__ import annotations

from typing import Any

from transformers import (
    Qwen2VLImageProcessor,
    Qwen3VLConfig,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
)

from tests.support.architectures.parts import Architecture, Parts, qwen2_tokenizer

SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
_INPUTS = frozenset({"pixel_values", "image_grid_thw", "mm_token_type_ids"})
_PARTS = (
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' or 'image' in part or 'image_url' in part %}"
    "<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif 'text' in part %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}"
)
QWEN3_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n" + _PARTS + "<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def tokenizer(special: tuple[str, ...] = SPECIAL) -> Any:
    """Bytes and Qwen-VL's special tokens."""
    return qwen2_tokenizer(special, eos_token="<|im_end|>", pad_token="<|endoftext|>")


def ids_of(tokens: Any) -> dict[str, int]:
    """Ids that a Qwen-VL's config names."""
    names = {"image_token_id": "image_pad", "video_token_id": "video_pad", "vision_start_token_id": "vision_start"}
    names |= {"vision_end_token_id": "vision_end"}
    return {key: tokens.convert_tokens_to_ids(f"<|{name}|>") for key, name in names.items()}


def generation(tokens: Any) -> dict[str, Any]:
    """Published checkpoints sample unless told otherwise."""
    end, pad = tokens.convert_tokens_to_ids("<|im_end|>"), tokens.convert_tokens_to_ids("<|endoftext|>")
    sampling = {"do_sample": True, "top_k": 20, "top_p": 0.8, "temperature": 0.7}
    return {"bos_token_id": pad, "eos_token_id": [end, pad], "pad_token_id": pad, **sampling}


def qwen3_vl() -> Parts:
    """Qwen3-VL: patches of 16, features of two blocks added to the first two layers (deepstack)."""
    tokens = tokenizer()
    config = Qwen3VLConfig(
        vision_config={
            "depth": 4,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_heads": 2,
            "patch_size": 16,
            "out_hidden_size": 64,
            "num_position_embeddings": 64,
            "deepstack_visual_indexes": [1, 2],
        },
        text_config={
            "vocab_size": len(tokens),
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 16,
            "max_position_embeddings": 2048,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10_000.0,
                "mrope_section": [4, 2, 2],
                "mrope_interleaved": True,
            },
        },
        tie_word_embeddings=True,
        **ids_of(tokens),
    )
    geometry = {"patch_size": 16, "merge_size": 2, "temporal_patch_size": 2, "size": pixels(32)}
    processor = Qwen3VLProcessor(
        Qwen2VLImageProcessor(image_mean=[0.5] * 3, image_std=[0.5] * 3, **geometry),
        tokens,
        Qwen3VLVideoProcessor(**geometry),
        chat_template=QWEN3_TEMPLATE,
    )
    return Parts(config, processor, generation(tokens))


def pixels(side: int) -> dict[str, int]:
    """Between 4 and 96 tokens a page, each `side` x `side` pixels."""
    return {"shortest_edge": 4 * side**2, "longest_edge": 96 * side**2}


QWEN = (
    Architecture(
        "qwen3_vl",
        qwen3_vl,
        tower="model.visual",
        blocks="model.visual.blocks",
        projector="model.visual.merger",
        language="model.language_model",
        inputs=_INPUTS,
    ),
)
