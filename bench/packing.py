"""What sharing pages buys in training: plain sequences, shared pages, and stored features, in one process.

The same weights, LoRA, pages and questions go through the real codec and model: one forward and backward pass over
`--pages` pages with `--questions` questions each. Variants take turns, the median counts, and what is printed beside
each ratio is how far its loss and gradients are from the plain ones in float32. The model is random, with the cost
shares of Qwen2-VL-2B (a tower about twice as dear as the language body); `--model embedded` takes the shipped one.

    python bench/packing.py --tokens 1024 --questions 4
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from docvlm.data.example import Example
from docvlm.data.generated import documents
from docvlm.training.machine import hardware, versions
from docvlm.vlms import load_family
from docvlm.vlms.base import VLM
from docvlm.vlms.codec import Budget, Stored
from docvlm.vlms.embedded import checkpoint
from docvlm.vlms.embedded.architecture import qwen2vl
from docvlm.vlms.features import FeatureStore
from docvlm.vlms.trainable import Lora, apply

PATCH = 28 * 28


def random_model(folder: Path) -> Path:
    """A random Qwen2-VL of 60 M parameters, with the tower's share of the cost that the 2B model has."""
    small, processor = qwen2vl()
    config = small.config
    config.vision_config.depth, config.vision_config.embed_dim, config.vision_config.num_heads = 12, 384, 6
    config.vision_config.hidden_size = text = 512
    language = config.text_config
    language.hidden_size, language.intermediate_size, language.num_hidden_layers = text, 1408, 8
    language.layer_types = ["full_attention"] * language.num_hidden_layers
    language.num_attention_heads, language.num_key_value_heads = 8, 8
    language.rope_parameters["mrope_section"] = [8, 12, 12]
    torch.manual_seed(0)
    net = type(small)(config)
    net.generation_config = small.generation_config
    net.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def asked(pages: int, questions: int) -> list[Example]:
    """`questions` questions on each of `pages` drawn pages; a page with fewer is asked some twice."""
    examples = []
    for document in documents("docvqa", "train", pages, "full", 0):
        for number in range(questions):
            one = document[number % len(document)]
            examples.append(replace(one, question_id=f"{one.question_id}-{number}"))
    return examples


def loaded(options: argparse.Namespace, folder: Path, attn: str) -> VLM:
    """The model with LoRA r=16 and a frozen tower; adapters start away from zero, so that all gradients count."""
    source = checkpoint("qwen2vl") if options.model == "embedded" else random_model(folder / "model")
    budget = Budget(min_pixels=options.tokens * PATCH * 9 // 10, max_pixels=options.tokens * PATCH)
    vlm = load_family("qwen2vl").load(source, budget, attn=attn, offline=True)
    torch.manual_seed(1)
    apply(vlm, 100, Lora(16))
    for name, parameter in vlm.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.02)
    return vlm


def gradients(vlm: VLM, batch: dict[str, Tensor]) -> tuple[float, Tensor]:
    """Mean loss a token, and the adapter's gradient as one vector."""
    vlm.zero_grad()
    loss, tokens = vlm.loss(batch)
    (loss / tokens).backward()
    grads = [p.grad.flatten() for p in vlm.parameters() if p.grad is not None]
    return loss.item() / tokens, torch.cat(grads)


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=("random", "embedded"), default="random")
    parser.add_argument("--attn", choices=("eager", "sdpa"), default="sdpa")
    parser.add_argument("--tokens", type=int, default=1024, help="tokens of a page, about")
    parser.add_argument("--questions", type=int, default=4, help="questions a page")
    parser.add_argument("--pages", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        vlm, examples = loaded(options, folder, options.attn), asked(options.pages, options.questions)
        store = FeatureStore(folder / "features", 2**33)
        variants: dict[str, Callable[[], dict[str, Tensor]]] = {
            "plain sequences": lambda: vlm.codec.train_batch(examples),
            "shared pages": lambda: vlm.codec.packed_batch(examples),
            "shared pages, stored features": lambda: vlm.codec.packed_batch(examples),
        }
        kept = dict.fromkeys(variants) | {"shared pages, stored features": Stored(store, torch.bfloat16, torch.float32)}
        exact, seconds = measured(vlm, variants, kept, options.repeats, store)
        report(options, vlm, examples, exact, seconds)


def measured(
    vlm: VLM, variants: dict[str, Any], kept: dict[str, Any], repeats: int, store: FeatureStore
) -> tuple[dict[str, tuple[float, Tensor]], dict[str, list[tuple[float, float]]]]:
    """Float32 losses and gradients, then seconds (batch, step) of every variant in turn, in bf16."""
    exact, seconds = {}, {name: [] for name in variants}
    for name, make in variants.items():
        vlm.codec.stored = None if kept[name] is None else Stored(store, torch.float32, torch.float32)
        for _ in range(2 if kept[name] else 1):  # the first fills the store
            exact[name] = gradients(vlm, make())
    for repeat in range(repeats + 1):
        for name, make in variants.items():
            vlm.codec.stored = kept[name]
            began = time.perf_counter()
            batch = make()
            collated = time.perf_counter()
            with torch.autocast("cpu", torch.bfloat16):
                gradients(vlm, batch)
            if repeat:  # the first warms up, and fills the store
                seconds[name].append((collated - began, time.perf_counter() - collated))
    return exact, seconds


def report(
    options: argparse.Namespace, vlm: VLM, examples: list[Example], exact: dict[str, Any], seconds: dict[str, Any]
) -> None:
    """The table, with what it was measured on."""
    tokens = int(vlm.codec.packed_batch(examples)["mm_token_type_ids"].sum()) // options.pages
    count = sum(parameter.numel() for parameter in vlm.parameters()) / 1e6
    machine = hardware("cpu")
    print(
        f"\n{options.model} model, {count:.1f} M parameters, {options.attn}; {options.pages} pages of {tokens} tokens,"
    )
    print(f"{options.questions} questions each; bf16 autocast; median of {options.repeats};")
    print(f"{machine}; torch {versions()['torch']}, transformers {versions()['transformers']}\n")
    print("| | ms a question | of that, making the batch | plain / this | loss differs | gradient differs |")
    print("|---|---|---|---|---|---|")
    plain, reference = exact["plain sequences"]
    totals = {name: statistics.median(a + b for a, b in rows) for name, rows in seconds.items()}
    for name, rows in seconds.items():
        loss, grads = exact[name]
        away = ((grads - reference).norm() / reference.norm()).item()
        making = statistics.median(a for a, _ in rows)
        print(
            f"| {name} | {1000 * totals[name] / len(examples):.0f} | {100 * making / totals[name]:.0f} % |"
            f" {totals['plain sequences'] / totals[name]:.1f} | {abs(loss - plain) / plain:.1e} | {away:.1e} |"
        )


if __name__ == "__main__":
    main()
