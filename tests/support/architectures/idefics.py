"""SmolVLM, Idefics3 and Granite Docling: a page is cut into square tiles and shown once more as a whole."""

from __future__ import annotations

from typing import Any

import transformers as hf  # its newest names are looked up when they are needed: older releases lack them

from tests.support.architectures.parts import LANGUAGE, TOWER, Architecture, Parts, byte_tokenizer

TILE, PATCH, SCALE = 64, 8, 2  # pixels, pixels, and patches a token on each side
TILE_TOKENS = (TILE // PATCH // SCALE) ** 2
LONGEST = 3 * TILE  # at most nine tiles and the whole
_IMAGE = ("<fake_token_around_image>", "<image>", "<end_of_utterance>", "<global-img>")
_CELLS = tuple(f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7))
_INPUTS = frozenset({"pixel_values", "pixel_attention_mask"})
_VISION = {**TOWER, "image_size": TILE, "patch_size": PATCH}
_TURNS = (
    "{% for message in messages %}{{ message['role'] | capitalize }}"
    "{% if message['content'][0]['type'] == 'image' %}:{% else %}: {% endif %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}"
    "{% endfor %}<end_of_utterance>\n{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}"
)
_ROLES = (
    "{% for message in messages %}<|start_of_role|>{{ message['role'] }}<|end_of_role|>"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|end_of_text|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|start_of_role|>assistant<|end_of_role|>{% endif %}"
)


def _text(tokenizer: Any, **special: int) -> dict[str, Any]:
    return {"model_type": "llama", "vocab_size": len(tokenizer), **LANGUAGE, **special}


def _tiles() -> dict[str, Any]:
    return {"size": {"longest_edge": LONGEST}, "max_image_size": {"longest_edge": TILE}}


def smolvlm() -> Parts:
    """SmolVLM2: `<|im_start|>` once, then turns that end with `<end_of_utterance>`."""
    tokenizer = byte_tokenizer(
        ("<|endoftext|>", "<|im_start|>", "<|im_end|>", *_IMAGE, *_CELLS),
        unk_token="<|endoftext|>",
        eos_token="<end_of_utterance>",
        pad_token="<|im_end|>",
        extra_special_tokens={
            "end_of_utterance_token": "<end_of_utterance>",
            "fake_image_token": "<fake_token_around_image>",
            "global_image_token": "<global-img>",
            "image_token": "<image>",
        },
    )
    tokenizer.bos_token = "<|im_start|>"  # named, and put before no text: the template writes it
    special = _ids(tokenizer, bos="<|im_start|>", eos="<end_of_utterance>", pad="<|im_end|>")
    image = tokenizer.convert_tokens_to_ids("<image>")
    config = hf.SmolVLMConfig(
        vision_config=_VISION,
        text_config=_text(tokenizer, **special),
        image_token_id=image,
        scale_factor=SCALE,
        tie_word_embeddings=False,
        pad_token_id=special["pad_token_id"],
    )
    processor = hf.SmolVLMProcessor(
        hf.SmolVLMImageProcessor(**_tiles()),
        tokenizer,
        hf.SmolVLMVideoProcessor(**_tiles()),
        image_seq_len=TILE_TOKENS,
        chat_template="<|im_start|>" + _TURNS,
    )
    return Parts(config, processor, special)


def idefics3() -> Parts:
    """Idefics3 on Llama 3: its tokenizer puts `<|begin_of_text|>` before a text, and so does its template."""
    tokenizer = byte_tokenizer(
        ("<|begin_of_text|>", "<|end_of_text|>", "<|reserved_special_token_0|>", *_IMAGE, *_CELLS),
        bos="<|begin_of_text|>",
        eos_token="<|end_of_text|>",
        pad_token="<|reserved_special_token_0|>",
    )
    special = _ids(tokenizer, bos="<|begin_of_text|>", eos="<|end_of_text|>", pad="<|reserved_special_token_0|>")
    config = hf.Idefics3Config(
        vision_config=_VISION,
        text_config=_text(tokenizer, **special),
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        scale_factor=SCALE,
        tie_word_embeddings=False,
        pad_token_id=special["pad_token_id"],
    )
    processor = hf.Idefics3Processor(
        hf.Idefics3ImageProcessor(**_tiles()),
        tokenizer,
        image_seq_len=TILE_TOKENS,
        chat_template="<|begin_of_text|>" + _TURNS,
    )
    ends = [special["eos_token_id"], tokenizer.convert_tokens_to_ids("<end_of_utterance>")]
    return Parts(config, processor, special | {"eos_token_id": ends})


def granite_docling() -> Parts:
    """Granite Docling of 2026: whole tiles of the nearest grid, features of two blocks added to the first layers."""
    roles = ("<|start_of_role|>", "<|end_of_role|>", "<|end_of_text|>", "<|pad|>", "<|unk|>")
    tokenizer = byte_tokenizer(
        (*roles, *_IMAGE, *_CELLS),
        eos_token="<|end_of_text|>",
        pad_token="<|pad|>",
        unk_token="<|unk|>",
        extra_special_tokens={"image_token": "<image>"},
    )
    special = _ids(tokenizer, bos="<|end_of_text|>", eos="<|end_of_text|>", pad="<|pad|>")
    config = hf.GraniteDoclingConfig(
        vision_config={
            **_VISION,
            "out_hidden_size": LANGUAGE["hidden_size"],
            "scale_factor": SCALE,
            "deepstack_visual_indexes": [0, 1],
            "use_fine_route": False,
        },
        text_config={
            "vocab_size": len(tokenizer),
            **LANGUAGE,
            "embedding_multiplier": 2.0,
            "logits_scaling": 4.0,
            "residual_multiplier": 0.263,
            "attention_multiplier": 0.0625,
            **special,
        },
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        pad_token_id=special["pad_token_id"],
    )
    processor = hf.GraniteDoclingProcessor(
        hf.GraniteDoclingImageProcessor(size={"height": TILE, "width": TILE}, max_patches=6),
        tokenizer,
        image_seq_len=TILE_TOKENS,
        chat_template=_ROLES,
    )
    return Parts(config, processor, special)


def _ids(tokenizer: Any, **tokens: str) -> dict[str, int]:
    return {f"{name}_token_id": tokenizer.convert_tokens_to_ids(token) for name, token in tokens.items()}


_TREE = {
    "tower": "model.vision_model",
    "blocks": "model.vision_model.encoder.layers",
    "projector": "model.connector",
    "language": "model.text_model",
    "inputs": _INPUTS,
}
IDEFICS = (
    Architecture("smolvlm", smolvlm, packages=("num2words",), **_TREE),
    Architecture("idefics3", idefics3, **_TREE),
    Architecture(
        "granite_docling",
        granite_docling,
        tower="model.vision_model",
        blocks="model.vision_model.encoder.layers",
        projector="model.vision_model.connector",
        language="model.text_model",
        inputs=_INPUTS,
    ),
)
