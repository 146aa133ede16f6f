"""The published dimensions of models, around the special tokens of a small tokenizer.

Qwen2-VL: Wang et al. 2024, arXiv:2409.12191; Florence-2: Xiao et al. 2023, arXiv:2311.06242; numbers from the hub's
configs. Granite-Docling-258M: every number from `config.json` of the release of September 2025 (`idefics3`).
Qwen3-VL-2B: tower, rotary sections and positions as in the hub's config of Qwen3-VL-4B, which has the same tower; width
and depth of the language side are those of the model card. Written out, so that no hub is asked.
"""

from __future__ import annotations

from transformers import Florence2Config, Idefics3Config, Qwen2VLConfig, Qwen3VLConfig


def qwen2vl_2b(small: Qwen2VLConfig) -> Qwen2VLConfig:
    """Qwen2-VL-2B with the special tokens of `small`."""
    special = ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id")
    text = small.get_text_config()
    return Qwen2VLConfig(
        vision_config={"depth": 32, "embed_dim": 1280, "hidden_size": 1536, "num_heads": 16, "mlp_ratio": 4},
        text_config={
            "vocab_size": 151_936,
            "hidden_size": 1536,
            "intermediate_size": 8960,
            "num_hidden_layers": 28,
            "num_attention_heads": 12,
            "num_key_value_heads": 2,
            "max_position_embeddings": 32_768,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]},
            **{name: getattr(text, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")},
        },
        tie_word_embeddings=True,
        **{name: getattr(small, name) for name in special},
    )


def qwen3vl_2b(small: Qwen3VLConfig) -> Qwen3VLConfig:
    """Qwen3-VL-2B with the special tokens of `small`."""
    special = ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id")
    return Qwen3VLConfig(
        vision_config={
            "depth": 24,
            "hidden_size": 1024,
            "intermediate_size": 4096,
            "num_heads": 16,
            "patch_size": 16,
            "num_position_embeddings": 2304,
            "out_hidden_size": 2048,
            "deepstack_visual_indexes": [5, 11, 17],
        },
        text_config={
            "vocab_size": 151_936,
            "hidden_size": 2048,
            "intermediate_size": 6144,
            "num_hidden_layers": 28,
            "num_attention_heads": 16,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "max_position_embeddings": 262_144,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 5e6,
                "mrope_section": [24, 20, 20],
                "mrope_interleaved": True,
            },
            "tie_word_embeddings": True,
        },
        tie_word_embeddings=True,
        **{name: getattr(small, name) for name in special},
    )


def granite_docling_258m(image: int, ids: dict[str, int]) -> Idefics3Config:
    """Granite-Docling-258M; `image` is its image token, `ids` are the special tokens of its language side."""
    return Idefics3Config(
        vision_config={
            "hidden_size": 768,
            "intermediate_size": 3072,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
            "image_size": 512,
            "patch_size": 16,
        },
        text_config={
            "model_type": "llama",
            "vocab_size": 100_352,
            "hidden_size": 576,
            "intermediate_size": 1536,
            "num_hidden_layers": 30,
            "num_attention_heads": 9,
            "num_key_value_heads": 3,
            "head_dim": 64,
            "max_position_embeddings": 8192,
            "rms_norm_eps": 1e-5,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e5},
            "tie_word_embeddings": True,
            **ids,
        },
        image_token_id=image,
        scale_factor=4,
        pad_token_id=ids["pad_token_id"],
        tie_word_embeddings=True,
    )


def florence2_base(small: Florence2Config) -> Florence2Config:
    """Florence-2-base with the special tokens of `small`; dropout and stochastic depth as published.

    The tower's dimensions are Transformers' defaults, written out.
    """
    text = small.text_config.to_dict() | {
        "vocab_size": 51_289,
        "d_model": 768,
        **{f"{side}_layers": 6 for side in ("encoder", "decoder")},
        **{f"{side}_attention_heads": 12 for side in ("encoder", "decoder")},
        **{f"{side}_ffn_dim": 3072 for side in ("encoder", "decoder")},
        "max_position_embeddings": 1024,
        **dict.fromkeys(("dropout", "attention_dropout", "activation_dropout"), 0.1),
    }
    vision = {
        "depths": [1, 1, 9, 1],
        "embed_dim": [128, 256, 512, 1024],
        "num_heads": [4, 8, 16, 32],
        "num_groups": [4, 8, 16, 32],
        "patch_size": [7, 3, 3, 3],
        "patch_stride": [4, 2, 2, 2],
        "patch_padding": [3, 1, 1, 1],
        "patch_prenorm": [False, True, True, True],
        "window_size": 12,
        "drop_path_rate": 0.1,
        "projection_dim": 768,
    }
    return Florence2Config(vision_config=vision, text_config=text, image_token_id=small.image_token_id)
