"""SmolVLM, Idefics3 and Granite Docling: a page is cut into square tiles and shown once more as a whole."""

from __future__ import annotations

from typing import Any

from transformers import (
    Idefics3Config,
    Idefics3ImageProcessor,
    Idefics3Processor,
    SmolVLMConfig,
    SmolVLMImageProcessor,
    SmolVLMProcessor,
    SmolVLMVideoProcessor,
)

from tests.support.architectures.parts import Architecture, Parts, byte_tokenizer

TILE, PATCH, SCALE = 64, 8, 2  # pixels, pixels, and patches a token on each side
TILE_TOKENS = (TILE // PATCH // SCALE) ** 2
LONGEST = 3 * TILE  # at most nine tiles and the whole
_IMAGE = ("<fake_token_around_image>", "<image>", "<end_of_utterance>", "<global-img>")
_CELLS = tuple(f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7))
_INPUTS = frozenset({"pixel_values", "pixel_attention_mask"})
_TURNS = (
    "{% for message in messages %}{{ message['role'] | capitalize }}"
    "{% if message['content'][0]['type'] == 'image' %}:{% else %}: {% endif %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}"
    "{% endfor %}<end_of_utterance>\n{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}"
)


def _vision() -> dict[str, Any]:
    return {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "image_size": TILE,
        "patch_size": PATCH,
    }


def _text(tokenizer: Any, **special: int) -> dict[str, Any]:
    return {
        "model_type": "llama",
        "vocab_size": len(tokenizer),
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 2048,
        **special,
    }


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
    config = SmolVLMConfig(
        vision_config=_vision(),
        text_config=_text(tokenizer, **special),
        image_token_id=image,
        scale_factor=SCALE,
        tie_word_embeddings=False,
        pad_token_id=special["pad_token_id"],
    )
    processor = SmolVLMProcessor(
        SmolVLMImageProcessor(**_tiles()),
        tokenizer,
        SmolVLMVideoProcessor(**_tiles()),
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
    config = Idefics3Config(
        vision_config=_vision(),
        text_config=_text(tokenizer, **special),
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        scale_factor=SCALE,
        tie_word_embeddings=False,
        pad_token_id=special["pad_token_id"],
    )
    processor = Idefics3Processor(
        Idefics3ImageProcessor(**_tiles()),
        tokenizer,
        image_seq_len=TILE_TOKENS,
        chat_template="<|begin_of_text|>" + _TURNS,
    )
    ends = [special["eos_token_id"], tokenizer.convert_tokens_to_ids("<end_of_utterance>")]
    return Parts(config, processor, special | {"eos_token_id": ends})


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
)
