"""The embedded vocabulary: 256 bytes, special tokens, and a few whole phrases.

Characters, not subwords, because a tiny model that spells can read keys it never saw; whole tokens for the phrases that
every prompt repeats (chat roles, instructions, question openings), because they would be most of a prompt's length.
"""

from __future__ import annotations

from tokenizers import AddedToken
from transformers import BartTokenizer, Qwen2Tokenizer
from transformers.convert_slow_tokenizer import bytes_to_unicode

QWEN_SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
PHRASES = (
    "system\nYou are a helpful assistant.",
    "user\n",
    "assistant\n",
    "\nAnswer the question using a single word or phrase.",
    "\nAnswer the question with a single word.",
    "Read the page.",
    "What is the ",
    "What was the ",
    "What does ",
    "What ",
    "Which ",
    "Who ",
    "When ",
    "How much ",
    "How many ",
    " has the highest ",
    " has the lowest ",
    " highest ",
    " lowest ",
    " value ",
    "value",
    " is the ",
    " of the ",
    " in the ",
    " on the ",
    " for ",
    " of ",
    " is ",
    " written ",
    " shown ",
    " page?",
    "document?",
    "chart?",
    "table?",
)
VOCAB_SIZE = 320


def byte_vocab(first: int) -> dict[str, int]:
    """The byte-level alphabet of GPT-2, ids counting from `first`."""
    return {character: first + byte for byte, character in bytes_to_unicode().items()}


def phrases() -> list[AddedToken]:
    """The whole-phrase tokens, kept by `skip_special_tokens=True` because they are text."""
    return [AddedToken(phrase, special=False, normalized=False) for phrase in PHRASES]


def qwen2vl_tokenizer() -> Qwen2Tokenizer:
    """`Qwen2Tokenizer` with the special tokens of Qwen2-VL under their own names."""
    special = QWEN_SPECIAL
    tokenizer = Qwen2Tokenizer(
        vocab={token: index for index, token in enumerate(special)} | byte_vocab(len(special)),
        merges=[],
        pad_token="<|endoftext|>",
        eos_token="<|im_end|>",
        extra_special_tokens={
            "image_token": "<|image_pad|>",
            "video_token": "<|video_pad|>",
            "vision_start_token": "<|vision_start|>",
            "vision_end_token": "<|vision_end|>",
        },
        padding_side="left",
    )
    tokenizer.add_tokens([AddedToken(token, special=True) for token in special])
    tokenizer.add_tokens(phrases())
    return tokenizer


def florence2_tokenizer() -> BartTokenizer:
    """BART's byte-level tokenizer with `<image>` and the task token `<DocVQA>`."""
    special = ("<s>", "<pad>", "</s>", "<unk>", "<mask>", "<image>", "<DocVQA>")
    tokenizer = BartTokenizer(
        vocab={token: index for index, token in enumerate(special)} | byte_vocab(len(special)),
        merges=[],
        extra_special_tokens={"image_token": "<image>"},
    )
    tokenizer.add_tokens([AddedToken("<image>", special=True)])
    tokenizer.add_tokens([AddedToken("<DocVQA>", special=False, normalized=False)])
    tokenizer.add_tokens(phrases())
    return tokenizer
