"""Gemma 3 and PaliGemma: SigLIP at one square size, and image tokens that attend to each other in both directions."""

from __future__ import annotations

from typing import Any

from transformers import (
    Gemma3Config,
    Gemma3ImageProcessor,
    Gemma3Processor,
    PaliGemmaConfig,
    PaliGemmaProcessor,
    SiglipImageProcessor,
)

from tests.support.architectures.parts import LANGUAGE, TOWER, Architecture, Parts, gemma_tokenizer

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


def _siglip() -> dict[str, Any]:
    return {
        "model_type": "siglip_vision_model",
        **TOWER,
        "image_size": SIDE,
        "patch_size": PATCH,
        "vision_use_head": False,
    }


def gemma3() -> Parts:
    """Gemma 3 of four billion: layers with a sliding window and one without, 36 patches pooled to nine tokens."""
    names = ("pad", "eos", "bos", "unk", "start_of_turn", "end_of_turn", "start_of_image", "end_of_image")
    tokenizer = gemma_tokenizer(
        [*(f"<{name}>" for name in names), "<image_soft_token>"],
        add_bos_token=True,
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
            **LANGUAGE,
            "head_dim": 16,
            "query_pre_attn_scalar": 16,
            "sliding_window": 32,
            "layer_types": ["sliding_attention", "full_attention"],
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


def paligemma() -> Parts:
    """PaliGemma: no chat; page, question and newline are a prefix that attends to itself in both directions."""
    tokenizer = gemma_tokenizer(
        ("<pad>", "<eos>", "<bos>", "<unk>", "<image>"), extra_special_tokens={"image_token": "<image>"}
    )
    images = SiglipImageProcessor(size={"height": SIDE, "width": SIDE})
    images.image_seq_length = (SIDE // PATCH) ** 2
    processor = PaliGemmaProcessor(images, tokenizer)  # adds 1152 tokens for places and shapes
    pad, eos, bos, image = tokenizer.convert_tokens_to_ids(["<pad>", "<eos>", "<bos>", "<image>"])
    special = {"pad_token_id": pad, "bos_token_id": bos, "eos_token_id": eos}
    config = PaliGemmaConfig(
        vision_config=_siglip(),
        text_config={
            "model_type": "gemma",
            "vocab_size": len(tokenizer),
            **LANGUAGE,
            "num_key_value_heads": 1,
            "head_dim": 16,
            **special,
        },
        image_token_index=image,
        projection_dim=LANGUAGE["hidden_size"],
        hidden_size=LANGUAGE["hidden_size"],
        vocab_size=len(tokenizer),
        **special,
    )
    return Parts(config, processor, special)


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
    Architecture(
        "paligemma",
        paligemma,
        tower="model.vision_tower",
        blocks="model.vision_tower.encoder.layers",
        projector="model.multi_modal_projector",
        language="model.language_model",
        inputs=frozenset({"pixel_values", "token_type_ids", "labels"}),
        chat=False,
    ),
)
