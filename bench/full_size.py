"""A full-size model on this machine: one LoRA step and one evaluation of real pages, through the real command.

The weights are random (the architecture is the published one in bf16, built from its config: `bench.dimensions`), so
the answers are noise; what is shown is that the path from pages to a saved adapter holds at full size, how long it
takes and how much memory. The vocabulary has the published size, but the small tokenizer spells into its first ids, so
a text is longer than it would be, up to several times. Qwen2-VL-2B (2.2 billion parameters) is `model=qwen2vl`;
Qwen3-VL-2B (2.1) and Granite-Docling-258M are `model=chat`, with the page budgets of their published processors.

    python -m bench.full_size --model granite-docling-258m --checkpoint FOLDER --pages RECEIPTS [KEY=VALUE ...]

What is computed in is bf16 where the processor multiplies it in hardware, else float32, from the same weights. Keys of
docvlm-train at the end change the run. About 0.5 GB are written for Granite-Docling-258M, 4.5 GB for the others.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from docvlm.config.precision import cpu_precision

Made = tuple[Any, Any, dict[str, Any]]
"""Config of the published size, processor, and what stands in `generation_config.json`."""


def qwen2vl_2b() -> Made:
    """Qwen2-VL-2B on the embedded tokenizer; 256 to 1 280 tokens a page."""
    from bench import dimensions
    from pretraining.architecture import qwen2vl

    small, processor = qwen2vl()
    processor.image_processor.size = {"shortest_edge": 256 * 28 * 28, "longest_edge": 1280 * 28 * 28}
    ends = {name: getattr(small.generation_config, name) for name in ("eos_token_id", "pad_token_id")}
    return dimensions.qwen2vl_2b(small.config), processor, ends


def qwen3vl_2b() -> Made:
    """Qwen3-VL-2B on a tokenizer of bytes and of common words; pages of 64 to 16 384 tokens, as published."""
    from bench import dimensions, pages
    from tests.support.architectures.qwen import qwen3_vl

    small: Any = qwen3_vl()
    small.processor.tokenizer.add_tokens([f" {word}" for word in pages.words("full")])
    small.processor.image_processor.size = {"shortest_edge": 2**16, "longest_edge": 2**24}
    return dimensions.qwen3vl_2b(small.config), small.processor, small.generation


def granite_docling_258m() -> Made:
    """Granite-Docling-258M of 2025 on a tokenizer of bytes; pages of 2 048 pixels in tiles of 512, and the whole."""
    from transformers import Idefics3ImageProcessor, Idefics3Processor

    from bench import dimensions
    from tests.support.architectures.idefics import granite_docling

    small: Any = granite_docling()
    tokenizer = small.processor.tokenizer
    images = Idefics3ImageProcessor(size={"longest_edge": 2048}, max_image_size={"longest_edge": 512})
    template = small.processor.chat_template
    processor = Idefics3Processor(images, tokenizer, image_seq_len=64, chat_template=template)
    image = tokenizer.convert_tokens_to_ids("<image>")
    return dimensions.granite_docling_258m(image, small.generation), processor, small.generation


MODELS: dict[str, tuple[str, Callable[[], Made]]] = {
    "qwen2vl-2b": ("qwen2vl", qwen2vl_2b),
    "qwen3vl-2b": ("chat", qwen3vl_2b),
    "granite-docling-258m": ("chat", granite_docling_258m),
}


def build(name: str, folder: Path) -> None:
    """Write the randomly initialised checkpoint with its processor, once."""
    import torch
    from transformers import AutoModelForImageTextToText, GenerationConfig

    config, processor, generation = MODELS[name][1]()
    torch.manual_seed(0)
    model = AutoModelForImageTextToText.from_config(config, dtype=torch.bfloat16)
    model.generation_config = GenerationConfig(**generation)
    print(f"built {sum(p.numel() for p in model.parameters()) / 1e9:.3f} B parameters", flush=True)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


def main() -> None:
    """Build, train one step, evaluate, and print what it took as a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=MODELS, default="qwen2vl-2b", help="which model (default qwen2vl-2b)")
    parser.add_argument("--checkpoint", type=Path, required=True, help="where to write the random checkpoint")
    parser.add_argument("--pages", type=Path, required=True, help="a folder with qa.jsonl and images")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="for docvlm-train, after its own")
    options = parser.parse_args()
    if not (options.checkpoint / "config.json").exists():
        build_command = ["-m", "bench.full_size", "--build", options.model, str(options.checkpoint)]
        subprocess.run([sys.executable, *build_command], check=True)
    run = options.checkpoint / "run"
    precision = cpu_precision("its own")
    command = [
        *(sys.executable, "-m", "docvlm.train"),
        *(f"model={MODELS[options.model][0]}", "scale=full", f"model.checkpoint={options.checkpoint}"),
        *("data=folder", f"data.source={options.pages}", "data.num_workers=0"),
        *("data.batch_size=1", "data.batch_tokens=null"),
        *("data.limit_train=4", "data.limit_val=4", "data.limit_test=4", "data.max_new_tokens=8"),
        *("trainer.max_steps=1", "trainer.accumulate_grad_batches=1", "offline=true", "rerun=true"),
        *(f"trainer.precision={precision}", f"model.dtype={'bfloat16' if 'bf16' in precision else 'float32'}"),
        *(f"features_folder={options.checkpoint / 'features'}", f"hydra.run.dir={run}"),
        *options.overrides,
    ]
    start = time.perf_counter()
    subprocess.run(command, check=True)
    seconds = time.perf_counter() - start
    result = json.loads((run / "result.json").read_text())
    manifest = json.loads((run / "manifest.json").read_text())
    print(f"\n{platform.processor() or platform.machine()}, {json.dumps(manifest['hardware'])}\n")
    print("| what | figure |\n|---|---|")
    print(f"| whole command, s | {seconds:.0f} |")
    print(f"| the one training step, s | {result['cost']['train_seconds']:.1f} |")
    print(f"| peak memory, MB | {result['cost']['peak_memory_mb']:.0f} |")
    print(f"| parameters that learn, M | {result['trainable']['parameters'] / 1e6:.2f} |")
    print(f"| questions evaluated | {result['examples']['scored']} |")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--build"]:
        build(sys.argv[2], Path(sys.argv[3]))
    else:
        main()
