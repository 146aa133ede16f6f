"""Small models made for reading pages: LightOnOCR, GLM-OCR, PaddleOCR-VL and GOT-OCR 2."""

from __future__ import annotations

from typing import Any

import transformers as hf  # its newest names are looked up when they are needed: older releases lack them
from tokenizers import Tokenizer, decoders, models, normalizers

from tests.support.architectures.parts import (
    LANGUAGE,
    TOWER,
    Architecture,
    Parts,
    byte_tokenizer,
    qwen2_tokenizer,
    with_byte_fallback,
    with_special,
)

_CONTENT = (
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}IMAGE{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}"
)
_LIGHTON_TEMPLATE = (
    "{% if messages[0]['role'] != 'system' %}<|im_start|>system<|im_end|>\n{% endif %}"
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    + _CONTENT.replace("IMAGE", "<|image_pad|>")
    + "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_GLM_TEMPLATE = (
    "[gMASK]<sop>{% for message in messages %}<|{{ message['role'] }}|>\n"
    + _CONTENT.replace("IMAGE", "<|begin_of_image|><|image|><|end_of_image|>")
    + "{% endfor %}{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
_PADDLE_TEMPLATE = (
    "<|begin_of_sentence|>{% for message in messages %}"
    "{% if message['role'] == 'user' %}User: "
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}"
    "<|IMAGE_START|><|IMAGE_PLACEHOLDER|><|IMAGE_END|>{% endif %}{% endfor %}"
    "{% for part in message['content'] %}{% if part['type'] == 'text' %}{{ part['text'] }}{% endif %}{% endfor %}"
    "{{ '\\n' }}{% elif message['role'] == 'assistant' %}Assistant:\n"
    "{% for part in message['content'] %}{% if part['type'] == 'text' %}{{ part['text'] }}{% endif %}{% endfor %}"
    "</s>{% endif %}{% endfor %}{% if add_generation_prompt %}Assistant:\n{% endif %}"
)


def lighton_ocr() -> Parts:
    """LightOnOCR: Pixtral's tower, which takes a page as it is, before Qwen3; an empty system turn."""
    special = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|image_pad|>", "<|vision_pad|>", "<|vision_end|>")
    tokenizer = qwen2_tokenizer(
        special,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        extra_special_tokens={
            "image_token": "<|image_pad|>",
            "image_break_token": "<|vision_pad|>",
            "image_end_token": "<|vision_end|>",
        },
    )
    end, pad, image = tokenizer.convert_tokens_to_ids(["<|im_end|>", "<|endoftext|>", "<|image_pad|>"])
    config = hf.LightOnOcrConfig(
        vision_config={"model_type": "pixtral", **TOWER, "head_dim": 16, "image_size": 224, "patch_size": 14},
        text_config={"model_type": "qwen3", "vocab_size": len(tokenizer), **LANGUAGE, "head_dim": 16},
        image_token_id=image,
        spatial_merge_size=2,
    )
    processor = hf.LightOnOcrProcessor(
        hf.PixtralImageProcessor(size={"longest_edge": 224}, patch_size={"height": 14, "width": 14}),
        tokenizer,
        patch_size=14,
        spatial_merge_size=2,
        chat_template=_LIGHTON_TEMPLATE,
    )
    return Parts(config, processor, {"eos_token_id": [end, pad], "pad_token_id": pad})


def glm_ocr() -> Parts:
    """GLM-OCR: a turn has no end of its own, an answer ends where `<|user|>` would begin the next."""
    special = ("<|endoftext|>", "[MASK]", "[gMASK]", "[sMASK]", "<sop>", "<eop>")
    special += ("<|system|>", "<|user|>", "<|assistant|>", "<|observation|>")
    special += ("<|begin_of_image|>", "<|end_of_image|>", "<|begin_of_video|>", "<|end_of_video|>")
    special += ("<|image|>", "<|video|>")
    tokenizer = byte_tokenizer(
        special,
        eos_token="<|endoftext|>",
        pad_token="<|endoftext|>",
        padding_side="left",
        extra_special_tokens={"image_token": "<|image|>", "video_token": "<|video|>"},
    )
    ids = dict(zip(special, tokenizer.convert_tokens_to_ids(list(special)), strict=True))
    config = hf.GlmOcrConfig(
        vision_config={
            "depth": 3,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_heads": 2,
            "image_size": 112,
            "out_hidden_size": 64,
        },
        text_config={
            "vocab_size": len(tokenizer),
            **LANGUAGE,
            "head_dim": 16,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [2, 3, 3]},
            "pad_token_id": ids["<|endoftext|>"],
        },
        image_token_id=ids["<|image|>"],
        video_token_id=ids["<|video|>"],
        image_start_token_id=ids["<|begin_of_image|>"],
        image_end_token_id=ids["<|end_of_image|>"],
        video_start_token_id=ids["<|begin_of_video|>"],
        video_end_token_id=ids["<|end_of_video|>"],
    )
    size = {"shortest_edge": 8 * 28 * 28, "longest_edge": 192 * 28 * 28}  # of two frames: half as many tokens a page
    processor = hf.Glm46VProcessor(
        hf.Glm46VImageProcessor(size=size),
        tokenizer,
        hf.Glm46VVideoProcessor(size=size),
        chat_template=_GLM_TEMPLATE,
    )
    generation = {"eos_token_id": [ids["<|endoftext|>"], ids["<|user|>"]], "pad_token_id": ids["<|endoftext|>"]}
    return Parts(config, processor, generation)


