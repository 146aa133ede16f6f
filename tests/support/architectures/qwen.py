"""Qwen's models: a page keeps its proportions, between two numbers of pixels."""

from __future__ import annotations

from typing import Any

import transformers as hf  # its newest names are looked up when they are needed: older releases lack them

from tests.support.architectures.parts import LANGUAGE, Architecture, Parts, byte_vocab, qwen2_tokenizer

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
_IDS = {
    "image_token_id": "<|image_pad|>",
    "video_token_id": "<|video_pad|>",
    "vision_start_token_id": "<|vision_start|>",
    "vision_end_token_id": "<|vision_end|>",
}
_PARTS = (
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' or 'image' in part or 'image_url' in part %}"
    "<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif 'text' in part %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}"
)
_SYSTEM = (
    "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}"
)
_TURNS = "{% for message in messages %}<|im_start|>{{ message['role'] }}\n" + _PARTS + "<|im_end|>\n{% endfor %}"
_ANSWER = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
_THINKING = (
    "{% macro content(message) %}" + _PARTS + "{% endmacro %}"
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ content(message) | trim }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n"
    "{% if not enable_thinking %}{{ '\\n' }}</think>\n\n{% endif %}{% endif %}"
)


def _tokenizer() -> Any:
    return qwen2_tokenizer(SPECIAL, eos_token="<|im_end|>", pad_token="<|endoftext|>")


def _ids(tokenizer: Any) -> dict[str, int]:
    return {key: tokenizer.convert_tokens_to_ids(token) for key, token in _IDS.items()}


def _generation(tokenizer: Any, **sampling: Any) -> dict[str, Any]:
    """Published checkpoints sample unless told otherwise."""
    end, pad = tokenizer.convert_tokens_to_ids(["<|im_end|>", "<|endoftext|>"])
    return {"bos_token_id": pad, "eos_token_id": [end, pad], "pad_token_id": pad, "do_sample": True, **sampling}


def _pixels(side: int) -> dict[str, int]:
    """Between 4 and 96 tokens a page, each of `side` x `side` pixels."""
    return {"shortest_edge": 4 * side**2, "longest_edge": 96 * side**2}


def _geometry(patch: int) -> dict[str, Any]:
    return {"patch_size": patch, "merge_size": 2, "temporal_patch_size": 2, "size": _pixels(2 * patch)}


