"""A full-size Qwen2-VL-2B on this machine: one LoRA step and one evaluation of real pages, through the real command.

The weights are random (the architecture is the published one, 2.2 billion parameters in bf16, built from its config),
so the answers are noise; what is shown is that the path from pages to a saved adapter holds at full size, how long it
takes and how much memory. The vocabulary has the published size, but the embedded tokenizer spells into its first ids.

    python -m bench.full_size --checkpoint FOLDER --pages FOLDER_WITH_QA_JSONL      (about 4.5 GB are written)
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import time
from pathlib import Path


def build(folder: Path) -> None:
    """Write the randomly initialised checkpoint with its processor, once."""
    import torch
    from transformers import Qwen2VLForConditionalGeneration

    from bench.dimensions import qwen2vl_2b
    from pretraining.architecture import qwen2vl

    small, processor = qwen2vl()
    processor.image_processor.size = {"shortest_edge": 256 * 28 * 28, "longest_edge": 1280 * 28 * 28}
    config = qwen2vl_2b(small.config)
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    model = Qwen2VLForConditionalGeneration(config)
    torch.set_default_dtype(torch.float32)
    model.generation_config.eos_token_id = small.generation_config.eos_token_id
    model.generation_config.pad_token_id = small.generation_config.pad_token_id
    print(f"built {sum(p.numel() for p in model.parameters()) / 1e9:.3f} B parameters", flush=True)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


def main() -> None:
    """Build, train one step, evaluate, and print what it took as a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, required=True, help="where to write the random checkpoint")
    parser.add_argument("--pages", type=Path, required=True, help="a folder with qa.jsonl and images")
    options = parser.parse_args()
    if not (options.checkpoint / "config.json").exists():
        subprocess.run([sys.executable, __file__, "--build", str(options.checkpoint)], check=True)
    run = options.checkpoint / "run"
    command = [
        *(sys.executable, "-m", "docvlm.train"),
        *("model=qwen2vl", "scale=full", f"model.checkpoint={options.checkpoint}"),
        *("data=folder", f"data.source={options.pages}", "data.num_workers=0"),
        *("data.batch_size=1", "data.batch_tokens=null"),
        *("data.limit_train=4", "data.limit_val=4", "data.limit_test=4", "data.max_new_tokens=8"),
        *("trainer.max_steps=1", "trainer.accumulate_grad_batches=1", "offline=true", "rerun=true"),
        f"hydra.run.dir={run}",
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
        build(Path(sys.argv[2]))
    else:
        main()