def paddleocr_vl() -> Parts:
    """PaddleOCR-VL: all images of a turn before its text, wherever they stand; an answer ends with `</s>`."""
    special = ("<unk>", "<s>", "</s>", "<|begin_of_sentence|>", "<|end_of_sentence|>")
    special += ("<|IMAGE_START|>", "<|IMAGE_PLACEHOLDER|>", "<|IMAGE_END|>", "<|video_pad|>")
    backend = Tokenizer(
        models.BPE(with_byte_fallback(special), [], unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    )
    backend.normalizer = normalizers.Replace(" ", "▁")
    backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer = with_special(
        hf.TokenizersBackend(
            tokenizer_object=backend,
            bos_token="<s>",
            eos_token="</s>",
            unk_token="<unk>",
            pad_token="<unk>",
            cls_token="<|begin_of_sentence|>",
            sep_token="<|end_of_sentence|>",
            extra_special_tokens={"image_token": "<|IMAGE_PLACEHOLDER|>"},
        ),
        special,
    )
    ids = dict(zip(special, tokenizer.convert_tokens_to_ids(list(special)), strict=True))
    config = hf.PaddleOCRVLConfig(
        vision_config={**TOWER, "image_size": 112, "patch_size": 14},
        text_config={
            "vocab_size": len(tokenizer),
            **LANGUAGE,
            "head_dim": 16,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [2, 3, 3]},
            "pad_token_id": ids["<unk>"],
            "bos_token_id": ids["<s>"],
            "eos_token_id": ids["</s>"],
        },
        image_token_id=ids["<|IMAGE_PLACEHOLDER|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|IMAGE_START|>"],
        vision_end_token_id=ids["<|IMAGE_END|>"],
    )
    size = {"shortest_edge": 4 * 28 * 28, "longest_edge": 96 * 28 * 28}
    processor = hf.PaddleOCRVLProcessor(
        hf.PaddleOCRVLImageProcessor(size=size), tokenizer, chat_template=_PADDLE_TEMPLATE
    )
    return Parts(config, processor, {"eos_token_id": ids["</s>"], "pad_token_id": ids["<unk>"]})


def got_ocr2() -> Parts:
    """GOT-OCR 2: no chat template, the processor writes the whole prompt around a page; 256 tokens a page."""
    special = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<img>", "</img>", "<imgpad>")
    tokenizer = byte_tokenizer(special, eos_token="<|endoftext|>", pad_token="<|endoftext|>")
    end, pad, image = tokenizer.convert_tokens_to_ids(["<|im_end|>", "<|endoftext|>", "<imgpad>"])
    side = 16 * 4 * 4  # pixels: patches of 4, then twice a stride of two
    config = hf.GotOcr2Config(
        vision_config={
            "hidden_size": 32,
            "output_channels": 16,
            "num_hidden_layers": 3,
            "num_attention_heads": 2,
            "mlp_dim": 64,
            "image_size": side,
            "patch_size": 4,
            "window_size": 8,
            "global_attn_indexes": [],  # 4096 patches a page: a block that attends to all of them takes a second
            "initializer_range": 0.02,
        },
        text_config={"model_type": "qwen2", "vocab_size": len(tokenizer), **LANGUAGE},
        image_token_index=image,
        image_seq_length=256,
    )
    processor = hf.GotOcr2Processor(hf.GotOcr2ImageProcessor(size={"height": side, "width": side}), tokenizer)
    return Parts(config, processor, {"bos_token_id": pad, "eos_token_id": [end, pad], "pad_token_id": pad})


_GRID: dict[str, Any] = {"inputs": frozenset({"pixel_values", "image_grid_thw", "mm_token_type_ids"})}
OCR = (
    Architecture(
        "lighton_ocr",
        lighton_ocr,
        tower="model.vision_encoder",
        blocks="model.vision_encoder.transformer.layers",
        projector="model.vision_projection",
        language="model.language_model",
        inputs=frozenset({"pixel_values", "image_sizes"}),
    ),
    Architecture(
        "glm_ocr",
        glm_ocr,
        tower="model.visual",
        blocks="model.visual.blocks",
        projector="model.visual.merger",
        language="model.language_model",
        **_GRID,
    ),
    Architecture(
        "paddleocr_vl",
        paddleocr_vl,
        tower="model.visual",
        blocks="model.visual.vision_model.encoder.layers",
        projector="model.projector",
        language="model.language_model",
        **_GRID,
    ),
    Architecture(
        "got_ocr2",
        got_ocr2,
        tower="model.vision_tower",
        blocks="model.vision_tower.layers",
        projector="model.multi_modal_projector",
        language="model.language_model",
        inputs=frozenset({"pixel_values"}),
        chat=False,
    ),
)