def _mrope(*section: int, **more: Any) -> dict[str, Any]:
    """Rotary frequencies of time, height and width: their sum is half of what is rotated of a head."""
    return {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": list(section), **more}


def qwen2_vl() -> Parts:
    """Qwen2-VL: a system turn of the template's own."""
    tokenizer = _tokenizer()
    config = hf.Qwen2VLConfig(
        vision_config={"depth": 3, "embed_dim": 32, "hidden_size": 64, "num_heads": 2, "mlp_ratio": 2},
        text_config=_qwen2_text(tokenizer),
        tie_word_embeddings=True,
        **_ids(tokenizer),
    )
    processor = hf.Qwen2VLProcessor(
        hf.Qwen2VLImageProcessor(**_geometry(14)),
        tokenizer,
        hf.Qwen2VLVideoProcessor(**_geometry(14)),
        chat_template=_SYSTEM + _TURNS + _ANSWER,
    )
    return Parts(config, processor, _generation(tokenizer, top_k=1, top_p=0.001, temperature=0.01))


def qwen2_5_vl() -> Parts:
    """Qwen2.5-VL: blocks attend in windows of 56 pixels, one in three to the whole page."""
    tokenizer = _tokenizer()
    config = hf.Qwen2_5_VLConfig(
        vision_config={
            "depth": 3,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_heads": 2,
            "out_hidden_size": 64,
            "window_size": 56,
            "fullatt_block_indexes": [1],
        },
        text_config=_qwen2_text(tokenizer),
        tie_word_embeddings=True,
        **_ids(tokenizer),
    )
    processor = hf.Qwen2_5_VLProcessor(
        hf.Qwen2VLImageProcessor(**_geometry(14)),
        tokenizer,
        hf.Qwen2VLVideoProcessor(**_geometry(14)),
        chat_template=_SYSTEM + _TURNS + _ANSWER,
    )
    return Parts(config, processor, _generation(tokenizer, repetition_penalty=1.05, temperature=1e-6))


def qwen3_vl() -> Parts:
    """Qwen3-VL: patches of 16, features of two blocks added to the first two of three layers (deepstack)."""
    tokenizer = _tokenizer()
    config = hf.Qwen3VLConfig(
        vision_config=_qwen3_vision() | {"deepstack_visual_indexes": [0, 1]},
        text_config={
            "vocab_size": len(tokenizer),
            **LANGUAGE,
            "num_hidden_layers": 3,
            "head_dim": 16,
            "rope_parameters": _mrope(4, 2, 2, mrope_interleaved=True),
        },
        tie_word_embeddings=True,
        **_ids(tokenizer),
    )
    return Parts(config, _qwen3_processor(tokenizer, _TURNS + _ANSWER), _qwen3_generation(tokenizer))


def qwen3_5() -> Parts:
    """Qwen3.5: layers of linear attention between those of full attention; its answer begins after closed thinking."""
    special = (*SPECIAL, "<think>", "</think>")
    tokenizer = hf.Qwen3_5Tokenizer(vocab=byte_vocab(special), eos_token="<|im_end|>")
    tokenizer.add_tokens([hf.AddedToken(token, special="think" not in token, normalized=False) for token in special])
    config = hf.Qwen3_5Config(
        vision_config=_qwen3_vision(),
        text_config={
            "vocab_size": len(tokenizer),
            **LANGUAGE,
            "num_hidden_layers": 4,
            "layer_types": ["linear_attention", "full_attention"] * 2,
            "head_dim": 32,
            "linear_key_head_dim": 16,
            "linear_value_head_dim": 16,
            "linear_num_key_heads": 2,
            "linear_num_value_heads": 4,
            "rope_parameters": _mrope(4, 2, 2, mrope_interleaved=True, partial_rotary_factor=0.5),
            "tie_word_embeddings": True,
        },
        tie_word_embeddings=True,
        **_ids(tokenizer),
    )
    return Parts(config, _qwen3_processor(tokenizer, _THINKING), _qwen3_generation(tokenizer))


def _qwen2_text(tokenizer: Any) -> dict[str, Any]:
    end, pad = tokenizer.convert_tokens_to_ids(["<|im_end|>", "<|endoftext|>"])
    special = {"bos_token_id": pad, "eos_token_id": end}
    return {"vocab_size": len(tokenizer), **LANGUAGE, "rope_parameters": _mrope(2, 3, 3), **special}


def _qwen3_vision() -> dict[str, Any]:
    return {
        "depth": 3,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_heads": 2,
        "patch_size": 16,
        "out_hidden_size": 64,
        "num_position_embeddings": 64,
    }


def _qwen3_processor(tokenizer: Any, template: str) -> Any:
    half = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    return hf.Qwen3VLProcessor(
        hf.Qwen2VLImageProcessor(**_geometry(16), **half),
        tokenizer,
        hf.Qwen3VLVideoProcessor(**_geometry(16), **half),
        chat_template=template,
    )


def _qwen3_generation(tokenizer: Any) -> dict[str, Any]:
    return _generation(tokenizer, top_k=20, top_p=0.8, temperature=0.7)


_TREE: dict[str, Any] = {
    "tower": "model.visual",
    "blocks": "model.visual.blocks",
    "projector": "model.visual.merger",
    "language": "model.language_model",
    "inputs": frozenset({"pixel_values", "image_grid_thw", "mm_token_type_ids"}),
}
QWEN = tuple(Architecture(make.__name__, make, **_TREE) for make in (qwen3_vl, qwen3_5, qwen2_5_vl, qwen2_vl))
