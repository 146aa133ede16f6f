"""What every tiny checkpoint is made of: tokenizers of 256 bytes, random weights, and a folder to write them to."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    CONFIG_MAPPING,
    AutoModelForImageTextToText,
    GemmaTokenizer,
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedModel,
    ProcessorMixin,
    Qwen2Tokenizer,
    TokenizersBackend,
)
from transformers.convert_slow_tokenizer import bytes_to_unicode

TokenizerT = TypeVar("TokenizerT", bound=TokenizersBackend)
SEED = 16
TOWER = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 2}
LANGUAGE = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
}


@dataclass(frozen=True)
class Parts:
    """What a checkpoint's folder is written from; the weights are drawn when it is."""

    config: PreTrainedConfig
    processor: ProcessorMixin
    generation: dict[str, Any]


@dataclass(frozen=True)
class Architecture:
    """One model type of Transformers in miniature, and where its parts are in the model's tree.

    `tower`, `projector` and `language` are names for `get_submodule` of what `AutoModelForImageTextToText` gives, and
    `blocks` is the `ModuleList` of the tower; a projector that is a part of the tower is named so. `inputs` are what
    the processor gives for a page and a question, beside `input_ids` and `attention_mask`. `chat` is False where the
    published checkpoint has no chat template. `packages` are what Transformers needs in order to load it.
    """

    model_type: str
    make: Callable[[], Parts]
    tower: str
    blocks: str
    projector: str
    language: str
    inputs: frozenset[str]
    chat: bool = True
    packages: tuple[str, ...] = ()

    @property
    def missing(self) -> str:
        """Why this environment cannot load the checkpoint, or nothing."""
        if self.model_type not in CONFIG_MAPPING:
            return f"this Transformers has no {self.model_type}"
        absent = [package for package in self.packages if importlib.util.find_spec(package) is None]
        return f"{self.model_type} needs {', '.join(absent)}" if absent else ""

    def build(self, folder: Path) -> None:
        """Write the checkpoint: the same bytes every time, and from nothing but the installed packages."""
        parts = self.make()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            net = AutoModelForImageTextToText.from_config(parts.config)
            _draw(net)
        net.generation_config = GenerationConfig(**parts.generation)
        net.save_pretrained(folder)
        parts.processor.save_pretrained(folder)


def _draw(net: PreTrainedModel) -> None:
    """Wide weights everywhere, and small embeddings: what a model says then depends on page and question, which it does
    not with the weights that a training starts from. Narrow ones in layers of convolution and linear attention, whose
    gates multiply; one-dimensional parameters stay as they are."""
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if parameter.ndim > 1:
                gated = ".conv." in name or ".linear_attn." in name
                parameter.normal_(std=(0.3 if gated else 3) * (parameter.shape[0] / parameter.numel()) ** 0.5)
        net.get_input_embeddings().weight.mul_(0.1)


def byte_vocab(special: Sequence[str]) -> dict[str, int]:
    """The special tokens, then the byte-level alphabet of GPT-2."""
    tokens = [*special, *bytes_to_unicode().values()]
    return {token: index for index, token in enumerate(tokens)}


def qwen2_tokenizer(special: Sequence[str], **options: Any) -> Qwen2Tokenizer:
    """`Qwen2Tokenizer` of bytes, with the special tokens under their own names."""
    return with_special(Qwen2Tokenizer(vocab=byte_vocab(special), merges=[], **options), special)


def byte_tokenizer(special: Sequence[str], *, bos: str | None = None, **options: Any) -> TokenizersBackend:
    """Bytes in the class without a model's own rules; with `bos`, which every text then begins with."""
    vocab = byte_vocab(special)
    backend = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    if bos is not None:
        single, pair = f"{bos} $A", f"{bos} $A {bos} $B"
        backend.post_processor = processors.TemplateProcessing(single, pair, [(bos, vocab[bos])])
    return with_special(TokenizersBackend(tokenizer_object=backend, bos_token=bos, **options), special)


def with_byte_fallback(special: Sequence[str]) -> dict[str, int]:
    """A vocabulary of SentencePiece's kind: letters, `▁` for a space, and bytes for every other character."""
    letters = [chr(code) for code in range(33, 127)]
    tokens = [*special, *(f"<0x{byte:02X}>" for byte in range(256)), "\n", "▁", *letters]
    return {token: index for index, token in enumerate(tokens)}


def gemma_tokenizer(special: Sequence[str], **options: Any) -> GemmaTokenizer:
    """`GemmaTokenizer` of letters and bytes."""
    return with_special(
        GemmaTokenizer(vocab=with_byte_fallback(special), merges=[], mask_token=None, **options), special
    )


def with_special(tokenizer: TokenizerT, special: Sequence[str]) -> TokenizerT:
    """The tokenizer itself, which now never splits the special tokens."""
    tokenizer.add_tokens([AddedToken(token, special=True) for token in special])
    return tokenizer
