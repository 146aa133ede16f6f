"""A tokenizer of bytes as a GGUF file keeps it, so that llama.cpp cuts a prompt into the same tokens.

llama.cpp does not read a tokenizer but names one of those that it has been taught. Two are written: `gpt2` with the
rule `qwen2` for the words between which nothing is merged, and `rwkv` for a tokenizer that merges nothing and takes the
longest of its words at each place. What neither of them is, is refused: a prompt that is cut otherwise gets another
answer without a message.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from transformers.convert_slow_tokenizer import bytes_to_unicode

QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""Between which words nothing is merged, as Qwen2's `tokenizer.json` has it and llama.cpp by the name `qwen2`."""
_NORMAL, _CONTROL, _ADDED, _UNUSED = 1, 3, 4, 5  # gguf.TokenType
_CUT_AT = ("lstrip", "rstrip", "single_word")


@dataclass(frozen=True)
class Vocabulary:
    """`model` is llama.cpp's word for the tokenizer; `tokens` and `types` (`gguf.TokenType`) by id.

    `merges` and `rule` go with `gpt2` only.
    """

    model: str
    tokens: Sequence[str]
    types: Sequence[int]
    merges: Sequence[str] = ()
    rule: str = ""


def missing(spec: Mapping[str, Any]) -> str | None:
    """Why llama.cpp would cut texts otherwise than the tokenizer of a `tokenizer.json`, `spec`; None if it would not.

    A text is composed (NFC) before it gets there: llama.cpp does not do it.
    """
    model, before = spec["model"], spec["pre_tokenizer"] or {}
    rules = [one["pattern"].get("Regex") for one in before.get("pretokenizers", ()) if one["type"] == "Split"]
    if model["type"] != "BPE" or model.get("byte_fallback") or rules != [QWEN2]:
        return "its tokenizer is not Qwen2's, and llama.cpp would cut texts otherwise"
    if (spec["normalizer"] or {}).get("type") != "NFC":
        return "its tokenizer does not compose characters as Qwen2's does, and llama.cpp would cut texts otherwise"
    odd = [one["content"] for one in spec["added_tokens"] if any(one.get(flag) for flag in _CUT_AT)]
    if odd:
        return f"its token {odd[0]!r} takes the spaces beside it, or whole words only, which llama.cpp does not do"
    if (pair := _overlapping(spec["added_tokens"], bool(model["merges"]))) is not None:
        return f"its tokens {pair[0]!r} and {pair[1]!r} overlap: llama.cpp takes the longer one, not the first"
    return None


def vocabulary(spec: Mapping[str, Any], size: int) -> Vocabulary:
    """The vocabulary of a `tokenizer.json`, `spec`, that nothing is `missing` of; `size` rows has the embedding."""
    model = spec["model"]
    added = {one["id"]: one for one in spec["added_tokens"]}
    known = {number: word for word, number in model["vocab"].items() if number not in added}
    merged = bool(model["merges"])
    types = [_kind(number, known, added, merged) for number in range(size)]
    if not merged:
        return Vocabulary("rwkv", [_escaped(number, known, added) for number in range(size)], types)
    words = known | {number: one["content"] for number, one in added.items()}
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]]
    tokens = [words.get(number, f"[PAD{number}]") for number in range(size)]
    return Vocabulary("gpt2", tokens, types, merges, "qwen2")


def _kind(number: int, known: Mapping[int, str], added: Mapping[int, Mapping[str, Any]], merged: bool) -> int:
    if number not in added:
        return _NORMAL if number in known else _UNUSED
    if added[number]["special"]:
        return _CONTROL
    return _ADDED if merged else _NORMAL


def _escaped(number: int, known: Mapping[int, str], added: Mapping[int, Mapping[str, Any]]) -> str:
    r"""The bytes of a token as `rwkv` keeps them: \n, \x00 and the like. One that is not used is in no text."""
    if number in added:
        raw = added[number]["content"].encode()
    elif number in known:
        raw = bytes(_BYTES[letter] for letter in known[number])
    else:
        raw = b"\xff" + str(number).encode()
    return "".join(chr(byte) if 32 <= byte < 127 and byte != 92 else f"\\x{byte:02x}" for byte in raw)


def _overlapping(added: Sequence[Mapping[str, Any]], merges: bool) -> tuple[str, str] | None:
    """Two added tokens of which the second can begin within the first and is as long or longer.

    Where nothing is merged, `rwkv` takes those of words from left to right; special ones are cut out before that.
    """
    for one, other in product(added, repeat=2):
        first, second = one["content"], other["content"]
        apart = not merges and not one["special"] and not other["special"]
        if apart or first == second or len(second) < len(first):
            continue
        if any(second.startswith(first[at:]) for at in range(1, len(first))):
            return first, second
    return None


_BYTES = {letter: byte for byte, letter in bytes_to_unicode().items()}
"""The byte that a letter of a vocabulary stands for."""
