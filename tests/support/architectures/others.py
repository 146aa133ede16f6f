"""LFM2-VL, InternVL and LLaVA-OneVision, which cut a page into tiles each in its own way; FastVLM and Mistral 3."""

from __future__ import annotations

import transformers as hf  # its newest names are looked up when they are needed: older releases lack them

from tests.support.architectures.parts import (
    LANGUAGE,
    TOWER,
    Architecture,
    Parts,
    byte_tokenizer,
    qwen2_tokenizer,
)


def _content(image: str) -> str:
    return (
        "{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in message['content'] %}"
        "{% if part['type'] == 'image' %}" + image + "{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}"
        "{% endfor %}{% endif %}"
    )


def _turns(image: str, *, after_role: str = "\n", after_turn: str = "\n") -> str:
    return (
        "{% for message in messages %}<|im_start|>{{ message['role'] }}"
        + after_role
        + _content(image)
        + "<|im_end|>"
        + after_turn
        + "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )


_IMAGES_FIRST = (  # LLaVA-OneVision: all images of a turn, then its text
    "{% for message in messages %}<|im_start|>{{ message['role'] }} "
    "{% for part in message['content'] | selectattr('type', 'equalto', 'image') %}<image>{% endfor %}"
    "{% for part in message['content'] | selectattr('type', 'equalto', 'text') %}{{ '\\n' + part['text'] }}{% endfor %}"
    "<|im_end|>{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_MISTRAL_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'system' %}[SYSTEM_PROMPT]" + _content("") + "[/SYSTEM_PROMPT]"
    "{% elif message['role'] == 'user' %}[INST]" + _content("[IMG]") + "[/INST]"
    "{% else %}" + _content("") + "{{ eos_token }}{% endif %}{% endfor %}"
)


def lfm2_vl() -> Parts:
    """LFM2-VL: a layer of short convolutions before those of attention; a large page is tiles and the whole page."""
    cells = tuple(f"<|img_row_{row}_col_{column}|>" for row in range(1, 11) for column in range(1, 11))
    special = ("<|pad|>", "<|startoftext|>", "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<image>")
    special += ("<|image_start|>", "<|image_end|>", "<|img_thumbnail|>")
    tokenizer = byte_tokenizer(
        (*special, *cells),
        bos="<|startoftext|>",
        eos_token="<|im_end|>",
        pad_token="<|pad|>",
        padding_side="left",
        extra_special_tokens={
            "image_token": "<image>",
            "image_start_token": "<|image_start|>",
            "image_end_token": "<|image_end|>",
            "image_thumbnail": "<|img_thumbnail|>",
        },
    )
    pad, bos, _, _, end, image, *_ = tokenizer.convert_tokens_to_ids(list(special))
    ids = {"pad_token_id": pad, "bos_token_id": bos, "eos_token_id": end}
    config = hf.Lfm2VlConfig(
        vision_config={
            "model_type": "siglip2_vision_model",
            **TOWER,
            "patch_size": 16,
            "num_patches": 64,
            "vision_use_head": False,
        },
        text_config={
            "model_type": "lfm2",
            "vocab_size": len(tokenizer),
            **LANGUAGE,
            "num_hidden_layers": 3,
            "layer_types": ["conv", "full_attention", "full_attention"],
            "block_auto_adjust_ff_dim": False,
            **ids,
        },
        image_token_id=image,
        projector_hidden_size=64,
    )
    images = hf.Lfm2VlImageProcessor(tile_size=128, max_tiles=4, min_image_tokens=4, max_image_tokens=16)
    processor = hf.Lfm2VlProcessor(images, tokenizer, chat_template="{{ bos_token }}" + _turns("<image>"))
    return Parts(config, processor, ids)


def internvl() -> Parts:
    """InternVL 3: up to four square tiles and the whole page, 16 tokens each, between `<img>` and `</img>`."""
    special = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<img>", "</img>", "<IMG_CONTEXT>", "<video>")
    tokenizer = qwen2_tokenizer(
        special,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        extra_special_tokens={
            "start_image_token": "<img>",
            "end_image_token": "</img>",
            "context_image_token": "<IMG_CONTEXT>",
            "video_token": "<video>",
        },
    )
    pad, _, end, _, _, image, _ = tokenizer.convert_tokens_to_ids(list(special))
    side, size = 112, {"height": 112, "width": 112}
    config = hf.InternVLConfig(
        vision_config={**TOWER, "image_size": [side, side], "patch_size": [14, 14], "attention_bias": True},
        text_config={"model_type": "qwen2", "vocab_size": len(tokenizer), **LANGUAGE, **_ends(pad, end)},
        image_token_id=image,
        image_seq_length=16,
    )
    processor = hf.InternVLProcessor(
        hf.GotOcr2ImageProcessor(size=size, crop_to_patches=True, min_patches=1, max_patches=4),
        tokenizer,
        hf.InternVLVideoProcessor(size=size),
        image_seq_length=16,
        chat_template=_turns("<IMG_CONTEXT>\n"),
    )
    return Parts(config, processor, {**_ends(pad, end), "pad_token_id": pad})


def llava_onevision() -> Parts:
    """LLaVA-OneVision: the best of a few grids with padding cut off again, a token at the end of each of its lines."""
    special = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<image>", "<video>")
    tokenizer = qwen2_tokenizer(special, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    pad, _, end, image, video = tokenizer.convert_tokens_to_ids(list(special))
    side = 70
    size, grids = {"height": side, "width": side}, [[side, side], [side, 2 * side], [2 * side, side], [2 * side] * 2]
    config = hf.LlavaOnevisionConfig(
        vision_config={
            "model_type": "siglip_vision_model",
            **TOWER,
            "image_size": side,
            "patch_size": 14,
            "vision_use_head": False,
        },
        text_config={"model_type": "qwen2", "vocab_size": len(tokenizer), **LANGUAGE, **_ends(pad, end)},
        image_token_index=image,
        video_token_index=video,
        image_grid_pinpoints=grids,
    )
    processor = hf.LlavaOnevisionProcessor(
        hf.LlavaOnevisionImageProcessor(size=size, image_grid_pinpoints=grids),
        tokenizer,
        hf.LlavaOnevisionVideoProcessor(size=size),
        num_image_tokens=(side // 14) ** 2,
        vision_feature_select_strategy="full",
        chat_template=_IMAGES_FIRST,
    )
    return Parts(config, processor, {**_ends(pad, end), "pad_token_id": pad})


def fast_vlm() -> Parts:
    """FastVLM: a tower of convolutions from timm, which sees the middle square of a page."""
    special = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<image>")
    tokenizer = qwen2_tokenizer(
        special, eos_token="<|im_end|>", pad_token="<|endoftext|>", extra_special_tokens={"image_token": "<image>"}
    )
    pad, _, end, image = tokenizer.convert_tokens_to_ids(list(special))
    side = 256
    config = hf.FastVlmConfig(
        vision_config={
            "model_type": "timm_wrapper",
            "architecture": "fastvit_mci0",
            "do_pooling": True,
            "hidden_size": 64,
            "model_args": {
                "layers": [1, 1, 1, 1],
                "embed_dims": [8, 16, 32, 64],
                "cls_ratio": 1.0,
            },
        },
        text_config={"model_type": "qwen2", "vocab_size": len(tokenizer), **LANGUAGE, **_ends(pad, end)},
        image_token_index=image,
        image_seq_length=(side // 32) ** 2,
    )
    processor = hf.LlavaProcessor(
        hf.CLIPImageProcessor(
            size={"shortest_edge": side},
            crop_size={"height": side, "width": side},
            image_mean=[0.0] * 3,
            image_std=[1.0] * 3,
        ),
        tokenizer,
        patch_size=32,
        vision_feature_select_strategy="full",
        chat_template=_turns("<image>\n"),
    )
    return Parts(config, processor, {**_ends(pad, end), "pad_token_id": pad})


def mistral3() -> Parts:
    """Mistral Small 3.1: Pixtral's tower, a token at the end of each line of a page, no turn before an answer."""
    special = ("<unk>", "<s>", "</s>", "<pad>", "[INST]", "[/INST]", "[IMG]", "[IMG_BREAK]", "[IMG_END]")
    special += ("[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]")
    tokenizer = byte_tokenizer(special, bos="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>")
    _, bos, end, pad, _, _, image, *_ = tokenizer.convert_tokens_to_ids(list(special))
    ids = {"bos_token_id": bos, "eos_token_id": end, "pad_token_id": pad}
    config = hf.Mistral3Config(
        vision_config={"model_type": "pixtral", **TOWER, "head_dim": 16, "image_size": 224, "patch_size": 14},
        text_config={
            "model_type": "mistral",
            "vocab_size": len(tokenizer),
            **LANGUAGE,
            "head_dim": 16,
            "sliding_window": None,
            **ids,
        },
        image_token_index=image,
        spatial_merge_size=2,
        tie_word_embeddings=False,
    )
    processor = hf.PixtralProcessor(
        hf.PixtralImageProcessor(size={"longest_edge": 224}, patch_size=14),
        tokenizer,
        patch_size=14,
        spatial_merge_size=2,
        chat_template=_MISTRAL_TEMPLATE,
    )
    return Parts(config, processor, ids)


def _ends(pad: int, end: int) -> dict[str, int]:
    return {"bos_token_id": pad, "eos_token_id": end}


_LLAVA: dict[str, str] = {
    "tower": "model.vision_tower",
    "projector": "model.multi_modal_projector",
    "language": "model.language_model",
}
OTHERS = (
    Architecture(
        "lfm2_vl",
        lfm2_vl,
        blocks="model.vision_tower.encoder.layers",
        inputs=frozenset({"pixel_values", "pixel_attention_mask", "spatial_shapes"}),
        **_LLAVA,
    ),
    Architecture(
        "internvl",
        internvl,
        blocks="model.vision_tower.encoder.layer",
        inputs=frozenset({"pixel_values"}),
        **_LLAVA,
    ),
    Architecture(
        "llava_onevision",
        llava_onevision,
        blocks="model.vision_tower.encoder.layers",
        inputs=frozenset({"pixel_values", "image_sizes", "batch_num_images"}),
        **_LLAVA,
    ),
    Architecture(
        "fast_vlm",
        fast_vlm,
        blocks="model.vision_tower.timm_model.stages",
        inputs=frozenset({"pixel_values"}),
        packages=("timm",),
        **_LLAVA,
    ),
    Architecture(
        "mistral3",
        mistral3,
        blocks="model.vision_tower.transformer.layers",
        inputs=frozenset({"pixel_values", "image_sizes"}),
        **_LLAVA,
    ),
)
