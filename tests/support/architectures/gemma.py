"""Gemma 3 and PaliGemma: SigLIP at one square size, and image tokens that attend to each other in both directions."""

from __future__ import annotations

from typing import Any

from transformers import Gemma3Config, Gemma3ImageProcessor, Gemma3Processor

from tests.support.architectures.parts import Architecture, Parts, gemma_tokenizer

SIDE, PATCH = 84, 14
_GEMMA3_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<start_of_turn>"
    "{% if message['role'] == 'assistant' %}model{% else %}{{ message['role'] }}{% endif %}{{ '\\n' }}"
    "{% if message['content'] is string %}{{ message['content'] | trim }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<start_of_image>{% elif part['type'] == 'text' %}{{ part['text'] | trim }}"
    "{% endif %}{% endfor %}{% endif %}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)


def _siglip(**more: Any) -> dict[str, Any]:
    return {
        "model_type": "siglip_vision_model",
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "image_size": SIDE,
        "patch_size": PATCH,
        "vision_use_head": False,
        **more,
    }


def gemma3() -> Parts:
    """Gemma 3 of four billion: layers with a sliding window and one without, 36 patches pooled to nine tokens."""
    names = ("pad", "eos", "bos", "unk", "start_of_turn", "end_of_turn", "start_of_image", "end_of_image")
    tokenizer = gemma_tokenizer(
        [*(f"<{name}>" for name in names), "<image_soft_token>"],
        extra_special_tokens={
            "boi_token": "<start_of_image>",
            "eoi_token": "<end_of_image>",
            "image_token": "<image_soft_token>",
        },
    )
    ids = {name: tokenizer.convert_tokens_to_ids(f"<{name}>") for name in names}
    config = Gemma3Config(
        vision_config=_siglip(),
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 16,
            "query_pre_attn_scalar": 16,
            "sliding_window": 32,
            "layer_types": ["sliding_attention", "full_attention"],
            "max_position_embeddings": 2048,
            "pad_token_id": ids["pad"],
            "bos_token_id": ids["bos"],
            "eos_token_id": ids["eos"],
        },
        mm_tokens_per_image=9,
        boi_token_index=ids["start_of_image"],
        eoi_token_index=ids["end_of_image"],
        image_token_index=tokenizer.convert_tokens_to_ids("<image_soft_token>"),
        eos_token_id=[ids["eos"], ids["end_of_turn"]],
    )
    processor = Gemma3Processor(
        Gemma3ImageProcessor(size={"height": SIDE, "width": SIDE}),
        tokenizer,
        chat_template=_GEMMA3_TEMPLATE,
        image_seq_length=9,
    )
    generation = {
        "bos_token_id": ids["bos"],
        "eos_token_id": [ids["eos"], ids["end_of_turn"]],
        "pad_token_id": ids["pad"],
        "do_sample": True,
        "top_k": 64,
        "top_p": 0.95,
    }
    return Parts(config, processor, generation)


GEMMA = (
    Architecture(
        "gemma3",
        gemma3,
        tower="model.vision_tower",
        blocks="model.vision_tower.encoder.layers",
        projector="model.multi_modal_projector",
        language="model.language_model",
        inputs=frozenset({"pixel_values", "token_type_ids"}),
    ),
)
