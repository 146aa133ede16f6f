"""The untrained embedded checkpoints: Qwen2-VL and Florence-2 in miniature, in the Hugging Face classes themselves.

Qwen2-VL keeps the real geometry (patch 14, merge 2, so pages are multiples of 28 pixels and the published Quick Start
code runs on it untouched). Florence-2 takes its page at the fixed size of the generated ones. Both towers have six
blocks, so that freezing 0, 33, 66 and 100 % are four different models. About two million weights each.
"""

from __future__ import annotations

from typing import Any

from transformers import (
    BartConfig,
    CLIPImageProcessor,
    Florence2Config,
    Florence2ForConditionalGeneration,
    Florence2Processor,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen2VLImageProcessor,
    Qwen2VLProcessor,
    Qwen2VLVideoProcessor,
)

from pretraining.tokenizer import VOCAB_SIZE, florence2_tokenizer, qwen2vl_tokenizer

PAGE_HEIGHT, PAGE_WIDTH = 168, 280
WHITE_IS_ZERO = {"image_mean": [1.0, 1.0, 1.0], "image_std": [0.4, 0.4, 0.4]}
CHAT_TEMPLATE = (
    "{% set image_count = namespace(value=0) %}"
    "{% for message in messages %}"
    "{% if loop.first and message['role'] != 'system' %}<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
    "{% endif %}"
    "<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}<|im_end|>\n"
    "{% else %}"
    "{% for content in message['content'] %}"
    "{% if content['type'] == 'image' or 'image' in content or 'image_url' in content %}"
    "{% set image_count.value = image_count.value + 1 %}"
    "{% if add_vision_id %}Picture {{ image_count.value }}: {% endif %}"
    "<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif 'text' in content %}{{ content['text'] }}{% endif %}"
    "{% endfor %}<|im_end|>\n"
    "{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def qwen2vl() -> tuple[Qwen2VLForConditionalGeneration, Qwen2VLProcessor]:
    """A randomly initialised miniature of Qwen2-VL and its processor."""
    tokenizer = qwen2vl_tokenizer()
    special = {name: tokenizer.convert_tokens_to_ids(f"<|{name}|>") for name in ("im_end", "endoftext", "image_pad")}
    config = Qwen2VLConfig(
        vision_config={
            "depth": 6,
            "embed_dim": 64,
            "hidden_size": 128,
            "num_heads": 2,
            "mlp_ratio": 4,
            "rope_parameters": {"rope_type": "axial", "rope_theta": 10_000.0},
        },
        text_config={
            "vocab_size": VOCAB_SIZE,
            "hidden_size": 128,
            "intermediate_size": 384,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "num_key_value_heads": 4,
            "max_position_embeddings": 4096,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1000.0, "mrope_section": [4, 6, 6]},
            "bos_token_id": special["endoftext"],
            "eos_token_id": special["im_end"],
            "pad_token_id": special["endoftext"],
        },
        image_token_id=special["image_pad"],
        video_token_id=tokenizer.convert_tokens_to_ids("<|video_pad|>"),
        vision_start_token_id=tokenizer.convert_tokens_to_ids("<|vision_start|>"),
        vision_end_token_id=tokenizer.convert_tokens_to_ids("<|vision_end|>"),
        tie_word_embeddings=True,
    )
    model = Qwen2VLForConditionalGeneration(config)
    model.generation_config.eos_token_id = [special["im_end"], special["endoftext"]]
    model.generation_config.pad_token_id = special["endoftext"]
    size = {"shortest_edge": 4 * 28 * 28, "longest_edge": 240 * 28 * 28}
    geometry = {"patch_size": 14, "merge_size": 2, "temporal_patch_size": 2, "size": size, **WHITE_IS_ZERO}
    processor = Qwen2VLProcessor(
        Qwen2VLImageProcessor(**geometry), tokenizer, Qwen2VLVideoProcessor(**geometry), chat_template=CHAT_TEMPLATE
    )
    return model, processor


def set_vision_theta(net: Any, theta: float) -> None:
    """Give a Qwen2-VL's vision tower another base of its rotary frequencies, in its config as well."""
    net.config.vision_config.rope_parameters["rope_theta"] = theta
    tower = net.model.visual
    tower.rotary_pos_emb = type(tower.rotary_pos_emb)(net.config.vision_config)


def florence2() -> tuple[Florence2ForConditionalGeneration, Florence2Processor]:
    """A randomly initialised miniature of Florence-2 and its processor; pages of 168 x 280 pixels."""
    tokenizer = florence2_tokenizer()
    config = Florence2Config(
        vision_config={
            "depths": [1, 1, 4],
            "embed_dim": [32, 64, 128],
            "num_heads": [1, 2, 4],
            "num_groups": [1, 2, 4],
            "patch_size": [9, 3, 3],
            "patch_stride": [7, 2, 2],
            "patch_padding": [1, 1, 1],
            "patch_prenorm": [False, True, True],
            "window_size": 6,
            "drop_path_rate": 0.0,
            "projection_dim": 128,
        },
        text_config=BartConfig(
            vocab_size=VOCAB_SIZE,
            d_model=128,
            encoder_layers=3,
            decoder_layers=3,
            encoder_attention_heads=4,
            decoder_attention_heads=4,
            encoder_ffn_dim=384,
            decoder_ffn_dim=384,
            max_position_embeddings=512,
            dropout=0.0,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            decoder_start_token_id=tokenizer.eos_token_id,
            forced_bos_token_id=None,
            forced_eos_token_id=None,
        ).to_dict(),
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
    )
    model = Florence2ForConditionalGeneration(config)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.generation_config.decoder_start_token_id = tokenizer.eos_token_id
    images = CLIPImageProcessor(
        size={"height": PAGE_HEIGHT, "width": PAGE_WIDTH},
        resample=2,
        do_center_crop=False,
        image_seq_length=(PAGE_HEIGHT // 28) * (PAGE_WIDTH // 28) + 1,
        **WHITE_IS_ZERO,
    )
    images.image_seq_length = (PAGE_HEIGHT // 28) * (PAGE_WIDTH // 28) + 1
    return model, Florence2Processor(images, tokenizer)


def untrained(family: str) -> tuple[Any, Any]:
    """A randomly initialised miniature of a family, and its processor."""
    return {"qwen2vl": qwen2vl, "florence2": florence2}[family]()
